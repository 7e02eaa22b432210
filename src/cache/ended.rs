//! When refusals ended what the store may still hold: a deletion can fail, and what was there must not come back through this
//! replica.

use std::hash::Hash;

use jiff::Timestamp;
use moka::policy::EvictionPolicy;

/// No token of ACS's lives longer, and so no value of before.
const LONGEST_LIFE: std::time::Duration = std::time::Duration::from_hours(24);
/// The most that is remembered; beyond, what was used longest ago is forgotten.
const MOST: u64 = 10_000;

/// The last refusal that ended something, by key.
pub(super) struct Ended<K> {
    at: moka::sync::Cache<K, Timestamp>,
}

impl<K> Ended<K>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
{
    pub(super) fn new() -> Self {
        let at = moka::sync::Cache::builder()
            .max_capacity(MOST)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(LONGEST_LIFE)
            .build();
        Self { at }
    }

    /// What was exchanged up to `now` has ended.
    pub(super) fn note(&self, key: &K, now: Timestamp) {
        self.at.insert(key.clone(), now);
    }

    /// An exchange succeeded since.
    pub(super) fn forget(&self, key: &K) {
        // Almost always there is none, and looking takes no lock.
        if self.at.contains_key(key) {
            self.at.invalidate(key);
        }
    }

    /// Whether what was exchanged at that time has ended.
    pub(super) fn covers(&self, key: &K, exchanged_at: Timestamp) -> bool {
        self.at.get(key).is_some_and(|ended| exchanged_at <= ended)
    }
}
