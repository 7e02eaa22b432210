//! What handlers read from a request, whichever service it is for.

use axum::body::Bytes;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, Uri};

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

/// A plain answer for a request that is too large.
pub(crate) fn too_large() -> Response {
    StatusCode::PAYLOAD_TOO_LARGE.into_response()
}
