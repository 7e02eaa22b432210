//! How fast one HTTP/2 connection may cancel requests.
//!
//! A cancelled request counts against no limit on streams, and costs what a refusal costs ("rapid reset",
//! CVE-2023-44487). To end the connection for that would end the requests of others on it, where a gateway sends those of
//! many over one. So it is read more slowly instead: the generic cell rate algorithm (ITU-T I.371, annex A).

use std::time::Duration;

/// So many at once, and then so many a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ResetPace {
    burst: u32,
    each: Duration,
}

/// Of one caller. A page that is closed may cancel all its requests, a hundred, and does so seldom.
pub(super) const OF_A_CALLER: ResetPace = ResetPace {
    burst: 200,
    each: Duration::from_millis(10),
};

/// Of a trusted proxy, which brings those of many.
pub(super) const OF_A_PROXY: ResetPace = ResetPace {
    burst: 1000,
    each: Duration::from_millis(1),
};

/// The resets of a connection.
#[derive(Debug)]
pub(super) struct Resets {
    pace: ResetPace,
    // When none would count any more; since the connection began.
    full_at: Duration,
}

impl Resets {
    pub(super) fn new(pace: ResetPace) -> Self {
        Self {
            pace,
            full_at: Duration::ZERO,
        }
    }

    /// So many have come by `now`, which is since the connection began. Gives how long nothing more is to be read.
    pub(super) fn count(&mut self, resets: u32, now: Duration) -> Duration {
        let ResetPace { burst, each } = self.pace;
        self.full_at = self.full_at.max(now).saturating_add(each.saturating_mul(resets));
        self.full_at.saturating_sub(now + each * burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let second = Duration::from_secs(1);
        let mut resets = Resets::new(OF_A_CALLER);
        assert_eq!(resets.count(200, second), Duration::ZERO);
        assert_eq!(resets.count(1, second), Duration::from_millis(10));
        assert_eq!(resets.count(99, second), second);
        // After that time the hundred have passed, and none more may come at once.
        assert_eq!(resets.count(0, 2 * second), Duration::ZERO);
        assert_eq!(resets.count(1, 2 * second), Duration::from_millis(10));
        // And all again when it was quiet.
        assert_eq!(resets.count(200, 60 * second), Duration::ZERO);
        assert_eq!(Resets::new(OF_A_PROXY).count(1000, second), Duration::ZERO);
        assert_eq!(Resets::new(OF_A_PROXY).count(1100, second), second / 10);
        assert!(resets.count(u32::MAX, 60 * second) > Duration::from_secs(3600));
    }
}
