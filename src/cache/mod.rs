//! Exchanged tokens, served again as long as that gives nobody more than an exchange would.
//!
//! `entry` is the rule, `contents` applies it to the entries that `store` keeps, `flight` makes one upstream call per
//! key however many wait, `refusals` spares the call that was refused a moment ago; [`TokenCache::get`] puts them
//! together. Nothing here knows Azure.

mod contents;
pub mod entry;
pub mod flight;
mod refusals;
mod store;

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use self::contents::{Contents, Purpose};
use self::entry::Use;
use self::flight::{Flights, Lost, Seat};
use self::refusals::Refusals;
use self::store::Entry;
pub use self::store::Weigh;
use base::clock::SharedClock;
use base::secret::TokenDigest;
use config::CacheConfig;

/// How often a caller looks again after an outcome that was not for them; then they make their own exchange.
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
    /// A refusal of the token presented: another token may fare otherwise, and this one will not for a while.
    fn is_definite_refusal(&self) -> bool;
    /// The user may not have a token (any more), as far as ACS goes.
    fn forbids(&self) -> bool;
    /// What an earlier exchange for the same key brought must not be served any more either.
    fn ends(&self) -> bool;
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
    /// Which token the caller presents.
    pub digest: TokenDigest,
    /// When that token ends, if that bounds what it brings. `None`: an exchange brings a life of its own.
    pub token_expires_on: Option<Timestamp>,
    /// Age at which what is cached must be exchanged anew for this caller.
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

/// Whether anybody waits for an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The caller who started it, within their deadline.
    Caller,
    /// Nobody: it renews ahead.
    Nobody,
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
    contents: Arc<Contents<K, T>>,
    refusals: Arc<Refusals<K, E>>,
    flights: Flights<CacheKey<K>, TokenDigest, Flown<T, E>>,
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
            contents: Arc::new(Contents::new(config, Arc::clone(&clock))),
            refusals: Arc::new(Refusals::new(clock)),
            flights: Flights::default(),
        }
    }

    /// How many entries there are, and what they weigh against `max_bytes`.
    #[must_use]
    pub fn fill(&self) -> (u64, u64) {
        self.contents.fill()
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
            let (purpose, entry) = match self.contents.look(&key, request).await {
                Some((Use::Serve, entry)) => return Ok(hit(&entry)),
                Some((Use::ServeAndRenew, entry)) => {
                    if self.refusals.of(&key.shared, request.digest).is_none() {
                        self.fly(&key, request, Purpose::Ahead, &exchange);
                    }
                    return Ok(hit(&entry));
                }
                Some((Use::OwnExchange, _)) => return self.own(key.shared, request, Purpose::Miss, exchange).await,
                Some((Use::RenewFirst, entry)) => (Purpose::Renewal, Some(entry)),
                Some((Use::Revalidate, _)) => (Purpose::Revalidation, None),
                Some((Use::Gone, _)) | None => {
                    // What outlives the token it was exchanged for is remembered for that token alone.
                    if let Some(entry) = self.contents.remembered(&key, request).await {
                        return Ok(hit(&entry));
                    }
                    (Purpose::Miss, None)
                }
            };
            // What the refusal meant for the entry was heeded when it came; what is there now came after it.
            if let Some(error) = self.refusals.of(&key.shared, request.digest) {
                let entry = entry.filter(|entry| !ends(&error, request) && self.contents.is_alive(entry));
                return entry.map_or(Err(error), |entry| Ok(hit(&entry)));
            }
            let seat = self.fly(&key, request, purpose, &exchange);
            let leads = seat.leads;
            match take(seat).await {
                Ok((answer, leader)) => {
                    // A joined flight that found no call needed had another caller to think of.
                    let confirmed = purpose != Purpose::Revalidation || answer.outcome != Outcome::Hit;
                    let suits = leader == request.digest || self.contents.suits(&answer, request);
                    if (leads || confirmed) && suits {
                        return Ok(later(answer, entry.as_deref()));
                    }
                    // It was for a token that ends otherwise: the next look sees what that means for this one.
                }
                Err((error, leader)) => {
                    let ended = ends(&error, request);
                    if let Some(entry) = entry.filter(|entry| !ended && self.contents.is_alive(entry)) {
                        return Ok(hit(&entry));
                    }
                    if error.is_definite_refusal() && leader != request.digest {
                        return self.own(key.shared, request, purpose, exchange).await;
                    }
                    self.contents.heed(&key, request, purpose, &error).await;
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
        if purpose == Purpose::Miss
            && let Some(entry) = self.contents.remembered(&key, request).await
        {
            return Ok(hit(&entry));
        }
        if let Some(error) = self.refusals.of(&key.shared, request.digest) {
            return Err(error);
        }
        match take(self.fly(&key, request, purpose, &exchange)).await {
            Ok((answer, _)) => Ok(answer),
            Err((error, _)) => {
                let shared = CacheKey {
                    own: None,
                    ..key.clone()
                };
                self.contents.heed(&key, request, purpose, &error).await;
                self.contents.heed(&shared, request, purpose, &error).await;
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
            let (contents, refusals) = (Arc::clone(&self.contents), Arc::clone(&self.refusals));
            let (key, request, exchange) = (key.clone(), *request, exchange.clone());
            async move {
                // A flight may have landed between this caller's look and take-off.
                if let Some((Use::Serve, entry)) = contents.look(&key, &request).await {
                    return Ok((Arc::clone(&entry.token), Fresh::No));
                }
                if let Some(error) = refusals.of(&key.shared, request.digest) {
                    return Err(error);
                }
                match exchange(waiting).await {
                    Ok(token) => {
                        let token = Arc::new(token);
                        contents.absorb(key, &request, purpose, &token).await;
                        Ok((token, Fresh::Yes))
                    }
                    Err(error) => {
                        refusals.remember(&key.shared, request.digest, &error);
                        contents.heed(&key, &request, purpose, &error).await;
                        Err(error)
                    }
                }
            }
        })
    }
}

/// Whether a failed exchange ends what an earlier one brought: a refusal of who decides about this caller.
fn ends(error: &impl Failure, request: &Request) -> bool {
    error.ends() || (error.forbids() && request.max_age.is_some())
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
