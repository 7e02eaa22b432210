//! One connection, from the TLS handshake to its end.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONNECTION;
use http_body::{Body as _, Frame, SizeHint};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::Shared;
use super::frames::PREFACE;
use super::handshake::Bounded;
use super::head::{self, Excess, HeadLimits};
use super::informational::{Expected, Informational};
use super::linger::Linger;
use super::memory::{HTTP2, Memory, REQUEST, STREAM, STREAMS, Share};
use super::meter::{BodyLength, MOST_BUFFERED, Meter, NextBody};
use super::places::{NoMemory, Place, Yielding};
use super::presence::{Patience, Presence, Unflushed, Unsent};

/// What HTTP/2 announces (RFC 9113 section 6.5.2), where each field counts 32 bytes more than it has: enough for what
/// is served, and for the API layer's own 431 a bit beyond it.
const MAX_HEADER_LIST_BYTES: u32 = 40 * 1024;

/// Header fields that hyper reads in one HTTP/1.1 head; beyond, it answers 431 itself. Room for them is set aside for
/// each head.
const MAX_HEADER_FIELDS: usize = 256;

/// What a client may send on one stream, and on a connection, before somebody reads it: the most that a body may have.
const WINDOW: u32 = 64 * 1024;

/// Streams that a client opened and reset again before they were looked at ("rapid reset", CVE-2023-44487).
const MAX_RESET_STREAMS: usize = 20;

/// What may wait to be written on one stream. Answers are small.
const MAX_SEND_BUFFER: usize = 16 * 1024;

/// How long an answer may take to be written out, in a drain.
const FLUSH: Duration = Duration::from_millis(500);

/// How long a connection may take to say good-bye that must go for another.
const GOOD_BYE: Duration = Duration::from_millis(50);

/// HTTP/2 PING period, and how long its answer may take.
const PING: Duration = Duration::from_secs(20);

/// The scheme a request arrived by, as a request extension: the URI of a request does not hold it in HTTP/1.1.
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

/// Whether connections are being cut, as a request extension: a request that is dropped is then not its client's doing.
#[derive(Debug, Clone)]
pub struct Cut(CancellationToken);

impl Cut {
    /// Whether they are.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// What one connection has, whatever its protocol.
struct Connection {
    peer: SocketAddr,
    scheme: Scheme,
    router: Router,
    linger: Linger,
    presence: Presence,
    shared: Arc<Shared>,
}

/// Serves one accepted connection to its end.
pub(super) async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    shared: Arc<Shared>,
    place: Arc<Place>,
) {
    let begun = tokio::select! {
        begun = begin(&mut stream, &shared) => begun,
        // No request can have come yet.
        () = shared.draining.cancelled() => return,
        () = place.wanted() => return,
    };
    let Some(begun) = begun else { return };
    let linger = Linger::default();
    let stream = linger.stream(stream);
    let connection = |scheme| Connection {
        peer,
        scheme,
        router,
        linger,
        presence: Presence::new(Arc::clone(&place)),
        shared: Arc::clone(&shared),
    };
    // Each on the heap by itself, so that a connection on which nothing has come yet is small.
    match (begun, &shared.acceptor) {
        (Begun::Http1(read), _) => Box::pin(connection(Scheme::Http).http1(stream, read)).await,
        (Begun::Http2(read), _) => Box::pin(connection(Scheme::Http).http2(stream, read)).await,
        (Begun::Tls, Some(acceptor)) => {
            let handshake = acceptor.accept(Bounded::new(stream));
            let handshake = tokio::time::timeout(shared.options.head_timeout, handshake);
            let stream = tokio::select! {
                result = Box::pin(handshake) => match result {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
                    Err(_) => return tracing::debug!("TLS handshake timed out"),
                },
                () = shared.draining.cancelled() => return,
                () = place.wanted() => return,
            };
            let (bounded, tls) = stream.get_ref();
            bounded.ended();
            if tls.alpn_protocol() == Some(b"h2") {
                Box::pin(connection(Scheme::Https).http2(stream, Vec::new())).await;
            } else {
                Box::pin(connection(Scheme::Https).http1(stream, Vec::new())).await;
            }
        }
        (Begun::Tls, None) => {}
    }
}

/// What a client began with, and what was read of it.
enum Begun {
    Http1(Vec<u8>),
    Http2(Vec<u8>),
    Tls,
}

/// Waits for what a client begins with. `None` if it sends nothing.
async fn begin(stream: &mut TcpStream, shared: &Shared) -> Option<Begun> {
    let wait = async {
        if shared.acceptor.is_some() {
            stream.readable().await.ok()?;
            return Some(Begun::Tls);
        }
        // Both versions, told apart by HTTP/2's preface (prior knowledge, RFC 9113 section 3.3).
        let mut read = Vec::with_capacity(PREFACE.len());
        while PREFACE.starts_with(&read) && read.len() < PREFACE.len() {
            let mut rest = (&mut *stream).take((PREFACE.len() - read.len()) as u64);
            if rest.read_buf(&mut read).await.ok()? == 0 {
                return (!read.is_empty()).then_some(Begun::Http1(read));
            }
        }
        Some(if read == PREFACE {
            Begun::Http2(read)
        } else {
            Begun::Http1(read)
        })
    };
    tokio::time::timeout(shared.options.head_timeout, wait).await.ok()?
}

impl Connection {
    async fn http1<S>(self, stream: S, read: Vec<u8>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let options = &self.shared.options;
        let patience = Patience {
            head: options.head_timeout,
            next: options.keep_alive_timeout,
            multiplexed: false,
        };
        let mut builder = http1::Builder::new();
        builder
            // Its own limit would count the wait for a head as well. `Presence::overdue` parts the two.
            .header_read_timeout(None)
            // More than any head that the API layer answers with its own 431, which a head beyond its bound still gets.
            .max_buf_size(MOST_BUFFERED)
            .max_headers(MAX_HEADER_FIELDS)
            .keep_alive(true)
            // A client that closes its side has left; there is nobody to go on for.
            .half_close(false);
        let next_body = NextBody::default();
        let unflushed = Unflushed::default();
        let meter = Meter::http1(
            stream,
            read,
            self.presence.clone(),
            options.memory.blocks.clone(),
            unflushed.clone(),
            next_body.clone(),
        );
        let service = self.service(unflushed, Following::Http1(next_body));
        let service = service_fn(move |request| service.answer(request));
        let connection = builder.serve_connection(TokioIo::new(meter), service);
        self.drive(Box::pin(connection), patience).await;
    }

    async fn http2<S>(self, stream: S, read: Vec<u8>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let options = &self.shared.options;
        if let Err(error) = self.presence.place().grow(HTTP2) {
            return tracing::debug!(%error, "connection closed");
        }
        let patience = Patience {
            head: options.head_timeout,
            next: options.http2_idle_timeout,
            multiplexed: true,
        };
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(options.http2_streams)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_send_buf_size(MAX_SEND_BUFFER)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        let unflushed = Unflushed::default();
        let informational = Informational::default();
        let meter = Meter::http2(
            stream,
            read,
            self.presence.clone(),
            options.memory.blocks.clone(),
            unflushed.clone(),
            informational.clone(),
        );
        let service = self.service(unflushed, Following::Http2(informational));
        let service = service_fn(move |request| service.answer(request));
        let connection = builder.serve_connection(TokioIo::new(meter), service);
        self.drive(Box::pin(connection), patience).await;
    }

    fn service(&self, unflushed: Unflushed, following: Following) -> Service {
        Service {
            peer: self.peer,
            scheme: self.scheme,
            router: self.router.clone(),
            linger: self.linger.clone(),
            presence: self.presence.clone(),
            shared: Arc::clone(&self.shared),
            unflushed,
            following,
            streams: AtomicUsize::new(STREAMS),
        }
    }

    /// Reads requests and writes answers until either side ends it.
    async fn drive<C>(&self, mut connection: Pin<Box<C>>, patience: Patience)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let Self { presence, shared, .. } = self;
        let end = tokio::select! {
            result = connection.as_mut() => return ended(result),
            () = shared.draining.cancelled() => End::Drain,
            served = presence.overdue(patience) => {
                // Not one request: there is nothing to finish and nobody to say good-bye to.
                if !served {
                    return;
                }
                End::Overdue
            }
            () = presence.place().wanted() => End::Wanted,
        };
        connection.as_mut().graceful_shutdown();
        let wait = async {
            match end {
                // hyper goes on waiting for the rest of a half-sent head, which is no request in flight.
                End::Drain => presence.drained(FLUSH, Some(self.linger.clone())).await,
                // A request may have crossed the good-bye; it gets the time that a request gets.
                End::Overdue => tokio::time::sleep(patience.head).await,
                End::Wanted if shared.options.yielding == Yielding::All => tokio::time::sleep(GOOD_BYE).await,
                End::Wanted => {
                    let drained = presence.drained(GOOD_BYE, None);
                    let _ = tokio::time::timeout(patience.head, drained).await;
                }
            }
        };
        tokio::select! {
            result = connection => ended(result),
            () = shared.cut.cancelled() => {
                shared.cut_connections.fetch_add(1, Ordering::Relaxed);
            }
            () = wait => {}
        }
    }
}

/// Why a connection is ended from this side.
enum End {
    Drain,
    Overdue,
    Wanted,
}

/// What the connection is told of the body that follows a head.
#[derive(Clone)]
enum Following {
    Http1(NextBody),
    Http2(Informational),
}

/// What answers the requests of a connection.
struct Service {
    peer: SocketAddr,
    scheme: Scheme,
    router: Router,
    linger: Linger,
    presence: Presence,
    shared: Arc<Shared>,
    unflushed: Unflushed,
    following: Following,
    // Streams that memory was taken for; of HTTP/1.1 there is never more than one.
    streams: AtomicUsize,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Answer>, NoMemory>> + Send>>;

impl Service {
    /// Looks at the head at once, and keeps of it only what is served; what follows is a future of its own on the heap.
    fn answer(&self, request: Request<Incoming>) -> Answering {
        let options = &self.shared.options;
        let expects = head::expects_continue(request.headers()) && !request.body().is_end_stream();
        let body = head::body_length(&request);
        let (next_body, interim) = match &self.following {
            Following::Http1(next_body) => {
                next_body.tell(body);
                (Some(next_body.clone()).filter(|_| body == BodyLength::Chunked), None)
            }
            Following::Http2(informational) => (None, expects.then(|| (informational.clone(), informational.latest()))),
        };
        let (mut request, announcement) = self.linger.request(request, next_body);
        if let Some((informational, stream)) = interim.clone() {
            request = request.map(|body| Body::new(Expected::new(body, stream, informational)));
        }
        // Counted even if it is refused: many can come at once, before any of them is.
        let in_flight = self.presence.request();
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
        let extensions = request.extensions_mut();
        extensions.insert(Cut(self.shared.cut.clone()));
        extensions.insert(ConnectInfo(self.peer));
        extensions.insert(self.scheme);
        let (router, unflushed) = (self.router.clone(), self.unflushed.clone());
        // HTTP/2 has no such field; its connections end with GOAWAY, which loses nothing.
        let leaving = matches!(self.following, Following::Http1(_)).then(|| options.leaving.clone());
        Box::pin(async move {
            let Ok(mut response) = router.oneshot(request).await;
            if leaving.is_some_and(|leaving| leaving.is_cancelled()) {
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
}

impl Service {
    /// Takes memory for the stream that has come, if none was taken for it. Without any the connection must end.
    fn take_stream(&self) -> Result<(), NoMemory> {
        if self.presence.requests() <= self.streams.load(Ordering::Relaxed) {
            return Ok(());
        }
        let place = self.presence.place();
        place.grow(STREAMS * STREAM).inspect_err(|_| place.overdraw())?;
        self.streams.fetch_add(STREAMS, Ordering::Relaxed);
        Ok(())
    }
}

/// Reduces the head to what is served, and takes memory for what is left and for the work on it. What is refused goes on
/// too, since an answer has its form from within.
fn admit(request: &mut Request<Body>, limits: &HeadLimits, memory: &Memory) -> Result<Share, NoMemory> {
    let within = limits.holds(request);
    let bytes = head::reduce(request, if within { &limits.read } else { &limits.told }, within);
    if !within {
        request.extensions_mut().insert(Excess::Head);
    }
    if let Some(share) = memory.work.take(bytes + REQUEST) {
        return Ok(share);
    }
    head::reduce(request, &limits.told, false);
    request.extensions_mut().insert(Excess::Memory);
    memory.blocks.take(REQUEST).ok_or(NoMemory)
}

/// An answer's body: until it is written out, its memory is taken.
struct Answer {
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

fn ended(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        // Clients leave in the middle all the time: nothing an operator could act on.
        tracing::debug!(%error, "connection ended early");
    }
}
