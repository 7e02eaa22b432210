//! ACS's error body.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// An error as ACS returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AcsError {
    status: StatusCode,
    pub(super) code: &'static str,
    message: String,
    pub(super) target: Option<String>,
    inner: Option<&'static str>,
}

impl AcsError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            target: None,
            inner: None,
        }
    }

    pub(super) fn invalid(target: &str, message: impl Into<String>) -> Self {
        Self {
            target: Some(target.to_owned()),
            ..Self::new(StatusCode::BAD_REQUEST, "ValidationError", message)
        }
    }

    pub(super) fn denied(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Denied", message)
    }

    pub(super) fn too_large() -> Self {
        let message = "The request body is too large.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    pub(super) fn inner(self, code: &'static str) -> Self {
        Self {
            inner: Some(code),
            ..self
        }
    }

    pub(super) fn into_response(self) -> Response {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(target) = self.target {
            error["target"] = json!(target);
        }
        if let Some(inner) = self.inner {
            error["innererror"] = json!({"code": inner});
        }
        let mut response = (self.status, Json(json!({ "error": error }))).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
