//! Lingering close: an answer that is given before the request's body has been read still reaches the client.
//!
//! A socket that is closed with unread bytes in it makes the kernel send RST, and the client may then lose an answer
//! that it has not read yet (RFC 9112 section 9.6). So what is not read is thrown away instead, in two ways:
//!
//! - A body that the router leaves unread, and that is no longer than a request of this service may well be, is read
//!   to its end behind the answer. The connection then serves the next request.
//! - Otherwise the connection is closed: the sending side at once, the receiving side when the client has closed its
//!   own, or after [`LIMIT`] or [`MOST_BYTES`]. With TLS this happens below it, so that nothing is decrypted for it.
//!
//! [`LIMIT`] holds for both together, and all of it happens within the connection's permit.

mod body;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use http::header::EXPECT;
use http::{Request, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

pub(super) use self::body::Announcement;
use self::body::{RequestBody, Unread, closes};
use super::next_body::NextBody;

/// How long what still comes is thrown away.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// How much is thrown away before a connection is cut. Far more than is sent here by mistake, and less than
/// would be worth sending on purpose.
const MOST_BYTES: u64 = 32 << 20;

/// How much is read at once of what is thrown away.
const CHUNK: usize = 16 << 10;

/// What is known of one connection. Clones are of the same connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Linger(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// More was received than the requests that were read to their end.
    unread: bool,
    /// The client will send no more.
    ended: bool,
    /// Since when bytes are thrown away.
    since: Option<Instant>,
}

impl Linger {
    /// Whether what still comes is being thrown away. It ends by itself, within [`LIMIT`].
    pub(super) fn is_under_way(&self) -> bool {
        self.with(|state| state.since.is_some())
    }

    #[cfg(test)]
    pub(super) fn begin(&self) {
        self.deadline();
    }

    /// The stream, watched, and closed in this manner.
    pub(super) fn stream<S>(&self, inner: S) -> LingeringStream<S> {
        LingeringStream {
            inner,
            linger: self.clone(),
            closing: None,
        }
    }

    /// Watches how much of the request is read. HTTP/2 resets the stream of a body that is not read and goes on with
    /// the others (RFC 9113 section 8.1), so only HTTP/1 needs this.
    ///
    /// `end` learns when a body has ended that says so itself.
    pub(super) fn request(&self, request: Request<Incoming>, end: Option<NextBody>) -> (Request<Body>, Announcement) {
        if request.version() == Version::HTTP_2 {
            return (request.map(Body::new), Announcement(None));
        }
        if request.body().is_end_stream() {
            self.read_to_end();
            return (request.map(|_| Body::empty()), Announcement(None));
        }
        let unread = Arc::new(Mutex::new(Unread::No));
        let (parts, incoming) = request.into_parts();
        let body = RequestBody {
            inner: Some(incoming),
            linger: self.clone(),
            end,
            unread: Arc::clone(&unread),
            read: 0,
            ends: closes(parts.version, &parts.headers),
            // Reading its body would ask the client for it.
            waits: parts.headers.contains_key(EXPECT),
        };
        // Some of it may have come together with the request before.
        self.with(|state| state.unread = true);
        let request = Request::from_parts(parts, Body::new(body));
        (request, Announcement(Some(unread)))
    }

    fn read_to_end(&self) {
        self.with(|state| {
            state.unread = false;
            state.since = None;
        });
    }

    /// When it is to be over. It begins now, unless it has begun.
    fn deadline(&self) -> Instant {
        self.with(|state| *state.since.get_or_insert_with(Instant::now)) + LIMIT
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A stream that is closed in two steps where bytes may come that are not read.
pub(super) struct LingeringStream<S> {
    inner: S,
    linger: Linger,
    closing: Option<Closing>,
}

/// After the sending side was closed.
struct Closing {
    deadline: Pin<Box<Sleep>>,
    remaining: u64,
}

impl<S: AsyncRead + Unpin> LingeringStream<S> {
    /// Ends when the client has closed its side, or when it has been enough.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(closing) = &mut self.closing else {
            return Poll::Ready(());
        };
        if closing.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut bytes = [0; CHUNK];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            if ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer)).is_err() {
                return Poll::Ready(());
            }
            match closing.remaining.checked_sub(buffer.filled().len() as u64) {
                Some(remaining) if !buffer.filled().is_empty() => closing.remaining = remaining,
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LingeringStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let came = buffer.filled().len() > before;
        self.linger.with(|state| {
            state.unread |= came;
            state.ended |= !came;
        });
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LingeringStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(context))?;
            // An idle connection has nothing that could be lost, and one that the client has ended has no reader.
            if self.linger.with(|state| !state.unread || state.ended) {
                return Poll::Ready(Ok(()));
            }
            let deadline = self.linger.deadline();
            self.closing = Some(Closing {
                deadline: Box::pin(tokio::time::sleep_until(deadline)),
                remaining: MOST_BYTES,
            });
        }
        ready!(self.poll_discard(context));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// A stream of which a request was received but not read to its end, and the client's side of it.
    async fn unread() -> (LingeringStream<DuplexStream>, DuplexStream) {
        let (server, mut client) = duplex(64 << 10);
        let mut server = Linger::default().stream(server);
        client.write_all(b"head").await.unwrap();
        server.read_exact(&mut [0; 4]).await.unwrap();
        (server, client)
    }

    async fn closes_after(mut server: LingeringStream<DuplexStream>) -> Duration {
        let start = Instant::now();
        server.shutdown().await.unwrap();
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_closes_ends_it_at_once() {
        let (server, mut client) = unread().await;
        let closed = tokio::spawn(closes_after(server));
        client.write_all(&vec![0; 1 << 20]).await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "the sending side is closed");
        client.shutdown().await.unwrap();
        assert_eq!(closed.await.unwrap(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_holds_it_by_sending_slowly_or_nothing() {
        let (server, client) = unread().await;
        assert_eq!(closes_after(server).await, LIMIT);
        drop(client);

        let (server, mut client) = unread().await;
        let closed = tokio::spawn(closes_after(server));
        while client.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let took = closed.await.unwrap();
        assert!(took >= LIMIT && took < LIMIT + Duration::from_millis(100), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_holds_it_by_sending_much() {
        let (server, mut client) = unread().await;
        let closed = tokio::spawn(closes_after(server));
        let mut sent = 0;
        while client.write_all(&[0; CHUNK]).await.is_ok() {
            sent += CHUNK as u64;
        }
        assert_eq!(closed.await.unwrap(), Duration::ZERO);
        assert!((MOST_BYTES..MOST_BYTES + (1 << 20)).contains(&sent), "{sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_without_delay() {
        let (server, _client) = unread().await;
        server.linger.read_to_end();
        assert_eq!(closes_after(server).await, Duration::ZERO);
    }
}
