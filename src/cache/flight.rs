//! One exchange for all who wait for the same key: what it looks at before, and what its outcome changes.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use tokio::time::Instant;

use super::answer::{Answer, Outcome, Source};
use super::decision::CacheDecision;
use super::ended::Ended;
use super::entries::{Entries, Purpose};
use super::lookup::{CacheKey, Failure, Lookup, RunMode, Token, ends_earlier};
use super::refusals::Refusals;
use super::shared::{Claim, Exchanged, SharedEntry, SharedFlight, SharedTier, Stored};
use super::store::Weigh;
use base::flight::{Lost, Ticket, Waiter};
use base::secret::TokenDigest;

/// What a flight brought.
pub(super) enum Landed<T> {
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

pub(super) type FlightResult<T, E> = Result<Landed<T>, E>;

/// What a waiter gets.
pub(super) enum Brought<T> {
    /// A token.
    Answer(Answer<T>),
    /// An entry of the store.
    Stored(Stored<T>),
}

/// The same, with the digest of the leader's token.
type WaiterResult<T, E> = Result<(Brought<T>, TokenDigest), (E, TokenDigest)>;

/// What this replica has in memory.
pub(super) struct Memory<K, T, E> {
    pub(super) entries: Arc<Entries<K, T>>,
    pub(super) refusals: Refusals<K, E>,
    pub(super) ended: Arc<Ended<K>>,
}

impl<K, T, E> Memory<K, T, E>
where
    K: Weigh + Clone + Eq + Hash + Send + Sync + 'static,
    T: Token,
    E: Failure,
{
    /// The flight of `key`: an exchange, unless memory or the store has by now what this lookup needs.
    pub(super) async fn fly<X, F>(
        self: Arc<Self>,
        key: CacheKey<K>,
        lookup: Lookup,
        purpose: Purpose,
        tier: Option<Arc<dyn SharedTier<K, T>>>,
        exchange: X,
        ticket: Ticket,
    ) -> FlightResult<T, E>
    where
        X: Fn(RunMode, Ticket, Claim) -> F,
        F: Future<Output = Result<Exchanged<T>, E>>,
    {
        // Another flight may have ended between this caller's lookup and the start of this one.
        if let Some((CacheDecision::Serve, entry)) = self.entries.decide(&key, &lookup).await {
            return Ok(Landed::Recent(Arc::clone(&entry.token)));
        }
        if let Some(error) = self.refusals.get(&key.shared, lookup.digest) {
            return Err(error);
        }
        let shared = tier.map(|tier| tier.entry(&key.shared));
        // What is exchanged for one token beside what others have is nothing to share.
        let flight = shared.clone().filter(|_| key.own.is_none()).map(|entry| {
            let (memory, shared) = (Arc::clone(&self), key.shared.clone());
            let is_refused = move || memory.refusals.get(&shared, lookup.digest).is_some();
            let (entries, ended) = (&self.entries, &self.ended);
            Arc::new(SharedFlight::new(
                entry, entries, ended, &key, &lookup, purpose, is_refused,
            ))
        });
        let mut claim = Claim::none();
        if let Some(flight) = &flight {
            if flight.look().await
                && let Some(found) = flight.found()
            {
                return Ok(Landed::Stored(found));
            }
            claim = Claim::of(flight);
        }
        match exchange(purpose.run_mode(), ticket, claim).await {
            Ok(Exchanged::Token(token)) => {
                let token = Arc::new(token);
                let purpose = flight.as_ref().map_or(purpose, |flight| flight.purpose());
                let kept = self.entries.insert(key, &lookup, purpose, &token).await;
                if let Some(flight) = flight {
                    flight.keep(kept).await;
                }
                Ok(Landed::Exchanged(token))
            }
            Ok(Exchanged::Elsewhere) => {
                let found = flight.and_then(|flight| flight.found());
                found.map(Landed::Stored).ok_or_else(|| {
                    let refusal = self.refusals.get(&key.shared, lookup.digest);
                    refusal.unwrap_or_else(|| E::from(Lost.into()))
                })
            }
            Err(error) => {
                self.refusals.remember(&key.shared, lookup.digest, &error);
                let shared = shared.as_deref();
                self.apply_failure(&key, &lookup, purpose, shared, &error).await;
                if let Some(flight) = flight {
                    flight.release();
                }
                Err(error)
            }
        }
    }

    /// What a failed exchange means for what memory and the store have: what a refusal drops from memory is deleted there.
    pub(super) async fn apply_failure(
        &self,
        key: &CacheKey<K>,
        lookup: &Lookup,
        purpose: Purpose,
        shared: Option<&dyn SharedEntry<T>>,
        error: &E,
    ) {
        self.entries.apply_failure(key, lookup, purpose, error).await;
        if let Some(shared) = shared
            && ends_earlier(error, lookup)
        {
            self.ended.note(&key.shared, self.entries.now());
            shared.delete().await;
        }
    }
}

/// Waits for what a flight brings, for its turn until `on_wait` says.
pub(super) async fn wait<T: Token, E: Failure>(
    waiter: Waiter<TokenDigest, FlightResult<T, E>>,
    on_wait: impl FnOnce() -> Instant,
) -> WaiterResult<T, E> {
    let (is_leader, leader) = (waiter.is_leader, waiter.leader);
    let (token, outcome, source) = match waiter.outcome_or_wait(on_wait).await {
        Ok(Ok(Landed::Exchanged(token))) => {
            let outcome = if is_leader { Outcome::Miss } else { Outcome::Shared };
            (token, outcome, None)
        }
        Ok(Ok(Landed::Recent(token))) => (token, Outcome::Hit, Some(Source::Memory)),
        Ok(Ok(Landed::Stored(stored))) => return Ok((Brought::Stored(stored), leader)),
        Ok(Err(error)) => return Err((error, leader)),
        Err(none) => return Err((E::from(none), leader)),
    };
    let answer = Answer { token, outcome, source };
    Ok((Brought::Answer(answer), leader))
}
