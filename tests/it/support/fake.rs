//! A scripted HTTP server, where the emulator is too well-behaved.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use azure_emulator::Emulator;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use uuid::Uuid;

/// A running fake; dropping it stops it.
pub(crate) struct Fake {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

#[derive(Default)]
struct State {
    replies: HashMap<String, Reply>,
    calls: Vec<Seen>,
}

/// A call that the fake has seen.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What a path answers until it is set otherwise.
#[derive(Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    grpc: bool,
    gate: Option<watch::Receiver<bool>>,
}

/// Holds answers back until it is opened.
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(watch::channel(false).0)
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            grpc: false,
            gate: None,
        }
    }

    /// The end of a gRPC call that is good, with an empty message.
    pub(crate) fn grpc() -> Self {
        Self {
            grpc: true,
            ..Self::status(200)
                .header("content-type", "application/grpc")
                .body(Bytes::from_static(&[0; 5]))
        }
    }

    pub(crate) fn json(value: &Value) -> Self {
        Self {
            body: value.to_string().into(),
            ..Self::status(200).header("content-type", "application/json")
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The same answer with another status.
    pub(crate) fn but_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The same answer, held back by a gate.
    pub(crate) fn behind(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.0.subscribe());
        self
    }
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let seen = Arc::clone(&state);
        let router = Router::new().fallback(async move |request: Request| answer(&seen, request).await);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }).abort_handle();
        Self { address, state, task }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Scripts a path; any other answers 404.
    pub(crate) fn on(&self, path: &str, reply: Reply) {
        self.state.lock().unwrap().replies.insert(path.to_owned(), reply);
    }

    pub(crate) fn calls(&self) -> Vec<Seen> {
        self.state.lock().unwrap().calls.clone()
    }

    /// How many calls a path has seen, answered or not.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.calls().iter().filter(|call| call.path == path).count()
    }

    /// Plays Entra for one tenant as the emulator would, with these keys: tokens keep the emulator's issuers.
    pub(crate) fn play_entra(&self, emulator: &Emulator, tenant: Uuid, keys: &[Value]) -> Entra {
        let entra = Entra {
            v1: format!("/{tenant}/.well-known/openid-configuration"),
            v2: format!("/{tenant}/v2.0/.well-known/openid-configuration"),
            keys: format!("/{tenant}/discovery/v2.0/keys"),
            v1_issuer: format!("{}/sts/{tenant}/", emulator.origin()),
            v2_issuer: format!("{}/{tenant}/v2.0", emulator.origin()),
            jwks_uri: format!("{}/{tenant}/discovery/v2.0/keys", self.origin()),
        };
        self.on(&entra.v1, entra.document(&entra.v1_issuer, &entra.jwks_uri));
        self.on(&entra.v2, entra.document(&entra.v2_issuer, &entra.jwks_uri));
        self.on(&entra.keys, Reply::json(&json!({ "keys": keys })));
        entra
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The paths and texts of a tenant that a fake plays.
#[derive(Debug, Clone)]
pub(crate) struct Entra {
    pub(crate) v1: String,
    pub(crate) v2: String,
    pub(crate) keys: String,
    pub(crate) v1_issuer: String,
    pub(crate) v2_issuer: String,
    pub(crate) jwks_uri: String,
}

impl Entra {
    pub(crate) fn document(&self, issuer: &str, jwks_uri: &str) -> Reply {
        Reply::json(&json!({"issuer": issuer, "jwks_uri": jwks_uri, "token_endpoint": self.jwks_uri}))
    }
}

/// What ACS answers to an exchange, with this end.
pub(crate) fn grant(token: &str, expires_on: jiff::Timestamp) -> Value {
    json!({"identity": {"id": "8:acs:fake"}, "accessToken": {"token": token, "expiresOn": expires_on.to_string()}})
}

async fn answer(state: &Mutex<State>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let reply = {
        let mut state = state.lock().unwrap();
        state.calls.push(Seen {
            path: path.clone(),
            headers: head.headers,
            body,
        });
        state.replies.get(&path).cloned().unwrap_or_else(|| Reply::status(404))
    };
    if let Some(mut gate) = reply.gate {
        // A gate that is gone holds nothing back any more.
        let _ = gate.wait_for(|open| *open).await;
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    if !reply.grpc {
        return response.body(Body::from(reply.body)).unwrap();
    }
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let body = Full::new(reply.body).with_trailers(std::future::ready(Some(Ok(trailers))));
    response.body(Body::new(body)).unwrap()
}
