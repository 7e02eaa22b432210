//! What follows the head of a request over HTTP/1.1, by what the service says of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lines::Lines;

/// How a request's body ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// After so many bytes, more than none.
    Known(u64),
    /// By itself.
    Chunked,
    /// It has, or there is none.
    Ended,
}

/// Where the service of an HTTP/1.1 connection announces the body that follows a head, before it is read.
#[derive(Debug, Clone, Default)]
pub(super) struct NextBody(Arc<Mutex<Option<BodyLength>>>);

impl NextBody {
    pub(super) fn set(&self, length: BodyLength) {
        *self.lock() = Some(length);
    }

    /// What comes next, by what was announced since it was last asked. `hidden` becomes true if a head came with the end of a
    /// body in chunks, and so perhaps a part of another.
    pub(super) fn follow(&self, lines: &mut Lines, hidden: &mut bool) {
        match self.lock().take() {
            Some(BodyLength::Known(length)) => {
                *hidden |= matches!(lines, Lines::Chunked(_));
                *lines = Lines::Body(length);
            }
            Some(BodyLength::Chunked) => *lines = Lines::Chunked(0),
            Some(BodyLength::Ended) if matches!(lines, Lines::Chunked(_)) => *lines = Lines::START,
            Some(BodyLength::Ended) | None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<BodyLength>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_came_with_a_body_may_hide_another() {
        let next_body = NextBody::default();
        for (mut lines, expected) in [(Lines::START, false), (Lines::Chunked(9), true)] {
            let mut hidden = false;
            next_body.set(BodyLength::Ended);
            next_body.set(BodyLength::Known(4));
            next_body.follow(&mut lines, &mut hidden);
            assert_eq!((lines, hidden), (Lines::Body(4), expected));
        }
    }
}
