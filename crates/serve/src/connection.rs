//! One connection, from the TLS handshake to its end.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::activity::{ConnectionActivity, Timeouts, Unflushed};
use super::frames::PREFACE;
use super::handler::Handler;
use super::handshake::Bounded;
use super::informational::Informational;
use super::limiter::{ConnectionPermit, Eviction};
use super::linger::Linger;
use super::memory::{HTTP2, STREAMS};
use super::meter::{MOST_BUFFERED, Meter};
use super::next_body::NextBody;
use super::service::{Following, Scheme, Service};
use super::{Shared, resets};

/// What HTTP/2 announces (RFC 9113 section 6.5.2), where each field counts 32 bytes more than it has: enough for what
/// is served, and for the API layer's own 431 a bit beyond it.
const MAX_HEADER_LIST_BYTES: u32 = 40 * 1024;

/// Header fields that hyper reads in one HTTP/1.1 head; beyond, it answers 431 itself. Room for them is set aside for
/// each head.
const MAX_HEADER_FIELDS: usize = 256;

/// What a client may send on one stream, and on a connection, before it is read: the most that a body may have.
const WINDOW: u32 = 64 * 1024;

/// Streams that a client opened and reset again before they were looked at; beyond, the connection ends. The meter lets each
/// be looked at before it hands on more, so this is not reached: `resets` is what bounds them.
const MAX_RESET_STREAMS: usize = 20;

/// What may wait to be written on one stream. Answers are small.
const MAX_SEND_BUFFER: usize = 16 * 1024;

/// How long an answer may take to be written out, in a drain.
const FLUSH: Duration = Duration::from_millis(500);

/// How long a connection that is closed for another may take to end.
const CLOSE_GRACE: Duration = Duration::from_millis(50);

/// HTTP/2 PING period, and how long its answer may take.
const PING: Duration = Duration::from_secs(20);

/// What one connection has, whatever its protocol.
struct Connection {
    peer: SocketAddr,
    scheme: Scheme,
    handler: Handler,
    linger: Linger,
    activity: ConnectionActivity,
    shared: Arc<Shared>,
}

/// Serves one accepted connection to its end.
pub(super) async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    handler: Handler,
    shared: Arc<Shared>,
    permit: Arc<ConnectionPermit>,
) {
    let begun = tokio::select! {
        begun = begin(&mut stream, &shared) => begun,
        // No request can have come yet.
        () = shared.draining.cancelled() => return,
        () = permit.evicted() => return,
    };
    let Some(begun) = begun else { return };
    let linger = Linger::default();
    let stream = linger.stream(stream);
    let connection = |scheme| Connection {
        peer,
        scheme,
        handler,
        linger,
        activity: ConnectionActivity::new(Arc::clone(&permit)),
        shared: Arc::clone(&shared),
    };
    // Each on the heap by itself, so that a connection on which nothing has come yet is small.
    match (begun, &shared.acceptor) {
        (Begun::Http1(read), _) => Box::pin(connection(Scheme::Http).http1(stream, read)).await,
        (Begun::Http2(read), _) => Box::pin(connection(Scheme::Http).http2(stream, read)).await,
        (Begun::Tls, Some(acceptor)) => Box::pin(tls(stream, acceptor, &shared, &permit, connection)).await,
        (Begun::Tls, None) => {}
    }
}

/// Serves one over TLS.
async fn tls<S>(
    stream: S,
    acceptor: &TlsAcceptor,
    shared: &Shared,
    permit: &ConnectionPermit,
    connection: impl FnOnce(Scheme) -> Connection,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = acceptor.accept(Bounded::new(stream));
    let handshake = tokio::time::timeout(shared.options.head_timeout, handshake);
    let stream = tokio::select! {
        result = Box::pin(handshake) => match result {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => return tracing::debug!("TLS handshake timed out"),
        },
        () = shared.draining.cancelled() => return,
        () = permit.evicted() => return,
    };
    let (bounded, session) = stream.get_ref();
    bounded.ended();
    if session.alpn_protocol() == Some(b"h2") {
        Box::pin(connection(Scheme::Https).http2(stream, Vec::new())).await;
    } else {
        Box::pin(connection(Scheme::Https).http1(stream, Vec::new())).await;
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
        // Both versions, distinguished by HTTP/2's preface (prior knowledge, RFC 9113 section 3.3).
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
        let timeouts = Timeouts {
            head: options.head_timeout,
            next: options.keep_alive_timeout,
            multiplexed: false,
        };
        let mut builder = http1::Builder::new();
        builder
            // Its own limit would count the wait for a head as well. `ConnectionActivity::overdue` parts the two.
            .header_read_timeout(None)
            // More than any head that the API layer answers with its own 431, which a head beyond its bound still gets.
            .max_buf_size(MOST_BUFFERED)
            .max_headers(MAX_HEADER_FIELDS)
            .keep_alive(true)
            // A client that closes its side has left.
            .half_close(false);
        let next_body = NextBody::default();
        let unflushed = Unflushed::default();
        let mut meter = Meter::http1(
            stream,
            read,
            self.activity.clone(),
            options.memory.blocks.clone(),
            unflushed.clone(),
            next_body.clone(),
        );
        let service = self.service(unflushed, Following::Http1(next_body));
        let mut service = service_fn(move |request| service.answer(request));
        let mut ends = self.ends(timeouts);
        let mut end = None;
        loop {
            let mut connection = Box::pin(builder.serve_connection(TokioIo::new(meter), service));
            if let Some(end) = end {
                return self.finish(connection, end, timeouts).await;
            }
            match served(connection.as_mut(), &mut ends).await {
                Served::Done => {}
                Served::Over => return,
                // hyper would go on waiting for the rest of a head that is its first; one without that ends at once.
                Served::Asked(asked) if self.activity.awaits_head() => end = Some(asked),
                Served::Asked(asked) => return self.finish(connection, asked, timeouts).await,
            }
            (meter, service) = {
                // What it has read is nothing, or a part of a head that is not served.
                let parts = Pin::into_inner(connection).into_parts();
                (parts.io.into_inner(), parts.service)
            };
            if end.is_some() {
                continue;
            }
            // Whether hyper shut the stream down says nothing: it does not after a request for an upgrade.
            if !meter.take_rest() {
                return;
            }
            // Without hyper, and so without its buffers.
            tokio::select! {
                biased;
                woken = std::future::poll_fn(|cx| meter.poll_wake(cx)) => if let Err(error) = woken {
                    return tracing::debug!(%error, "connection ended early");
                },
                asked = ends.next() => match asked.flatten() {
                    // hyper ends it as any other.
                    Some(asked) => end = Some(asked),
                    None => return,
                },
            }
        }
    }

    async fn http2<S>(self, stream: S, read: Vec<u8>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let options = &self.shared.options;
        if let Err(error) = self.activity.permit().grow(HTTP2) {
            return tracing::debug!(%error, "connection closed");
        }
        let timeouts = Timeouts {
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
            self.activity.clone(),
            options.memory.blocks.clone(),
            unflushed.clone(),
            informational.clone(),
            if self.is_trusted_proxy() {
                resets::OF_A_PROXY
            } else {
                resets::OF_A_CALLER
            },
        );
        let service = self.service(unflushed, Following::Http2(informational));
        let service = service_fn(move |request| service.answer(request));
        let mut connection = Box::pin(builder.serve_connection(TokioIo::new(meter), service));
        if let Served::Asked(end) = served(connection.as_mut(), &mut self.ends(timeouts)).await {
            self.finish(connection, end, timeouts).await;
        }
    }

    fn is_trusted_proxy(&self) -> bool {
        let address = self.peer.ip().to_canonical();
        let proxies = &self.shared.options.trusted_proxies;
        proxies.iter().any(|network| network.contains(&address))
    }

    fn service(&self, unflushed: Unflushed, following: Following) -> Service {
        Service {
            peer: self.peer,
            scheme: self.scheme,
            handler: self.handler.clone(),
            linger: self.linger.clone(),
            activity: self.activity.clone(),
            shared: Arc::clone(&self.shared),
            unflushed,
            following,
            streams: AtomicUsize::new(STREAMS),
        }
    }

    /// When the connection is to be ended from this side. It is looked at only when it was woken itself, not with every request:
    /// it takes locks that all connections share.
    fn ends(&self, timeouts: Timeouts) -> FuturesUnordered<impl Future<Output = Option<End>> + Send> {
        FuturesUnordered::from_iter([self.end(timeouts)])
    }

    /// Ends it from this side: what is under way may come to its end.
    async fn finish<C>(&self, mut connection: Pin<Box<C>>, end: End, timeouts: Timeouts)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let Self { activity, shared, .. } = self;
        connection.as_mut().graceful_shutdown();
        let wait = async {
            match end {
                // hyper goes on waiting for the rest of a half-sent head, which is no request in flight.
                End::Drain => activity.drained(FLUSH, Some(self.linger.clone())).await,
                // A request may have crossed the GOAWAY or the close; it gets the time that a request gets.
                End::Overdue => tokio::time::sleep(timeouts.head).await,
                End::Evicted if shared.options.eviction == Eviction::Any => tokio::time::sleep(CLOSE_GRACE).await,
                End::Evicted => {
                    let drained = activity.drained(CLOSE_GRACE, None);
                    let _ = tokio::time::timeout(timeouts.head, drained).await;
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

impl Connection {
    /// Waits until the connection is to be ended from this side. `None`: at once, as there was not one request and so there
    /// is nothing to finish.
    async fn end(&self, timeouts: Timeouts) -> Option<End> {
        let Self { activity, shared, .. } = self;
        tokio::select! {
            () = shared.draining.cancelled() => Some(End::Drain),
            served = activity.overdue(timeouts) => served.then_some(End::Overdue),
            () = activity.permit().evicted() => Some(End::Evicted),
        }
    }
}

/// Why a connection is ended from this side.
enum End {
    Drain,
    Overdue,
    Evicted,
}

/// How far a connection was served.
enum Served {
    /// hyper is done with it.
    Done,
    /// It failed, or there is nothing to finish.
    Over,
    /// It is to be ended from this side.
    Asked(End),
}

/// Reads requests and writes answers.
async fn served<C>(connection: Pin<&mut C>, ends: &mut FuturesUnordered<impl Future<Output = Option<End>>>) -> Served
where
    C: GracefulConnection<Error = hyper::Error>,
{
    tokio::select! {
        biased;
        result = connection => {
            let is_ok = result.is_ok();
            ended(result);
            if is_ok { Served::Done } else { Served::Over }
        }
        end = ends.next() => end.flatten().map_or(Served::Over, Served::Asked),
    }
}

fn ended(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        // Clients leave in the middle all the time: nothing an operator could act on.
        tracing::debug!(%error, "connection ended early");
    }
}

#[cfg(test)]
mod tests;
