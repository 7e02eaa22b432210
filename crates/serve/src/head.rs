//! What is kept of a request's head while the request is worked on.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use super::next_body::BodyLength;

/// Why a request is to be refused whatever it asks for, as a request extension. Of its head no more is left than what
/// the refusal needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Its head has more fields or more bytes than are served (RFC 6585 section 5).
    Head,
    /// There is no memory left for it.
    Memory,
}

/// What of a head is served.
#[derive(Debug, Clone)]
pub struct HeadLimits {
    /// Fields.
    pub fields: usize,
    /// Bytes of all fields and of the path.
    pub bytes: usize,
    /// The fields that are read; all others are dropped before the request is worked on.
    pub read: Vec<HeaderName>,
    /// Those of them that a refusal needs.
    pub on_refusal: Vec<HeaderName>,
}

impl HeadLimits {
    /// Whether the head is within them.
    pub(super) fn holds<B>(&self, request: &Request<B>) -> bool {
        let fields = request.headers();
        let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        let bytes = fields
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
        fields.len() <= self.fields && bytes.sum::<usize>() + path <= self.bytes
    }
}

/// Reduces the head to those fields. What is left is copied, for each part of it keeps the whole buffer that it came in.
/// Returns how many bytes remain.
pub(super) fn reduce<B>(request: &mut Request<B>, read: &[HeaderName], all: bool) -> usize {
    let old = std::mem::take(request.headers_mut());
    let mut fields = HeaderMap::with_capacity(old.keys_len().min(read.len()));
    let mut bytes = 0;
    // A client sends fewer fields than are read.
    for (name, value) in old.iter().filter(|(name, _)| read.contains(name)) {
        if !all && fields.contains_key(name) {
            continue;
        }
        // Copied. What was a value is one.
        let Ok(mut copy) = HeaderValue::from_bytes(value.as_bytes()) else {
            continue;
        };
        copy.set_sensitive(value.is_sensitive());
        bytes += name.as_str().len() + value.len() + size_of::<HeaderValue>() * 3;
        fields.append(name.clone(), copy);
    }
    *request.headers_mut() = fields;
    if let Some(uri) = copied(request.uri()) {
        *request.uri_mut() = uri;
    }
    bytes + request.uri().path().len() + request.uri().query().map_or(0, str::len)
}

fn copied(uri: &Uri) -> Option<Uri> {
    let mut parts = http::uri::Parts::default();
    let copy = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    if let Some(path) = uri.path_and_query() {
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(copy(path.as_str())).ok()?);
    }
    if let Some(scheme) = uri.scheme() {
        parts.scheme = Some(scheme.as_str().parse().ok()?);
    }
    if let Some(authority) = uri.authority() {
        parts.authority = Some(Authority::from_maybe_shared(copy(authority.as_str())).ok()?);
    }
    Uri::from_parts(parts).ok()
}

/// Whether the client waits for a 100 before it sends its body (RFC 9110 section 10.1.1).
pub(super) fn expects_continue(fields: &HeaderMap) -> bool {
    let mut expected = fields.get_all(EXPECT).iter();
    expected.any(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The body that follows a head of HTTP/1.1, as hyper has understood it.
pub(super) fn body_length<B: http_body::Body>(request: &Request<B>) -> BodyLength {
    let fields = request.headers();
    if request.body().is_end_stream() {
        return BodyLength::Ended;
    }
    let length = fields
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    match length {
        Some(0) => BodyLength::Ended,
        Some(length) if !fields.contains_key(TRANSFER_ENCODING) => BodyLength::Known(length),
        _ => BodyLength::Chunked,
    }
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, COOKIE, HOST};

    use super::*;

    fn request(fields: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::get("https://broker.test/token?a=b").body(()).unwrap();
        for (name, value) in fields {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    }

    fn limits() -> HeadLimits {
        HeadLimits {
            fields: 3,
            bytes: 40,
            read: vec![AUTHORIZATION, HOST],
            on_refusal: vec![HOST],
        }
    }

    #[test]
    fn fields_and_bytes_are_bounded() {
        for (fields, holds) in [
            (&[][..], true),
            (&[("a", "b"), ("a", "b"), ("a", "b")][..], true),
            (&[("a", "b"), ("a", "b"), ("a", "b"), ("a", "b")][..], false),
            (&[("a", "0123456789012345678901234")][..], true),
            (&[("a", "01234567890123456789012345")][..], false),
        ] {
            assert_eq!(limits().holds(&request(fields)), holds, "{fields:?}");
        }
    }

    #[test]
    fn only_what_is_read_is_left() {
        let mut head = request(&[
            ("host", "a"),
            ("cookie", "x"),
            ("host", "b"),
            ("authorization", "Bearer t"),
        ]);
        head.headers_mut().get_mut(AUTHORIZATION).unwrap().set_sensitive(true);
        let bytes = reduce(&mut head, &limits().read, true);
        assert!(bytes > 4 + 1 + 4 + 1 + 13 + 8);
        assert!(!head.headers().contains_key(COOKIE));
        let hosts: Vec<_> = head.headers().get_all(HOST).iter().collect();
        assert_eq!(hosts, ["a", "b"]);
        assert!(head.headers()[AUTHORIZATION].is_sensitive());
        assert_eq!(head.uri(), "https://broker.test/token?a=b");
        reduce(&mut head, &limits().on_refusal, false);
        assert_eq!(head.headers().len(), 1);
        assert_eq!(head.headers()[HOST], "a");
    }

    #[test]
    fn whatever_the_target_is_it_stays() {
        for target in ["/", "*", "/a?b=c", "http://x/", "http://x:80/y?z", "x:443"] {
            let mut head = Request::options(target).body(()).unwrap();
            let before = head.uri().clone();
            reduce(&mut head, &[], true);
            assert_eq!(*head.uri(), before, "{target}");
        }
    }
}
