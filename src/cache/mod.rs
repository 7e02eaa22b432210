//! Exchanged tokens, served again where a new exchange would give at least as much.
//!
//! `decision` is the rule, `entries` applies it to the entries that `store` keeps, `flight` makes one exchange for each key
//! however many wait, `refusals` spares the call that was refused a moment ago; [`TokenCache::get`] puts them
//! together. `shared` is the second tier, a store that replicas share, and `ended` what must not come back from there.
//! `lookup` is what callers give, `answer` what they get. Nothing here knows Azure.

mod answer;
pub mod decision;
mod ended;
mod entries;
mod flight;
mod lookup;
mod refusals;
pub mod shared;
mod store;

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use tokio::time::Instant;

pub use self::answer::{Answer, Outcome, Source};
use self::answer::{hit, longer_lived};
use self::decision::CacheDecision;
use self::ended::Ended;
use self::entries::{Entries, Purpose};
use self::flight::{Brought, FlightResult, Memory, wait};
use self::lookup::ends_earlier;
pub use self::lookup::{CacheKey, Failure, Lookup, RefusalScope, RunMode, Token};
use self::refusals::Refusals;
use self::shared::{Claim, Exchanged, SharedTier, Stored};
use self::store::Entry;
pub use self::store::Weigh;
use base::clock::SharedClock;
use base::flight::{Flights, Ticket, Waiter};
use base::secret::TokenDigest;
use config::CacheConfig;

/// How many flights a caller joins whose outcome is not usable for them; then they make their own exchange.
const MAX_ATTEMPTS: usize = 3;

/// The second tier of a lookup, if there is one.
type Shared<'s, K, T> = Option<&'s Arc<dyn SharedTier<K, T>>>;

/// A cache of exchanged tokens with one flight per key.
pub struct TokenCache<K, T, E> {
    memory: Arc<Memory<K, T, E>>,
    flights: Flights<CacheKey<K>, TokenDigest, FlightResult<T, E>>,
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
            memory: Arc::new(Memory {
                entries: Arc::new(Entries::new(config, Arc::clone(&clock))),
                refusals: Refusals::new(clock),
                ended: Arc::new(Ended::new()),
            }),
            flights: Flights::default(),
        }
    }

    /// How many entries there are, and what they weigh against `max_bytes`.
    #[must_use]
    pub fn fill(&self) -> (u64, u64) {
        self.memory.entries.fill()
    }

    /// The cached token, where the rule serves it as it is; else the key again, for [`get`](Self::get). Most requests are
    /// served so, without anything being made ready for an exchange.
    pub async fn served(&self, key: K, lookup: &Lookup) -> Result<Answer<T>, K> {
        let key = CacheKey { shared: key, own: None };
        match self.memory.entries.decide(&key, lookup).await {
            Some((CacheDecision::Serve, entry)) => Ok(hit(&entry, None)),
            _ => Err(key.shared),
        }
    }

    /// A token for `key`, cached in memory or by `shared`, or by `exchange`, as the rule in [`decision`] says for this
    /// `lookup`. `on_wait` is called when the exchange has to wait by its [`Ticket`] before it begins, and says how long it may
    /// wait for its turn. An exchange takes its [`Claim`] when nothing else is to be waited for.
    pub async fn get<X, F>(
        &self,
        key: K,
        lookup: &Lookup,
        shared: Shared<'_, K, T>,
        exchange: X,
        mut on_wait: impl FnMut() -> Instant,
    ) -> Result<Answer<T>, E>
    where
        X: Fn(RunMode, Ticket, Claim) -> F + Clone + Send + 'static,
        F: Future<Output = Result<Exchanged<T>, E>> + Send + 'static,
    {
        let key = CacheKey { shared: key, own: None };
        let (mut attempts, mut finds) = (0, 0);
        // What a flight has found in the store.
        let mut stored: Option<Stored<T>> = None;
        while attempts < MAX_ATTEMPTS && finds < MAX_ATTEMPTS {
            let from_store = stored.as_ref().map(|stored| stored.waited);
            let hit = |entry: &Entry<T>| hit(entry, from_store);
            let decided = match stored.take() {
                Some(Stored { entry, .. }) => Some((self.memory.entries.judge(&key, &entry, lookup), entry)),
                None => self.memory.entries.decide(&key, lookup).await,
            };
            // There is an entry beside a purpose only if it may be served when the exchange fails.
            let (purpose, entry) = match decided {
                Some((CacheDecision::Serve, entry)) => return Ok(hit(&entry)),
                Some((CacheDecision::ServeAndRenew, entry)) => {
                    if self.memory.refusals.get(&key.shared, lookup.digest).is_none() {
                        self.join_flight(&key, lookup, Purpose::BackgroundRenewal, shared, &exchange);
                    }
                    return Ok(hit(&entry));
                }
                Some((CacheDecision::OwnExchange, _)) => {
                    return self
                        .exchange_own(key.shared, lookup, Purpose::Miss, shared, exchange, on_wait)
                        .await;
                }
                Some((CacheDecision::RenewFirst, entry)) => (Purpose::Renewal, Some(entry)),
                Some((CacheDecision::Revalidate, _)) => (Purpose::Revalidation, None),
                Some((CacheDecision::Expired, _)) | None => {
                    // A token that outlives the Entra token it was exchanged for is kept for that Entra token alone.
                    if let Some(entry) = self.memory.entries.servable_own(&key, lookup).await {
                        return Ok(hit(&entry));
                    }
                    (Purpose::Miss, None)
                }
            };
            // The refusal was applied to the entry when it arrived; what is there now is younger.
            if let Some(error) = self.memory.refusals.get(&key.shared, lookup.digest) {
                let entry =
                    entry.filter(|entry| !ends_earlier(&error, lookup) && self.memory.entries.is_servable(entry));
                return entry.map_or(Err(error), |entry| Ok(hit(&entry)));
            }
            let waiter = self.join_flight(&key, lookup, purpose, shared, &exchange);
            let is_leader = waiter.is_leader;
            match wait(waiter, &mut on_wait).await {
                Ok((Brought::Stored(found), _)) => {
                    finds += 1;
                    stored = Some(found);
                    continue;
                }
                Ok((Brought::Answer(answer), leader)) => {
                    // A joined flight that needed no call decided that for another caller.
                    let confirmed = purpose != Purpose::Revalidation || answer.outcome != Outcome::Hit;
                    let is_usable = leader == lookup.digest || self.memory.entries.is_usable_for(&answer, lookup);
                    if (is_leader || confirmed) && is_usable {
                        return Ok(longer_lived(answer, entry.as_deref()));
                    }
                    // It was for a token that expires at another time: the next lookup decides anew for this one.
                }
                // The renewal that this caller joined did not take place.
                Err((error, _)) if error.is_skipped() && !purpose.renews() => {}
                Err((error, leader)) => {
                    let ends_earlier = ends_earlier(&error, lookup);
                    if let Some(entry) = entry.filter(|entry| !ends_earlier && self.memory.entries.is_servable(entry)) {
                        return Ok(hit(&entry));
                    }
                    if error.refusal_scope().is_some() && leader != lookup.digest {
                        return self
                            .exchange_own(key.shared, lookup, purpose, shared, exchange, on_wait)
                            .await;
                    }
                    self.apply_failure(&key, lookup, purpose, shared, &error).await;
                    return Err(error);
                }
            }
            attempts += 1;
        }
        self.exchange_own(key.shared, lookup, Purpose::Miss, shared, exchange, on_wait)
            .await
    }

    /// An exchange for this very token: what it brings is kept for the token, and for others only if it outlives what they
    /// have. Nothing of it is looked for or kept in the store.
    async fn exchange_own<X, F>(
        &self,
        key: K,
        lookup: &Lookup,
        purpose: Purpose,
        shared: Shared<'_, K, T>,
        exchange: X,
        on_wait: impl FnMut() -> Instant,
    ) -> Result<Answer<T>, E>
    where
        X: Fn(RunMode, Ticket, Claim) -> F + Clone + Send + 'static,
        F: Future<Output = Result<Exchanged<T>, E>> + Send + 'static,
    {
        let key = CacheKey {
            shared: key,
            own: Some(Box::new(lookup.digest)),
        };
        if purpose == Purpose::Miss
            && let Some(entry) = self.memory.entries.servable_own(&key, lookup).await
        {
            return Ok(hit(&entry, None));
        }
        if let Some(error) = self.memory.refusals.get(&key.shared, lookup.digest) {
            return Err(error);
        }
        match wait(self.join_flight(&key, lookup, purpose, shared, &exchange), on_wait).await {
            Ok((Brought::Answer(answer), _)) => Ok(answer),
            Ok((Brought::Stored(found), _)) => Ok(hit(&found.entry, Some(found.waited))),
            Err((error, _)) => {
                self.apply_failure(&key, lookup, purpose, shared, &error).await;
                self.memory
                    .entries
                    .apply_failure(&key.shared(), lookup, purpose, &error)
                    .await;
                Err(error)
            }
        }
    }

    /// What a failed exchange means for what memory and the store have.
    async fn apply_failure(
        &self,
        key: &CacheKey<K>,
        lookup: &Lookup,
        purpose: Purpose,
        shared: Shared<'_, K, T>,
        error: &E,
    ) {
        let shared = shared.map(|tier| tier.entry(&key.shared));
        let shared = shared.as_deref();
        self.memory.apply_failure(key, lookup, purpose, shared, error).await;
    }

    /// Joins the flight of `key`, or starts one.
    fn join_flight<X, F>(
        &self,
        key: &CacheKey<K>,
        lookup: &Lookup,
        purpose: Purpose,
        shared: Shared<'_, K, T>,
        exchange: &X,
    ) -> Waiter<TokenDigest, FlightResult<T, E>>
    where
        X: Fn(RunMode, Ticket, Claim) -> F + Clone + Send + 'static,
        F: Future<Output = Result<Exchanged<T>, E>> + Send + 'static,
    {
        self.flights.join_with(key.clone(), lookup.digest, |ticket| {
            let (memory, tier) = (Arc::clone(&self.memory), shared.cloned());
            memory.fly(key.clone(), *lookup, purpose, tier, exchange.clone(), ticket)
        })
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod tests;
