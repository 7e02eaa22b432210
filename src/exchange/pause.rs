//! While ACS limits a resource, no exchange goes to it: every request counts there, retries included.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::SharedClock;

/// Until when a resource is left alone.
#[derive(Debug)]
pub(super) struct Pause {
    // Monotonic milliseconds; zero is "not paused".
    until: AtomicU64,
    clock: SharedClock,
}

impl Pause {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self {
            until: AtomicU64::new(0),
            clock,
        }
    }

    /// How much of the pause is left, if any.
    pub(super) fn left(&self) -> Option<Duration> {
        let until = Duration::from_millis(self.until.load(Ordering::Relaxed));
        until.checked_sub(self.clock.monotonic()).filter(|left| !left.is_zero())
    }

    /// Pauses for `wait` from now, or longer if a longer pause is under way.
    pub(super) fn extend(&self, wait: Duration) {
        let until = self.clock.monotonic() + wait;
        self.until
            .fetch_max(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
