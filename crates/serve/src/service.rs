//! The requests of one connection: each gets its memory and goes to the handler.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONNECTION;
use http_body::{Body as _, Frame, SizeHint};
use hyper::Request;
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::activity::{ConnectionActivity, Unflushed, Unsent};
use super::handler::Handler;
use super::head::{self, Excess, HeadLimits};
use super::informational::{Expected, Informational};
use super::limiter::NoMemory;
use super::linger::Linger;
use super::memory::{Memory, REQUEST, STREAM, STREAMS, Share};
use super::next_body::{BodyLength, NextBody};

/// The scheme a request arrived by: the URI of a request does not hold it in HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// A plain connection.
    Http,
    /// TLS ends here.
    Https,
}

impl Scheme {
    /// `http` or `https`
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The connection that a request came by, as a request extension.
#[derive(Debug, Clone)]
pub struct Connected {
    /// The address at its other end.
    pub peer: SocketAddr,
    /// Whether TLS ends here.
    pub scheme: Scheme,
    cut: Arc<CancellationToken>,
}

impl Connected {
    /// Whether connections are being cut: a request that is dropped is then not its client's doing.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }
}

/// Where a head announces what follows it.
#[derive(Clone)]
pub(super) enum Following {
    Http1(NextBody),
    Http2(Informational),
}

/// What answers the requests of a connection.
pub(super) struct Service {
    pub(super) peer: SocketAddr,
    pub(super) scheme: Scheme,
    pub(super) handler: Handler,
    pub(super) linger: Linger,
    pub(super) activity: ConnectionActivity,
    pub(super) shared: Arc<Shared>,
    pub(super) unflushed: Unflushed,
    pub(super) following: Following,
    // Streams that memory was taken for; of HTTP/1.1 there is never more than one.
    pub(super) streams: AtomicUsize,
}

pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Response<Answer>, NoMemory>> + Send>>;

impl Service {
    /// Looks at the head at once, and keeps of it only what is served; what follows is a future of its own on the heap.
    pub(super) fn answer(&self, request: Request<Incoming>) -> Answering {
        let options = &self.shared.options;
        let expects = head::expects_continue(request.headers()) && !request.body().is_end_stream();
        let body = head::body_length(&request);
        let (next_body, interim) = match &self.following {
            Following::Http1(next_body) => {
                next_body.set(body);
                (Some(next_body.clone()).filter(|_| body == BodyLength::Chunked), None)
            }
            Following::Http2(informational) => (None, expects.then(|| (informational.clone(), informational.latest()))),
        };
        let (mut request, announcement) = self.linger.request(request, next_body);
        if let Some((informational, stream)) = interim.clone() {
            request = request.map(|body| Body::new(Expected::new(body, stream, informational)));
        }
        // Counted even if it is refused: many can come at once, before any of them is.
        let in_flight = self.activity.request();
        let memory = self
            .take_stream()
            .and_then(|()| admit(&mut request, &options.head, &options.memory));
        let memory = match memory {
            Ok(memory) => memory,
            Err(error) => {
                return Box::pin(async move {
                    drop(in_flight);
                    Err(error)
                });
            }
        };
        request.extensions_mut().insert(Connected {
            peer: self.peer,
            scheme: self.scheme,
            cut: Arc::clone(&self.shared.cut),
        });
        let (answering, unflushed) = (self.handler.answer(request), self.unflushed.clone());
        // HTTP/2 has no such field; its connections end with GOAWAY, which loses nothing.
        let says_close = matches!(self.following, Following::Http1(_)).then(|| Arc::clone(&self.shared));
        Box::pin(async move {
            let mut response = answering.await;
            if says_close.is_some_and(|shared| shared.options.leaving.is_cancelled()) {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            if let Some((informational, stream)) = interim {
                informational.answered(stream);
            }
            let unsent = in_flight.answered(memory);
            Ok(announcement.on(response).map(|body| Answer {
                body,
                unsent: Some(unsent),
                unflushed,
            }))
        })
    }

    /// Takes memory for the stream that has come, if none was taken for it. Without any the connection must end.
    fn take_stream(&self) -> Result<(), NoMemory> {
        if self.activity.requests() <= self.streams.load(Ordering::Relaxed) {
            return Ok(());
        }
        let permit = self.activity.permit();
        permit.grow(STREAMS * STREAM).inspect_err(|_| permit.overdraw())?;
        self.streams.fetch_add(STREAMS, Ordering::Relaxed);
        Ok(())
    }
}

/// Reduces the head to what is served, and takes memory for what is left and for the work on it. What is refused goes on
/// too, since an answer has its form from within.
fn admit(request: &mut Request<Body>, limits: &HeadLimits, memory: &Memory) -> Result<Share, NoMemory> {
    let within = limits.holds(request);
    let bytes = head::reduce(request, if within { &limits.read } else { &limits.on_refusal }, within);
    if !within {
        request.extensions_mut().insert(Excess::Head);
    }
    if let Some(share) = memory.work.take(bytes + REQUEST) {
        return Ok(share);
    }
    head::reduce(request, &limits.on_refusal, false);
    request.extensions_mut().insert(Excess::Memory);
    memory.blocks.take(REQUEST).ok_or(NoMemory)
}

/// An answer's body: until it is written out, its memory is taken.
pub(super) struct Answer {
    body: Body,
    unsent: Option<Unsent>,
    unflushed: Unflushed,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(memory) = self.unsent.take().and_then(Unsent::taken) {
            self.unflushed.push(memory);
        }
    }
}
