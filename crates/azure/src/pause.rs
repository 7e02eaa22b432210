//! While an upstream limits the broker, nothing is sent there: every request counts, retries included.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::clock::SharedClock;

/// Until when an upstream is left alone.
#[derive(Debug)]
pub struct Pause {
    // Monotonic milliseconds; zero is "not paused".
    until: AtomicU64,
    clock: SharedClock,
}

impl Pause {
    /// No pause.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self {
            until: AtomicU64::new(0),
            clock,
        }
    }

    /// How much of the pause is left, if any.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let until = Duration::from_millis(self.until.load(Ordering::Relaxed));
        until.checked_sub(self.clock.monotonic()).filter(|left| !left.is_zero())
    }

    /// Pauses for `wait` from now, or longer if a longer pause is under way. Whether no pause was under way, and the
    /// monotonic time at which it ends.
    pub fn extend(&self, wait: Duration) -> (bool, Duration) {
        let now = self.clock.monotonic();
        let until = u64::try_from((now + wait).as_millis()).unwrap_or(u64::MAX);
        let before = self.until.fetch_max(until, Ordering::Relaxed);
        let is_new = Duration::from_millis(before) <= now;
        (is_new, Duration::from_millis(before.max(until)))
    }
}

/// A pause of its own for each of a few things, such as the listed tenants.
#[derive(Debug)]
pub struct Pauses<K> {
    pauses: Mutex<HashMap<K, Arc<Pause>>>,
    clock: SharedClock,
}

impl<K: Eq + Hash> Pauses<K> {
    /// No pauses.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self {
            pauses: Mutex::default(),
            clock,
        }
    }

    /// The pause of `key`. What it was asked for stays: keys must not come from outside.
    pub fn get(&self, key: K) -> Arc<Pause> {
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = pauses
            .entry(key)
            .or_insert_with(|| Arc::new(Pause::new(Arc::clone(&self.clock))));
        Arc::clone(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::ManualClock;

    #[test]
    fn a_pause_ends_by_itself_and_is_never_shortened() {
        let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
        let pauses = Pauses::new(Arc::clone(&clock) as SharedClock);
        let pause = pauses.get("a");
        assert_eq!(pause.remaining(), None);
        let until = Duration::from_secs(20);
        assert_eq!(pause.extend(Duration::from_secs(20)), (true, until));
        assert_eq!(pause.extend(Duration::from_secs(5)), (false, until));
        assert_eq!(pauses.get("a").remaining(), Some(Duration::from_secs(20)));
        assert_eq!(pauses.get("b").remaining(), None);
        clock.advance(Duration::from_secs(20));
        assert_eq!(pause.remaining(), None);
    }
}
