//! On behalf of the caller: their token for the broker's own API is traded at Entra for one for ACS.
//!
//! Microsoft identity platform, "OAuth 2.0 On-Behalf-Of flow". What Entra gives never leaves the broker but to ACS.

use tokio::time::Instant;

use super::ExchangeError;
use azure::acs::Operation;
use azure::credential::EntraApp;
use base::ids::{Scopes, TenantId};
use base::secret::BearerToken;

/// The broker's own app at Entra, and what it asks for.
pub struct OnBehalfOf {
    app: EntraApp,
    scope: String,
}

impl OnBehalfOf {
    /// Tokens of `scope`, requested by `app`.
    #[must_use]
    pub fn new(app: EntraApp, scope: String) -> Self {
        Self { app, scope }
    }

    /// The exchange operation for tokens of this scope.
    pub(super) fn operation(&self) -> Operation {
        Operation::for_scope(&self.scope)
    }

    /// A token for ACS in exchange for what the user presented, and its scopes by their short names.
    pub(super) async fn token(
        &self,
        tenant: TenantId,
        presented: &BearerToken,
        deadline: Instant,
    ) -> Result<(BearerToken, Option<Scopes>), ExchangeError> {
        let grant = self.app.on_behalf_of(tenant, presented, &self.scope, deadline).await?;
        Ok((grant.access_token, grant.scope.as_deref().map(short_names)))
    }
}

/// `https://communication.azure.com/clients/VoIP` is `VoIP`, as in a token's `scp`.
fn short_names(scope: &str) -> Scopes {
    scope
        .split(' ')
        .filter_map(|scope| scope.rsplit('/').next())
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_have_the_names_that_tokens_have() {
        let text = "https://communication.azure.com/clients/VoIP https://communication.azure.com/clients/VoIP.Join";
        assert_eq!(short_names(text), Scopes::parse("VoIP VoIP.Join"));
        assert_eq!(short_names("VoIP"), Scopes::parse("VoIP"));
        assert_eq!(short_names(""), Scopes::default());
    }
}
