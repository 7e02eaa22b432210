//! What several fuzz targets need.

use azure::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

/// A secret that stands for all: no message may hold it.
pub const SECRET: &str = "hunter2";

/// The longest message for one thing that is wrong, in characters.
const LONGEST: usize = 1024;

/// Holds a message to what is written into logs: one line, and not a long one.
///
/// # Panics
/// If it is none.
pub fn is_a_line(message: &str) {
    assert!(!message.is_empty(), "an empty message");
    assert!(!message.chars().any(char::is_control), "{message:?}");
    assert!(message.chars().count() <= LONGEST, "{message:?}");
}

/// Holds a message that quotes an upstream to it too: nothing in it is as long as a token.
///
/// # Panics
/// If something is.
pub fn holds_no_token(message: &str) {
    is_a_line(message);
    // The last letter of an escape (`\n`) may stand before a word.
    let is_of_a_word = |c: char| c.is_ascii_alphanumeric() || "-_.+/=~%@".contains(c);
    let longest = message.split(|c| !is_of_a_word(c)).map(str::len).max();
    assert!(longest.unwrap_or_default() <= 37, "{message:?}");
}

/// An answer of an upstream: the first byte of `data` chooses among `statuses`, the second the content type, and the rest is the body.
#[must_use]
pub fn answer<'d>(data: &'d [u8], statuses: &[u16]) -> Option<(Response, &'d [u8])> {
    let (&[status, kind], body) = data.split_first_chunk()?;
    let status = statuses[usize::from(status) % statuses.len()];
    Some((response(status, kind, body), body))
}

/// An answer with that body; most kinds are JSON.
#[must_use]
pub fn response(status: u16, kind: u8, body: &[u8]) -> Response {
    let kinds = ["application/json", "application/json; charset=utf-8", "text/html"];
    let kind = kinds.get(usize::from(kind)).copied().unwrap_or("application/json");
    Response {
        status: StatusCode::from_u16(status).unwrap_or_default(),
        headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]),
        body: body.to_vec().into(),
    }
}

/// The fields of a header, one a line, as far as they can be sent.
#[must_use]
pub fn fields(name: &'static str, data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(40) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    headers
}
