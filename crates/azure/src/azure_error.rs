//! Azure's error object, as ACS and Microsoft Graph answer with it (Microsoft REST API guidelines).

use std::fmt;

use serde::Deserialize;

use super::Response;
use super::redact::harmless;
use base::untrusted::Untrusted;

/// `{"error":{"code","message",…}}`, as far as an operator wants to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureError {
    /// `error.code`
    pub code: Untrusted,
    /// `error.message`
    pub message: Untrusted,
}

impl fmt::Display for AzureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.code, self.message)
    }
}

/// What Azure said, to be put behind what it means.
#[must_use]
pub fn appended(error: Option<&AzureError>) -> String {
    error.map_or_else(String::new, |error| format!(": {error}"))
}

/// Reads the error object, if there is one.
#[must_use]
pub fn read_error(response: &Response) -> Option<AzureError> {
    #[derive(Deserialize)]
    struct Body {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        code: String,
        #[serde(default)]
        message: String,
    }
    let body: Body = serde_json::from_slice(&response.body).ok()?;
    Some(AzureError {
        code: harmless(&body.error.code),
        message: harmless(&body.error.message),
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use serde_json::json;

    use super::*;

    fn response(body: &str) -> Response {
        Response {
            status: StatusCode::FORBIDDEN,
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn an_error_object_is_read_without_any_token_in_it() {
        let token = format!("eyJhbGciOiJSUzI1NiJ9.{}.sig", "A".repeat(50));
        let body = json!({"error": {"code": "Denied", "message": format!("no: Bearer {token}, sorry 0a1b2c3d-0000-4000-8000-00000000abcd")}});
        let error = read_error(&response(&body.to_string())).unwrap();
        assert_eq!(error.code.to_string(), "Denied");
        assert_eq!(
            error.message.to_string(),
            "no: Bearer [redacted]  sorry 0a1b2c3d-0000-4000-8000-00000000abcd"
        );
        assert_eq!(read_error(&response("<html>")), None);
    }
}
