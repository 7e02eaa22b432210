//! Entra tokens by which the broker shows the store who it is.

use std::sync::Arc;
use std::time::Duration;

use azure::credential::ManagedIdentity;
use azure::credential::app_tokens::AppTokens;
use base::ids::TenantId;
use base::secret::BearerToken;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use secrecy::SecretString;
use shared_cache::{AccessToken, TokenError, TokenSource};
use tokio::time::Instant;

use super::REDIS_SCOPE;

/// How long a token is waited for. Nobody but the store's own connections does.
const LIMIT: Duration = Duration::from_secs(10);

/// Those of an app.
pub struct AppStoreTokens {
    tokens: AppTokens,
    tenant: TenantId,
}

impl AppStoreTokens {
    /// Those of `tokens`, for [`REDIS_SCOPE`], in `tenant`.
    #[must_use]
    pub fn new(tokens: AppTokens, tenant: TenantId) -> Self {
        Self { tokens, tenant }
    }
}

impl TokenSource for AppStoreTokens {
    // They are used for as long as five minutes are left, which is more than the store asks for.
    fn token(&self, _fresh_for: Duration) -> BoxFuture<'_, Result<AccessToken, TokenError>> {
        Box::pin(async move {
            let token = self.tokens.token(self.tenant, Instant::now() + LIMIT).await;
            let token = token.map_err(|error| TokenError(error.to_string()))?;
            Ok(access_token(token.token(), token.expires_on()))
        })
    }
}

/// Those of a managed identity.
pub struct IdentityStoreTokens(ManagedIdentity);

impl IdentityStoreTokens {
    /// Those of `identity`.
    #[must_use]
    pub fn new(identity: ManagedIdentity) -> Self {
        Self(identity)
    }
}

impl TokenSource for IdentityStoreTokens {
    // The platform keeps its tokens itself, and gives another in time.
    fn token(&self, _fresh_for: Duration) -> BoxFuture<'_, Result<AccessToken, TokenError>> {
        Box::pin(async move {
            let token = self.0.token(REDIS_SCOPE, Instant::now() + LIMIT).await;
            let token = token.map_err(|error| TokenError(error.to_string()))?;
            Ok(access_token(&token.token, token.expires_on))
        })
    }
}

fn access_token(token: &BearerToken, expires_on: Timestamp) -> AccessToken {
    AccessToken {
        token: Arc::new(SecretString::from(token.expose())),
        expires_on,
    }
}
