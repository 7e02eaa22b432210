//! `[limits]` and `upstream.breaker`: how much callers may ask for, and how much is asked of upstreams.

use std::fmt;
use std::time::Duration;

use super::units::{self, Reason};

/// So many in each window of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least one.
    pub count: u32,
    /// In how long; longer than zero.
    pub window: Duration,
}

impl Rate {
    /// Reads `500/30s`: a whole number, a slash, and a duration.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        const FORM: &str = "is not a rate such as \"500/30s\" or \"60/1m\"";
        let (count, window) = text.split_once('/').ok_or(FORM)?;
        if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(FORM.to_owned());
        }
        let window = units::duration(window).map_err(|_| FORM)?;
        let count = count.parse().map_err(|_| "counts too many".to_owned())?;
        if count == 0 || window.is_zero() {
            return Err("must count at least 1, in more than 0s".to_owned());
        }
        Ok(Self { count, window })
    }

    /// The part of it that one of `replicas` takes: rounded down, at least one.
    #[must_use]
    pub fn shared_by(self, replicas: u32) -> Self {
        Self {
            count: (self.count / replicas.max(1)).max(1),
            ..self
        }
    }
}

/// A rate, or "off".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateOrOff {
    /// So many in a window.
    Rate(Rate),
    /// Any number.
    Off,
}

impl RateOrOff {
    /// The rate, if there is one.
    #[must_use]
    pub fn rate(self) -> Option<Rate> {
        match self {
            Self::Rate(rate) => Some(rate),
            Self::Off => None,
        }
    }
}

impl From<Option<Rate>> for RateOrOff {
    fn from(rate: Option<Rate>) -> Self {
        rate.map_or(Self::Off, Self::Rate)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, window } = self;
        let milliseconds = window.as_millis();
        if milliseconds.is_multiple_of(1000) {
            write!(f, "{count}/{}s", milliseconds / 1000)
        } else {
            write!(f, "{count}/{milliseconds}ms")
        }
    }
}

/// `[limits]`. `None` is "off".
#[derive(Debug, Clone, PartialEq)]
pub struct LimitsConfig {
    /// How many replicas run at most; each takes its part of an endpoint's budget.
    pub replicas: u32,
    /// First-time callers who may wait for a place in an endpoint's budget.
    pub upstream_queue: usize,
    /// The part of a budget up to which renewals are sent; 0 to 1.
    pub renewal_share: f64,
    /// Requests of one user.
    pub per_user: Option<Rate>,
    /// Requests from one address.
    pub per_address: Option<Rate>,
    /// Upstream work that one user may start.
    pub upstream_per_user: Option<Rate>,
}

impl LimitsConfig {
    /// The same with no limit on callers.
    #[must_use]
    pub fn without_callers(self) -> Self {
        Self {
            per_user: None,
            per_address: None,
            upstream_per_user: None,
            ..self
        }
    }
}

/// `upstream.breaker`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerConfig {
    /// The part of the attempts in `window` that must fail for the circuit to open; more than 0, at most 1.
    pub failure_rate: f64,
    /// Fewer attempts in `window` open nothing.
    pub min_calls: u32,
    /// How far back attempts count.
    pub window: Duration,
    /// How long an open circuit lets nothing through.
    pub open_for: Duration,
    /// How many attempts are let through then, all of which must succeed.
    pub half_open_calls: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let rate = |count, seconds| Rate {
            count,
            window: Duration::from_secs(seconds),
        };
        for (text, expected) in [
            ("500/30s", rate(500, 30)),
            ("60/1m", rate(60, 60)),
            ("1/24h", rate(1, 86_400)),
        ] {
            assert_eq!(Rate::parse(text), Ok(expected), "{text}");
            assert_eq!(Rate::parse(&expected.to_string()), Ok(expected));
        }
        for text in [
            "", "500", "/30s", "500/", "500/30", "-5/1s", "+5/1s", "5 / 1s", "1.5/1s", "5/1s/1s", "٥/1s",
        ] {
            assert!(Rate::parse(text).unwrap_err().contains("\"500/30s\""), "{text}");
        }
        for text in ["0/1s", "5/0s"] {
            assert!(Rate::parse(text).unwrap_err().contains("at least 1"), "{text}");
        }
        assert_eq!(Rate::parse("4294967296/1s"), Err("counts too many".to_owned()));
    }

    #[test]
    fn a_replica_takes_its_part() {
        let rate = |count| Rate {
            count,
            window: Duration::from_secs(30),
        };
        assert_eq!(rate(500).shared_by(1), rate(500));
        assert_eq!(rate(500).shared_by(3), rate(166));
        assert_eq!(rate(2).shared_by(3), rate(1));
    }
}
