//! Graph's error body.
//!
//! <https://learn.microsoft.com/graph/errors>

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

/// An error as Graph returns it.
#[derive(Debug)]
pub(super) struct GraphError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl GraphError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Request_BadRequest", message)
    }

    pub(super) fn bad_token(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken", message)
    }

    /// Whatever else Graph has, the emulator does not.
    pub(super) fn not_served(path: &str) -> Self {
        let shown: String = path.chars().take(100).collect();
        let message =
            format!("Resource not found for the segment: the emulator does not serve '{shown}' with this method.");
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFound", message)
    }

    /// A path goes on where it cannot.
    pub(super) fn no_segment(segment: &str) -> Self {
        let shown: String = segment.chars().take(100).collect();
        Self::new(
            StatusCode::BAD_REQUEST,
            "BadRequest",
            format!("Resource not found for the segment '{shown}'."),
        )
    }

    /// The code, for tests.
    #[cfg(test)]
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    pub(super) fn into_response(self, now: Timestamp) -> Response {
        let body = Json(error_body(self.code, &self.message, now));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"\", error=\"invalid_token\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// There is no object with this id in the tenant.
pub(super) fn not_found(id: &str) -> GraphError {
    let message = format!(
        "Resource '{}' does not exist or one of its queried reference-property objects are not present.",
        id.chars().take(100).collect::<String>()
    );
    GraphError::new(StatusCode::NOT_FOUND, "Request_ResourceNotFound", message)
}

/// The body of an error.
pub(crate) fn error_body(code: &str, message: &str, now: Timestamp) -> Value {
    let id = Uuid::new_v4().to_string();
    json!({"error": {
        "code": code,
        "message": message,
        "innerError": {
            "date": now.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
            "request-id": id,
            "client-request-id": id,
        },
    }})
}
