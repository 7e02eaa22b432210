//! `100 Continue` over HTTP/2 (RFC 9110 section 10.1.1, RFC 9113 section 8.1).
//!
//! hyper has no way to send one there, and clients such as java.net.http wait for it without end. So the frame is written
//! between those of h2, where one ends and before the next begins: a whole header block in one frame, of one literal that
//! touches no table of HPACK, on a stream that is open and has no answer yet.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// What one connection has to say beside its answers. Clones are of the same connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Informational(Arc<State>);

#[derive(Debug, Default)]
struct State {
    latest: AtomicU32,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    streams: Vec<u32>,
    connection: Option<Waker>,
}

impl Informational {
    /// The stream of the head that was handed on last.
    pub(super) fn head_of(&self, stream: u32) {
        self.0.latest.store(stream, Ordering::Relaxed);
    }

    /// That of the request that has just come: heads are handed on one by one.
    pub(super) fn latest(&self) -> u32 {
        self.0.latest.load(Ordering::Relaxed)
    }

    /// Who writes for the connection.
    pub(super) fn connection(&self, waker: &Waker) {
        let mut waiting = self.waiting();
        if !waiting.connection.as_ref().is_some_and(|known| known.will_wake(waker)) {
            waiting.connection = Some(waker.clone());
        }
    }

    /// Has a 100 written on `stream` as soon as it can be.
    fn proceed(&self, stream: u32) {
        let mut waiting = self.waiting();
        waiting.streams.push(stream);
        if let Some(connection) = &waiting.connection {
            connection.wake_by_ref();
        }
    }

    /// The answer on `stream` is known: no 100 may follow it.
    pub(super) fn answered(&self, stream: u32) {
        self.waiting().streams.retain(|waiting| *waiting != stream);
    }

    /// The frames that are to be written now.
    pub(super) fn take(&self) -> Vec<u8> {
        let streams = std::mem::take(&mut self.waiting().streams);
        streams.into_iter().flat_map(frame).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// HEADERS with `END_HEADERS`: `:status` by its index 8 and `100` literally, not indexed (RFC 7541 section 6.2.2).
fn frame(stream: u32) -> Vec<u8> {
    let mut frame = vec![0, 0, 5, 1, 4];
    frame.extend(stream.to_be_bytes());
    frame.extend(b"\x08\x03100");
    frame
}

/// A body whose client waits for a 100: it is sent when reading begins.
pub(super) struct Expected {
    body: Body,
    asked: bool,
    stream: u32,
    informational: Informational,
}

impl Expected {
    pub(super) fn new(body: Body, stream: u32, informational: Informational) -> Self {
        Self {
            body,
            asked: false,
            stream,
            informational,
        }
    }
}

impl http_body::Body for Expected {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        // A client that has not waited needs none.
        if frame.is_pending() && !std::mem::replace(&mut self.asked, true) {
            self.informational.proceed(self.stream);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_takes_back_what_was_not_written() {
        let informational = Informational::default();
        informational.proceed(1);
        informational.proceed(3);
        informational.answered(1);
        assert_eq!(informational.take(), b"\0\0\x05\x01\x04\0\0\0\x03\x08\x03100");
        assert_eq!(informational.take(), b"");
    }
}
