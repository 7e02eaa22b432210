//! What a cached token is good for: one pure rule.
//!
//! Caching never gives more than ACS would. ACS gives its token the end of the Entra token it was exchanged for,
//! so a renewal gains what the presented token's end exceeds the entry's. Where what is presented does not bound what it
//! brings, every renewal may gain.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use config::RenewalConfig;

/// What the rule needs to know of an entry. Times without a date are monotonic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Life {
    /// When the ACS token ends.
    pub expires_on: Timestamp,
    /// When ACS last gave a token for this key.
    pub exchanged_at: Duration,
    /// `cache.refresh_ahead` with this entry's own random part; zero if turned off.
    pub refresh_ahead: Duration,
    /// No renewal before this, after one that failed or gained nothing.
    pub renewal_barred_until: Option<Duration>,
}

/// What the rule needs to know of the caller.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask {
    /// When the presented Entra token ends, if that bounds what it brings.
    pub token_expires_on: Option<Timestamp>,
    /// Age at which the entry must be exchanged anew, for a caller that ACS alone permits.
    pub max_age: Option<Duration>,
    /// Whether the entry was exchanged for this very token.
    pub same_token: bool,
}

/// What to do with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Serve it.
    Serve,
    /// Serve it at once and renew it in the background.
    ServeAndRenew,
    /// Renew it before answering; if that fails, serve it.
    RenewFirst,
    /// ACS must permit this caller anew before anything is served.
    Revalidate,
    /// It outlives what ACS would give this caller, who gets an exchange of their own.
    OwnExchange,
    /// It is over, or as good as over.
    Gone,
}

/// The rule.
#[must_use]
pub fn decide(life: &Life, ask: &Ask, now: Timestamp, monotonic: Duration, config: &RenewalConfig) -> Use {
    let remaining = life.expires_on.duration_since(now);
    if remaining < signed(config.expiry_margin) {
        return Use::Gone;
    }
    if !ask.same_token && !lives_as_long(ask.token_expires_on, life.expires_on, config) {
        return Use::OwnExchange;
    }
    if ask
        .max_age
        .is_some_and(|max_age| monotonic.saturating_sub(life.exchanged_at) >= max_age)
    {
        return Use::Revalidate;
    }
    let barred = life.renewal_barred_until.is_some_and(|until| monotonic < until);
    if barred || !worth_a_call(ask.token_expires_on, life.expires_on, config) {
        Use::Serve
    } else if remaining < signed(config.min_remaining) {
        Use::RenewFirst
    } else if remaining < signed(life.refresh_ahead) {
        Use::ServeAndRenew
    } else {
        Use::Serve
    }
}

/// Whether a token that ends at `presented` lives as long as one that ends at `end`, give or take `min_gain`.
#[must_use]
pub fn lives_as_long(presented: Option<Timestamp>, end: Timestamp, config: &RenewalConfig) -> bool {
    presented.is_none_or(|presented| presented.duration_since(end) >= -signed(config.min_gain))
}

/// Whether exchanging a token that ends at `presented` can add at least `min_gain` to what ends at `end`.
#[must_use]
pub fn worth_a_call(presented: Option<Timestamp>, end: Timestamp, config: &RenewalConfig) -> bool {
    presented.is_none_or(|presented| gains(presented, end, config))
}

/// Whether what ends at `new` is at least `min_gain` more than what ends at `old`.
#[must_use]
pub fn gains(new: Timestamp, old: Timestamp, config: &RenewalConfig) -> bool {
    let gain = new.duration_since(old);
    gain.is_positive() && gain >= signed(config.min_gain)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn config() -> RenewalConfig {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        RenewalConfig {
            expiry_margin: Duration::from_secs(30),
            min_remaining: minutes(10),
            refresh_ahead: minutes(20),
            refresh_jitter: minutes(5),
            min_gain: minutes(2),
            renewal_backoff: Duration::from_secs(30),
        }
    }

    fn at(offset: i64) -> Timestamp {
        Timestamp::from_second(NOW + offset).unwrap()
    }

    const MONOTONIC: Duration = Duration::from_secs(100_000);

    /// An entry with `left` seconds to live, `age` seconds old, against a token with `token` seconds to live.
    fn outcome(left: i64, token: i64, age: u64, change: impl FnOnce(&mut Life, &mut Ask)) -> Use {
        let mut life = Life {
            expires_on: at(left),
            exchanged_at: MONOTONIC.saturating_sub(Duration::from_secs(age)),
            refresh_ahead: Duration::from_secs(23 * 60),
            renewal_barred_until: None,
        };
        let mut ask = Ask {
            token_expires_on: Some(at(token)),
            max_age: None,
            same_token: false,
        };
        change(&mut life, &mut ask);
        decide(&life, &ask, at(0), MONOTONIC, &config())
    }

    #[test]
    fn the_rule_as_a_table() {
        use Use::{Gone, OwnExchange, RenewFirst, Serve, ServeAndRenew};
        const M: i64 = 60;
        // entry's life left, presented token's life left, outcome
        for (left, token, expected) in [
            (60 * M, 60 * M, Serve),
            (60 * M, 90 * M, Serve),
            // A token that ends sooner than the entry, give or take min_gain.
            (60 * M, 58 * M, Serve),
            (60 * M, 58 * M - 1, OwnExchange),
            (60 * M, 5 * M, OwnExchange),
            // Renewal ahead, if it gains min_gain.
            (23 * M, 60 * M, Serve),
            (23 * M - 1, 60 * M, ServeAndRenew),
            (23 * M - 1, 25 * M - 1, ServeAndRenew),
            (23 * M - 1, 25 * M - 2, Serve),
            (10 * M, 60 * M, ServeAndRenew),
            // Renewal before the answer, if it gains min_gain.
            (10 * M - 1, 60 * M, RenewFirst),
            (10 * M - 1, 12 * M - 1, RenewFirst),
            (10 * M - 1, 12 * M - 2, Serve),
            (10 * M - 1, 10 * M - 1, Serve),
            (30, 30, Serve),
            (30, 60 * M, RenewFirst),
            // Too near the end, for every caller.
            (29, 29, Gone),
            (29, 60 * M, Gone),
            (29, -60, Gone),
            (0, 60 * M, Gone),
            (-60, 60 * M, Gone),
        ] {
            assert_eq!(outcome(left, token, 0, |_, _| {}), expected, "{left} {token}");
        }
    }

    #[test]
    fn barred_and_disabled_renewals_do_not_happen() {
        let bar = |until: u64| {
            move |life: &mut Life, _: &mut Ask| {
                life.renewal_barred_until = Some(Duration::from_secs(until));
            }
        };
        assert_eq!(outcome(300, 3600, 0, bar(100_001)), Use::Serve);
        assert_eq!(outcome(300, 3600, 0, bar(100_000)), Use::RenewFirst);
        assert_eq!(outcome(900, 3600, 0, bar(100_001)), Use::Serve);
        assert_eq!(outcome(900, 3600, 0, bar(99_999)), Use::ServeAndRenew);
        assert_eq!(
            outcome(900, 3600, 0, |life, _| life.refresh_ahead = Duration::ZERO),
            Use::Serve
        );
        let off = RenewalConfig {
            min_remaining: Duration::ZERO,
            ..config()
        };
        let life = Life {
            expires_on: at(300),
            exchanged_at: MONOTONIC,
            refresh_ahead: Duration::ZERO,
            renewal_barred_until: None,
        };
        let ask = Ask {
            token_expires_on: Some(at(3600)),
            max_age: None,
            same_token: false,
        };
        assert_eq!(decide(&life, &ask, at(0), MONOTONIC, &off), Use::Serve);
    }

    #[test]
    fn what_acs_alone_permitted_grows_old() {
        let aged = |_: &mut Life, ask: &mut Ask| ask.max_age = Some(Duration::from_secs(600));
        assert_eq!(outcome(3600, 3600, 599, aged), Use::Serve);
        assert_eq!(outcome(3600, 3600, 600, aged), Use::Revalidate);
        assert_eq!(outcome(300, 3600, 600, aged), Use::Revalidate);
        assert_eq!(outcome(3600, 300, 600, aged), Use::OwnExchange);
        assert_eq!(outcome(29, 3600, 600, aged), Use::Gone);
    }

    #[test]
    fn a_tokens_own_entry_is_served_to_it_whatever_its_end() {
        assert_eq!(outcome(86_400, 3600, 0, |_, ask| ask.same_token = true), Use::Serve);
    }

    #[test]
    fn where_a_renewal_brings_a_life_of_its_own_it_is_always_worth_a_call() {
        let unbound = |left| outcome(left, 0, 0, |_, ask| ask.token_expires_on = None);
        for (left, expected) in [
            (86_400, Use::Serve),
            (23 * 60, Use::Serve),
            (23 * 60 - 1, Use::ServeAndRenew),
            (599, Use::RenewFirst),
            (30, Use::RenewFirst),
            (29, Use::Gone),
        ] {
            assert_eq!(unbound(left), expected, "{left}");
        }
    }

    #[test]
    fn without_a_least_gain_an_equal_end_is_still_no_gain() {
        let config = RenewalConfig {
            min_gain: Duration::ZERO,
            ..config()
        };
        assert!(!worth_a_call(Some(at(10)), at(10), &config));
        assert!(worth_a_call(Some(at(11)), at(10), &config));
        assert!(lives_as_long(Some(at(10)), at(10), &config));
        assert!(!lives_as_long(Some(at(9)), at(10), &config));
    }

    proptest! {
        #[test]
        fn nothing_is_served_beyond_what_acs_would_give(
            left in -100i64..10_000, token in -100i64..10_000, age in 0u64..2_000, max_age in proptest::option::of(0u64..2_000),
            barred in proptest::option::of(99_000u64..101_000), ahead in 0u64..3_000,
        ) {
            let used = outcome(left, token, age, |life, ask| {
                ask.max_age = max_age.map(Duration::from_secs);
                life.renewal_barred_until = barred.map(Duration::from_secs);
                life.refresh_ahead = Duration::from_secs(ahead);
            });
            let served = matches!(used, Use::Serve | Use::ServeAndRenew | Use::RenewFirst);
            if served {
                prop_assert!(left >= 30);
                prop_assert!(token + 120 >= left);
                prop_assert!(max_age.is_none_or(|max_age| age < max_age));
            }
            if matches!(used, Use::ServeAndRenew | Use::RenewFirst) {
                prop_assert!(token - left >= 120, "a renewal gains");
                prop_assert!(barred.is_none_or(|until| until <= 100_000));
            }
            // With under ten minutes left and something to gain, nobody is handed the old token unasked.
            if left < 600 && token - left >= 120 && barred.is_none() {
                prop_assert!(!matches!(used, Use::Serve | Use::ServeAndRenew));
            }
        }
    }
}
