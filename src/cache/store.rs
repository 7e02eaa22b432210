//! The entries, in moka: bounded in number and bytes, reclaimed when they end.

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;

use super::decision::Life;
use super::{CacheKey, Token};
use base::clock::SharedClock;
use config::CacheConfig;

/// A cached token with what the rule needs to know of it.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) token: Arc<T>,
    pub(super) life: Life,
}

/// Bytes that an entry costs beside its key and token: the table, the counters, the `Arc`s.
const ENTRY_OVERHEAD: usize = 256;

pub(super) struct Store<K, T> {
    entries: moka::future::Cache<CacheKey<K>, Arc<Entry<T>>>,
}

/// How a key weighs.
pub trait Weigh {
    /// Bytes on the heap and off it.
    fn bytes(&self) -> usize;
}

impl<K, T> Store<K, T>
where
    K: Weigh + Clone + Eq + Hash + Send + Sync + 'static,
    T: Token,
{
    pub(super) fn new(config: &CacheConfig, clock: SharedClock) -> Self {
        // moka has one capacity. An entry that weighs at least its share of max_bytes keeps both bounds.
        let least = config.max_bytes / config.max_entries.max(1);
        let entries = moka::future::Cache::builder()
            .max_capacity(config.max_bytes)
            .weigher(move |key: &CacheKey<K>, entry: &Arc<Entry<T>>| {
                let bytes = key.shared.bytes() + entry.token.bytes() + ENTRY_OVERHEAD;
                u32::try_from(least.max(bytes as u64)).unwrap_or(u32::MAX)
            })
            // The default policy refuses newcomers while the cache is full; callers come back, so keep the latest.
            .eviction_policy(EvictionPolicy::lru())
            // Only reclaims memory: what may be served is decided by the rule, at each look.
            .expire_after(UntilEnd { clock })
            .build();
        Self { entries }
    }

    /// How many entries there are, and what they weigh. Does first what moka puts off, as far as that can be done at once.
    pub(super) fn fill(&self) -> (u64, u64) {
        let _ = self.entries.run_pending_tasks().now_or_never();
        (self.entries.entry_count(), self.entries.weighted_size())
    }

    pub(super) async fn get(&self, key: &CacheKey<K>) -> Option<Arc<Entry<T>>> {
        self.entries.get(key).await
    }

    /// Atomically replaces, removes or leaves the entry of `key`. `true`: it was put or removed.
    pub(super) async fn change(
        &self,
        key: CacheKey<K>,
        decide: impl FnOnce(Option<&Entry<T>>) -> Op<Arc<Entry<T>>>,
    ) -> bool {
        let result = self
            .entries
            .entry(key)
            .and_compute_with(|entry| {
                let op = decide(entry.map(moka::Entry::into_value).as_deref());
                std::future::ready(op)
            })
            .await;
        !matches!(result, CompResult::Unchanged(_) | CompResult::StillNone(_))
    }
}

#[cfg(test)]
impl<K, T> Store<K, T>
where
    K: Weigh + Clone + Eq + Hash + Send + Sync + 'static,
    T: Token,
{
    /// How many entries there are once moka has done what it puts off.
    pub(super) async fn settled_len(&self) -> u64 {
        self.entries.run_pending_tasks().await;
        self.entries.entry_count()
    }
}

struct UntilEnd {
    clock: SharedClock,
}

impl UntilEnd {
    fn remaining<T>(&self, entry: &Entry<T>) -> Duration {
        let remaining = entry.life.expires_on.duration_since(self.clock.now());
        Duration::try_from(remaining).unwrap_or_default()
    }
}

impl<K, T> moka::Expiry<CacheKey<K>, Arc<Entry<T>>> for UntilEnd {
    fn expire_after_create(&self, _: &CacheKey<K>, entry: &Arc<Entry<T>>, _: Instant) -> Option<Duration> {
        Some(self.remaining(entry))
    }

    fn expire_after_update(
        &self,
        _: &CacheKey<K>,
        entry: &Arc<Entry<T>>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.remaining(entry))
    }
}
