//! Entra tokens of the broker's own, for the services that it calls in its own name.

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::app_tokens::AppTokens;
use super::{AppError, ManagedIdentity, ManagedIdentityError};
use crate::UpstreamFailure;
use crate::acs_signing::{ServiceTokenError, ServiceTokens};
use crate::entra::EntraGrant;
use base::ids::TenantId;
use base::secret::BearerToken;

/// Of an app, in one tenant.
pub struct AppServiceTokens {
    tokens: AppTokens,
    tenant: TenantId,
}

impl AppServiceTokens {
    /// Those of `tokens` in `tenant`.
    #[must_use]
    pub fn new(tokens: AppTokens, tenant: TenantId) -> Self {
        Self { tokens, tenant }
    }
}

impl ServiceTokens for AppServiceTokens {
    fn token(&self, deadline: Instant) -> BoxFuture<'_, Result<EntraGrant, ServiceTokenError>> {
        Box::pin(async move { Ok(self.tokens.token(self.tenant, deadline).await?) })
    }

    fn discard(&self, token: &BearerToken) {
        self.tokens.discard(self.tenant, token);
    }
}

/// Of a managed identity itself.
pub struct IdentityServiceTokens {
    identity: ManagedIdentity,
    scope: String,
}

impl IdentityServiceTokens {
    /// Those of `identity` for `scope`.
    #[must_use]
    pub fn new(identity: ManagedIdentity, scope: String) -> Self {
        Self { identity, scope }
    }
}

impl ServiceTokens for IdentityServiceTokens {
    fn token(&self, deadline: Instant) -> BoxFuture<'_, Result<EntraGrant, ServiceTokenError>> {
        Box::pin(async move { Ok(self.identity.token(&self.scope, deadline).await?) })
    }

    /// The platform keeps its tokens itself, and gives the same one until it is nearly over.
    fn discard(&self, _: &BearerToken) {}
}

impl From<AppError> for ServiceTokenError {
    fn from(error: AppError) -> Self {
        let failure = error.upstream_failure();
        match error {
            AppError::Entra(error) => no_token(failure.as_ref(), &error),
            AppError::Credential(error) => no_token(failure.as_ref(), &error),
        }
    }
}

impl From<ManagedIdentityError> for ServiceTokenError {
    fn from(error: ManagedIdentityError) -> Self {
        match &error {
            ManagedIdentityError::Upstream(failure) => no_token(Some(failure), &error),
            ManagedIdentityError::Unsupported(_) | ManagedIdentityError::NoSuchIdentity(_) => no_token(None, &error),
        }
    }
}

fn no_token(failure: Option<&UpstreamFailure>, error: &impl ToString) -> ServiceTokenError {
    match failure {
        Some(UpstreamFailure::Timeout) => ServiceTokenError::Timeout,
        Some(_) => ServiceTokenError::Failed(error.to_string()),
        None => ServiceTokenError::Refused(error.to_string()),
    }
}
