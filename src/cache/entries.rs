//! The cached entries under the rule: what one lookup may do with them, what an exchange or its failure changes.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use moka::ops::compute::Op;

use super::decision::{CacheDecision, Life, decide, gains, lives_as_long, signed, worth_a_call};
use super::lookup::ends_earlier;
use super::shared::Kept;
use super::store::{Entry, Store, Weigh};
use super::{Answer, CacheKey, Failure, Lookup, RunMode, Token};
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

    pub(super) fn run_mode(self) -> RunMode {
        match self {
            Self::Miss | Self::Revalidation => RunMode::FirstTime,
            Self::Renewal => RunMode::Renewal,
            Self::BackgroundRenewal => RunMode::BackgroundRenewal,
        }
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

    /// The current instant.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What may be done with the entry of `key` for this lookup, if there is one.
    pub(super) async fn decide(&self, key: &CacheKey<K>, lookup: &Lookup) -> Option<(CacheDecision, Arc<Entry<T>>)> {
        let entry = self.store.get(key).await?;
        Some((self.judge(key, &entry, lookup), entry))
    }

    /// What may be done with this entry of `key` for this lookup.
    pub(super) fn judge(&self, key: &CacheKey<K>, entry: &Entry<T>, lookup: &Lookup) -> CacheDecision {
        decide(
            &entry.life,
            lookup,
            key.own.is_some(),
            self.clock.now(),
            self.clock.monotonic(),
            &self.config,
        )
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
    /// is as fresh as what it gave, though that ends no later. Gives what callers share from now on, if that is what this
    /// exchange brought or confirmed.
    pub(super) async fn insert(
        &self,
        key: CacheKey<K>,
        lookup: &Lookup,
        purpose: Purpose,
        token: &Arc<T>,
    ) -> Option<Kept<T>> {
        let end = token.expires_on();
        let now = self.clock.now();
        let monotonic = self.clock.monotonic();
        let exchanged_at = signed(monotonic);
        let remaining = Duration::try_from(end.duration_since(now)).unwrap_or_default();
        let new_entry = |barred| {
            Arc::new(Entry {
                token: Arc::clone(token),
                life: Life {
                    expires_on: end,
                    exchanged_at,
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
        let mut standing = Arc::clone(token);
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
                            standing = Arc::clone(&old.token);
                            Op::Put(Arc::new(Entry {
                                token: Arc::clone(&old.token),
                                life: Life {
                                    exchanged_at,
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
        is_stored.then_some(Kept {
            token: standing,
            exchanged_at: now,
        })
    }

    /// Keeps what another replica exchanged as if this one had done so at that time, by the same rule. Gives what stands from
    /// now on.
    pub(super) async fn adopt(&self, key: &CacheKey<K>, kept: &Kept<T>) -> Arc<Entry<T>> {
        let now = self.clock.now();
        let age = now.duration_since(kept.exchanged_at).max(SignedDuration::ZERO);
        let exchanged_at = signed(self.clock.monotonic()).saturating_sub(age);
        let new_entry = |token: &Arc<T>, exchanged_at| {
            Arc::new(Entry {
                token: Arc::clone(token),
                life: Life {
                    expires_on: token.expires_on(),
                    exchanged_at,
                    refresh_ahead: self.random_refresh_ahead(),
                    renewal_barred_until: None,
                },
            })
        };
        let mut standing = new_entry(&kept.token, exchanged_at);
        self.store
            .change(key.clone(), |old| match old.filter(|old| old.life.expires_on > now) {
                None => Op::Put(Arc::clone(&standing)),
                Some(old) => {
                    let ends_later = kept.token.expires_on() > old.life.expires_on;
                    let is_newer = exchanged_at > old.life.exchanged_at;
                    let exchanged_at = exchanged_at.max(old.life.exchanged_at);
                    standing = if ends_later {
                        new_entry(&kept.token, exchanged_at)
                    } else {
                        Arc::new(Entry {
                            token: Arc::clone(&old.token),
                            life: Life {
                                exchanged_at,
                                ..old.life
                            },
                        })
                    };
                    if ends_later || is_newer {
                        Op::Put(Arc::clone(&standing))
                    } else {
                        Op::Nop
                    }
                }
            })
            .await;
        standing
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
        if ends_earlier(error, lookup) {
            for key in [key.shared(), key.own(lookup.digest)] {
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
