//! An app's own tokens, kept as long as they are good.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{AppError, EntraApp};
use crate::UpstreamFailure;
use crate::entra::EntraError;
use base::clock::SharedClock;
use base::ids::TenantId;
use base::secret::BearerToken;

/// A token with less left is not used any more: a call with it may take a while, and clocks differ.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// A token of an app itself.
pub struct AppToken {
    token: BearerToken,
    expires_on: Timestamp,
}

impl AppToken {
    /// The token, for sending it.
    #[must_use]
    pub fn token(&self) -> &BearerToken {
        &self.token
    }
}

impl fmt::Debug for AppToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppToken")
            .field("expires_on", &self.expires_on)
            .finish_non_exhaustive()
    }
}

/// Client-credentials tokens of one app for one scope, by tenant.
pub struct AppTokens {
    app: EntraApp,
    scope: String,
    tenants: Mutex<HashMap<TenantId, Arc<Slot>>>,
    clock: SharedClock,
}

type Outcome = Result<Arc<AppToken>, AppError>;

#[derive(Default)]
struct Slot {
    token: ArcSwapOption<AppToken>,
    // Calls that have ended.
    ended: AtomicU64,
    // Held during a call: at most one is under way. Its outcome is left for those who waited, with its number.
    last: tokio::sync::Mutex<Option<(u64, Outcome)>>,
}

impl AppTokens {
    /// Tokens of `app` for `scope`, a resource and `/.default`.
    #[must_use]
    pub fn new(app: EntraApp, scope: impl Into<String>, clock: SharedClock) -> Self {
        Self {
            app,
            scope: scope.into(),
            tenants: Mutex::default(),
            clock,
        }
    }

    /// A token of `tenant`, a listed one. Callers at once share one call.
    pub async fn token(&self, tenant: TenantId, deadline: Instant) -> Result<Arc<AppToken>, AppError> {
        let slot = self.slot(tenant);
        if let Some(token) = self.fresh(&slot) {
            return Ok(token);
        }
        let ended = slot.ended.load(Ordering::Acquire);
        let mut last = tokio::time::timeout_at(deadline, slot.last.lock())
            .await
            .map_err(|_| EntraError::Upstream(UpstreamFailure::Timeout))?;
        if let Some(token) = self.fresh(&slot) {
            return Ok(token);
        }
        match &*last {
            // That call ended while this caller waited. A deadline was its own caller's.
            Some((call, outcome)) if *call > ended && !is_timeout(outcome) => return outcome.clone(),
            _ => {}
        }
        let outcome = self.ask(tenant, deadline).await;
        slot.token.store(outcome.as_ref().ok().map(Arc::clone));
        let call = slot.ended.fetch_add(1, Ordering::AcqRel) + 1;
        *last = Some((call, outcome.clone()));
        outcome
    }

    /// Forgets `token`, which was refused: the next caller gets a new one.
    pub fn discard(&self, tenant: TenantId, token: &Arc<AppToken>) {
        let slot = self.slot(tenant);
        let current = slot.token.load();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, token)) {
            slot.token.compare_and_swap(&current, None);
        }
    }

    fn slot(&self, tenant: TenantId) -> Arc<Slot> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tenants.entry(tenant).or_default())
    }

    fn fresh(&self, slot: &Slot) -> Option<Arc<AppToken>> {
        let token = slot.token.load_full()?;
        (token.expires_on.duration_since(self.clock.now()) > MARGIN).then_some(token)
    }

    async fn ask(&self, tenant: TenantId, deadline: Instant) -> Result<Arc<AppToken>, AppError> {
        let grant = self.app.client_credentials(tenant, &self.scope, deadline).await?;
        Ok(Arc::new(AppToken {
            token: grant.access_token,
            expires_on: grant.expires_on,
        }))
    }
}

fn is_timeout(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Err(AppError::Entra(EntraError::Upstream(UpstreamFailure::Timeout)))
    )
}
