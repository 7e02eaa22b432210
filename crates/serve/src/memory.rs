//! What all connections of a listener may hold in memory together, from whatever clients.
//!
//! Every part of a connection that lasts is taken from a budget before it is allocated, by what it really costs and not
//! by what was sent: one byte of HTTP/2 can be a field of 150 bytes here. What does not fit is refused. The amounts are
//! measured ones, rounded up; `tests/memory.sh` shows what they come to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A connection without TLS over HTTP/1.1: its task, its sockets' state, and hyper's read buffer with a head of 8 KiB.
pub(super) const CONNECTION: usize = 12 * 1024;
/// What TLS adds: rustls' state, and a record that has not come in full.
pub(super) const TLS: usize = 20 * 1024;
/// What HTTP/2 adds: the frame buffers of both directions, the tables of HPACK, and the first [`STREAMS`] streams.
pub(super) const HTTP2: usize = 16 * 1024;
/// So many streams are taken for at once.
pub(super) const STREAMS: usize = 8;
/// A stream of HTTP/2. h2 keeps its place for as long as the connection lasts.
pub(super) const STREAM: usize = 1536;
/// A request being worked on, beside its head: its task, with all that it waits in.
pub(super) const REQUEST: usize = 16 * 1024;
/// The most that one unfinished header block of HTTP/2 can come to within the size that is announced.
pub(super) const HEADER_BLOCK: usize = 192 * 1024;
/// What a field can come to for each byte that it took on the wire, with HPACK.
pub(super) const FIELD: usize = 144;

/// What each permitted connection adds to the budgets.
const BY_CONNECTION: usize = 14 * 1024;
const WORK_BY_CONNECTION: usize = 6 * 1024;
const BLOCKS_BY_CONNECTION: usize = 2 * 1024;
/// The least, however few connections there may be.
const LEAST: usize = 4 * 1024 * 1024;

/// A number of bytes that can be taken and is given back. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Bytes>);

#[derive(Debug)]
struct Bytes {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Bytes {
            limit,
            used: AtomicUsize::new(0),
        }))
    }

    /// Takes `bytes`, if there are as many left.
    #[must_use]
    pub fn take(&self, bytes: usize) -> Option<Share> {
        let mut share = Share {
            budget: self.clone(),
            bytes: 0,
        };
        share.grow(bytes).then_some(share)
    }

    /// How many bytes are taken.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// How many there are in all.
    pub(super) fn limit(&self) -> usize {
        self.0.limit
    }

    /// How many remain.
    pub(super) fn remaining(&self) -> usize {
        self.0.limit.saturating_sub(self.used())
    }
}

/// Bytes taken from a [`Budget`]; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    /// Takes `more` bytes, if there are as many left.
    #[must_use]
    pub fn grow(&mut self, more: usize) -> bool {
        let Bytes { limit, used } = &*self.budget.0;
        let taken = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(more).filter(|used| used <= limit)
        });
        if taken.is_ok() {
            self.bytes += more;
        }
        taken.is_ok()
    }

    /// Gives `less` bytes back.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.bytes);
        self.bytes -= less;
        self.budget.0.used.fetch_sub(less, Ordering::Relaxed);
    }

    /// How many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

/// The budgets of one listener.
#[derive(Debug, Clone)]
pub struct Memory {
    /// For connections, whatever they do.
    pub(super) connections: Budget,
    /// For requests: heads that are worked on, and bodies.
    pub work: Budget,
    /// For header blocks of HTTP/2 that have not come in full. Apart from the others, since hardly any client sends
    /// one in parts: a client that keeps them open excludes no other.
    pub(super) blocks: Budget,
}

impl Memory {
    /// Budgets for `connections`: 22 KiB for each in all. What the allocator cannot use again comes on top.
    #[must_use]
    pub fn new(connections: usize) -> Self {
        let budget = |each: usize, share: usize| Budget::new(connections.saturating_mul(each).max(LEAST / share));
        Self {
            connections: budget(BY_CONNECTION, 1),
            work: budget(WORK_BY_CONNECTION, 1),
            blocks: budget(BLOCKS_BY_CONNECTION, 4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_and_all_is_given_back() {
        let budget = Budget::new(10);
        let mut first = budget.take(6).unwrap();
        assert!(budget.take(5).is_none());
        assert!(!first.grow(5));
        assert!(first.grow(4));
        assert_eq!((first.bytes(), budget.remaining()), (10, 0));
        first.shrink(3);
        let second = budget.take(3).unwrap();
        drop(first);
        assert_eq!(budget.used(), 3);
        drop(second);
        assert_eq!(budget.used(), 0);
        assert!(budget.take(usize::MAX).is_none(), "no overflow");
    }

    #[test]
    fn the_default_number_of_connections_gets_88_mib() {
        let memory = Memory::new(4096);
        let limits = [&memory.connections, &memory.work, &memory.blocks].map(|budget| budget.remaining() >> 20);
        assert_eq!(limits, [56, 24, 8]);
        // All of them fit, if they are plain ones.
        assert!(CONNECTION * 4096 <= memory.connections.remaining());
        assert!(Memory::new(1).blocks.remaining() >= HEADER_BLOCK);
    }
}
