//! The entries under the rule: what one look says, what an exchange or its failure changes.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use moka::ops::compute::Op;

use super::entry::{Ask, Life, Use, decide, gains, lives_as_long, worth_a_call};
use super::store::{Entry, Store, Weigh};
use super::{Answer, CacheKey, Failure, Request, Token};
use base::clock::SharedClock;
use config::{CacheConfig, RenewalConfig};

/// Why a flight was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Miss,
    Renewal,
    // A renewal in the background.
    Ahead,
    Revalidation,
}

impl Purpose {
    fn renews(self) -> bool {
        matches!(self, Self::Renewal | Self::Ahead)
    }
}

/// What is cached, with all that deciding over it takes.
pub(super) struct Contents<K, T> {
    store: Store<K, T>,
    config: RenewalConfig,
    clock: SharedClock,
}

impl<K, T> Contents<K, T>
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

    /// What may be done with the entry of `key` for this request, if there is one.
    pub(super) async fn look(&self, key: &CacheKey<K>, request: &Request) -> Option<(Use, Arc<Entry<T>>)> {
        let entry = self.store.get(key).await?;
        let ask = Ask {
            token_expires_on: request.token_expires_on,
            max_age: request.max_age,
            same_token: key.own.is_some(),
        };
        let used = decide(
            &entry.life,
            &ask,
            self.clock.now(),
            self.clock.monotonic(),
            &self.config,
        );
        Some((used, entry))
    }

    /// What is remembered for this very token, if it may be served. Exchanging the same token again gains nothing.
    pub(super) async fn remembered(&self, key: &CacheKey<K>, request: &Request) -> Option<Arc<Entry<T>>> {
        let own = CacheKey {
            own: Some(request.digest),
            ..key.clone()
        };
        match self.look(&own, request).await? {
            (Use::Serve | Use::ServeAndRenew | Use::RenewFirst, entry) => Some(entry),
            (Use::Revalidate | Use::OwnExchange | Use::Gone, _) => None,
        }
    }

    /// Whether the entry is still far enough from its end.
    pub(super) fn is_alive(&self, entry: &Entry<T>) -> bool {
        let left = entry.life.expires_on.duration_since(self.clock.now());
        Duration::try_from(left).is_ok_and(|left| left >= self.config.expiry_margin)
    }

    /// Whether what another token brought may and should be served to this one.
    pub(super) fn suits(&self, answer: &Answer<T>, request: &Request) -> bool {
        let end = answer.token.expires_on();
        let left = Duration::try_from(end.duration_since(self.clock.now())).unwrap_or_default();
        lives_as_long(request.token_expires_on, end, &self.config)
            && (left >= self.config.min_remaining
                // Just landed: another call would bring the same.
                || request.token_expires_on.is_none()
                || !worth_a_call(request.token_expires_on, end, &self.config))
    }

    /// Takes in what an exchange brought. An entry is replaced only by one that ends later; one that ACS confirmed
    /// is as fresh as what it gave, though that ends no later.
    pub(super) async fn absorb(&self, key: CacheKey<K>, request: &Request, purpose: Purpose, token: &Arc<T>) {
        let end = token.expires_on();
        let now = self.clock.now();
        let monotonic = self.clock.monotonic();
        let left = Duration::try_from(end.duration_since(now)).unwrap_or_default();
        let fresh = |barred| {
            Arc::new(Entry {
                token: Arc::clone(token),
                life: Life {
                    expires_on: end,
                    exchanged_at: monotonic,
                    refresh_ahead: self.draw_refresh_ahead(),
                    renewal_barred_until: barred,
                },
            })
        };
        let barred = Some(monotonic + self.config.renewal_backoff);
        let for_others = lives_as_long(request.token_expires_on, end, &self.config);
        let of_shared_flight = key.own.is_none();
        let confirms = purpose == Purpose::Revalidation;
        let mut placed = false;
        if for_others {
            let shared = CacheKey {
                own: None,
                ..key.clone()
            };
            placed = self
                .store
                .change(shared, |old| match old.filter(|old| old.life.expires_on > now) {
                    Some(old) if old.life.expires_on >= end && !(confirms && old.life.expires_on == end) => {
                        if of_shared_flight {
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
                    _ if left < self.config.expiry_margin => Op::Nop,
                    Some(old) => {
                        let gainless = purpose.renews() && !gains(end, old.life.expires_on, &self.config);
                        Op::Put(fresh(barred.filter(|_| gainless)))
                    }
                    None => Op::Put(fresh(None)),
                })
                .await;
        }
        if !placed && left >= self.config.expiry_margin {
            let own = CacheKey {
                own: Some(request.digest),
                ..key
            };
            self.store.change(own, |_| Op::Put(fresh(None))).await;
        }
    }

    /// What a failed exchange means for the entry that it was to renew or to confirm.
    ///
    /// A refusal by what decides about the caller (ACS, where it alone permits them; Entra, on their behalf)
    /// ends what an earlier exchange brought, whatever this one was for.
    pub(super) async fn heed(&self, key: &CacheKey<K>, request: &Request, purpose: Purpose, error: &impl Failure) {
        if super::ends(error, request) {
            let shared = CacheKey {
                own: None,
                ..key.clone()
            };
            for key in [shared, key.clone()] {
                self.store.change(key, |_| Op::Remove).await;
            }
            return;
        }
        match purpose {
            Purpose::Renewal | Purpose::Ahead => {
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
            Purpose::Revalidation | Purpose::Miss => {}
        }
    }

    fn draw_refresh_ahead(&self) -> Duration {
        if self.config.refresh_ahead.is_zero() {
            return Duration::ZERO;
        }
        self.config.refresh_ahead + self.config.refresh_jitter.mul_f64(fastrand::f64())
    }
}
