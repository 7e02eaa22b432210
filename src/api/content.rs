//! The content of a request whose token is in its head: nothing, or what stands for nothing.
//!
//! It is looked at as it comes and never kept, and no tree is built of it. Once its request is known to be refused, by its
//! token or by its content, the rest is taken in only for a moment: so that the answer, which is about the first thing wrong
//! in the published order, reaches a client that is still sending, and so that the connection can go on.

use std::time::Duration;

use axum::body::Body;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::body::MAX_BODY_BYTES;
use super::error::ApiError;
use super::media::{self, Media};

/// How long the rest of a refused request may take to come.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What a request's content is, as far as its head and what came of it show.
#[derive(Debug)]
pub(super) struct Content {
    // What is wrong with any content there is.
    refused: Option<ApiError>,
    fault: Option<ApiError>,
    object: EmptyObject,
    length: usize,
    // What the head announced, and whether its client waits for our word before it sends.
    announced: Option<u64>,
    expects_continue: bool,
}

/// How much of the content was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// All of it.
    Whole,
    /// The rest did not come in time, or was not asked for.
    Part,
}

impl Content {
    /// What the head says. `form` is the error for a form. A content type says nothing where there is no content: many
    /// clients send one all the same, so only content is held to it. Without an Authorization header it is the content
    /// type that makes a request, and it must be one of ours.
    pub(super) fn from_head(headers: &HeaderMap, form: ApiError) -> Result<Self, ApiError> {
        let is_bearer = headers.contains_key(AUTHORIZATION);
        let refused = match media::from_headers(headers) {
            Ok(Media::Json) => None,
            Ok(Media::Unspecified) => Some(ApiError::UnsupportedMediaType),
            Ok(Media::Form) if is_bearer => Some(form),
            Err(error @ ApiError::UnsupportedMediaType) if is_bearer => Some(error),
            Ok(Media::Form) => return Err(form),
            Err(error) => return Err(error),
        };
        Ok(Self {
            refused,
            fault: None,
            object: EmptyObject::Before,
            length: 0,
            announced: announced_length(headers),
            expects_continue: expects_continue(headers),
        })
    }

    /// Reads `body` before `deadline`. `is_refused`: whether the request is refused whatever its content.
    pub(super) async fn read(mut self, mut body: Body, is_refused: bool, deadline: Instant) -> Result<Read, ApiError> {
        if body.is_end_stream() {
            return Ok(Read::Whole);
        }
        if self.announced.is_some_and(|length| length > 0) {
            self.fault = self.refused.take();
        }
        if self.announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
            return Err(self.fault.unwrap_or(ApiError::PayloadTooLarge));
        }
        let drain_end = deadline.min(Instant::now() + DRAIN_TIMEOUT);
        loop {
            let is_settled = is_refused || self.fault.is_some();
            // Asking for the content is what makes a client send it (RFC 9110 section 10.1.1).
            let frame = if is_settled && self.length == 0 && self.expects_continue {
                None
            } else {
                let until = if is_settled { drain_end } else { deadline };
                tokio::time::timeout_at(until, body.frame()).await.ok()
            };
            let Some(frame) = frame else {
                return match self.fault {
                    Some(fault) => Err(fault),
                    None if is_settled && drain_end < deadline => Ok(Read::Part),
                    None => Err(ApiError::RequestTimeout),
                };
            };
            let Some(frame) = frame else {
                return self.ended().map(|()| Read::Whole);
            };
            let frame = frame.map_err(|_| ApiError::InvalidRequest("The body could not be read."))?;
            if let Ok(data) = frame.into_data() {
                self.take(&data)?;
            }
        }
    }

    fn take(&mut self, data: &[u8]) -> Result<(), ApiError> {
        self.length += data.len();
        if self.length > MAX_BODY_BYTES {
            return Err(ApiError::PayloadTooLarge);
        }
        if data.is_empty() || self.fault.is_some() {
            return Ok(());
        }
        self.fault = self.refused.take();
        if self.fault.is_none() && !self.object.accepts(data) {
            self.fault = Some(NOT_EMPTY);
        }
        Ok(())
    }

    fn ended(self) -> Result<(), ApiError> {
        match self.fault {
            Some(fault) => Err(fault),
            None if self.object == EmptyObject::Open => Err(NOT_EMPTY),
            None => Ok(()),
        }
    }
}

/// Whether the client sends its body only once it is asked for it (RFC 9110 section 10.1.1).
fn expects_continue(headers: &HeaderMap) -> bool {
    let mut expected = headers.get_all(EXPECT).iter();
    expected.any(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

const NOT_EMPTY: ApiError = ApiError::InvalidRequest("The body must be empty or the JSON object {}.");

/// How far blanks or `{}` among blanks have come (RFC 8259 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EmptyObject {
    Before,
    Open,
    Closed,
}

impl EmptyObject {
    /// Whether `data` can follow.
    fn accepts(&mut self, mut data: &[u8]) -> bool {
        loop {
            data = &data[leading_blanks(data)..];
            *self = match (*self, data.first()) {
                (_, None) => return true,
                (Self::Before, Some(b'{')) => Self::Open,
                (Self::Open, Some(b'}')) => Self::Closed,
                (_, Some(_)) => return false,
            };
            data = &data[1..];
        }
    }
}

/// How many blanks `data` begins with. In blocks, which compile to wide instructions.
fn leading_blanks(data: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let blocks = data
        .chunks_exact(BLOCK)
        .take_while(|block| block.iter().fold(true, |all, byte| all & is_blank(byte)))
        .count();
    let rest = &data[blocks * BLOCK..];
    blocks * BLOCK + rest.iter().take_while(|byte| is_blank(byte)).count()
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::StreamExt as _;
    use http::HeaderValue;
    use http::header::CONTENT_TYPE;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    const FORM: ApiError = ApiError::InvalidRequest("a form");

    fn headers(values: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        let values = values.iter().cloned();
        values
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .collect()
    }

    fn frames(parts: &[&str]) -> Body {
        let frames: Vec<_> = parts
            .iter()
            .map(|part| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(part.as_bytes()))))
            .collect();
        Body::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    /// Sends parts and then nothing, without an end.
    fn unfinished(parts: &'static [&'static str]) -> Body {
        let parts = parts
            .iter()
            .map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from_static(part.as_bytes()))));
        let frames = futures_util::stream::iter(parts).chain(futures_util::stream::pending());
        Body::new(StreamBody::new(frames))
    }

    async fn outcome_of(headers: &HeaderMap, body: Body, is_refused: bool) -> Result<Read, &'static str> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let read = match Content::from_head(headers, FORM) {
            Ok(content) => content.read(body, is_refused, deadline).await,
            Err(error) => Err(error),
        };
        read.map_err(|error| error.response().code)
    }

    #[tokio::test]
    async fn only_no_content_blanks_or_an_empty_object_are_accepted() {
        let json = headers(&[(CONTENT_TYPE, "application/json")]);
        for (parts, accepted) in [
            (&[][..], true),
            (&[""], true),
            (&[" \r\n\t"], true),
            (&["{}"], true),
            (&[" {\n} "], true),
            (&["", "{", "", " ", "}", "\n"], true),
            (&["{\"a\":1}"], false),
            (&["[]"], false),
            (&["null"], false),
            (&["\"\""], false),
            (&["0"], false),
            (&["{"], false),
            (&["}"], false),
            (&["{}{}"], false),
            (&["{}", "}"], false),
            (&["{} x"], false),
            (&["{", ",", "}"], false),
            (&["\u{feff}{}"], false),
            (&["\u{a0}"], false),
            (&["\0"], false),
        ] {
            let outcome = outcome_of(&json, frames(parts), false).await;
            let expected = if accepted {
                Ok(Read::Whole)
            } else {
                Err("InvalidRequest")
            };
            assert_eq!(outcome, expected, "{parts:?}");
        }
    }

    #[tokio::test]
    async fn blanks_are_counted_in_blocks_and_one_by_one() {
        for length in [0, 1, 63, 64, 65, 127, 128, 1000, MAX_BODY_BYTES] {
            let blanks = " \n\r\t".repeat(length.div_ceil(4)).into_bytes();
            assert_eq!(leading_blanks(&blanks[..length]), length);
            for at in [0, 1, 62, 63, 64, 65, 100].into_iter().filter(|at| *at < length) {
                let mut other = blanks[..length].to_vec();
                other[at] = b'x';
                assert_eq!(leading_blanks(&other), at);
            }
        }
    }

    #[tokio::test]
    async fn the_content_type_matters_only_where_there_is_content() {
        let bearer = (AUTHORIZATION, "Bearer a.b.c");
        for (content_type, of_some, of_none_without_bearer) in [
            (None, "UnsupportedMediaType", None),
            (Some(""), "UnsupportedMediaType", None),
            (Some("application/json"), "InvalidRequest", None),
            (
                Some("application/x-www-form-urlencoded"),
                "InvalidRequest",
                Some("InvalidRequest"),
            ),
            (
                Some("text/plain;charset=UTF-8"),
                "UnsupportedMediaType",
                Some("UnsupportedMediaType"),
            ),
            (
                Some("application/octet-stream"),
                "UnsupportedMediaType",
                Some("UnsupportedMediaType"),
            ),
            (Some("nonsense"), "UnsupportedMediaType", Some("UnsupportedMediaType")),
        ] {
            let mut without = headers(&[]);
            if let Some(content_type) = content_type {
                without.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            let mut with = without.clone();
            with.insert(bearer.0.clone(), HeaderValue::from_static(bearer.1));
            for body in [Body::empty(), frames(&[]), frames(&["", ""])] {
                assert_eq!(
                    outcome_of(&with, body, false).await,
                    Ok(Read::Whole),
                    "{content_type:?}"
                );
            }
            assert_eq!(
                outcome_of(&with, frames(&["x"]), false).await,
                Err(of_some),
                "{content_type:?}"
            );
            let none = of_none_without_bearer.map_or(Ok(Read::Whole), Err);
            assert_eq!(outcome_of(&without, frames(&[]), false).await, none, "{content_type:?}");
        }
    }

    #[tokio::test]
    async fn the_limit_is_exact_and_reported_before_the_content() {
        let json = headers(&[(CONTENT_TYPE, "application/json")]);
        let blanks = " ".repeat(MAX_BODY_BYTES);
        assert_eq!(outcome_of(&json, frames(&[&blanks]), false).await, Ok(Read::Whole));
        for parts in [&[blanks.as_str(), " "][..], &["[", blanks.as_str()]] {
            assert_eq!(outcome_of(&json, frames(parts), false).await, Err("PayloadTooLarge"));
        }
        let announced = headers(&[(CONTENT_TYPE, "application/json"), (CONTENT_LENGTH, "65537")]);
        assert_eq!(
            outcome_of(&announced, unfinished(&[]), false).await,
            Err("PayloadTooLarge")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_refused_request_is_awaited_for_two_seconds() {
        let json = headers(&[(CONTENT_TYPE, "application/json")]);
        for (parts, is_refused, outcome, waited) in [
            (&[][..], false, Err("RequestTimeout"), 10),
            (&["{"], false, Err("RequestTimeout"), 10),
            (&["["], false, Err("InvalidRequest"), 2),
            (&[], true, Ok(Read::Part), 2),
            (&["{}"], true, Ok(Read::Part), 2),
            (&["["], true, Err("InvalidRequest"), 2),
        ] {
            let started = Instant::now();
            assert_eq!(
                outcome_of(&json, unfinished(parts), is_refused).await,
                outcome,
                "{parts:?}"
            );
            assert_eq!(started.elapsed().as_secs(), waited, "{parts:?}");
        }
        // The published order: a failure of the content is reported before the refusal of the token.
        assert_eq!(outcome_of(&json, frames(&["[]"]), true).await, Err("InvalidRequest"));
        assert_eq!(outcome_of(&json, frames(&["{}"]), true).await, Ok(Read::Whole));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_expects_100_continue_gets_a_known_failure_at_once() {
        let json = [(CONTENT_TYPE, "application/json"), (CONTENT_LENGTH, "2")];
        for (expected, is_refused, outcome, waited) in [
            ("100-continue", true, Ok(Read::Part), 0),
            ("100-Continue", true, Ok(Read::Part), 0),
            ("100-continue", false, Err("RequestTimeout"), 10),
            ("something", true, Ok(Read::Part), 2),
        ] {
            let mut headers = headers(&json);
            headers.insert(EXPECT, HeaderValue::from_static(expected));
            let started = Instant::now();
            assert_eq!(
                outcome_of(&headers, unfinished(&[]), is_refused).await,
                outcome,
                "{expected}"
            );
            assert_eq!(started.elapsed().as_secs(), waited, "{expected} {is_refused}");
        }
        let mut text = headers(&[
            (CONTENT_TYPE, "text/plain"),
            (CONTENT_LENGTH, "2"),
            (AUTHORIZATION, "Bearer x"),
        ]);
        text.insert(EXPECT, HeaderValue::from_static("100-continue"));
        let started = Instant::now();
        assert_eq!(
            outcome_of(&text, unfinished(&[]), false).await,
            Err("UnsupportedMediaType")
        );
        assert_eq!(started.elapsed().as_secs(), 0);
    }
}
