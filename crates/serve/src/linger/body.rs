//! The body of an HTTP/1 request, which is read to its end in the background where its handler leaves it unread.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::response::Response;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::Linger;
use crate::next_body::{BodyLength, NextBody};

/// A longer body is not read for the sake of a connection that could be used again.
const WORTH_READING: u64 = 256 << 10;

/// Whether the connection ends with this request whatever is read of it.
pub(super) fn closes(version: Version, headers: &HeaderMap) -> bool {
    let says_close = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("close"));
    version != Version::HTTP_11 || says_close
}

/// What became of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It was read, or it is still being handled.
    No,
    /// It is read now, behind the answer.
    BeingRead,
    /// It will not be read, so that the connection is of no more use.
    Left,
}

/// Says on an answer that its connection will be closed, where that is known already (RFC 9112 section 9.6): a client
/// then does not take it for its next request.
pub(crate) struct Announcement(pub(super) Option<Arc<Mutex<Unread>>>);

impl Announcement {
    pub(crate) fn on(self, mut response: Response) -> Response {
        let unread = self.0.map_or(Unread::No, |unread| {
            *unread.lock().unwrap_or_else(PoisonError::into_inner)
        });
        // A body that took too long will hardly be there in a moment (RFC 9110 section 15.5.9).
        let is_slow = unread == Unread::BeingRead && response.status() == StatusCode::REQUEST_TIMEOUT;
        if unread == Unread::Left || is_slow {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }
}

/// The body of an HTTP/1 request.
pub(super) struct RequestBody {
    // Taken when it is dropped.
    pub(super) inner: Option<Incoming>,
    pub(super) linger: Linger,
    pub(super) end: Option<NextBody>,
    pub(super) unread: Arc<Mutex<Unread>>,
    pub(super) read: u64,
    pub(super) ends: bool,
    pub(super) waits: bool,
}

impl RequestBody {
    pub(super) fn read_to_end(&self) {
        ended(&self.linger, self.end.as_ref());
    }
}

/// A request's body was read to its end.
fn ended(linger: &Linger, end: Option<&NextBody>) {
    linger.read_to_end();
    if let Some(end) = end {
        end.set(BodyLength::Ended);
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let own = &mut *self;
        let Some(inner) = &mut own.inner else {
            return Poll::Ready(None);
        };
        own.waits = false;
        let frame = ready!(Pin::new(inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => own.read += frame.data_ref().map_or(0, |data| data.len() as u64),
            // What is broken has no end that could be waited for.
            Some(Err(_)) => own.ends = true,
            None => own.read_to_end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(body) = self.inner.take() else {
            return;
        };
        if body.is_end_stream() {
            return self.read_to_end();
        }
        let is_short = self.read + body.size_hint().lower() <= WORTH_READING;
        let runtime = tokio::runtime::Handle::try_current();
        let outcome = match runtime {
            Ok(runtime) if is_short && !self.ends && !self.waits => {
                let rest = WORTH_READING - self.read;
                runtime.spawn(read(body, rest, self.linger.clone(), self.end.take()));
                Unread::BeingRead
            }
            _ => Unread::Left,
        };
        *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
    }
}

/// Reads the rest of a body that its handler does not want. While it is held, hyper goes on with the connection; dropped early, it closes it.
async fn read(mut body: Incoming, most: u64, linger: Linger, end: Option<NextBody>) {
    let mut remaining = most;
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return;
            };
            let data = frame.data_ref().map_or(0, |data| data.len() as u64);
            let Some(rest) = remaining.checked_sub(data) else {
                return;
            };
            remaining = rest;
        }
        ended(&linger, end.as_ref());
    };
    let _ = tokio::time::timeout_at(linger.deadline(), reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says_that_it_closes() {
        for (version, values, expected) in [
            (Version::HTTP_11, &[][..], false),
            (Version::HTTP_11, &["keep-alive"][..], false),
            (Version::HTTP_11, &["close"][..], true),
            (Version::HTTP_11, &["TE, Close"][..], true),
            (Version::HTTP_11, &["te", "close"][..], true),
            (Version::HTTP_11, &["closed"][..], false),
            (Version::HTTP_10, &["keep-alive"][..], true),
        ] {
            let headers = values
                .iter()
                .map(|value| (CONNECTION, HeaderValue::from_static(value)))
                .collect();
            assert_eq!(closes(version, &headers), expected, "{version:?} {values:?}");
        }
    }
}
