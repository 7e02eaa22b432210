//! Tokens whose signature was verified a moment ago: the same token costs one verification.
//!
//! A caller comes with the same Entra token for an hour or more, and checking an RSA signature is most of what a
//! request that is served from the cache costs. Only the signature is remembered, and only for as long as the
//! tenant's key set is the very one that verified it, and the key is good. Of its claims, what can change is checked anew at each
//! request: what depends on the time, and on how the token is presented. The rest depends on the key set and on a policy that is
//! the same as long as the process runs.

use std::sync::{Arc, Weak};
use std::time::Duration;

use moka::policy::EvictionPolicy;

use super::caller::Caller;
use super::claims::{CheckedAgain, SignedClaims};
use super::keys::TenantKeys;
use base::ids::TenantId;
use base::secret::TokenDigest;
use base::untrusted::Untrusted;

/// Bound on what is remembered. A token without groups takes about half a KiB.
const MAX_BYTES: u64 = 24 * 1024 * 1024;
/// Bytes that an entry costs beside its claims: the table, the order of use, the digest.
const ENTRY_OVERHEAD: usize = 256;

/// What is remembered of a token, with the keys that vouch for it.
pub(super) struct Verified {
    pub(super) outcome: Outcome,
    /// The key that signed it.
    pub(super) kid: Arc<Untrusted>,
    keys: Weak<TenantKeys>,
    // Monotonic time at which the key ends to be good, if the set names it no more.
    key_ends: Option<Duration>,
}

/// What the claims came to when the token came first.
pub(super) enum Outcome {
    /// They were accepted.
    Accepted(Caller, CheckedAgain),
    /// They were not. Few are: all claims are kept, and are checked anew.
    Refused(TenantId, Box<SignedClaims>),
}

impl Verified {
    pub(super) fn new(
        tenant: TenantId,
        claims: SignedClaims,
        caller: Option<&Caller>,
        kid: Arc<Untrusted>,
        keys: &Arc<TenantKeys>,
        key_ends: Option<Duration>,
    ) -> Self {
        Self {
            outcome: match caller {
                Some(caller) => Outcome::Accepted(caller.clone(), claims.checked_again(caller)),
                None => Outcome::Refused(tenant, Box::new(claims)),
            },
            kid,
            keys: Arc::downgrade(keys),
            key_ends,
        }
    }

    /// `tid`
    pub(super) fn tenant(&self) -> TenantId {
        match &self.outcome {
            Outcome::Accepted(caller, _) => caller.tenant(),
            Outcome::Refused(tenant, _) => *tenant,
        }
    }

    /// Bytes held, roughly.
    fn bytes(&self) -> usize {
        let claims = match &self.outcome {
            Outcome::Accepted(caller, claims) => caller.bytes() + claims.bytes(),
            Outcome::Refused(_, claims) => claims.bytes(),
        };
        size_of::<Self>() + claims + ENTRY_OVERHEAD
    }

    /// Whether `keys` is the very set that the signature was verified with: any fetch since then ends it, and so does
    /// the end of a withdrawn key's grace.
    pub(super) fn is_by(&self, keys: &Arc<TenantKeys>, now: Duration) -> bool {
        std::ptr::eq(self.keys.as_ptr(), Arc::as_ptr(keys)) && self.key_ends.is_none_or(|ends| now < ends)
    }
}

/// Verified tokens by their SHA-256. No token is kept.
pub(super) struct VerifiedTokens {
    entries: moka::sync::Cache<TokenDigest, Arc<Verified>>,
}

impl VerifiedTokens {
    pub(super) fn new() -> Self {
        Self {
            entries: moka::sync::Cache::builder()
                .max_capacity(MAX_BYTES)
                .weigher(|_, verified: &Arc<Verified>| u32::try_from(verified.bytes()).unwrap_or(u32::MAX))
                .eviction_policy(EvictionPolicy::lru())
                .build(),
        }
    }

    pub(super) fn get(&self, digest: &TokenDigest) -> Option<Arc<Verified>> {
        self.entries.get(digest)
    }

    pub(super) fn remember(&self, digest: TokenDigest, verified: Arc<Verified>) {
        self.entries.insert(digest, verified);
    }
}
