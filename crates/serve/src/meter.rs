//! A connection's bytes on their way to hyper: when a head begins, when it ends, and what is kept of it.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::activity::{ConnectionActivity, Unflushed};
use super::frames::Frames;
use super::informational::Informational;
use super::limiter::NoMemory;
use super::lines::Lines;
use super::memory::{Budget, HEADER_BLOCK, Share};
use super::next_body::NextBody;
use super::resets::{ResetPace, Resets};
use super::rest::Rest;

/// The most that a connection over HTTP/2 can keep of what was sent on it: HPACK's table holds a hundred paths, and each
/// can keep the frame that it came in.
const MOST_LASTING: usize = 2 * 1024 * 1024;
/// The most that hyper buffers of a message over HTTP/1.1.
pub(super) const MOST_BUFFERED: usize = 64 * 1024;
/// What is read at once of what comes on a connection at rest: a head with a token.
const WAKING: usize = 4 * 1024;
/// A connection's memory is taken in pieces of this size.
const PIECE: usize = 8 * 1024;
/// How much of what lasts may come after a connection was asked to go for want of memory.
const OVERDRAFT: usize = 8 * 1024;

/// What was found in bytes that have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The end of a head.
    pub(super) head_ended: bool,
    /// A part of a head, and not its end.
    pub(super) in_head: bool,
    /// A head that comes in more than one frame.
    pub(super) in_parts: bool,
    /// In HTTP/1.1 how much of the message has come so far, which one buffer must hold.
    pub(super) message: usize,
    /// In HTTP/2 bytes that can be kept for as long as the connection lasts.
    pub(super) lasting: usize,
    /// The same of bytes that are yet to come, and can be more in memory.
    pub(super) lasting_more: usize,
    /// In HTTP/2 streams that the client has reset.
    pub(super) resets: u32,
}

impl Found {
    pub(super) fn head_ended(message: usize) -> Self {
        Self {
            head_ended: true,
            message,
            ..Self::default()
        }
    }

    pub(super) fn in_head(message: usize) -> Self {
        Self {
            in_head: true,
            message,
            ..Self::default()
        }
    }

    pub(super) fn in_body(message: usize) -> Self {
        Self {
            message,
            ..Self::default()
        }
    }
}

enum Protocol {
    Http1 {
        lines: Lines,
        /// Whether hyper may have a part of a head that was taken for one of a body.
        hidden: bool,
        next_body: NextBody,
        rest: Rest,
    },
    Http2 {
        frames: Frames,
        informational: Informational,
        resets: Resets,
        began: Instant,
    },
}

/// A connection that is metered. It hands on one head at a time, so that no more than one waits to be looked at.
pub(super) struct Meter<S> {
    io: S,
    activity: ConnectionActivity,
    protocol: Protocol,
    /// Read, and not handed on yet; from `held_from` on.
    held: Vec<u8>,
    held_from: usize,
    /// The most that was held: who sends ahead pays for it.
    held_most: usize,
    /// A head was handed on: hyper shall look at it first.
    pause: bool,
    /// An answer waits to be written, and with it all further requests.
    write_blocked: bool,
    reader: Option<Waker>,
    /// Until then nothing more is read: too many requests were cancelled.
    slowed: Option<Pin<Box<Sleep>>>,
    /// Frames of our own that are being written, from `own_from` on.
    own: Vec<u8>,
    own_from: usize,
    unflushed: Unflushed,
    blocks: Budget,
    block: Option<Share>,
    /// What the connection took for what lasts, and what of it is used.
    taken: usize,
    lasting: usize,
}

impl<S> Meter<S> {
    /// Of an HTTP/1.1 connection; `read` has come already.
    pub(super) fn http1(
        io: S,
        read: Vec<u8>,
        activity: ConnectionActivity,
        blocks: Budget,
        unflushed: Unflushed,
        next_body: NextBody,
    ) -> Self {
        let protocol = Protocol::Http1 {
            lines: Lines::START,
            hidden: false,
            next_body,
            rest: Rest::default(),
        };
        Self::new(io, read, activity, blocks, unflushed, protocol)
    }

    /// Of an HTTP/2 connection; `read` has come already.
    pub(super) fn http2(
        io: S,
        read: Vec<u8>,
        activity: ConnectionActivity,
        blocks: Budget,
        unflushed: Unflushed,
        informational: Informational,
        pace: ResetPace,
    ) -> Self {
        let protocol = Protocol::Http2 {
            frames: Frames::new(),
            informational,
            resets: Resets::new(pace),
            began: Instant::now(),
        };
        Self::new(io, read, activity, blocks, unflushed, protocol)
    }

    fn new(
        io: S,
        held: Vec<u8>,
        activity: ConnectionActivity,
        blocks: Budget,
        unflushed: Unflushed,
        protocol: Protocol,
    ) -> Self {
        Self {
            io,
            activity,
            protocol,
            held,
            held_from: 0,
            held_most: 0,
            pause: false,
            write_blocked: false,
            reader: None,
            slowed: None,
            own: Vec::new(),
            own_from: 0,
            unflushed,
            blocks,
            block: None,
            taken: 0,
            lasting: 0,
        }
    }

    /// Looks at what has come. Returns how much of it can be handed on.
    fn look(&mut self, bytes: &[u8]) -> Result<usize, NoMemory> {
        let (taken, found) = match &mut self.protocol {
            Protocol::Http1 {
                lines,
                hidden,
                next_body,
                ..
            } => {
                next_body.follow(lines, hidden);
                let (taken, found) = lines.advance(bytes);
                if matches!(lines, Lines::Chunked(_)) {
                    // With an empty line ends a body, or a head, but never a part of one.
                    *hidden = !bytes.ends_with(b"\r\n\r\n");
                }
                if found.head_ended {
                    *hidden = false;
                    // Until the service says otherwise.
                    *lines = Lines::START;
                    // Who sends requests ahead waits for others in between.
                    self.pause = self.held_from < self.held.len();
                }
                (taken, found)
            }
            Protocol::Http2 {
                frames,
                informational,
                resets,
                began,
            } => {
                let (taken, found) = frames.advance(bytes);
                if found.resets > 0 {
                    let wait = resets.count(found.resets, began.elapsed());
                    self.slowed = (!wait.is_zero()).then(|| Box::pin(sleep(wait)));
                }
                if found.head_ended {
                    informational.head_of(frames.latest());
                }
                self.pause = found.head_ended;
                (taken, found)
            }
        };
        if found.in_head {
            self.activity.head_began();
        } else if found.head_ended {
            self.activity.head_ended();
        }
        if found.head_ended {
            self.block = None;
        } else if found.in_parts && self.block.is_none() {
            self.block = Some(self.blocks.take(HEADER_BLOCK).ok_or(NoMemory)?);
        }
        self.keep(&found)?;
        Ok(taken)
    }

    /// Takes memory for what is kept, beyond what every connection has.
    fn keep(&mut self, found: &Found) -> Result<(), NoMemory> {
        let wanted = match self.protocol {
            // A buffer that grew stays, and grows by doubling.
            Protocol::Http1 { .. } => found.message.min(MOST_BUFFERED).saturating_sub(PIECE) * 2,
            Protocol::Http2 { .. } => {
                self.lasting = self.lasting.saturating_add(found.lasting).min(MOST_LASTING);
                self.lasting = self.lasting.saturating_add(found.lasting_more);
                self.lasting
            }
        };
        let wanted = wanted.saturating_add(self.held_most);
        if wanted <= self.taken {
            return Ok(());
        }
        let more = (wanted - self.taken).next_multiple_of(PIECE);
        match self.activity.permit().grow(more) {
            Ok(()) => self.taken += more,
            Err(error) => {
                self.activity.permit().request_close();
                if wanted - self.taken > OVERDRAFT {
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> Meter<S> {
    /// Ends with whatever comes on a connection at rest: the next bytes, which are held, or its end, which is found again.
    /// An error must be heeded here: not every stream gives it again.
    pub(super) fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [const { MaybeUninit::uninit() }; WAKING];
        let mut buf = ReadBuf::uninit(&mut bytes);
        std::task::ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
        (self.held, self.held_from) = (buf.filled().to_vec(), 0);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Meter<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let meter = self.get_mut();
        if let Protocol::Http2 { informational, .. } = &meter.protocol {
            informational.connection(cx.waker());
        }
        if std::mem::take(&mut meter.pause) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(slowed) = &mut meter.slowed {
            std::task::ready!(slowed.as_mut().poll(cx));
            meter.slowed = None;
        }
        if meter.write_blocked {
            meter.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if meter.activity.permit().is_overdrawn() {
            return Poll::Ready(Err(io::Error::other(NoMemory)));
        }
        if matches!(&meter.protocol, Protocol::Http1 { rest, .. } if rest.is_ending()) {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let from_held = meter.held_from < meter.held.len();
        if from_held {
            let held = &meter.held[meter.held_from..];
            let count = held.len().min(buf.remaining());
            buf.put_slice(&held[..count]);
        } else {
            match Pin::new(&mut meter.io).poll_read(cx, buf) {
                Poll::Ready(read) => read?,
                Poll::Pending => return meter.poll_idle(cx).map(Ok),
            }
        }
        let read = buf.filled().len() - before;
        if read == 0 {
            return Poll::Ready(Ok(()));
        }
        let taken = match meter.look(&buf.filled()[before..]) {
            Ok(taken) => taken,
            Err(error) => {
                // Who fails has read nothing.
                buf.set_filled(before);
                return Poll::Ready(Err(io::Error::other(error)));
            }
        };
        if from_held {
            meter.held_from += taken;
            if meter.held_from == meter.held.len() {
                (meter.held, meter.held_from) = (Vec::new(), 0);
            }
        } else if taken < read {
            meter.held = buf.filled()[before + taken..].to_vec();
            meter.held_from = 0;
            if meter.held.len() > meter.held_most {
                meter.held_most = meter.held.len();
                if let Err(error) = meter.keep(&Found::default()) {
                    buf.set_filled(before);
                    return Poll::Ready(Err(io::Error::other(error)));
                }
            }
        }
        buf.set_filled(before + taken);
        Poll::Ready(Ok(()))
    }
}

impl<S> Meter<S> {
    /// Nothing has come: ends, as if nothing more were to come, when the connection is to rest.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Protocol::Http1 {
            lines,
            hidden,
            next_body,
            rest,
        } = &mut self.protocol
        else {
            return Poll::Pending;
        };
        rest.poll_idle(cx, || {
            next_body.follow(lines, hidden);
            let is_between = *lines == Lines::START && !*hidden && self.unflushed.is_empty();
            self.activity.idle_since().filter(|_| is_between)
        })
    }

    /// Whether hyper, which ended without an error, did so that the connection rests. If so, it is as before that for the next
    /// of hyper's.
    pub(super) fn take_rest(&mut self) -> bool {
        match &mut self.protocol {
            Protocol::Http1 { rest, .. } => std::mem::take(rest).is_ending(),
            Protocol::Http2 { .. } => false,
        }
    }

    fn wrote<T>(&mut self, outcome: Poll<T>) -> Poll<T> {
        self.write_blocked = outcome.is_pending();
        self.activity.is_stuck(self.write_blocked);
        if !self.write_blocked
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        outcome
    }
}

impl<S> Drop for Meter<S> {
    fn drop(&mut self) {
        self.unflushed.flushed();
    }
}

impl<S: AsyncWrite + Unpin> Meter<S> {
    /// Writes what is left of our own frames.
    fn write_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.own_from < self.own.len() {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.own[self.own_from..]);
            match std::task::ready!(self.wrote(written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.own_from += written,
            }
        }
        (self.own, self.own_from) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Meter<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.write_own(cx))?;
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.write_own(cx))?;
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Here a frame has ended and none has begun: h2 flushes once all of its own is written.
        if let Protocol::Http2 { informational, .. } = &self.protocol
            && self.own.is_empty()
        {
            self.own = informational.take();
        }
        std::task::ready!(self.write_own(cx))?;
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if flushed.is_ready() {
            self.unflushed.flushed();
        }
        self.wrote(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(&self.protocol, Protocol::Http1 { rest, .. } if rest.is_ending()) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
