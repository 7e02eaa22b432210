//! A second Communication Services resource, as small as can be: its tokens say that they are its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::claims_of;

/// What its tokens name as their resource.
pub(crate) const RESOURCE: &str = "annex";

/// The running resource.
pub(crate) struct Annex {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Answered in place of a grant; 0 for none.
    status: AtomicU16,
    exchanges: AtomicUsize,
    number: AtomicUsize,
}

impl Annex {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let router = Router::new().fallback(async move |request: Request| exchange(&state, &request));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers this status to whoever asks, or grants again.
    pub(crate) fn answer(&self, status: Option<u16>) {
        self.shared.status.store(status.unwrap_or(0), Ordering::SeqCst);
    }

    /// How many exchanges it was asked for.
    pub(crate) fn exchanges(&self) -> usize {
        self.shared.exchanges.load(Ordering::SeqCst)
    }
}

fn exchange(shared: &Shared, request: &Request) -> Response {
    shared.exchanges.fetch_add(1, Ordering::SeqCst);
    let status = shared.status.load(Ordering::SeqCst);
    if status != 0 {
        let status = StatusCode::from_u16(status).unwrap();
        let mut answer = (
            status,
            axum::Json(json!({"error": {"code": "Fault", "message": "A fault."}})),
        )
            .into_response();
        answer
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        return answer;
    }
    let authorization = request.headers().get(header::AUTHORIZATION).unwrap().to_str().unwrap();
    // The emulator is what verifies tokens; this one trusts the broker.
    let caller = claims_of(authorization.strip_prefix("Bearer ").unwrap());
    let identity = identity(&caller);
    let scopes = caller["scp"].as_str().unwrap().to_lowercase().replace(' ', ",");
    let claims = json!({
        "skypeid": identity.strip_prefix("8:").unwrap(),
        "acsScope": scopes,
        "resourceId": RESOURCE,
        "exp": caller["exp"],
        "jti": shared.number.fetch_add(1, Ordering::SeqCst),
    });
    let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let end = Timestamp::from_second(caller["exp"].as_i64().unwrap()).unwrap();
    let body = json!({"identity": {"id": identity}, "accessToken": {"token": token, "expiresOn": end.to_string()}});
    axum::Json(body).into_response()
}

/// Whom it takes a caller for.
fn identity(caller: &Value) -> String {
    let text = |name: &str| caller[name].as_str().unwrap().to_owned();
    format!("8:acs:{RESOURCE}_wf_{}_{}", text("tid"), text("oid"))
}
