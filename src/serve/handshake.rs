//! What a client may send before a TLS handshake has ended.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Messages of a handshake without a client certificate are few KiB; a whole record may come behind them. rustls alone would gather
/// messages of 64 KiB.
const MOST: usize = 36 * 1024;

/// It is read in pieces of this size, so that what a client sends right behind its last message hardly counts.
const PIECE: usize = 4 * 1024;

/// A stream that ends if more comes before the handshake has ended.
pub(super) struct Bounded<S> {
    io: S,
    left: AtomicUsize,
}

impl<S> Bounded<S> {
    pub(super) fn new(io: S) -> Self {
        let left = AtomicUsize::new(MOST);
        Self { io, left }
    }

    /// The handshake has ended.
    pub(super) fn ended(&self) {
        self.left.store(usize::MAX, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if *self.left.get_mut() == usize::MAX {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let piece = buf.remaining().min(PIECE);
        let mut piece = ReadBuf::new(buf.initialize_unfilled_to(piece));
        std::task::ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
        let read = piece.filled().len();
        let left = self.left.get_mut();
        *left = left
            .checked_sub(read)
            .ok_or_else(|| io::Error::other("too much was sent in a TLS handshake"))?;
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn only_a_handshake_is_bounded() {
        let bytes = vec![0; MOST + 1];
        let mut read = Vec::new();
        assert!(Bounded::new(&bytes[..]).read_to_end(&mut read).await.is_err());
        let mut bounded = Bounded::new(&bytes[1..]);
        assert_eq!(bounded.read_to_end(&mut read).await.unwrap(), MOST);
        // What comes right behind the last message does not end the connection.
        let mut bounded = Bounded::new(&bytes[..]);
        let mut piece = vec![0; MOST + 1];
        assert_eq!(bounded.read(&mut piece).await.unwrap(), PIECE);
        let mut bounded = Bounded::new(&bytes[..]);
        bounded.ended();
        assert_eq!(bounded.read_to_end(&mut read).await.unwrap(), MOST + 1);
    }
}
