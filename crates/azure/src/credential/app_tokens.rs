//! An app's own tokens, kept as long as they are good.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::SignedDuration;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use super::{AppError, EntraApp};
use crate::UpstreamFailure;
use crate::entra::{EntraError, EntraGrant};
use base::clock::SharedClock;
use base::flight::{Flights, Lost};
use base::ids::TenantId;
use base::secret::{BearerToken, TokenDigest};
use telemetry::trace::Trace;

/// A token with less left is not used any more: a call with it may take a while, and clocks differ.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// Client-credentials tokens of one app for one scope, by tenant.
pub struct AppTokens {
    source: Arc<Source>,
    flights: Flights<TenantId, (), Outcome>,
}

type Outcome = Result<EntraGrant, AppError>;

struct Source {
    app: EntraApp,
    scope: String,
    kept: Mutex<HashMap<TenantId, EntraGrant>>,
    clock: SharedClock,
}

impl AppTokens {
    /// Tokens of `app` for `scope`, a resource and `/.default`.
    #[must_use]
    pub fn new(app: EntraApp, scope: impl Into<String>, clock: SharedClock) -> Self {
        Self {
            source: Arc::new(Source {
                app,
                scope: scope.into(),
                kept: Mutex::default(),
                clock,
            }),
            flights: Flights::default(),
        }
    }

    /// A token of `tenant`, a listed one. Callers at once share one call.
    pub async fn token(&self, tenant: TenantId, deadline: Instant) -> Outcome {
        loop {
            if let Some(token) = self.source.fresh(tenant) {
                return Ok(token);
            }
            let call = self.flights.join(tenant, (), || {
                let call = Arc::clone(&self.source).call(tenant, deadline);
                Trace::current().carry(call.instrument(Span::current()))
            });
            let is_leader = call.is_leader;
            let outcome = tokio::time::timeout_at(deadline, call.outcome())
                .await
                .map_err(|_| EntraError::Upstream(UpstreamFailure::Timeout))?
                .unwrap_or_else(|lost| Err(unavailable(lost)));
            // The call has its leader's deadline: a caller with more time makes another one.
            if is_leader || !is_timeout(&outcome) {
                return outcome;
            }
        }
    }

    /// Forgets `token`, which was refused: the next caller gets a new one.
    pub fn discard(&self, tenant: TenantId, token: &BearerToken) {
        let mut kept = self.source.kept();
        let is_current = |current: &EntraGrant| TokenDigest::new(&current.access_token) == TokenDigest::new(token);
        if kept.get(&tenant).is_some_and(is_current) {
            kept.remove(&tenant);
        }
    }
}

impl Source {
    fn kept(&self) -> MutexGuard<'_, HashMap<TenantId, EntraGrant>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, tenant: TenantId) -> Option<EntraGrant> {
        let kept = self.kept();
        let token = kept.get(&tenant)?;
        (token.expires_on.duration_since(self.clock.now()) > MARGIN).then(|| token.clone())
    }

    async fn call(self: Arc<Self>, tenant: TenantId, deadline: Instant) -> Outcome {
        // A call that has just ended may have brought it.
        if let Some(token) = self.fresh(tenant) {
            return Ok(token);
        }
        let token = self.app.client_credentials(tenant, &self.scope, deadline).await?;
        self.kept().insert(tenant, token.clone());
        Ok(token)
    }
}

fn unavailable(lost: Lost) -> AppError {
    let cause = lost.to_string();
    EntraError::Upstream(UpstreamFailure::Unavailable {
        cause,
        retry_after: None,
    })
    .into()
}

fn is_timeout(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Err(AppError::Entra(EntraError::Upstream(UpstreamFailure::Timeout)))
    )
}
