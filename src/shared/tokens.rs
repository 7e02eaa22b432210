//! Entra tokens by which the broker shows the store who it is.

use std::sync::Arc;
use std::time::Duration;

use azure::acs_signing::{ServiceTokenError, ServiceTokens};
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use shared_cache::{AccessToken, TokenError, TokenSource};
use tokio::time::Instant;

/// How long a token is waited for. Nobody but the store's own connections does.
const LIMIT: Duration = Duration::from_secs(10);

/// Those of the broker's own, for [`REDIS_SCOPE`](super::REDIS_SCOPE).
pub struct StoreTokens(pub Arc<dyn ServiceTokens>);

impl TokenSource for StoreTokens {
    // They are used for as long as a few minutes are left, which is more than the store asks for.
    fn token(&self, _fresh_for: Duration) -> BoxFuture<'_, Result<AccessToken, TokenError>> {
        Box::pin(async move {
            let token = self.0.token(Instant::now() + LIMIT).await;
            let token = token.map_err(|error| match error {
                ServiceTokenError::Refused(reason) | ServiceTokenError::Failed(reason) => TokenError(reason),
                ServiceTokenError::Timeout => TokenError(error.to_string()),
            })?;
            Ok(AccessToken {
                token: Arc::new(SecretString::from(token.access_token.expose())),
                expires_on: token.expires_on,
            })
        })
    }
}
