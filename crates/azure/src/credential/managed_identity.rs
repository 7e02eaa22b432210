//! Tokens of a managed identity, by Microsoft's `azure_identity`.
//!
//! It knows the platforms (App Service and Container Apps by `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`, virtual
//! machines and Kubernetes nodes by the metadata service at 169.254.169.254), caches tokens until five minutes before
//! their end, and retries the metadata service as Microsoft advises. It reads those two variables from the process
//! itself. Without default features it brings neither OpenSSL nor an HTTP client: calls go out by our own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::request::Body;
use azure_core::http::{
    AsyncRawResponse, ClientOptions, FixedRetryOptions, HttpClient, Request, RetryOptions, StatusCode, Transport,
};
use azure_identity::{ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::entra::EntraGrant;
use crate::{SendError, Upstream, UpstreamFailure};
use base::clock::SharedClock;
use base::ids::ClientAppId;
use base::secret::BearerToken;
use base::untrusted::Untrusted;
use telemetry::metrics::labels::Peer;

/// Limit for one call to the platform; the caller's deadline holds for all of them.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// No token of the managed identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManagedIdentityError {
    /// The platform offers identities in a way that is not supported.
    #[error("managed identities of this platform are not supported: {0}")]
    Unsupported(Untrusted),
    /// The platform knows no such identity.
    #[error("the platform has no such managed identity (status {0})")]
    NoSuchIdentity(u16),
    /// The platform's token service failed.
    #[error("{}", described(.0))]
    Upstream(UpstreamFailure),
}

impl ManagedIdentityError {
    fn invalid(fault: &str) -> Self {
        Self::Upstream(UpstreamFailure::InvalidResponse(fault.to_owned()))
    }

    fn unavailable(cause: &str) -> Self {
        Self::Upstream(UpstreamFailure::Unavailable {
            cause: Untrusted::new(cause).to_string(),
            retry_after: None,
        })
    }
}

fn described(failure: &UpstreamFailure) -> String {
    const SERVICE: &str = "the platform's managed identity service";
    match failure {
        UpstreamFailure::Timeout => "no managed identity token in time".to_owned(),
        UpstreamFailure::InvalidResponse(fault) => format!("{SERVICE} gave an answer that makes no sense: {fault}"),
        failure => failure.describe(SERVICE, "requests"),
    }
}

/// A managed identity of the machine, container or app that the broker runs in.
pub struct ManagedIdentity {
    credential: Arc<ManagedIdentityCredential>,
}

impl ManagedIdentity {
    /// The user-assigned identity of `client_id`, or the system-assigned one.
    pub fn new(
        client_id: Option<ClientAppId>,
        upstream: Upstream,
        clock: SharedClock,
    ) -> Result<Self, ManagedIdentityError> {
        Self::over(client_id, Arc::new(OwnTransport(upstream, clock)))
    }

    fn over(client_id: Option<ClientAppId>, http: Arc<dyn HttpClient>) -> Result<Self, ManagedIdentityError> {
        let options = ManagedIdentityCredentialOptions {
            user_assigned_id: client_id.map(|id| UserAssignedId::ClientId(id.to_string())),
            client_options: ClientOptions {
                transport: Some(Transport::new(http)),
                // For the metadata service azure_identity puts Microsoft's advice in its place.
                retry: RetryOptions::fixed(FixedRetryOptions {
                    max_retries: 1,
                    ..FixedRetryOptions::default()
                }),
                ..ClientOptions::default()
            },
        };
        let credential = ManagedIdentityCredential::new(Some(options))
            .map_err(|error| ManagedIdentityError::Unsupported(Untrusted::new(&error.to_string())))?;
        Ok(Self { credential })
    }

    /// A token for `resource`, an App ID URI such as `https://communication.azure.com`; also with `/.default`, as a
    /// scope. It may come from memory and has at least a few minutes left then.
    pub async fn token(&self, resource: &str, deadline: Instant) -> Result<EntraGrant, ManagedIdentityError> {
        let scopes = [resource];
        let asked = self.credential.get_token(&scopes, None);
        let token = tokio::time::timeout_at(deadline, asked)
            .await
            .map_err(|_| ManagedIdentityError::Upstream(UpstreamFailure::Timeout))?
            .map_err(|error| meaning(&error))?;
        let expires_on = Timestamp::from_second(token.expires_on.unix_timestamp())
            .map_err(|_| ManagedIdentityError::invalid("expires_on"))?;
        Ok(EntraGrant {
            access_token: BearerToken::new(token.token.secret()),
            expires_on,
            scope: None,
        })
    }
}

/// `azure_identity` wraps what happened once or twice; its messages may quote the platform's body, so they stay here.
fn meaning(error: &Error) -> ManagedIdentityError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<Error>() {
            match error.kind() {
                ErrorKind::HttpResponse { status, .. } => {
                    let status = u16::from(*status);
                    return match status {
                        400 | 401 | 403 | 404 => ManagedIdentityError::NoSuchIdentity(status),
                        300..400 => ManagedIdentityError::invalid("a redirect"),
                        _ => ManagedIdentityError::unavailable(&format!("status {status}")),
                    };
                }
                ErrorKind::Connection | ErrorKind::Io => {
                    return ManagedIdentityError::unavailable(&error.to_string());
                }
                ErrorKind::DataConversion => {
                    return ManagedIdentityError::invalid("not the JSON that the contract says");
                }
                _ => {}
            }
        }
        cause = error.source();
    }
    ManagedIdentityError::invalid("not the answer that the contract says")
}

/// Our own way out for `azure_core`'s requests: bounded, traced, without redirects.
struct OwnTransport(Upstream, SharedClock);

impl fmt::Debug for OwnTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnTransport")
    }
}

#[async_trait]
impl HttpClient for OwnTransport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let method = http::Method::from_bytes(request.method().as_ref().as_bytes())
            .map_err(|error| Error::new(ErrorKind::Other, error))?;
        let mut outgoing = self.0.request(method, request.url().clone());
        for (name, value) in request.headers().iter() {
            // The agent is the broker, as in every other call.
            if name.as_str() != http::header::USER_AGENT.as_str() {
                outgoing = outgoing.header(name.as_str(), value.as_str());
            }
        }
        if let Body::Bytes(bytes) = request.body() {
            outgoing = outgoing.body(bytes.clone());
        }
        let sent = self
            .0
            .send(Peer::ManagedIdentity, outgoing, Instant::now() + CALL_LIMIT)
            .await;
        let response = sent.map_err(|error| {
            let kind = match error {
                SendError::NotConnected(_) | SendError::Connection(_) | SendError::Timeout => ErrorKind::Io,
                SendError::TooLarge(_) => ErrorKind::DataConversion,
            };
            Error::new(kind, error)
        })?;
        let mut headers = Headers::new();
        for (name, value) in &response.headers {
            if let Ok(value) = value.to_str() {
                headers.insert(
                    HeaderName::from(name.as_str().to_owned()),
                    HeaderValue::from(value.to_owned()),
                );
            }
        }
        let status = StatusCode::from(response.status.as_u16());
        let body = complete(&response.body, self.1.now()).unwrap_or(response.body);
        Ok(AsyncRawResponse::from_bytes(status, headers, body))
    }
}

/// An answer with what `azure_identity` insists on: platforms differ in what they send beside the token, and in
/// whether times are numbers or texts. `None` where there is nothing to put right.
fn complete(body: &[u8], now: Timestamp) -> Option<Bytes> {
    let mut answer: Map<String, Value> = serde_json::from_slice(body).ok()?;
    answer.get("access_token")?;
    let seconds = |value: &Value| match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let expires_on = answer.get("expires_on").and_then(seconds);
    let lasts = answer.get("expires_in").and_then(seconds);
    let end = expires_on.or_else(|| now.as_second().checked_add(lasts?))?;
    answer.insert("expires_on".to_owned(), Value::from(end.to_string()));
    for (name, usual) in [("token_type", "Bearer"), ("resource", "")] {
        answer.entry(name).or_insert_with(|| Value::from(usual));
    }
    serde_json::to_vec(&answer).ok().map(Bytes::from)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Mutex;

    use axum::Router;
    use axum::extract::Request as Incoming;
    use axum::response::IntoResponse as _;
    use serde_json::json;

    use super::*;

    type Calls = Arc<Mutex<Vec<(String, http::HeaderMap)>>>;

    /// A platform's token service that gives the same answer each time.
    pub(in super::super) async fn fake(status: u16, body: Value) -> (String, Calls) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let calls = Calls::default();
        let seen = Arc::clone(&calls);
        let router = Router::new().fallback(async move |request: Incoming| {
            let path = request.uri().to_string();
            seen.lock().unwrap().push((path, request.headers().clone()));
            let status = http::StatusCode::from_u16(status).unwrap();
            (status, axum::Json(body.clone())).into_response()
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (origin, calls)
    }

    pub(in super::super) fn token() -> Value {
        // Long past every test: azure_identity asks the system for the time.
        json!({"access_token": "managed", "expires_on": "4102444800", "token_type": "Bearer",
            "resource": "api://AzureADTokenExchange"})
    }

    fn upstream() -> Upstream {
        Upstream::plain(Duration::from_secs(2), 1 << 20).unwrap()
    }

    /// The metadata service's address is fixed, so its calls are led to a fake.
    #[derive(Debug)]
    struct Led {
        to: String,
        through: OwnTransport,
    }

    #[async_trait]
    impl HttpClient for Led {
        async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
            let mut request = request.clone();
            assert_eq!(request.url().origin().ascii_serialization(), "http://169.254.169.254");
            let path = request.path_and_query();
            *request.url_mut() = format!("{}{path}", self.to).parse().unwrap();
            self.through.execute_request(&request).await
        }
    }

    fn led(to: &str, client_id: Option<&str>) -> ManagedIdentity {
        let transport = Led {
            to: to.to_owned(),
            through: OwnTransport(upstream(), base::clock::SystemClock::shared()),
        };
        ManagedIdentity::over(client_id.map(|id| id.parse().unwrap()), Arc::new(transport)).unwrap()
    }

    async fn ask(identity: &ManagedIdentity) -> Result<EntraGrant, ManagedIdentityError> {
        let deadline = Instant::now() + Duration::from_secs(3);
        identity.token("api://AzureADTokenExchange", deadline).await
    }

    #[tokio::test]
    async fn the_metadata_service_is_asked_once_for_a_token_that_lives() {
        let (origin, calls) = fake(200, token()).await;
        let identity = led(&origin, Some("22222222-0000-4000-8000-00000000abcd"));
        for _ in 0..3 {
            let token = ask(&identity).await.unwrap();
            assert_eq!(token.access_token.expose(), "managed");
            assert_eq!(token.expires_on.as_second(), 4_102_444_800);
        }
        let calls = calls.lock().unwrap();
        let [(path, headers)] = &calls[..] else {
            panic!("{calls:?}");
        };
        assert!(path.starts_with("/metadata/identity/oauth2/token?"), "{path}");
        for part in ["resource=api", "client_id=22222222-0000-4000-8000-00000000abcd"] {
            assert!(path.contains(part), "{path}");
        }
        assert_eq!(headers["metadata"], "true");
        assert!(headers["user-agent"].to_str().unwrap().starts_with("acs-token-broker/"));
    }

    #[tokio::test]
    async fn what_the_platform_refuses_or_garbles_is_reported_without_its_words() {
        let words = json!({"error": "invalid_request", "error_description": "secret-words"});
        let (origin, _) = fake(400, words).await;
        let error = ask(&led(&origin, None)).await.unwrap_err();
        assert_eq!(error, ManagedIdentityError::NoSuchIdentity(400));
        for body in [json!({}), json!({"access_token": "secret-words"}), json!([])] {
            let (origin, _) = fake(200, body).await;
            let error = ask(&led(&origin, None)).await.unwrap_err();
            let is_invalid = matches!(
                error,
                ManagedIdentityError::Upstream(UpstreamFailure::InvalidResponse(_))
            );
            assert!(is_invalid, "{error:?}");
            assert!(!error.to_string().contains("secret-words"), "{error}");
        }
        let (origin, _) = fake(500, json!({})).await;
        let identity = led(&origin, None);
        let soon = Instant::now() + Duration::from_millis(200);
        let error = identity.token("r", soon).await.unwrap_err();
        assert_eq!(error, ManagedIdentityError::Upstream(UpstreamFailure::Timeout));
    }

    // App Service's form is known by the process's environment: tests/it/platform.rs runs the broker in one.

    #[test]
    fn what_platforms_send_beside_the_token_is_completed() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for (answer, end) in [
            (
                json!({"access_token": "t", "expires_on": "1800000300"}),
                Some("1800000300"),
            ),
            (
                json!({"access_token": "t", "expires_on": 1_800_000_300}),
                Some("1800000300"),
            ),
            (json!({"access_token": "t", "expires_in": 300}), Some("1800000300")),
            (json!({"access_token": "t", "expires_in": "300"}), Some("1800000300")),
            (json!({"access_token": "t"}), None),
            (json!({"expires_in": 300}), None),
            (json!([]), None),
        ] {
            let completed = complete(answer.to_string().as_bytes(), now);
            let read = completed.map(|body| serde_json::from_slice::<Value>(&body).unwrap());
            let expires_on = read.as_ref().map(|read| read["expires_on"].as_str().unwrap());
            assert_eq!(expires_on, end, "{answer}");
            if let Some(read) = &read {
                assert_eq!((&read["token_type"], &read["resource"]), (&json!("Bearer"), &json!("")));
            }
        }
    }
}
