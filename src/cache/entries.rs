//! The cached entries under the rule: what one lookup may do with them, what an exchange or its failure changes.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use moka::ops::compute::Op;

use super::decision::{CacheDecision, Life, decide, gains, lives_as_long, worth_a_call};
use super::store::{Entry, Store, Weigh};
use super::{Answer, CacheKey, Failure, Lookup, Token};
use base::clock::SharedClock;
use config::{CacheConfig, RenewalConfig};

/// Why a flight was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Miss,
    Renewal,
    // A renewal in the background.
    BackgroundRenewal,
    Revalidation,
}

impl Purpose {
    pub(super) fn renews(self) -> bool {
        matches!(self, Self::Renewal | Self::BackgroundRenewal)
    }
}

/// The cached tokens, with what the rule needs.
pub(super) struct Entries<K, T> {
    store: Store<K, T>,
    config: RenewalConfig,
    clock: SharedClock,
}

impl<K, T> Entries<K, T>
where
    K: Weigh + Clone + Eq + Hash + Send + Sync + 'static,
    T: Token,
{
    pub(super) fn new(config: &CacheConfig, clock: SharedClock) -> Self {
        Self {
            store: Store::new(config, Arc::clone(&clock)),
            config: config.renewal,
            clock,
        }
    }

    pub(super) fn fill(&self) -> (u64, u64) {
        self.store.fill()
    }

    /// What may be done with the entry of `key` for this lookup, if there is one.
    pub(super) async fn decide(&self, key: &CacheKey<K>, lookup: &Lookup) -> Option<(CacheDecision, Arc<Entry<T>>)> {
        let entry = self.store.get(key).await?;
        let decision = decide(
            &entry.life,
            lookup,
            key.own.is_some(),
            self.clock.now(),
            self.clock.monotonic(),
            &self.config,
        );
        Some((decision, entry))
    }

    /// The entry that was exchanged for this very token, if it may be served. Exchanging the same token again gains nothing.
    pub(super) async fn servable_own(&self, key: &CacheKey<K>, lookup: &Lookup) -> Option<Arc<Entry<T>>> {
        match self.decide(&key.own(lookup.digest), lookup).await? {
            (CacheDecision::Serve | CacheDecision::ServeAndRenew | CacheDecision::RenewFirst, entry) => Some(entry),
            (CacheDecision::Revalidate | CacheDecision::OwnExchange | CacheDecision::Expired, _) => None,
        }
    }

    /// Whether the entry is still far enough from its expiry.
    pub(super) fn is_servable(&self, entry: &Entry<T>) -> bool {
        let remaining = entry.life.expires_on.duration_since(self.clock.now());
        Duration::try_from(remaining).is_ok_and(|remaining| remaining >= self.config.expiry_margin)
    }

    /// Whether what another token brought may and should be served to this one.
    pub(super) fn is_usable_for(&self, answer: &Answer<T>, lookup: &Lookup) -> bool {
        let end = answer.token.expires_on();
        let remaining = Duration::try_from(end.duration_since(self.clock.now())).unwrap_or_default();
        lives_as_long(lookup.token_expires_on, end, &self.config)
            && (remaining >= self.config.min_remaining
                // Just exchanged: another call would bring the same.
                || lookup.token_expires_on.is_none()
                || !worth_a_call(lookup.token_expires_on, end, &self.config))
    }

    /// Stores the token that an exchange brought. An entry is replaced only by one that ends later; one that ACS confirmed
    /// is as fresh as what it gave, though that ends no later.
    pub(super) async fn insert(&self, key: CacheKey<K>, lookup: &Lookup, purpose: Purpose, token: &Arc<T>) {
        let end = token.expires_on();
        let now = self.clock.now();
        let monotonic = self.clock.monotonic();
        let remaining = Duration::try_from(end.duration_since(now)).unwrap_or_default();
        let new_entry = |barred| {
            Arc::new(Entry {
                token: Arc::clone(token),
                life: Life {
                    expires_on: end,
                    exchanged_at: monotonic,
                    refresh_ahead: self.random_refresh_ahead(),
                    renewal_barred_until: barred,
                },
            })
        };
        let barred = Some(monotonic + self.config.renewal_backoff);
        let is_for_others = lives_as_long(lookup.token_expires_on, end, &self.config);
        let is_shared_flight = key.own.is_none();
        let confirms = purpose == Purpose::Revalidation;
        let mut is_stored = false;
        if is_for_others {
            is_stored = self
                .store
                .change(key.shared(), |old| match old.filter(|old| old.life.expires_on > now) {
                    Some(old) if old.life.expires_on >= end && !(confirms && old.life.expires_on == end) => {
                        if is_shared_flight {
                            let bar = if purpose.renews() {
                                barred
                            } else {
                                old.life.renewal_barred_until
                            };
                            Op::Put(Arc::new(Entry {
                                token: Arc::clone(&old.token),
                                life: Life {
                                    exchanged_at: monotonic,
                                    renewal_barred_until: bar,
                                    ..old.life
                                },
                            }))
                        } else {
                            Op::Nop
                        }
                    }
                    _ if remaining < self.config.expiry_margin => Op::Nop,
                    Some(old) => {
                        let gainless = purpose.renews() && !gains(end, old.life.expires_on, &self.config);
                        Op::Put(new_entry(barred.filter(|_| gainless)))
                    }
                    None => Op::Put(new_entry(None)),
                })
                .await;
        }
        if !is_stored && remaining >= self.config.expiry_margin {
            self.store
                .change(key.own(lookup.digest), |_| Op::Put(new_entry(None)))
                .await;
        }
    }

    /// What a failed exchange means for the entry that it was to renew or to confirm.
    ///
    /// A refusal by what decides about the caller (ACS, where it alone permits them; Entra, on their behalf)
    /// ends what an earlier exchange brought, whatever this one was for.
    pub(super) async fn apply_failure(
        &self,
        key: &CacheKey<K>,
        lookup: &Lookup,
        purpose: Purpose,
        error: &impl Failure,
    ) {
        if super::ends_earlier(error, lookup) {
            for key in [key.shared(), key.clone()] {
                self.store.change(key, |_| Op::Remove).await;
            }
            return;
        }
        if purpose.renews() {
            let until = self.clock.monotonic() + self.config.renewal_backoff;
            self.store
                .change(key.clone(), |old| match old {
                    Some(old) => Op::Put(Arc::new(Entry {
                        token: Arc::clone(&old.token),
                        life: Life {
                            renewal_barred_until: Some(until),
                            ..old.life
                        },
                    })),
                    None => Op::Nop,
                })
                .await;
        }
    }

    fn random_refresh_ahead(&self) -> Duration {
        if self.config.refresh_ahead.is_zero() {
            return Duration::ZERO;
        }
        self.config.refresh_ahead + self.config.refresh_jitter.mul_f64(fastrand::f64())
    }
}
