//! How long to wait before the next attempt.

use std::time::Duration;

/// How many times as long as after the first failure one waits at most.
const LONGEST: u32 = 10;
/// After a first failure, unless what is sent comes more often.
const FIRST: Duration = Duration::from_secs(1);

/// Waits that double, each between half and the whole: brokers that lost the same collector do not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    next: Duration,
}

impl Backoff {
    /// For what is sent every `interval`: from that or a second, whichever is shorter, to ten times as long.
    pub(crate) fn new(interval: Duration) -> Self {
        let first = interval.min(FIRST);
        Self { first, next: first }
    }

    /// The last attempt was good.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait now; not less than what the collector asked for.
    pub(crate) fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let longest = self.next;
        self.next = longest.saturating_mul(2).min(self.first.saturating_mul(LONGEST));
        let wait = longest.mul_f64(0.5 + fastrand::f64() / 2.0);
        asked.map_or(wait, |asked| asked.max(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_begin_anew() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(5 * second);
        for longest in [1, 2, 4, 8, 10, 10] {
            let wait = backoff.wait(None);
            assert!(wait >= second * longest / 2 && wait <= second * longest, "{wait:?}");
        }
        assert_eq!(backoff.wait(Some(30 * second)), 30 * second);
        assert!(backoff.wait(Some(Duration::ZERO)) >= 5 * second);
        backoff.reset();
        assert!(backoff.wait(None) <= second);
        assert!(Backoff::new(Duration::from_millis(20)).wait(None) <= Duration::from_millis(20));
    }
}
