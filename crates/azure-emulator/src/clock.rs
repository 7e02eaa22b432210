//! A clock that can be moved on while all that reads it runs.

use std::sync::Mutex;
use std::time::Duration;

use base::clock::{Clock, SharedClock};
use jiff::{SignedDuration, Timestamp};

use super::lock::lock;

/// Another clock's time, and what it has been moved on by. The emulator and a broker that share one see time pass
/// together: `POST /_emulator/clock` moves it.
#[derive(Debug)]
pub struct MovableClock {
    inner: SharedClock,
    ahead: Mutex<Duration>,
}

/// Why the clock was not moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAdvance {
    /// It is no duration such as `10m`, `90s` or `1h 30m`.
    #[error("`advance` must be a duration such as \"90s\", \"10m\" or \"24h\"")]
    Unreadable,
    /// Time does not run backwards: a monotonic clock never does.
    #[error("the clock is never moved back")]
    Back,
    /// Such a time cannot be written.
    #[error("the clock cannot be moved that far")]
    TooFar,
}

/// A thousand years: beyond it, ends of tokens could not be written any more.
const FARTHEST: Duration = Duration::from_secs(1000 * 365 * 86_400);

impl MovableClock {
    /// A clock that shows another's time until it is moved.
    #[must_use]
    pub fn over(inner: SharedClock) -> Self {
        Self {
            inner,
            ahead: Mutex::default(),
        }
    }

    /// Moves wall-clock and monotonic time on.
    pub fn advance(&self, by: Duration) -> Result<(), InvalidAdvance> {
        let mut ahead = lock(&self.ahead);
        let moved = ahead.checked_add(by).filter(|moved| *moved <= FARTHEST);
        *ahead = moved.ok_or(InvalidAdvance::TooFar)?;
        Ok(())
    }

    /// How far it has been moved on in all.
    #[must_use]
    pub fn ahead(&self) -> Duration {
        *lock(&self.ahead)
    }

    /// Reads a duration as the configuration writes them: `90s`, `10m`, `24h`.
    pub(crate) fn parse_advance(text: &str) -> Result<Duration, InvalidAdvance> {
        let by: SignedDuration = text.parse().map_err(|_| InvalidAdvance::Unreadable)?;
        Duration::try_from(by).map_err(|_| InvalidAdvance::Back)
    }
}

impl Clock for MovableClock {
    fn now(&self) -> Timestamp {
        let now = self.inner.now();
        // The bound on how far it is moved keeps this from failing.
        now.checked_add(self.ahead()).unwrap_or(now)
    }

    fn monotonic(&self) -> Duration {
        self.inner.monotonic().saturating_add(self.ahead())
    }
}

#[cfg(test)]
mod tests {
    use base::clock::ManualClock;

    use super::*;

    #[test]
    fn both_times_move_on_and_never_back() {
        let inner = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
        let clock = MovableClock::over(inner.clone());
        clock.advance(MovableClock::parse_advance("10m").unwrap()).unwrap();
        inner.advance(Duration::from_secs(5));
        assert_eq!(clock.now().to_string(), "2026-01-01T00:10:05Z");
        assert_eq!(clock.monotonic(), Duration::from_secs(605));
        for (text, expected) in [
            ("-10m", InvalidAdvance::Back),
            ("", InvalidAdvance::Unreadable),
            ("10", InvalidAdvance::Unreadable),
            ("tomorrow", InvalidAdvance::Unreadable),
        ] {
            assert_eq!(MovableClock::parse_advance(text), Err(expected), "{text}");
        }
        assert_eq!(MovableClock::parse_advance("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(clock.advance(Duration::MAX), Err(InvalidAdvance::TooFar));
        assert_eq!(clock.ahead(), Duration::from_secs(600));
    }
}
