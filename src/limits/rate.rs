//! So many in a window for each of many: N at once, refilled evenly.
//!
//! The rule is the generic cell rate algorithm (ITU-T I.371, annex A), as in the crate `governor`. That one cannot bound
//! how many counters there are, nor take a count back, nor be given the time; the rule itself is a few lines.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Exceeded, Limit};
use base::clock::SharedClock;
use config::Rate;

/// Counters of each kind at most. An attacker with many users or addresses makes no more.
const MOST_COUNTERS: usize = 100_000;
/// As many are dropped at once where there is no room, so that looking for them costs little for each.
const DROPPED_AT_ONCE: usize = MOST_COUNTERS / 100;

/// A limit on each of many.
#[derive(Debug)]
pub(super) struct RateLimit<K> {
    // `None`: any number.
    pace: Option<Pace>,
    limit: Limit,
    counters: Mutex<Counters<K>>,
    clock: SharedClock,
}

#[derive(Debug)]
struct Counters<K> {
    // When the counter is full again: the theoretical arrival time of the algorithm, monotonic.
    full_at: HashMap<K, Duration>,
    most: usize,
    // Before that no counter can be dropped.
    no_room_until: Duration,
}

/// A rate in the terms of the algorithm.
#[derive(Debug, Clone, Copy)]
struct Pace {
    // Between two requests at an even pace.
    interval: Duration,
    // How far ahead of that pace requests may run.
    tolerance: Duration,
}

impl Pace {
    fn new(rate: Rate) -> Self {
        let interval = rate.window / rate.count;
        Self {
            interval,
            tolerance: rate.window.saturating_sub(interval),
        }
    }

    /// How long until one more passes, if none does now.
    fn wait(&self, full_at: Duration, now: Duration) -> Option<Duration> {
        full_at.checked_sub(now + self.tolerance).filter(|wait| !wait.is_zero())
    }
}

impl<K: Copy + Eq + Hash> RateLimit<K> {
    pub(super) fn new(rate: Option<Rate>, limit: Limit, clock: &SharedClock) -> Self {
        Self {
            pace: rate.map(Pace::new),
            limit,
            counters: Mutex::new(Counters {
                full_at: HashMap::new(),
                most: MOST_COUNTERS,
                no_room_until: Duration::ZERO,
            }),
            clock: Arc::clone(clock),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.pace.is_some()
    }

    /// Counts one for `key`, unless it is over the limit.
    pub(super) fn count(&self, key: K) -> Result<(), Exceeded> {
        let Some(pace) = self.pace else { return Ok(()) };
        let now = self.clock.monotonic();
        let mut counters = self.lock();
        if let Some(full_at) = counters.full_at.get_mut(&key) {
            if let Some(wait) = pace.wait(*full_at, now) {
                return Err(Exceeded {
                    limit: self.limit,
                    retry_after: Duration::from_secs_f64(wait.as_secs_f64().ceil()),
                });
            }
            *full_at = (*full_at).max(now) + pace.interval;
        } else if counters.make_room(pace, now) {
            counters.full_at.insert(key, now + pace.interval);
        }
        Ok(())
    }

    /// Takes back one that was counted for `key`.
    pub(super) fn uncount(&self, key: K) {
        let Some(pace) = self.pace else { return };
        if let Some(full_at) = self.lock().full_at.get_mut(&key) {
            *full_at = full_at.saturating_sub(pace.interval);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counters<K>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Counters<K> {
    /// Whether there is room for one more, if need be by dropping those that were idle longest. One that is over its
    /// limit is never dropped: whoever it counts would pass again.
    fn make_room(&mut self, pace: Pace, now: Duration) -> bool {
        let room = self.full_at.capacity();
        if self.full_at.len() == room {
            // One that is full again says no more than one that is missing.
            self.full_at.retain(|_, full_at| *full_at > now);
            // The table grows unless half of it is free now, so that looking for them costs little for each.
            if self.full_at.len() > room / 2 && room < self.most {
                self.full_at.reserve(room);
            }
        }
        if self.full_at.len() < self.most {
            return true;
        }
        if now < self.no_room_until {
            return false;
        }
        let mut times: Vec<Duration> = self.full_at.values().copied().collect();
        let last = DROPPED_AT_ONCE.clamp(1, times.len()) - 1;
        let (_, bound, _) = times.select_nth_unstable(last);
        // Idle ones go in any case.
        let bound = (*bound).max(now);
        self.full_at
            .retain(|_, full_at| *full_at > bound || pace.wait(*full_at, now).is_some());
        if self.full_at.len() < self.most {
            return true;
        }
        let next = self.full_at.values().min().copied().unwrap_or_default();
        self.no_room_until = next.saturating_sub(pace.tolerance);
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use base::clock::ManualClock;

    fn limit(count: u32, seconds: u64) -> (RateLimit<u32>, Arc<ManualClock>) {
        let clock = ManualClock::at("2026-11-30T12:00:00Z".parse().unwrap());
        let rate = Rate {
            count,
            window: Duration::from_secs(seconds),
        };
        let shared = Arc::clone(&clock) as SharedClock;
        (RateLimit::new(Some(rate), Limit::PerUser, &shared), clock)
    }

    fn passed(limit: &RateLimit<u32>, key: u32, tries: usize) -> usize {
        (0..tries).filter(|_| limit.count(key).is_ok()).count()
    }

    #[test]
    fn n_at_once_and_evenly_after_that() {
        let (limit, clock) = limit(6, 60);
        assert_eq!(passed(&limit, 1, 10), 6);
        assert_eq!(limit.count(1).unwrap_err().retry_after, Duration::from_secs(10));
        assert_eq!(passed(&limit, 2, 1), 1, "others are not concerned");
        clock.advance(Duration::from_millis(9_100));
        assert_eq!(limit.count(1).unwrap_err().retry_after, Duration::from_secs(1));
        clock.advance(Duration::from_millis(900));
        assert_eq!(passed(&limit, 1, 10), 1);
        clock.advance(Duration::from_secs(600));
        assert_eq!(passed(&limit, 1, 10), 6);
    }

    #[test]
    fn what_is_taken_back_does_not_count() {
        let (limit, _) = limit(2, 60);
        assert_eq!(passed(&limit, 1, 2), 2);
        limit.uncount(1);
        assert_eq!(passed(&limit, 1, 2), 1);
        limit.uncount(7);
    }

    #[test]
    fn counters_are_bounded_and_the_idle_go_first() {
        let (limit, clock) = limit(1, 60);
        limit.lock().most = 3;
        for key in 0..3 {
            limit.count(key).unwrap();
        }
        // All are limited: a newcomer passes uncounted, and nobody is forgotten for it.
        assert_eq!(passed(&limit, 9, 5), 5);
        assert_eq!(passed(&limit, 0, 5), 0);
        assert_eq!(limit.lock().full_at.len(), 3);
        clock.advance(Duration::from_secs(30));
        assert_eq!(passed(&limit, 9, 5), 5);
        clock.advance(Duration::from_secs(30));
        assert_eq!(passed(&limit, 9, 5), 1);
        assert!(limit.lock().full_at.len() <= 3);
    }

    #[test]
    fn what_is_full_again_takes_no_room() {
        let (limit, clock) = limit(60, 60);
        for key in 0..100_000 {
            limit.count(key).unwrap();
            clock.advance(Duration::from_millis(10));
        }
        // A hundred a second, of which each matters for a second.
        let capacity = limit.lock().full_at.capacity();
        assert!(capacity < 1_000, "{capacity}");
    }

    proptest! {
        #[test]
        fn no_more_than_the_rate_over_any_time(
            count in 1u32..8, steps in proptest::collection::vec(0u64..20_000, 1..200),
        ) {
            let (limit, clock) = limit(count, 60);
            let mut now = 0;
            let mut at: Vec<u64> = Vec::new();
            for step in steps {
                now += step;
                clock.advance(Duration::from_millis(step));
                if limit.count(1).is_ok() {
                    at.push(now);
                }
            }
            for (index, from) in at.iter().enumerate() {
                for (more, to) in at[index..].iter().enumerate() {
                    // N at once, and one more for each interval that passes.
                    let allowed = u64::from(count) + (to - from) * u64::from(count) / 60_000;
                    prop_assert!((more as u64) < allowed + 1, "{more} from {from} to {to}");
                }
            }
        }
    }
}
