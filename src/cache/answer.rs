//! What the cache answers: a token, and how it came.

use std::sync::Arc;

use super::lookup::Token;
use super::store::Entry;

/// How an answer came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Outcome {
    /// From the cache.
    Hit,
    /// By an exchange that this caller started.
    Miss,
    /// By an exchange that another caller started, here or at another replica.
    Shared,
}

/// Where a cached token came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
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
        self.into()
    }
}

impl Outcome {
    /// Its name in `x-cache`, logs and spans.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
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

/// What a cached entry answers. `from_store`: if it came from the store, whether another replica brought it meanwhile.
pub(super) fn hit<T>(entry: &Entry<T>, from_store: Option<bool>) -> Answer<T> {
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
pub(super) fn longer_lived<T: Token>(answer: Answer<T>, old: Option<&Entry<T>>) -> Answer<T> {
    match old {
        Some(old) if old.token.expires_on() > answer.token.expires_on() => Answer {
            token: Arc::clone(&old.token),
            ..answer
        },
        _ => answer,
    }
}
