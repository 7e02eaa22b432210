//! Keys that a newer set no longer names: how long they are still good.
//!
//! An authority behind several front ends answers with the old set and the new one in turn while its keys change. A key
//! that the next good fetch lacks is therefore good for `jwks_withdrawal_grace` more. All times are monotonic.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::DecodingKey;

use super::TenantKeys;
use base::untrusted::Untrusted;

/// A key, and when it ends to be good.
pub(super) struct Key {
    decoding: DecodingKey,
    // Its id, for logs and spans.
    shown: Arc<Untrusted>,
    // Absent for a key that the set names.
    ends: Option<Duration>,
}

impl Key {
    /// One that the set names.
    pub(super) fn published(kid: &str, decoding: DecodingKey) -> Self {
        Self {
            decoding,
            shown: Arc::new(Untrusted::new(kid)),
            ends: None,
        }
    }
}

impl TenantKeys {
    /// The set with those keys of `previous` that it does not name, each until `grace` after the first good fetch that
    /// lacked it. `now` is the time of this fetch. What the set does name, usable or not, counts as it names it.
    pub(in super::super) fn succeeding(mut self, previous: &Self, now: Duration, grace: Duration) -> Self {
        for (kid, key) in &previous.keys {
            let ends = key.ends.unwrap_or_else(|| now.saturating_add(grace));
            if now < ends && !self.keys.contains_key(kid) && !self.unusable.contains(kid) {
                let (decoding, shown) = (key.decoding.clone(), Arc::clone(&key.shown));
                self.keys.insert(
                    kid.clone(),
                    Key {
                        decoding,
                        shown,
                        ends: Some(ends),
                    },
                );
            }
        }
        self
    }

    /// The key of that name, if it is good at `now`, and when it ends to be good, if that is known.
    pub(in super::super) fn get(&self, kid: &str, now: Duration) -> Option<(&DecodingKey, Option<Duration>)> {
        let key = self.keys.get(kid)?;
        key.ends
            .is_none_or(|ends| now < ends)
            .then_some((&key.decoding, key.ends))
    }

    /// The id of the key of that name, as it is shown: one copy for all whose tokens it signs.
    pub(in super::super) fn shown(&self, kid: &str) -> Option<&Arc<Untrusted>> {
        self.keys.get(kid).map(|key| &key.shown)
    }

    /// How many keys the set names.
    pub(in super::super) fn len(&self) -> usize {
        self.keys.values().filter(|key| key.ends.is_none()).count()
    }

    /// The ids of the keys that it does not name any more, with the time that is left to them.
    pub(in super::super) fn withdrawn(&self, now: Duration) -> impl Iterator<Item = (&str, Duration)> {
        let left = move |key: &Key| Some(key.ends?.saturating_sub(now));
        self.keys
            .iter()
            .filter_map(move |(kid, key)| Some((&**kid, left(key)?)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const TENANT: &str = "11111111-0000-4000-8000-00000000abcd";
    const GRACE: Duration = Duration::from_secs(120);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A set of keys with these ids, and further entries.
    fn set_with(kids: &[&str], more: &[Value]) -> TenantKeys {
        let modulus = format!("{}w", "v".repeat(341));
        let key = |kid: &&str| json!({"kid": kid, "kty": "RSA", "e": "AQAB", "n": modulus});
        let keys: Vec<Value> = kids.iter().map(key).chain(more.iter().cloned()).collect();
        let body = json!({ "keys": keys }).to_string();
        TenantKeys::read(body.as_bytes(), TENANT.parse().unwrap(), vec!["i".into()]).unwrap()
    }

    fn set(kids: &[&str]) -> TenantKeys {
        set_with(kids, &[])
    }

    fn good(keys: &TenantKeys, kid: &str, now: u64) -> bool {
        keys.get(kid, at(now)).is_some()
    }

    #[test]
    fn a_key_that_the_next_set_lacks_is_good_for_the_grace_and_no_longer() {
        let keys = set(&["new"]).succeeding(&set(&["old", "new"]), at(1000), GRACE);
        assert!(good(&keys, "old", 1000) && good(&keys, "old", 1119));
        assert!(!good(&keys, "old", 1120));
        assert!(good(&keys, "new", 9999));
        assert_eq!(keys.len(), 1);
        assert_eq!(keys.withdrawn(at(1060)).collect::<Vec<_>>(), [("old", at(60))]);
        // Further fetches that lack it give it no more time.
        let keys = set(&["new"]).succeeding(&keys, at(1100), GRACE);
        assert!(good(&keys, "old", 1119) && !good(&keys, "old", 1120));
        let keys = set(&["new"]).succeeding(&keys, at(1120), GRACE);
        assert_eq!(keys.withdrawn(at(1120)).count(), 0);
        assert!(!good(&keys, "old", 1119), "it is not kept at all");
    }

    #[test]
    fn without_a_grace_a_withdrawn_key_is_gone_at_once() {
        let keys = set(&["new"]).succeeding(&set(&["old", "new"]), at(1000), Duration::ZERO);
        assert!(!good(&keys, "old", 1000));
        assert_eq!(keys.withdrawn(at(1000)).count(), 0);
    }

    #[test]
    fn a_key_that_comes_back_is_fresh_again() {
        let keys = set(&["b"]).succeeding(&set(&["a"]), at(0), GRACE);
        let keys = set(&["a"]).succeeding(&keys, at(60), GRACE);
        assert!(good(&keys, "a", 9999), "it is published again");
        let keys = set(&["b"]).succeeding(&keys, at(100), GRACE);
        assert!(good(&keys, "a", 219) && !good(&keys, "a", 220));
        assert!(good(&keys, "b", 9999));
    }

    #[test]
    fn what_a_set_names_as_unusable_is_not_kept_from_before() {
        let modulus = |first: char| format!("{first}{}w", "v".repeat(340));
        let key = |kid: &str, changes: Value| {
            let mut key = json!({"kid": kid, "kty": "RSA", "e": "AQAB", "n": modulus('w')});
            for (name, value) in changes.as_object().unwrap() {
                key[name] = value.clone();
            }
            key
        };
        for named in [
            vec![key("old", json!({})), key("old", json!({"n": modulus('x')}))],
            vec![key("old", json!({"issuer": "another tenant's"}))],
            vec![key("old", json!({"use": "enc"}))],
            vec![key("old", json!({"n": "AQAB"}))],
        ] {
            let keys = set_with(&["new"], &named).succeeding(&set(&["old"]), at(0), GRACE);
            assert!(!good(&keys, "old", 0), "{named:?}");
        }
        // Another key under the same id is that other key.
        let keys = set_with(&[], &[key("old", json!({}))]).succeeding(&set(&["old"]), at(0), GRACE);
        assert_eq!(keys.get("old", at(0)).unwrap().1, None);
    }

    proptest! {
        /// The rule, from history alone: good while the last set names it, or for less than the grace after the first
        /// fetch that lacked it since a set last named it.
        #[test]
        fn what_is_good_follows_from_the_fetches(
            fetches in proptest::collection::vec((0u64..100, proptest::collection::btree_set(0u8..4, 1..4)), 1..12),
            grace in 0u64..200,
            later in 0u64..250,
        ) {
            let mut now = 0;
            let mut keys: Option<TenantKeys> = None;
            // For each key that any set named: when it was first lacked since.
            let mut lacked: BTreeMap<u8, Option<u64>> = BTreeMap::new();
            for (pause, named) in fetches {
                now += pause;
                let names: Vec<String> = named.iter().map(u8::to_string).collect();
                let fetched = set(&names.iter().map(String::as_str).collect::<Vec<_>>());
                keys = Some(match &keys {
                    Some(previous) => fetched.succeeding(previous, at(now), at(grace)),
                    None => fetched,
                });
                for (key, since) in &mut lacked {
                    if !named.contains(key) {
                        since.get_or_insert(now);
                    }
                }
                lacked.extend(named.iter().map(|key| (*key, None)));
            }
            let keys = keys.unwrap();
            for asked in [now, now + later] {
                for key in 0..4u8 {
                    let expected = match lacked.get(&key) {
                        None => false,
                        Some(None) => true,
                        Some(Some(since)) => asked < since + grace,
                    };
                    prop_assert_eq!(good(&keys, &key.to_string(), asked), expected);
                }
            }
        }
    }
}
