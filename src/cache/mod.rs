//! Exchanged tokens, served again as long as that gives nobody more than an exchange would.
//!
//! `entry` is the rule, `store` keeps the entries, `flight` makes one upstream call per key however many wait;
//! [`TokenCache::get`] puts them together. Nothing here knows Azure.

pub mod entry;
pub mod flight;
mod store;

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use moka::ops::compute::Op;

use self::entry::{Ask, Life, Use, decide, lives_as_long, worth_a_call};
use self::flight::{Flights, Lost, Seat};
pub use self::store::Weigh;
use self::store::{Entry, Store};
use crate::clock::SharedClock;
use crate::config::{CacheConfig, RenewalConfig};
use crate::secret::TokenDigest;

/// How often a caller looks again after an outcome that was not for him; then he makes his own exchange.
const ROUNDS: usize = 3;

/// What is cached.
pub trait Token: Send + Sync + 'static {
    /// When it ends.
    fn expires_on(&self) -> Timestamp;
    /// Bytes held.
    fn bytes(&self) -> usize;
}

/// What the cache needs to know of a failed exchange.
pub trait Failure: Clone + From<Lost> + Send + Sync + 'static {
    /// A refusal of the token presented: another token may fare otherwise.
    fn is_definite_refusal(&self) -> bool;
    /// The user may not have a token (any more).
    fn forbids(&self) -> bool;
}

/// An entry's key: who asks, and for an exchange of one token's own, that token's digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey<K> {
    shared: K,
    own: Option<TokenDigest>,
}

/// A caller's wish.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Which token he presents.
    pub digest: TokenDigest,
    /// When that token ends.
    pub token_expires_on: Timestamp,
    /// Age at which what is cached must be exchanged anew for him.
    pub max_age: Option<Duration>,
}

/// How an answer came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// From the cache.
    Hit,
    /// By an exchange that this caller started.
    Miss,
    /// By an exchange that another caller started.
    Shared,
}

impl Outcome {
    /// Its name in `x-cache`, logs and spans.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Shared => "shared",
        }
    }
}

/// A token and how it came.
#[derive(Debug)]
pub struct Answer<T> {
    /// The token.
    pub token: Arc<T>,
    /// How it came.
    pub outcome: Outcome,
}

/// Why a flight was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Miss,
    Renewal,
    // A renewal in the background.
    Ahead,
    Revalidation,
}

/// Whether anybody waits for an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The caller who started it, within his deadline.
    Caller,
    /// Nobody: it renews ahead.
    Nobody,
}

impl Purpose {
    fn renews(self) -> bool {
        matches!(self, Self::Renewal | Self::Ahead)
    }
}

type Flown<T, E> = Result<(Arc<T>, Fresh), E>;
type Taken<T, E> = Result<(Answer<T>, TokenDigest), (E, TokenDigest)>;

/// Whether a flight made a call, or found on take-off that another had just made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fresh {
    Yes,
    No,
}

/// A cache of exchanged tokens with one flight per key.
pub struct TokenCache<K, T, E> {
    inner: Arc<Inner<K, T>>,
    flights: Flights<CacheKey<K>, TokenDigest, Flown<T, E>>,
}

struct Inner<K, T> {
    store: Store<K, T>,
    config: RenewalConfig,
    clock: SharedClock,
}

impl<K, T, E> TokenCache<K, T, E>
where
    K: Weigh + Clone + Eq + Hash + Send + Sync + 'static,
    T: Token,
    E: Failure,
{
    /// An empty cache.
    #[must_use]
    pub fn new(config: &CacheConfig, clock: SharedClock) -> Self {
        Self {
            inner: Arc::new(Inner {
                store: Store::new(config, Arc::clone(&clock)),
                config: config.renewal,
                clock,
            }),
            flights: Flights::default(),
        }
    }

    /// A token for `key`, cached or by `exchange`, as the rule in [`entry`] says for this `request`.
    pub async fn get<X, F>(&self, key: K, request: &Request, exchange: X) -> Result<Answer<T>, E>
    where
        X: Fn(Waiting) -> F + Clone + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let key = CacheKey { shared: key, own: None };
        for _ in 0..ROUNDS {
            // An entry stands beside a purpose only if it may be served should the exchange fail.
            let (purpose, entry) = match self.inner.look(&key, request).await {
                Some((Use::Serve, entry)) => return Ok(hit(&entry)),
                Some((Use::ServeAndRenew, entry)) => {
                    self.fly(&key, request, Purpose::Ahead, &exchange);
                    return Ok(hit(&entry));
                }
                Some((Use::OwnExchange, _)) => return self.own(key.shared, request, Purpose::Miss, exchange).await,
                Some((Use::RenewFirst, entry)) => (Purpose::Renewal, Some(entry)),
                Some((Use::Revalidate, _)) => (Purpose::Revalidation, None),
                Some((Use::Gone, _)) | None => (Purpose::Miss, None),
            };
            let seat = self.fly(&key, request, purpose, &exchange);
            let leads = seat.leads;
            match take(seat).await {
                Ok((answer, leader)) => {
                    // A joined flight that found no call needed had another caller to think of.
                    let confirmed = purpose != Purpose::Revalidation || answer.outcome != Outcome::Hit;
                    let suits = leader == request.digest || self.inner.suits(&answer, request);
                    if (leads || confirmed) && suits {
                        return Ok(later(answer, entry.as_deref()));
                    }
                    // It was for a token that ends otherwise: the next look sees what that means for this one.
                }
                Err((error, leader)) => {
                    if let Some(entry) = entry.filter(|entry| self.inner.is_alive(entry)) {
                        return Ok(hit(&entry));
                    }
                    if error.is_definite_refusal() && leader != request.digest {
                        return self.own(key.shared, request, purpose, exchange).await;
                    }
                    self.inner.heed(&key, purpose, &error).await;
                    return Err(error);
                }
            }
        }
        self.own(key.shared, request, Purpose::Miss, exchange).await
    }

    /// An exchange of this very token's own: what it brings is remembered for the token, and for others only if
    /// it outlives what they have.
    async fn own<X, F>(&self, shared: K, request: &Request, purpose: Purpose, exchange: X) -> Result<Answer<T>, E>
    where
        X: Fn(Waiting) -> F + Clone + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let key = CacheKey {
            shared,
            own: Some(request.digest),
        };
        let purpose = match self.inner.look(&key, request).await {
            Some((Use::Serve | Use::ServeAndRenew | Use::RenewFirst, entry)) if purpose == Purpose::Miss => {
                return Ok(hit(&entry));
            }
            Some((Use::Revalidate, _)) => Purpose::Revalidation,
            _ => purpose,
        };
        match take(self.fly(&key, request, purpose, &exchange)).await {
            Ok((answer, _)) => Ok(answer),
            Err((error, _)) => {
                let shared = CacheKey {
                    own: None,
                    ..key.clone()
                };
                self.inner.heed(&key, purpose, &error).await;
                self.inner.heed(&shared, purpose, &error).await;
                Err(error)
            }
        }
    }

    fn fly<X, F>(
        &self,
        key: &CacheKey<K>,
        request: &Request,
        purpose: Purpose,
        exchange: &X,
    ) -> Seat<TokenDigest, Flown<T, E>>
    where
        X: Fn(Waiting) -> F + Clone + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let waiting = if purpose == Purpose::Ahead {
            Waiting::Nobody
        } else {
            Waiting::Caller
        };
        self.flights.join(key.clone(), request.digest, || {
            let (inner, key, request, exchange) = (Arc::clone(&self.inner), key.clone(), *request, exchange.clone());
            async move {
                // A flight may have landed between this caller's look and his take-off.
                if let Some((Use::Serve, entry)) = inner.look(&key, &request).await {
                    return Ok((Arc::clone(&entry.token), Fresh::No));
                }
                match exchange(waiting).await {
                    Ok(token) => {
                        let token = Arc::new(token);
                        inner.absorb(key, &request, purpose, &token).await;
                        Ok((token, Fresh::Yes))
                    }
                    Err(error) => {
                        inner.heed(&key, purpose, &error).await;
                        Err(error)
                    }
                }
            }
        })
    }
}

impl<K, T> Inner<K, T>
where
    K: Weigh + Clone + Eq + Hash + Send + Sync + 'static,
    T: Token,
{
    async fn look(&self, key: &CacheKey<K>, request: &Request) -> Option<(Use, Arc<Entry<T>>)> {
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

    fn is_alive(&self, entry: &Entry<T>) -> bool {
        let left = entry.life.expires_on.duration_since(self.clock.now());
        Duration::try_from(left).is_ok_and(|left| left >= self.config.expiry_margin)
    }

    /// Whether what another token brought may and should be served to this one.
    fn suits(&self, answer: &Answer<T>, request: &Request) -> bool {
        let end = answer.token.expires_on();
        let left = Duration::try_from(end.duration_since(self.clock.now())).unwrap_or_default();
        lives_as_long(request.token_expires_on, end, &self.config)
            && (left >= self.config.min_remaining || !worth_a_call(request.token_expires_on, end, &self.config))
    }

    /// Takes in what an exchange brought. An entry is replaced only by one that ends later; one for which ACS
    /// gave a token again has not grown old, though it ends no later.
    async fn absorb(&self, key: CacheKey<K>, request: &Request, purpose: Purpose, token: &Arc<T>) {
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
        let mut placed = false;
        if for_others {
            let shared = CacheKey {
                own: None,
                ..key.clone()
            };
            placed = self
                .store
                .change(shared, |old| match old.filter(|old| old.life.expires_on > now) {
                    Some(old) if old.life.expires_on >= end => {
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
                        let gainless = purpose.renews() && !worth_a_call(end, old.life.expires_on, &self.config);
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
    async fn heed(&self, key: &CacheKey<K>, purpose: Purpose, error: &impl Failure) {
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
            Purpose::Revalidation if error.forbids() => {
                self.store.change(key.clone(), |_| Op::Remove).await;
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

fn hit<T>(entry: &Entry<T>) -> Answer<T> {
    Answer {
        token: Arc::clone(&entry.token),
        outcome: Outcome::Hit,
    }
}

/// Of a renewal and what it was to renew, the one that ends later.
fn later<T: Token>(answer: Answer<T>, old: Option<&Entry<T>>) -> Answer<T> {
    match old {
        Some(old) if old.token.expires_on() > answer.token.expires_on() => Answer {
            token: Arc::clone(&old.token),
            ..answer
        },
        _ => answer,
    }
}

async fn take<T, E: Failure>(seat: Seat<TokenDigest, Flown<T, E>>) -> Taken<T, E>
where
    T: Token,
{
    let (leads, leader) = (seat.leads, seat.leader);
    match seat.outcome().await {
        Ok(Ok((token, fresh))) => {
            let outcome = match (fresh, leads) {
                (Fresh::No, _) => Outcome::Hit,
                (Fresh::Yes, true) => Outcome::Miss,
                (Fresh::Yes, false) => Outcome::Shared,
            };
            Ok((Answer { token, outcome }, leader))
        }
        Ok(Err(error)) => Err((error, leader)),
        Err(lost) => Err((E::from(lost), leader)),
    }
}

#[cfg(test)]
mod tests;
