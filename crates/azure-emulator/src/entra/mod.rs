//! The Entra ID side: discovery, keys, token issuance, the token endpoint with its grants, and Entra's error body.

pub(crate) mod apis;
pub(crate) mod app_token;
pub(crate) mod apps;
pub(crate) mod certificate;
mod client_assertion;
mod client_auth;
mod client_credentials;
pub(crate) mod discovery;
mod form;
pub(crate) mod issue;
pub(crate) mod keys;
mod on_behalf_of;
mod password;
mod scope;
pub(crate) mod signed;
pub(crate) mod token_endpoint;

use axum::Json;
use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::world::{SharedWorld, World};

/// Entra's routes. The tenant is a GUID in any letter case or a domain.
pub(super) fn routes() -> Router<SharedWorld> {
    Router::new()
        .without_v07_checks()
        .route(
            "/{tenant}/v2.0/.well-known/openid-configuration",
            get(discovery::v2_document),
        )
        .route(
            "/{tenant}/.well-known/openid-configuration",
            get(discovery::v1_document),
        )
        .route("/{tenant}/discovery/v2.0/keys", get(discovery::v2_keys))
        .route("/{tenant}/discovery/keys", get(discovery::v1_keys))
        .route("/{tenant}/oauth2/v2.0/token", post(token_endpoint::token))
}

/// An error as Entra's security token service tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntraError {
    status: StatusCode,
    error: &'static str,
    /// The number behind `AADSTS`.
    code: u32,
    text: String,
    suberror: Option<&'static str>,
    /// What the client must ask for next, as JSON.
    claims: Option<String>,
}

impl EntraError {
    fn new(status: StatusCode, error: &'static str, code: u32, text: impl Into<String>) -> Self {
        Self {
            status,
            error,
            code,
            text: text.into(),
            suberror: None,
            claims: None,
        }
    }

    fn bad_request(error: &'static str, code: u32, text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, code, text)
    }

    /// The client's credential does not count.
    fn invalid_client(code: u32, text: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", code, text)
    }

    /// Something of the emulator's own failed.
    fn transient() -> Self {
        let text = "A transient error has occurred. Please try again.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", 90033, text)
    }

    fn suberror(self, suberror: &'static str) -> Self {
        Self {
            suberror: Some(suberror),
            ..self
        }
    }

    fn claims(self, claims: String) -> Self {
        Self {
            claims: Some(claims),
            ..self
        }
    }

    fn unknown_tenant(tenant: &str) -> Self {
        let text = format!(
            "Tenant '{}' not found. Check to make sure you have the correct tenant ID and are signing into the \
             correct cloud. Check with your subscription administrator, this may happen if there are no active \
             subscriptions for the tenant.",
            shortened(tenant)
        );
        Self::bad_request("invalid_tenant", 90002, text)
    }

    /// The answer; the correlation id is the one that the client sent, if it did.
    pub(super) fn into_response(self, world: &World, correlation_id: Option<Uuid>) -> Response {
        let trace_id = Uuid::new_v4();
        let correlation_id = correlation_id.unwrap_or_else(Uuid::new_v4);
        let timestamp = world.now().strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let Self {
            status,
            error,
            code,
            text,
            suberror,
            claims,
        } = self;
        let mut body = json!({
            "error": error,
            "error_description": format!(
                "AADSTS{code}: {text} Trace ID: {trace_id} Correlation ID: {correlation_id} Timestamp: {timestamp}"
            ),
            "error_codes": [code],
            "timestamp": timestamp,
            "trace_id": trace_id.to_string(),
            "correlation_id": correlation_id.to_string(),
            "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
        });
        if let Some(suberror) = suberror {
            body["suberror"] = json!(suberror);
        }
        if let Some(claims) = claims {
            body["claims"] = json!(claims);
        }
        (status, Json(body)).into_response()
    }
}

/// Text from outside, cut to what fits in a message.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}
