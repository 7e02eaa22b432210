//! What handlers read from a request, whichever service it is for.

use axum::body::Bytes;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use base::loopback::is_loopback_host;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

/// No body that the emulator reads may be longer.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A body was too long, or broke off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unreadable;

/// Reads a request's body within the limit.
pub(crate) async fn read_body(request: Request) -> Result<Bytes, Unreadable> {
    axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES)
        .await
        .map_err(|_| Unreadable)
}

/// The first value of a query parameter.
pub(crate) fn query_parameter(query: Option<&str>, name: &str) -> Option<String> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.into_owned())
}

/// The one bearer token of a request. Two headers of the name leave open which one counts.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(http::header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The host that a request names: the `Host` header, or HTTP/2's authority.
pub(crate) fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    headers
        .get(http::header::HOST)
        .and_then(|value| value.to_str().ok())
        .or_else(|| uri.authority().map(http::uri::Authority::as_str))
}

/// Whether a browser's origin is a page on this machine.
pub(crate) fn is_loopback_origin(origin: &HeaderValue) -> bool {
    origin
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")))
        .is_some_and(is_loopback_host)
}

/// A plain answer for a request that is too large.
pub(crate) fn too_large() -> Response {
    StatusCode::PAYLOAD_TOO_LARGE.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_origins() {
        assert!(is_loopback_origin(&HeaderValue::from_static("http://localhost:3000")));
        for origin in ["null", "file://localhost", "https://localhost.evil.example"] {
            assert!(!is_loopback_origin(&HeaderValue::from_static(origin)), "{origin}");
        }
    }
}
