//! Entra tokens of the broker's own, as `upstream` wants them for calls in its own name.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tokio::time::Instant;

use super::app_tokens::{AppToken, AppTokens};
use super::{AppError, ManagedIdentity, ManagedIdentityError};
use crate::UpstreamFailure;
use crate::acs_signing::{ServiceTokenError, ServiceTokens};
use base::ids::TenantId;

/// Of an app, in one tenant.
pub struct AppServiceTokens {
    tokens: AppTokens,
    tenant: TenantId,
    // The last one given out, with what it was made from.
    last: Mutex<Option<(Arc<AppToken>, Arc<SecretString>)>>,
}

impl AppServiceTokens {
    /// Those of `tokens` in `tenant`.
    #[must_use]
    pub fn new(tokens: AppTokens, tenant: TenantId) -> Self {
        Self {
            tokens,
            tenant,
            last: Mutex::default(),
        }
    }
}

impl ServiceTokens for AppServiceTokens {
    fn token(&self, deadline: Instant) -> BoxFuture<'_, Result<Arc<SecretString>, ServiceTokenError>> {
        Box::pin(async move {
            let token = self.tokens.token(self.tenant, deadline).await?;
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((of, secret)) = &*last
                && Arc::ptr_eq(of, &token)
            {
                return Ok(Arc::clone(secret));
            }
            let secret = Arc::new(SecretString::from(token.token().expose()));
            *last = Some((token, Arc::clone(&secret)));
            Ok(secret)
        })
    }

    fn discard(&self, token: &Arc<SecretString>) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, secret)) = &*last
            && Arc::ptr_eq(secret, token)
        {
            self.tokens.discard(self.tenant, of);
        }
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
    fn token(&self, deadline: Instant) -> BoxFuture<'_, Result<Arc<SecretString>, ServiceTokenError>> {
        Box::pin(async move {
            let token = self.identity.token(&self.scope, deadline).await?;
            Ok(Arc::new(SecretString::from(token.token.expose())))
        })
    }

    /// The platform keeps its tokens itself, and gives the same one until it is nearly over.
    fn discard(&self, _: &Arc<SecretString>) {}
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
