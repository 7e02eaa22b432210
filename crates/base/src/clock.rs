//! The only place that asks the system for the time.
//!
//! Every rule that depends on time takes a [`Clock`] (or a value read from one), so that tests move time
//! instead of waiting for it.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// A source of wall-clock and monotonic time.
pub trait Clock: Debug + Send + Sync {
    /// The current instant, for comparing with `exp`, `nbf`, `iat` and `expiresOn`.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary fixed start, never going backwards: for ages, cool-downs and back-offs.
    fn monotonic(&self) -> Duration;
}

/// A clock shared between the rooms of a running broker.
pub type SharedClock = Arc<dyn Clock>;

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this type is the permitted place")]
    pub fn new() -> Self {
        Self {
            start: std::time::Instant::now(),
        }
    }

    /// A shared system clock.
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self::new())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this type is the permitted place")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that moves only by [`advance`](Self::advance).
#[derive(Debug)]
pub struct ManualClock {
    // (wall clock, monotonic time)
    state: Mutex<(Timestamp, Duration)>,
}

impl ManualClock {
    /// A clock standing at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new((now, Duration::ZERO)),
        })
    }

    /// Moves both wall-clock and monotonic time forward. A step past the end of representable time is ignored.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(now) = state.0.checked_add(by) {
            *state = (now, state.1 + by);
        }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
