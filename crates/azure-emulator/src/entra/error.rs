//! Entra's error body.
//!
//! <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

/// An error as Entra's security token service returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntraError {
    status: StatusCode,
    error: &'static str,
    /// The number behind `AADSTS`.
    code: u32,
    text: String,
    suberror: Option<&'static str>,
    /// Beside an error that a user is sent back with.
    subcode: Option<&'static str>,
    /// What the client must ask for next, as JSON.
    claims: Option<String>,
}

impl EntraError {
    pub(super) fn new(status: StatusCode, error: &'static str, code: u32, text: impl Into<String>) -> Self {
        Self {
            status,
            error,
            code,
            text: text.into(),
            suberror: None,
            subcode: None,
            claims: None,
        }
    }

    pub(super) fn bad_request(error: &'static str, code: u32, text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, code, text)
    }

    /// The client's credential does not count.
    pub(super) fn invalid_client(code: u32, text: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", code, text)
    }

    /// Something of the emulator's own failed.
    pub(super) fn transient() -> Self {
        let text = "A transient error has occurred. Please try again.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", 90033, text)
    }

    pub(super) fn suberror(self, suberror: &'static str) -> Self {
        Self {
            suberror: Some(suberror),
            ..self
        }
    }

    pub(super) fn subcode(self, subcode: &'static str) -> Self {
        Self {
            subcode: Some(subcode),
            ..self
        }
    }

    /// The same under another name: endpoints name some errors differently.
    pub(super) fn with_error(self, error: &'static str) -> Self {
        Self { error, ..self }
    }

    pub(super) fn claims(self, claims: String) -> Self {
        Self {
            claims: Some(claims),
            ..self
        }
    }

    pub(super) fn unknown_client(sent: &str, directory: &str) -> Self {
        let text = format!(
            "Application with identifier '{}' was not found in the directory '{directory}'. This can happen if the \
             application has not been installed by the administrator of the tenant or consented to by any user in the \
             tenant. You may have sent your authentication request to the wrong tenant.",
            shortened(sent)
        );
        Self::bad_request("unauthorized_client", 700_016, text)
    }

    pub(super) fn unknown_tenant(tenant: &str) -> Self {
        let text = format!(
            "Tenant '{}' not found. Check to make sure you have the correct tenant ID and are signing into the \
             correct cloud. Check with your subscription administrator, this may happen if there are no active \
             subscriptions for the tenant.",
            shortened(tenant)
        );
        Self::bad_request("invalid_tenant", 90002, text)
    }

    /// The answer; the correlation id is the one that the client sent, if it did.
    pub(super) fn into_response(self, now: Timestamp, correlation_id: Option<Uuid>) -> Response {
        let (trace_id, correlation_id) = (Uuid::new_v4(), correlation_id.unwrap_or_else(Uuid::new_v4));
        let timestamp = timestamp(now);
        let description = self.description(now, trace_id, correlation_id);
        let Self {
            status,
            error,
            code,
            suberror,
            claims,
            ..
        } = self;
        let mut body = json!({
            "error": error,
            "error_description": description,
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

    /// The parameters with which a user is sent back to a client (RFC 6749 4.1.2.1).
    pub(super) fn to_parameters(&self, now: Timestamp) -> Vec<(&'static str, String)> {
        let mut parameters = vec![
            ("error", self.error.to_owned()),
            (
                "error_description",
                self.description(now, Uuid::new_v4(), Uuid::new_v4()),
            ),
            (
                "error_uri",
                format!("https://login.microsoftonline.com/error?code={}", self.code),
            ),
        ];
        parameters.extend(self.subcode.map(|subcode| ("error_subcode", subcode.to_owned())));
        parameters.extend(self.suberror.map(|suberror| ("suberror", suberror.to_owned())));
        parameters
    }

    /// The code and the text, for a page.
    pub(super) fn message(&self) -> String {
        format!("AADSTS{}: {}", self.code, self.text)
    }

    fn description(&self, now: Timestamp, trace_id: Uuid, correlation_id: Uuid) -> String {
        let (message, timestamp) = (self.message(), timestamp(now));
        format!("{message} Trace ID: {trace_id} Correlation ID: {correlation_id} Timestamp: {timestamp}")
    }
}

fn timestamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Text from outside, cut to what fits in a message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}
