//! The second tier: what a store that replicas share holds for one key, and how an exchange takes its turn among them.
//!
//! What the store gives is put into memory first and then judged by the rule like all that is there. So nothing is served from
//! the store that would not be served from memory.

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::Instant;

use super::decision::CacheDecision;
use super::ended::Ended;
use super::entries::{Entries, Purpose};
use super::store::{Entry, Weigh};
use super::{CacheKey, Lookup, Token};

/// How often the store is asked for the value that another replica is about to bring.
const POLL: Duration = Duration::from_millis(50);
/// Every so many of these questions it is asked whether that replica has given up.
const POLLS_A_LEASE: u32 = 4;

/// What a store holds of one resource.
pub trait SharedTier<K, T>: Send + Sync {
    /// The entry of `key`.
    fn entry(&self, key: &K) -> Arc<dyn SharedEntry<T>>;
}

/// One key's entry in the store.
pub trait SharedEntry<T>: Send + Sync {
    /// The value, if there is one that can be used. A store that is away has none.
    fn get(&self) -> BoxFuture<'_, Option<Kept<T>>>;
    /// Keeps a value, in place of one that ends earlier; after a revalidation also of one that was exchanged earlier.
    fn put<'a>(&'a self, kept: &'a Kept<T>, revalidated: bool) -> BoxFuture<'a, ()>;
    /// Forgets the value.
    fn delete(&self) -> BoxFuture<'_, ()>;
    /// Takes the lease on this key's exchange.
    fn lease(&self) -> BoxFuture<'_, Leased>;
}

/// A token with the time of its exchange.
#[derive(Debug)]
pub struct Kept<T> {
    /// The token.
    pub token: Arc<T>,
    /// When it was exchanged, or confirmed by another exchange.
    pub exchanged_at: Timestamp,
}

/// What became of a lease.
pub enum Leased {
    /// It is this replica's.
    Held {
        /// Kept for as long as nobody else is to exchange.
        lease: Box<dyn Lease>,
        /// When it ends by itself.
        length: Duration,
    },
    /// It is another's, for so long at most.
    Taken(Duration),
    /// The store does not answer: the replica goes on by itself.
    Away,
}

/// A lease that is held; dropped, it is released. It also ends by itself.
pub trait Lease: Send {}

/// What an exchange brought.
#[derive(Debug)]
pub enum Exchanged<T> {
    /// A token.
    Token(T),
    /// Nothing was exchanged, since the [`Claim`] found what another replica had brought.
    Elsewhere,
}

/// A flight's turn to exchange, among all replicas.
#[derive(Clone)]
pub struct Claim(Option<Arc<dyn Claimed>>);

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// This flight exchanges.
    Own,
    /// Nothing is to be exchanged: another replica has brought what is needed, or the token was refused meanwhile.
    Found,
    /// Another replica exchanges, for so long at most.
    Others(Duration),
}

impl Claim {
    /// Where nothing is shared, the turn is always the flight's own.
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn of<K, T>(shared: &Arc<SharedFlight<K, T>>) -> Self
    where
        K: Weigh + Clone + Eq + Hash + Send + Sync + 'static,
        T: Token,
    {
        Self(Some(Arc::clone(shared) as Arc<dyn Claimed>))
    }

    /// Whether there are others who may take it.
    #[cfg(test)]
    pub(super) fn is_shared(&self) -> bool {
        self.0.is_some()
    }

    /// Takes the turn, once nothing else is to be waited for.
    pub async fn take(&self) -> Turn {
        match &self.0 {
            Some(claimed) => claimed.take().await,
            None => Turn::Own,
        }
    }

    /// Waits for what another replica brings, `at_most` so long. Whether it has come; if not, it is to be tried again.
    pub async fn wait(&self, at_most: Duration) -> bool {
        match &self.0 {
            Some(claimed) => claimed.wait(at_most).await,
            None => false,
        }
    }
}

/// A flight's claim, whatever its key and token are.
trait Claimed: Send + Sync {
    fn take(&self) -> BoxFuture<'_, Turn>;
    fn wait(&self, at_most: Duration) -> BoxFuture<'_, bool>;
}

/// One flight's dealings with the store.
pub(super) struct SharedFlight<K, T> {
    pub(super) shared: Arc<dyn SharedEntry<T>>,
    pub(super) entries: Arc<Entries<K, T>>,
    pub(super) ended: Arc<Ended<K>>,
    pub(super) key: CacheKey<K>,
    pub(super) lookup: Lookup,
    // Whether the token was refused a moment ago.
    is_refused: Box<dyn Fn() -> bool + Send + Sync>,
    state: Mutex<State<T>>,
}

struct State<T> {
    purpose: Purpose,
    // With the time until which it may be relied on.
    lease: Option<(Box<dyn Lease>, Instant)>,
    found: Option<Arc<Entry<T>>>,
    waited: bool,
}

/// What was found in the store.
pub(super) struct Stored<T> {
    pub(super) entry: Arc<Entry<T>>,
    /// Whether another replica exchanged it while this one waited.
    pub(super) waited: bool,
}

impl<T> Clone for Stored<T> {
    fn clone(&self) -> Self {
        Self {
            entry: Arc::clone(&self.entry),
            waited: self.waited,
        }
    }
}

impl<K, T> SharedFlight<K, T>
where
    K: Weigh + Clone + Eq + Hash + Send + Sync + 'static,
    T: Token,
{
    pub(super) fn new(
        shared: Arc<dyn SharedEntry<T>>,
        entries: &Arc<Entries<K, T>>,
        ended: &Arc<Ended<K>>,
        key: &CacheKey<K>,
        lookup: &Lookup,
        purpose: Purpose,
        is_refused: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            shared,
            entries: Arc::clone(entries),
            ended: Arc::clone(ended),
            key: key.clone(),
            lookup: *lookup,
            is_refused: Box::new(is_refused),
            state: Mutex::new(State {
                purpose,
                lease: None,
                found: None,
                waited: false,
            }),
        }
    }

    /// Looks into the store. Whether what it has spares this flight its exchange.
    pub(super) async fn look(&self) -> bool {
        let Some(kept) = self.shared.get().await else {
            return false;
        };
        if self.ended.covers(&self.key.shared, kept.exchanged_at) {
            return false;
        }
        let entry = self.entries.adopt(&self.key, &kept).await;
        let decision = self.entries.judge(&self.key, &entry, &self.lookup);
        let mut state = self.state();
        if decision == CacheDecision::Revalidate {
            // What ACS says now is newer than what the store has, though it may end no later.
            state.purpose = Purpose::Revalidation;
        }
        let spares = match decision {
            CacheDecision::Serve | CacheDecision::OwnExchange => true,
            CacheDecision::ServeAndRenew => state.purpose != Purpose::BackgroundRenewal,
            CacheDecision::RenewFirst => !state.purpose.renews(),
            CacheDecision::Revalidate | CacheDecision::Expired => false,
        };
        if spares {
            state.found = Some(entry);
        }
        spares
    }

    /// What was found.
    pub(super) fn found(&self) -> Option<Stored<T>> {
        let state = self.state();
        let entry = state.found.clone()?;
        Some(Stored {
            entry,
            waited: state.waited,
        })
    }

    /// What the flight is for, as far as is known now.
    pub(super) fn purpose(&self) -> Purpose {
        self.state().purpose
    }

    /// Keeps what memory now has after an exchange, and lets others go on.
    pub(super) async fn keep(&self, kept: Option<Kept<T>>) {
        self.ended.forget(&self.key.shared);
        if let Some(kept) = kept {
            let revalidated = self.purpose() == Purpose::Revalidation;
            self.shared.put(&kept, revalidated).await;
        }
        self.release();
    }

    /// Lets others go on.
    pub(super) fn release(&self) {
        self.state().lease = None;
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the lease is ours, or for how long it is another's.
    async fn lease(&self) -> Result<(), Duration> {
        let held_until = self.state().lease.as_ref().map(|(_, until)| *until);
        if held_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        self.release();
        let began = Instant::now();
        match self.shared.lease().await {
            Leased::Held { lease, length } => {
                // An exchange takes a while yet.
                self.state().lease = Some((lease, began + length / 2));
                Ok(())
            }
            Leased::Taken(remaining) => Err(remaining),
            Leased::Away => Ok(()),
        }
    }
}

impl<K, T> Claimed for SharedFlight<K, T>
where
    K: Weigh + Clone + Eq + Hash + Send + Sync + 'static,
    T: Token,
{
    fn take(&self) -> BoxFuture<'_, Turn> {
        Box::pin(async move {
            if let Err(remaining) = self.lease().await {
                return Turn::Others(remaining);
            }
            // Either may have come between the first look and the lease.
            if self.look().await || (self.is_refused)() {
                self.release();
                return Turn::Found;
            }
            Turn::Own
        })
    }

    fn wait(&self, at_most: Duration) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let until = Instant::now() + at_most;
            let mut polls = 0;
            loop {
                let now = Instant::now();
                if now >= until {
                    return false;
                }
                tokio::time::sleep(POLL.min(until.saturating_duration_since(now))).await;
                self.state().waited = true;
                if self.look().await {
                    return true;
                }
                polls += 1;
                // Who failed has released it, and brings nothing any more.
                if polls % POLLS_A_LEASE == 0 && self.lease().await.is_ok() {
                    return false;
                }
            }
        })
    }
}
