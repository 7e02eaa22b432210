//! What callers give the cache: what they look up, what is kept for them, and what a failure means.

use std::time::Duration;

use jiff::Timestamp;

use base::flight::NoOutcome;
use base::secret::TokenDigest;

/// What is cached.
pub trait Token: Send + Sync + 'static {
    /// When it ends.
    fn expires_on(&self) -> Timestamp;
    /// Bytes held.
    fn bytes(&self) -> usize;
}

/// What the cache needs to know of a failed exchange.
pub trait Failure: Clone + From<NoOutcome> + Send + Sync + 'static {
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

/// An entry's key. What is exchanged for one token alone also has that token's digest: on the heap, as few have one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey<K> {
    pub(super) shared: K,
    pub(super) own: Option<Box<TokenDigest>>,
}

impl<K: Clone> CacheKey<K> {
    /// The key of the entry that callers share.
    pub(super) fn shared(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            own: None,
        }
    }

    /// The key of the entry of one token alone.
    pub(super) fn own(&self, digest: TokenDigest) -> Self {
        Self {
            shared: self.shared.clone(),
            own: Some(Box::new(digest)),
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

/// Whether a failed exchange ends what an earlier one brought: whether it is a refusal by the service that decides about
/// this caller.
pub(super) fn ends_earlier(error: &impl Failure, lookup: &Lookup) -> bool {
    match error.refusal_scope() {
        Some(RefusalScope::Session) => true,
        Some(RefusalScope::User) => lookup.max_age.is_some(),
        Some(RefusalScope::Token) | None => false,
    }
}
