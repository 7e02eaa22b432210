//! The Entra ID side: discovery, keys, token issuance, the token endpoint, and Entra's error body.

pub(crate) mod discovery;
pub(crate) mod issue;
pub(crate) mod keys;
mod token_endpoint;

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
}

impl EntraError {
    fn bad_request(error: &'static str, code: u32, text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            code,
            text: text.into(),
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

    pub(super) fn into_response(self, world: &World) -> Response {
        let (trace_id, correlation_id) = (Uuid::new_v4(), Uuid::new_v4());
        let timestamp = world.now().strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let Self {
            status,
            error,
            code,
            text,
        } = self;
        let body = json!({
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
        (status, Json(body)).into_response()
    }
}

/// Text from outside, cut to what fits in a message.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}
