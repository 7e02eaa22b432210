//! What a cached token is good for: one pure rule.
//!
//! Caching never gives more than ACS would. ACS gives its token the end of the Entra token it was exchanged for,
//! so a renewal gains what the presented token's end exceeds the entry's. Where what is presented does not bound what it
//! brings, every renewal may gain.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Lookup;
use config::RenewalConfig;

/// What the rule needs to know of an entry. Times without a date are monotonic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Life {
    /// When the ACS token ends.
    pub expires_on: Timestamp,
    /// When ACS last gave a token for this key; before zero for what another replica exchanged before this one began.
    pub exchanged_at: SignedDuration,
    /// `cache.refresh_ahead` with this entry's own random part; zero if turned off.
    pub refresh_ahead: Duration,
    /// No renewal before this, after one that failed or gained nothing.
    pub renewal_barred_until: Option<Duration>,
}

/// What to do with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheDecision {
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
    Expired,
}

/// The rule. `is_own`: whether the entry was exchanged for the very token that is presented.
#[must_use]
pub fn decide(
    life: &Life,
    lookup: &Lookup,
    is_own: bool,
    now: Timestamp,
    monotonic: Duration,
    config: &RenewalConfig,
) -> CacheDecision {
    let remaining = life.expires_on.duration_since(now);
    if remaining < signed(config.expiry_margin) {
        return CacheDecision::Expired;
    }
    if !is_own && !lives_as_long(lookup.token_expires_on, life.expires_on, config) {
        return CacheDecision::OwnExchange;
    }
    if lookup
        .max_age
        .is_some_and(|max_age| signed(monotonic).saturating_sub(life.exchanged_at) >= signed(max_age))
    {
        return CacheDecision::Revalidate;
    }
    let barred = life.renewal_barred_until.is_some_and(|until| monotonic < until);
    if barred || !worth_a_call(lookup.token_expires_on, life.expires_on, config) {
        CacheDecision::Serve
    } else if remaining < signed(config.min_remaining) {
        CacheDecision::RenewFirst
    } else if remaining < signed(life.refresh_ahead) {
        CacheDecision::ServeAndRenew
    } else {
        CacheDecision::Serve
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

/// The same length, with a sign.
pub(super) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use base::secret::{BearerToken, TokenDigest};

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

    /// An entry with `remaining` seconds to live, `age` seconds old, and a token with `token` seconds to live.
    fn case(remaining: i64, token: i64, age: u64) -> (Life, Lookup) {
        let life = Life {
            expires_on: at(remaining),
            exchanged_at: signed(MONOTONIC) - signed(Duration::from_secs(age)),
            refresh_ahead: Duration::from_secs(23 * 60),
            renewal_barred_until: None,
        };
        let lookup = Lookup {
            digest: TokenDigest::new(&BearerToken::new("a.b.c")),
            token_expires_on: Some(at(token)),
            max_age: None,
        };
        (life, lookup)
    }

    fn outcome(remaining: i64, token: i64, age: u64, change: impl FnOnce(&mut Life, &mut Lookup)) -> CacheDecision {
        let (mut life, mut lookup) = case(remaining, token, age);
        change(&mut life, &mut lookup);
        decide(&life, &lookup, false, at(0), MONOTONIC, &config())
    }

    #[test]
    fn the_rule_as_a_table() {
        use CacheDecision::{Expired, OwnExchange, RenewFirst, Serve, ServeAndRenew};
        const M: i64 = 60;
        // the entry's remaining life, the presented token's, outcome
        for (remaining, token, expected) in [
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
            (29, 29, Expired),
            (29, 60 * M, Expired),
            (29, -60, Expired),
            (0, 60 * M, Expired),
            (-60, 60 * M, Expired),
        ] {
            assert_eq!(outcome(remaining, token, 0, |_, _| {}), expected, "{remaining} {token}");
        }
    }

    #[test]
    fn barred_and_disabled_renewals_do_not_happen() {
        let bar = |until: u64| {
            move |life: &mut Life, _: &mut Lookup| {
                life.renewal_barred_until = Some(Duration::from_secs(until));
            }
        };
        assert_eq!(outcome(300, 3600, 0, bar(100_001)), CacheDecision::Serve);
        assert_eq!(outcome(300, 3600, 0, bar(100_000)), CacheDecision::RenewFirst);
        assert_eq!(outcome(900, 3600, 0, bar(100_001)), CacheDecision::Serve);
        assert_eq!(outcome(900, 3600, 0, bar(99_999)), CacheDecision::ServeAndRenew);
        assert_eq!(
            outcome(900, 3600, 0, |life, _| life.refresh_ahead = Duration::ZERO),
            CacheDecision::Serve
        );
        let off = RenewalConfig {
            min_remaining: Duration::ZERO,
            ..config()
        };
        let (mut life, lookup) = case(300, 3600, 0);
        life.refresh_ahead = Duration::ZERO;
        let decision = decide(&life, &lookup, false, at(0), MONOTONIC, &off);
        assert_eq!(decision, CacheDecision::Serve);
    }

    #[test]
    fn an_entry_that_acs_alone_permitted_is_revalidated_at_max_age() {
        let aged = |_: &mut Life, lookup: &mut Lookup| lookup.max_age = Some(Duration::from_secs(600));
        assert_eq!(outcome(3600, 3600, 599, aged), CacheDecision::Serve);
        assert_eq!(outcome(3600, 3600, 600, aged), CacheDecision::Revalidate);
        assert_eq!(outcome(300, 3600, 600, aged), CacheDecision::Revalidate);
        assert_eq!(outcome(3600, 300, 600, aged), CacheDecision::OwnExchange);
        assert_eq!(outcome(29, 3600, 600, aged), CacheDecision::Expired);
    }

    #[test]
    fn what_was_exchanged_before_this_replica_began_is_as_old_as_it_is() {
        let (mut life, mut lookup) = case(3600, 3600, 0);
        life.exchanged_at = -signed(Duration::from_secs(599));
        lookup.max_age = Some(Duration::from_secs(600));
        let decision = |monotonic| decide(&life, &lookup, false, at(0), monotonic, &config());
        assert_eq!(decision(Duration::ZERO), CacheDecision::Serve);
        assert_eq!(decision(Duration::from_secs(1)), CacheDecision::Revalidate);
    }

    #[test]
    fn a_tokens_own_entry_is_served_to_it_whenever_it_ends() {
        let (life, lookup) = case(86_400, 3600, 0);
        let decision = decide(&life, &lookup, true, at(0), MONOTONIC, &config());
        assert_eq!(decision, CacheDecision::Serve);
    }

    #[test]
    fn a_renewal_that_is_not_bounded_is_always_worth_a_call() {
        let unbound = |remaining| outcome(remaining, 0, 0, |_, lookup| lookup.token_expires_on = None);
        for (remaining, expected) in [
            (86_400, CacheDecision::Serve),
            (23 * 60, CacheDecision::Serve),
            (23 * 60 - 1, CacheDecision::ServeAndRenew),
            (599, CacheDecision::RenewFirst),
            (30, CacheDecision::RenewFirst),
            (29, CacheDecision::Expired),
        ] {
            assert_eq!(unbound(remaining), expected, "{remaining}");
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
            remaining in -100i64..10_000, token in -100i64..10_000, age in 0u64..2_000, max_age in proptest::option::of(0u64..2_000),
            barred in proptest::option::of(99_000u64..101_000), ahead in 0u64..3_000,
        ) {
            let decision = outcome(remaining, token, age, |life, lookup| {
                lookup.max_age = max_age.map(Duration::from_secs);
                life.renewal_barred_until = barred.map(Duration::from_secs);
                life.refresh_ahead = Duration::from_secs(ahead);
            });
            let served = matches!(decision, CacheDecision::Serve | CacheDecision::ServeAndRenew | CacheDecision::RenewFirst);
            if served {
                prop_assert!(remaining >= 30);
                prop_assert!(token + 120 >= remaining);
                prop_assert!(max_age.is_none_or(|max_age| age < max_age));
            }
            if matches!(decision, CacheDecision::ServeAndRenew | CacheDecision::RenewFirst) {
                prop_assert!(token - remaining >= 120, "a renewal gains");
                prop_assert!(barred.is_none_or(|until| until <= 100_000));
            }
            // With under ten minutes left and something to gain, the old token is not served without a renewal.
            if remaining < 600 && token - remaining >= 120 && barred.is_none() {
                prop_assert!(!matches!(decision, CacheDecision::Serve | CacheDecision::ServeAndRenew));
            }
        }
    }
}
