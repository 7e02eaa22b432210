//! Which kind of body a request says it has.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use super::error::ApiError;

/// The kind of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// No content type.
    Unspecified,
    /// `application/json`
    Json,
    /// `application/x-www-form-urlencoded`
    Form,
}

/// Reads the content headers. Encoded bodies are not taken.
pub(super) fn from_headers(headers: &HeaderMap) -> Result<Media, ApiError> {
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(ApiError::UnsupportedMediaType);
    }
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let Some(value) = values.next() else {
        return Ok(Media::Unspecified);
    };
    if values.next().is_some() {
        return Err(ApiError::InvalidRequest("Send one Content-Type header."));
    }
    // A header without a value says nothing; some clients send one for a body that is not there.
    if value.as_bytes().trim_ascii().is_empty() {
        return Ok(Media::Unspecified);
    }
    parse(value).ok_or(ApiError::UnsupportedMediaType)
}

/// Whether the request calls itself a form, acceptable or not: that alone decides the shape of its answer.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).and_then(parse) == Some(Media::Form)
}

fn parse(value: &HeaderValue) -> Option<Media> {
    let mime: mime::Mime = value.to_str().ok()?.parse().ok()?;
    match mime.essence_str() {
        "application/json" => Some(Media::Json),
        "application/x-www-form-urlencoded" => Some(Media::Form),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_distinguished() {
        for (value, media) in [
            ("application/json", Some(Media::Json)),
            ("Application/JSON; charset=utf-8", Some(Media::Json)),
            ("application/x-www-form-urlencoded", Some(Media::Form)),
            ("application/x-www-form-urlencoded;charset=UTF-8", Some(Media::Form)),
            ("text/plain", None),
            ("application/jsonp", None),
            ("multipart/form-data; boundary=x", None),
            ("application/json; charset=utf-8", Some(Media::Json)),
            ("", Some(Media::Unspecified)),
            (" \t", Some(Media::Unspecified)),
            (";", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(from_headers(&headers).ok(), media, "{value:?}");
        }
        assert_eq!(from_headers(&HeaderMap::new()).ok(), Some(Media::Unspecified));
    }

    #[test]
    fn two_types_or_an_encoding_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(CONTENT_TYPE, "application/json".parse().unwrap());
        headers.append(CONTENT_TYPE, "application/json".parse().unwrap());
        assert!(matches!(from_headers(&headers), Err(ApiError::InvalidRequest(_))));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
        assert!(matches!(from_headers(&headers), Err(ApiError::UnsupportedMediaType)));
        headers.insert(CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
        assert!(matches!(from_headers(&headers), Err(ApiError::UnsupportedMediaType)));
        assert!(is_form(&headers), "the answer still has OAuth's shape");
    }
}
