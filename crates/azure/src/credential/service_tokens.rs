//! Entra tokens of the broker's own, as `upstream` wants them for calls in its own name.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tokio::time::Instant;

use super::app_tokens::{AppToken, AppTokens};
use super::{AppError, ManagedIdentity, ManagedIdentityError};
use crate::acs_signing::{ServiceTokenError, ServiceTokens};
use crate::entra::EntraError;
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
            let token = self.tokens.token(self.tenant, deadline).await.map_err(of_app)?;
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
            let token = self.identity.token(&self.scope, deadline).await.map_err(of_identity)?;
            Ok(Arc::new(SecretString::from(token.token.expose())))
        })
    }

    /// The platform keeps its tokens itself, and gives the same one until it is nearly over.
    fn discard(&self, _: &Arc<SecretString>) {}
}

fn of_app(error: AppError) -> ServiceTokenError {
    match error {
        AppError::Entra(EntraError::Timeout) => ServiceTokenError::Timeout,
        AppError::Entra(
            error @ (EntraError::Limited { .. } | EntraError::Unavailable { .. } | EntraError::NoTokenEndpoint),
        ) => ServiceTokenError::Unavailable(error.to_string()),
        AppError::Entra(error @ EntraError::InvalidResponse(_)) => {
            ServiceTokenError::InvalidResponse(error.to_string())
        }
        AppError::Credential(error) if error.is_temporary() => ServiceTokenError::Unavailable(error.to_string()),
        AppError::Entra(error) => ServiceTokenError::Refused(error.to_string()),
        AppError::Credential(error) => ServiceTokenError::Refused(error.to_string()),
    }
}

fn of_identity(error: ManagedIdentityError) -> ServiceTokenError {
    match error {
        ManagedIdentityError::Timeout => ServiceTokenError::Timeout,
        error @ ManagedIdentityError::Unavailable(_) => ServiceTokenError::Unavailable(error.to_string()),
        error @ ManagedIdentityError::InvalidResponse(_) => ServiceTokenError::InvalidResponse(error.to_string()),
        error @ (ManagedIdentityError::Unsupported(_) | ManagedIdentityError::NoSuchIdentity(_)) => {
            ServiceTokenError::Refused(error.to_string())
        }
    }
}
