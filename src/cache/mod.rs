//! Exchanged tokens, served again where a new exchange would give at least as much.
//!
//! `decision` is the rule, `entries` applies it to the entries that `store` keeps, `base::flight` makes one upstream call per
//! key however many wait, `refusals` spares the call that was refused a moment ago; [`TokenCache::get`] puts them
//! together. `shared` is the second tier, a store that replicas share, and `ended` what must not come back from there. Nothing
//! here knows Azure.

pub mod decision;
mod ended;
mod entries;
mod refusals;
pub mod shared;
mod store;

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use self::decision::CacheDecision;
use self::ended::Ended;
use self::entries::{Entries, Purpose};
use self::refusals::Refusals;
use self::shared::{Claim, Exchanged, SharedEntry, SharedFlight, SharedTier, Stored};
use self::store::Entry;
pub use self::store::Weigh;
use base::clock::SharedClock;
use base::flight::{Flights, Lost, Ticket, Waiter};
use base::secret::TokenDigest;
use config::CacheConfig;

/// How many flights a caller joins whose outcome is not usable for them; then they make their own exchange.
const MAX_ATTEMPTS: usize = 3;

/// What is cached.
pub trait Token: Send + Sync + 'static {
    /// When it ends.
    fn expires_on(&self) -> Timestamp;
    /// Bytes held.
    fn bytes(&self) -> usize;
}

/// What the cache needs to know of a failed exchange.
pub trait Failure: Clone + From<Lost> + Send + Sync + 'static {
    /// What it refuses, if it is a definite refusal: the same token will get no other answer for a while.
    fn refusal_scope(&self) -> Option<RefusalScope>;
    /// Whether nothing was tried, as a renewal does not matter enough. It says nothing to a caller who has no token yet.
    fn is_skipped(&self) -> bool;
}

/// What a definite refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalScope {
    /// The token presented. Another token may be accepted.
    Token,
    /// The user, as far as ACS decides: where ACS alone permits the user, cached tokens end too.
    User,
    /// The token presented and whatever an earlier exchange for the same key brought.
    Session,
}

/// An entry's key. What is exchanged for one token alone also has that token's digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey<K> {
    shared: K,
    own: Option<TokenDigest>,
}

impl<K: Clone> CacheKey<K> {
    /// The key of the entry that callers share.
    fn shared(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            own: None,
        }
    }

    /// The key of the entry of one token alone.
    fn own(&self, digest: TokenDigest) -> Self {
        Self {
            shared: self.shared.clone(),
            own: Some(digest),
        }
    }
}

/// What a caller presents at a lookup.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lookup {
    /// Which token the caller presents.
    pub digest: TokenDigest,
    /// When that token expires, if that bounds what it brings. `None`: the exchanged token has a lifetime of its own.
    pub token_expires_on: Option<Timestamp>,
    /// Age at which an entry must be exchanged anew for this caller; set where ACS alone permits them.
    pub max_age: Option<Duration>,
}

/// How an answer came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// From the cache.
    Hit,
    /// By an exchange that this caller started.
    Miss,
    /// By an exchange that another caller started, here or at another replica.
    Shared,
}

/// Where a cached token came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// This replica's memory.
    Memory,
    /// The store that replicas share.
    Store,
}

impl Source {
    /// Its name in logs and spans.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Store => "store",
        }
    }
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
    /// Where from, if it was cached.
    pub source: Option<Source>,
}

/// What an exchange is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    /// There is nothing to serve to the caller who started it.
    FirstTime,
    /// It renews an entry that is served if it fails. The caller who started it waits.
    Renewal,
    /// It renews an entry that is still served. No caller waits.
    BackgroundRenewal,
}

impl RunMode {
    /// Whether a cached token is served if it fails.
    #[must_use]
    pub fn is_renewal(self) -> bool {
        self != Self::FirstTime
    }
}

/// What a flight brought.
enum Landed<T> {
    /// A token, by an exchange.
    Exchanged(Arc<T>),
    /// A token that another flight had just brought.
    Recent(Arc<T>),
    /// An entry of the store, which each caller judges for themselves.
    Stored(Stored<T>),
}

impl<T> Clone for Landed<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Exchanged(token) => Self::Exchanged(Arc::clone(token)),
            Self::Recent(token) => Self::Recent(Arc::clone(token)),
            Self::Stored(stored) => Self::Stored(stored.clone()),
        }
    }
}

type FlightResult<T, E> = Result<Landed<T>, E>;

/// What a waiter gets.
enum Brought<T> {
    /// A token.
    Answer(Answer<T>),
    /// An entry of the store.
    Stored(Stored<T>),
}

/// The same, with the digest of the leader's token.
type WaiterResult<T, E> = Result<(Brought<T>, TokenDigest), (E, TokenDigest)>;

/// The second tier of a lookup, if there is one.
type Shared<'s, K, T> = Option<&'s Arc<dyn SharedTier<K, T>>>;

/// A cache of exchanged tokens with one flight per key.
pub struct TokenCache<K, T, E> {
    entries: Arc<Entries<K, T>>,
    refusals: Arc<Refusals<K, E>>,
    ended: Arc<Ended<K>>,
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
            entries: Arc::new(Entries::new(config, Arc::clone(&clock))),
            refusals: Arc::new(Refusals::new(clock)),
            ended: Arc::new(Ended::new()),
            flights: Flights::default(),
        }
    }

    /// How many entries there are, and what they weigh against `max_bytes`.
    #[must_use]
    pub fn fill(&self) -> (u64, u64) {
        self.entries.fill()
    }

    /// The cached token, where the rule serves it as it is; else the key again, for [`get`](Self::get). Most requests are
    /// served so, without anything being made ready for an exchange.
    pub async fn served(&self, key: K, lookup: &Lookup) -> Result<Answer<T>, K> {
        let key = CacheKey { shared: key, own: None };
        match self.entries.decide(&key, lookup).await {
            Some((CacheDecision::Serve, entry)) => Ok(hit(&entry, None)),
            _ => Err(key.shared),
        }
    }

    /// A token for `key`, cached in memory or by `shared`, or by `exchange`, as the rule in [`decision`] says for this
    /// `lookup`. `on_wait` is called when the exchange has to wait by its [`Ticket`] before it begins. An exchange takes its
    /// [`Claim`] when nothing else is to be waited for.
    pub async fn get<X, F>(
        &self,
        key: K,
        lookup: &Lookup,
        shared: Shared<'_, K, T>,
        exchange: X,
        mut on_wait: impl FnMut(),
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
                Some(Stored { entry, .. }) => Some((self.entries.judge(&key, &entry, lookup), entry)),
                None => self.entries.decide(&key, lookup).await,
            };
            // There is an entry beside a purpose only if it may be served when the exchange fails.
            let (purpose, entry) = match decided {
                Some((CacheDecision::Serve, entry)) => return Ok(hit(&entry)),
                Some((CacheDecision::ServeAndRenew, entry)) => {
                    if self.refusals.get(&key.shared, lookup.digest).is_none() {
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
                    if let Some(entry) = self.entries.servable_own(&key, lookup).await {
                        return Ok(hit(&entry));
                    }
                    (Purpose::Miss, None)
                }
            };
            // The refusal was applied to the entry when it arrived; what is there now is younger.
            if let Some(error) = self.refusals.get(&key.shared, lookup.digest) {
                let entry = entry.filter(|entry| !ends_earlier(&error, lookup) && self.entries.is_servable(entry));
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
                    let is_usable = leader == lookup.digest || self.entries.is_usable_for(&answer, lookup);
                    if (is_leader || confirmed) && is_usable {
                        return Ok(longer_lived(answer, entry.as_deref()));
                    }
                    // It was for a token that expires at another time: the next lookup decides anew for this one.
                }
                // The renewal that this caller joined did not take place.
                Err((error, _)) if error.is_skipped() && !purpose.renews() => {}
                Err((error, leader)) => {
                    let ends_earlier = ends_earlier(&error, lookup);
                    if let Some(entry) = entry.filter(|entry| !ends_earlier && self.entries.is_servable(entry)) {
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
        on_wait: impl FnMut(),
    ) -> Result<Answer<T>, E>
    where
        X: Fn(RunMode, Ticket, Claim) -> F + Clone + Send + 'static,
        F: Future<Output = Result<Exchanged<T>, E>> + Send + 'static,
    {
        let key = CacheKey {
            shared: key,
            own: Some(lookup.digest),
        };
        if purpose == Purpose::Miss
            && let Some(entry) = self.entries.servable_own(&key, lookup).await
        {
            return Ok(hit(&entry, None));
        }
        if let Some(error) = self.refusals.get(&key.shared, lookup.digest) {
            return Err(error);
        }
        match wait(self.join_flight(&key, lookup, purpose, shared, &exchange), on_wait).await {
            Ok((Brought::Answer(answer), _)) => Ok(answer),
            Ok((Brought::Stored(found), _)) => Ok(hit(&found.entry, Some(found.waited))),
            Err((error, _)) => {
                self.apply_failure(&key, lookup, purpose, shared, &error).await;
                self.entries.apply_failure(&key.shared(), lookup, purpose, &error).await;
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
        apply_failure(
            &self.entries,
            &self.ended,
            shared.as_deref(),
            key,
            lookup,
            purpose,
            error,
        )
        .await;
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
        let mode = match purpose {
            Purpose::Miss | Purpose::Revalidation => RunMode::FirstTime,
            Purpose::Renewal => RunMode::Renewal,
            Purpose::BackgroundRenewal => RunMode::BackgroundRenewal,
        };
        self.flights.join_with(key.clone(), lookup.digest, |ticket| {
            let (entries, refusals) = (Arc::clone(&self.entries), Arc::clone(&self.refusals));
            let (key, lookup, exchange) = (key.clone(), *lookup, exchange.clone());
            let ended = Arc::clone(&self.ended);
            let tier = shared.cloned();
            async move {
                // Another flight may have ended between this caller's lookup and the start of this one.
                if let Some((CacheDecision::Serve, entry)) = entries.decide(&key, &lookup).await {
                    return Ok(Landed::Recent(Arc::clone(&entry.token)));
                }
                if let Some(error) = refusals.get(&key.shared, lookup.digest) {
                    return Err(error);
                }
                let shared = tier.map(|tier| tier.entry(&key.shared));
                // What is exchanged for one token beside what others have is nothing to share.
                let flight = shared.clone().filter(|_| key.own.is_none());
                let flight = flight.map(|entry| {
                    let (refusals, shared) = (Arc::clone(&refusals), key.shared.clone());
                    let is_refused = move || refusals.get(&shared, lookup.digest).is_some();
                    Arc::new(SharedFlight::new(
                        entry, &entries, &ended, &key, &lookup, purpose, is_refused,
                    ))
                });
                let Some(flight) = flight else {
                    let exchanged = exchange(mode, ticket, Claim::none()).await;
                    return match exchanged.and_then(token) {
                        Ok(token) => {
                            entries.insert(key, &lookup, purpose, &token).await;
                            Ok(Landed::Exchanged(token))
                        }
                        Err(error) => {
                            refusals.remember(&key.shared, lookup.digest, &error);
                            let shared = shared.as_deref();
                            apply_failure(&entries, &ended, shared, &key, &lookup, purpose, &error).await;
                            Err(error)
                        }
                    };
                };
                if flight.look().await
                    && let Some(found) = flight.found()
                {
                    return Ok(Landed::Stored(found));
                }
                match exchange(mode, ticket, Claim::of(&flight)).await {
                    Ok(Exchanged::Token(token)) => {
                        let token = Arc::new(token);
                        let kept = entries.insert(key, &lookup, flight.purpose(), &token).await;
                        flight.keep(kept).await;
                        Ok(Landed::Exchanged(token))
                    }
                    Ok(Exchanged::Elsewhere) => flight.found().map(Landed::Stored).ok_or_else(|| {
                        let refusal = refusals.get(&key.shared, lookup.digest);
                        refusal.unwrap_or_else(|| E::from(Lost))
                    }),
                    Err(error) => {
                        refusals.remember(&key.shared, lookup.digest, &error);
                        let shared = shared.as_deref();
                        apply_failure(&entries, &ended, shared, &key, &lookup, purpose, &error).await;
                        flight.release();
                        Err(error)
                    }
                }
            }
        })
    }
}

/// The token of an exchange that shares nothing.
fn token<T, E: Failure>(exchanged: Exchanged<T>) -> Result<Arc<T>, E> {
    match exchanged {
        Exchanged::Token(token) => Ok(Arc::new(token)),
        // There was nowhere to find one.
        Exchanged::Elsewhere => Err(E::from(Lost)),
    }
}

/// What a failed exchange means for what memory and the store have: what a refusal drops from memory is deleted there.
async fn apply_failure<K, T, E>(
    entries: &Entries<K, T>,
    ended: &Ended<K>,
    shared: Option<&dyn SharedEntry<T>>,
    key: &CacheKey<K>,
    lookup: &Lookup,
    purpose: Purpose,
    error: &E,
) where
    K: Weigh + Clone + Eq + Hash + Send + Sync + 'static,
    T: Token,
    E: Failure,
{
    entries.apply_failure(key, lookup, purpose, error).await;
    if let Some(shared) = shared
        && ends_earlier(error, lookup)
    {
        ended.note(&key.shared, entries.now());
        shared.delete().await;
    }
}

/// Whether a failed exchange ends what an earlier one brought: whether it is a refusal by the service that decides about
/// this caller.
fn ends_earlier(error: &impl Failure, lookup: &Lookup) -> bool {
    match error.refusal_scope() {
        Some(RefusalScope::Session) => true,
        Some(RefusalScope::User) => lookup.max_age.is_some(),
        Some(RefusalScope::Token) | None => false,
    }
}

/// What a cached entry answers. `from_store`: if it came from the store, whether another replica brought it meanwhile.
fn hit<T>(entry: &Entry<T>, from_store: Option<bool>) -> Answer<T> {
    Answer {
        token: Arc::clone(&entry.token),
        outcome: if from_store == Some(true) {
            Outcome::Shared
        } else {
            Outcome::Hit
        },
        source: Some(from_store.map_or(Source::Memory, |_| Source::Store)),
    }
}

/// The one that expires later: the renewed token or the old one.
fn longer_lived<T: Token>(answer: Answer<T>, old: Option<&Entry<T>>) -> Answer<T> {
    match old {
        Some(old) if old.token.expires_on() > answer.token.expires_on() => Answer {
            token: Arc::clone(&old.token),
            ..answer
        },
        _ => answer,
    }
}

async fn wait<T, E: Failure>(
    waiter: Waiter<TokenDigest, FlightResult<T, E>>,
    on_wait: impl FnOnce(),
) -> WaiterResult<T, E>
where
    T: Token,
{
    let (is_leader, leader) = (waiter.is_leader, waiter.leader);
    match waiter.outcome_or_wait(on_wait).await {
        Ok(Ok(Landed::Exchanged(token))) => {
            let outcome = if is_leader { Outcome::Miss } else { Outcome::Shared };
            let source = None;
            let answer = Answer { token, outcome, source };
            Ok((Brought::Answer(answer), leader))
        }
        Ok(Ok(Landed::Recent(token))) => {
            let (outcome, source) = (Outcome::Hit, Some(Source::Memory));
            let answer = Answer { token, outcome, source };
            Ok((Brought::Answer(answer), leader))
        }
        Ok(Ok(Landed::Stored(stored))) => Ok((Brought::Stored(stored), leader)),
        Ok(Err(error)) => Err((error, leader)),
        Err(lost) => Err((E::from(lost), leader)),
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod tests;
