//! Definite refusals, remembered for a moment: asking again with the same token would bring the same answer, and each
//! question counts against the quota that all callers share.

use std::hash::Hash;
use std::time::Duration;

use moka::policy::EvictionPolicy;

use super::{CacheKey, Failure};
use base::clock::SharedClock;
use base::secret::TokenDigest;

/// How long a refusal is remembered. A user who is granted something at ACS or Entra waits no longer than this for it.
pub(super) const REMEMBER_FOR: Duration = Duration::from_secs(15);
/// The most refusals that are remembered; beyond, those used longest ago are forgotten.
const MAX_REFUSALS: u64 = 10_000;

/// Refusals by the key of the exchange and by the token that was refused.
pub(super) struct Refusals<K, E> {
    entries: moka::sync::Cache<CacheKey<K>, Refusal<E>>,
    clock: SharedClock,
}

#[derive(Clone)]
struct Refusal<E> {
    // Monotonic time.
    at: Duration,
    error: E,
}

impl<K, E> Refusals<K, E>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    E: Failure,
{
    pub(super) fn new(clock: SharedClock) -> Self {
        let entries = moka::sync::Cache::builder()
            .max_capacity(MAX_REFUSALS)
            // The default policy refuses newcomers while the cache is full; the latest are the ones that come again.
            .eviction_policy(EvictionPolicy::lru())
            // Only reclaims memory: how long a refusal counts is decided at each look, by the clock.
            .time_to_live(REMEMBER_FOR)
            .build();
        Self { entries, clock }
    }

    /// The refusal of this token, if it is remembered.
    pub(super) fn get(&self, shared: &K, digest: TokenDigest) -> Option<E> {
        let key = token_key(shared, digest);
        let refusal = self.entries.get(&key)?;
        if self.clock.monotonic().saturating_sub(refusal.at) < REMEMBER_FOR {
            Some(refusal.error)
        } else {
            self.entries.invalidate(&key);
            None
        }
    }

    /// Remembers `error` if it is a definite refusal of the token. Nothing else is: limits, outages and refusals of the broker
    /// itself can be over at the next request.
    pub(super) fn remember(&self, shared: &K, digest: TokenDigest, error: &E) {
        if error.refusal_scope().is_some() {
            let refusal = Refusal {
                at: self.clock.monotonic(),
                error: error.clone(),
            };
            self.entries.insert(token_key(shared, digest), refusal);
        }
    }

    #[cfg(test)]
    pub(super) fn settled_len(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }
}

fn token_key<K: Clone>(shared: &K, digest: TokenDigest) -> CacheKey<K> {
    CacheKey {
        shared: shared.clone(),
        own: Some(Box::new(digest)),
    }
}
