//! Lingering close: an answer that is given before the request's body has been read still reaches the client.
//!
//! A socket that is closed with unread bytes in it makes the kernel send RST, and the client may then lose an answer
//! that it has not read yet (RFC 9112 section 9.6). So what nobody reads is thrown away instead, in two ways:
//!
//! - A body that the router leaves unread, and that is no longer than a request of this service may well be, is read
//!   to its end behind the answer. The connection then serves the next request.
//! - Otherwise the connection is closed: the sending side at once, the receiving side when the client has closed its
//!   own, or after [`LIMIT`] or [`MOST_BYTES`]. With TLS this happens below it, so that nothing is decrypted for it.
//!
//! [`LIMIT`] holds for both together, and all of it happens within the connection's permit.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::meter::{BodyLength, NextBody};

/// How long what still comes is thrown away.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// How much is thrown away before a connection is cut. Far more than anybody sends here by mistake, and less than
/// would be worth sending on purpose.
const MOST_BYTES: u64 = 32 << 20;

/// A longer body is not read for the sake of a connection that could be used again.
const WORTH_READING: u64 = 256 << 10;

/// What is read at once where nobody looks at it.
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

    /// Watches how much of the request is read. HTTP/2 resets the stream of a body that nobody reads and goes on with
    /// the others (RFC 9113 section 8.1), so only HTTP/1 needs this.
    ///
    /// `end` learns when a body has ended that says so itself.
    pub(super) fn request(&self, request: Request<Incoming>, end: Option<NextBody>) -> (Request<Body>, Announcement) {
        if request.version() == Version::HTTP_2 {
            return (request.map(Body::new), Announcement(None));
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
        if body.is_end_stream() {
            body.read_to_end();
        } else {
            // Some of it may have come together with the request before.
            self.with(|state| state.unread = true);
        }
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

/// Whether the connection ends with this request whatever is read of it.
fn closes(version: Version, headers: &HeaderMap) -> bool {
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
enum Unread {
    /// It was read, or nobody has left it yet.
    No,
    /// It is read now, behind the answer.
    BeingRead,
    /// It will not be read, so that the connection is of no more use.
    Left,
}

/// Says on an answer that its connection will be closed, where that is known already (RFC 9112 section 9.6): a client
/// then does not take it for its next request.
pub(super) struct Announcement(Option<Arc<Mutex<Unread>>>);

impl Announcement {
    pub(super) fn on(self, mut response: Response) -> Response {
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
struct RequestBody {
    // Taken when it is dropped.
    inner: Option<Incoming>,
    linger: Linger,
    end: Option<NextBody>,
    unread: Arc<Mutex<Unread>>,
    read: u64,
    ends: bool,
    waits: bool,
}

impl RequestBody {
    fn read_to_end(&self) {
        ended(&self.linger, self.end.as_ref());
    }
}

/// A request's body was read to its end.
fn ended(linger: &Linger, end: Option<&NextBody>) {
    linger.read_to_end();
    if let Some(end) = end {
        end.tell(BodyLength::Ended);
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

/// Reads a body that nobody wants. While it is held, hyper goes on with the connection; dropped early, it closes it.
async fn read(mut body: Incoming, most: u64, linger: Linger, end: Option<NextBody>) {
    let mut left = most;
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return;
            };
            let data = frame.data_ref().map_or(0, |data| data.len() as u64);
            let Some(rest) = left.checked_sub(data) else {
                return;
            };
            left = rest;
        }
        ended(&linger, end.as_ref());
    };
    let _ = tokio::time::timeout_at(linger.deadline(), reading).await;
}

/// A stream that is closed in two steps where bytes may come that nobody reads.
pub(super) struct LingeringStream<S> {
    inner: S,
    linger: Linger,
    closing: Option<Closing>,
}

/// After the sending side was closed.
struct Closing {
    deadline: Pin<Box<Sleep>>,
    left: u64,
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
            match closing.left.checked_sub(buffer.filled().len() as u64) {
                Some(left) if !buffer.filled().is_empty() => closing.left = left,
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
            // An idle connection has nothing that could be lost, and one that the client has ended nobody to lose it.
            if self.linger.with(|state| !state.unread || state.ended) {
                return Poll::Ready(Ok(()));
            }
            let deadline = self.linger.deadline();
            self.closing = Some(Closing {
                deadline: Box::pin(tokio::time::sleep_until(deadline)),
                left: MOST_BYTES,
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
