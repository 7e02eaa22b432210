//! Stage one: whose token is this? From a bearer token to a [`Caller`], or a [`Rejection`].
//!
//! The published order of checks is the order of the code: `token` (well-formed), [`Authenticator::verify`]
//! (algorithm, tenant, keys, key, signature), `claims` (everything that the signature covers).

mod authority;
mod caller;
mod claims;
mod fetch;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod gates;
mod keys;
mod known;
mod published;
mod refresh;
mod rejection;
mod token;
mod verified;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use url::Url;

pub use self::authority::Authority;
pub use self::caller::{Caller, Groups, Principal};
pub use self::claims::{Acceptance, Policy, TokenContext};
use self::fetch::KeyFetcher;
use self::keys::TenantKeys;
use self::known::InCommon;
pub use self::published::{Published, Unpublished, published};
pub use self::refresh::{KeyStatus, RefreshSettings};
use self::refresh::{Refreshed, TenantKeyStore};
pub use self::rejection::{Malformed, NotDelegated, Rejection};
pub use self::token::MAX_TOKEN_BYTES;
use self::token::UnverifiedToken;
use self::verified::{Outcome, Verified, VerifiedTokens};
use azure::Upstream;
use azure::entra::TokenEndpoints;
use base::clock::SharedClock;
use base::ids::{ClientAppId, TenantId};
use base::secret::{BearerToken, TokenDigest};
use base::tasks::Tasks;
use base::untrusted::Untrusted;
pub use config::Addressee;
use telemetry::metrics::Metrics;

/// A token beyond this is read before it is hashed: most that are made up are found out by reading, which costs less.
/// Entra's are shorter, with 100 groups too.
const LONG_TOKEN_BYTES: usize = 8 * 1024;

/// Verifies Entra access tokens of the listed tenants.
pub struct Authenticator {
    // Keyed by value, so that nothing in a token can name a tenant that is not listed.
    tenants: HashMap<TenantId, Arc<TenantKeyStore>>,
    policy: Policy,
    verified: VerifiedTokens,
    common: InCommon,
    clock: SharedClock,
}

/// What one look at a token decides.
pub enum Verdict {
    /// Accepted.
    Accepted(Caller),
    /// Refused; nothing that could be fetched would change that.
    Refused(Rejection),
    /// The tenant's keys do not hold the key. [`KeyMiss::settle`] may fetch them anew.
    KeyMiss(KeyMiss),
}

/// A token whose key is not among its tenant's, or whose tenant has no keys.
pub struct KeyMiss {
    store: Arc<TenantKeyStore>,
    tenant: TenantId,
    kid: Untrusted,
}

impl KeyMiss {
    /// Waits, within bounds, for the tenant's keys to be fetched if that is due. `Ok` means: look again.
    pub async fn settle(&self) -> Result<(), Rejection> {
        match self.store.refresh_for_unknown_key().await {
            Refreshed::Good => Ok(()),
            Refreshed::Undecided => Err(self.unavailable()),
        }
    }

    /// What the miss means once the keys are known to be current.
    #[must_use]
    pub fn into_rejection(self) -> Rejection {
        if self.store.current().is_some() {
            Rejection::UnknownKey {
                tenant: self.tenant,
                kid: self.kid,
            }
        } else {
            self.unavailable()
        }
    }

    fn unavailable(&self) -> Rejection {
        Rejection::KeysUnavailable {
            tenant: self.tenant,
            retry_after: self.store.retry_after(),
        }
    }
}

/// A tenant whose tokens are accepted.
#[derive(Debug, Clone)]
pub struct ListedTenant {
    /// Its id.
    pub id: TenantId,
    /// Where it is looked up.
    pub authority: Authority,
    /// The app whose own signing keys are fetched in place of the tenant's common ones, if any.
    pub app: Option<ClientAppId>,
}

/// What an [`Authenticator`] is made of.
pub struct AuthenticatorParts {
    /// Client for fetching keys.
    pub upstream: Upstream,
    /// The only tenants that are ever looked up.
    pub tenants: Vec<ListedTenant>,
    /// Which of their tokens are accepted.
    pub policy: Policy,
    /// When keys are fetched.
    pub refresh: RefreshSettings,
    /// Callers who may wait for keys at once.
    pub waiting_room: usize,
    /// The time.
    pub clock: SharedClock,
    /// Owner of the background fetches.
    pub tasks: Tasks,
    /// Where fetches are counted.
    pub metrics: Metrics,
}

impl Authenticator {
    /// An authenticator without keys; [`start`](Self::start) begins to fetch them.
    #[must_use]
    pub fn new(parts: AuthenticatorParts) -> Self {
        let waiting_room = Arc::new(Semaphore::new(parts.waiting_room));
        let tenants = parts.tenants.into_iter().map(|tenant| {
            let id = tenant.id;
            let store = TenantKeyStore::new(
                KeyFetcher {
                    upstream: parts.upstream.clone(),
                    tenant,
                },
                parts.refresh,
                Arc::clone(&parts.clock),
                parts.tasks.clone(),
                Arc::clone(&waiting_room),
                parts.metrics.tenant_keys(&id.to_string()),
            );
            (id, store)
        });
        Self {
            tenants: tenants.collect(),
            policy: parts.policy,
            verified: VerifiedTokens::new(),
            common: InCommon::default(),
            clock: parts.clock,
        }
    }

    /// Begins to keep every tenant's keys fresh.
    pub fn start(&self, tasks: &Tasks) {
        for store in self.tenants.values() {
            tasks.spawn(Arc::clone(store).run());
        }
    }

    /// The state of every tenant's keys.
    pub fn key_status(&self) -> impl Iterator<Item = KeyStatus> {
        self.tenants.values().map(|store| store.status())
    }

    /// Checks `token` against the keys at hand, where `acceptance` says what may be presented in this way. Never waits.
    #[must_use]
    pub fn verify(&self, token: &BearerToken, acceptance: &dyn Acceptance) -> Verdict {
        self.look(token, acceptance).unwrap_or_else(Verdict::Refused)
    }

    fn look(&self, token: &BearerToken, acceptance: &dyn Acceptance) -> Result<Verdict, Rejection> {
        let now = self.clock.monotonic();
        let is_long = token.expose().len() > LONG_TOKEN_BYTES;
        if !is_long && let Some((verified, keys)) = self.verified_before(token, now) {
            return self.check(&verified, &keys, acceptance);
        }
        let unverified = UnverifiedToken::parse(token)?;
        if unverified.algorithm() != "RS256" {
            return Err(Rejection::UnsupportedAlgorithm(Untrusted::new(unverified.algorithm())));
        }
        let (tenant, store) = unverified
            .tid()
            .parse()
            .ok()
            .and_then(|tenant: TenantId| Some((tenant, self.tenants.get(&tenant)?)))
            .ok_or_else(|| Rejection::UnknownTenant(Untrusted::new(unverified.tid())))?;
        let keys = store.current();
        let shown = keys.as_ref().and_then(|keys| keys.shown(unverified.kid()).cloned());
        let kid = shown.unwrap_or_else(|| Arc::new(Untrusted::new(unverified.kid())));
        record_key(&kid);
        let found = keys
            .as_ref()
            .and_then(|keys| Some((keys, keys.get(unverified.kid(), now)?)));
        let Some((keys, (key, key_ends))) = found else {
            return Ok(Verdict::KeyMiss(KeyMiss {
                store: Arc::clone(store),
                tenant,
                kid: Untrusted::clone(&kid),
            }));
        };
        if is_long && let Some((verified, keys)) = self.verified_before(token, now) {
            return self.check(&verified, &keys, acceptance);
        }
        let claims = unverified.verify(key).ok_or_else(|| Rejection::InvalidSignature {
            tenant,
            kid: Untrusted::clone(&kid),
        })?;
        let now = self.clock.now();
        let outcome = claims::check(&claims, tenant, keys.issuers(), &self.policy, acceptance, now)
            .map(|caller| caller.sharing(&self.common));
        let verified = Verified::new(tenant, claims, outcome.as_ref().ok(), kid, keys, key_ends);
        self.verified.remember(TokenDigest::new(token), Arc::new(verified));
        outcome.map(Verdict::Accepted)
    }

    /// What is remembered of the very token, if its tenant's keys are still those that verified it.
    fn verified_before(&self, token: &BearerToken, now: Duration) -> Option<(Arc<Verified>, Arc<TenantKeys>)> {
        let verified = self.verified.get(&TokenDigest::new(token))?;
        let keys = self.tenants.get(&verified.tenant())?.current()?;
        if !verified.is_by(&keys, now) {
            return None;
        }
        record_key(&verified.kid);
        Some((verified, keys))
    }

    fn check(&self, verified: &Verified, keys: &TenantKeys, acceptance: &dyn Acceptance) -> Result<Verdict, Rejection> {
        let now = self.clock.now();
        let outcome = match &verified.outcome {
            Outcome::Accepted(caller, claims) => claims::check_again(claims, caller, &self.policy, acceptance, now),
            Outcome::Refused(tenant, claims) => {
                claims::check(claims, *tenant, keys.issuers(), &self.policy, acceptance, now)
            }
        };
        outcome.map(Verdict::Accepted)
    }
}

/// Which key a token names, in the stage's span.
fn record_key(kid: &Untrusted) {
    tracing::Span::current().record("acs_broker.key.id", tracing::field::display(kid));
}

impl TokenEndpoints for Authenticator {
    /// What the tenant's discovery document said at the last good fetch.
    fn token_endpoint(&self, tenant: TenantId) -> Option<Url> {
        self.tenants.get(&tenant)?.token_endpoint()
    }
}
