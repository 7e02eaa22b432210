//! What a client may send before a TLS handshake has ended.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Far more than a client's first message; rustls alone would gather messages of 64 KiB.
const HELLO: usize = 16 * 1024;

/// The same from the server's first message on. A client may send its request right behind the end of its handshake, and
/// the library reads on until it has one whole record of it (RFC 8446 section 5.2: 16 KiB and 256 bytes).
const FINISH: usize = 24 * 1024;

/// It is read in pieces of this size, so that what a client sends right behind its last message hardly counts.
const PIECE: usize = 4 * 1024;

/// A stream that ends if more comes before the handshake has ended.
pub(super) struct Bounded<S> {
    io: S,
    remaining: AtomicUsize,
    /// The server has answered: what the client said first is no longer held.
    answered: bool,
}

impl<S> Bounded<S> {
    pub(super) fn new(io: S) -> Self {
        Self {
            io,
            remaining: AtomicUsize::new(HELLO),
            answered: false,
        }
    }

    fn answers(&mut self) {
        if !std::mem::replace(&mut self.answered, true) && *self.remaining.get_mut() != usize::MAX {
            *self.remaining.get_mut() = FINISH;
        }
    }

    /// The handshake has ended.
    pub(super) fn ended(&self) {
        self.remaining.store(usize::MAX, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if *self.remaining.get_mut() == usize::MAX {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let piece = buf.remaining().min(PIECE);
        let mut piece = ReadBuf::new(buf.initialize_unfilled_to(piece));
        std::task::ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
        let read = piece.filled().len();
        let remaining = self.remaining.get_mut();
        *remaining = remaining
            .checked_sub(read)
            .ok_or_else(|| io::Error::other("too much was sent in a TLS handshake"))?;
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.answers();
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.answers();
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn only_a_handshake_is_bounded() {
        let bytes = vec![0; HELLO + 1];
        let mut read = Vec::new();
        assert!(Bounded::new(&bytes[..]).read_to_end(&mut read).await.is_err());
        let mut bounded = Bounded::new(&bytes[1..]);
        assert_eq!(bounded.read_to_end(&mut read).await.unwrap(), HELLO);
        let mut bounded = Bounded::new(&bytes[..]);
        bounded.ended();
        assert_eq!(bounded.read_to_end(&mut read).await.unwrap(), HELLO + 1);
    }

    /// As a client does that resumes a session: its request is there before the handshake has ended on this side.
    #[tokio::test]
    async fn a_request_may_come_right_behind_the_handshake() {
        let (client, server) = tokio::io::duplex(HELLO + FINISH);
        let (mut client, mut server) = (client, Bounded::new(server));
        let mut bytes = vec![0; HELLO];
        client.write_all(&bytes).await.unwrap();
        server.read_exact(&mut bytes).await.unwrap();
        // Once, however often it writes.
        for _ in 0..2 {
            server.write_all(b"hello").await.unwrap();
        }
        let mut bytes = vec![0; FINISH];
        client.write_all(&bytes).await.unwrap();
        server.read_exact(&mut bytes).await.unwrap();
        server.write_all(b"again").await.unwrap();
        client.write_all(b" ").await.unwrap();
        assert!(server.read_exact(&mut [0]).await.is_err());
    }
}
