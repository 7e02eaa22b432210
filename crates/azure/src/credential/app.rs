//! An app registration at work: its id, its credential, and Entra.

use std::sync::Arc;

use tokio::time::Instant;

use super::{ClientCredential, CredentialDeps, CredentialError};
use crate::UpstreamFailure;
use crate::entra::{ClientAuthentication, EntraClient, EntraError, EntraGrant};
use base::ids::{ClientAppId, TenantId};
use base::secret::BearerToken;
use config::AppConfig;

/// No token for an app.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppError {
    /// Entra gave none.
    #[error(transparent)]
    Entra(#[from] EntraError),
    /// The app could not even show who it is; nothing was sent.
    #[error("the broker's own credential: {0}")]
    Credential(#[from] CredentialError),
}

impl AppError {
    /// Its name in spans: of low cardinality.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Entra(error) => error.name(),
            Self::Credential(_) => "credential_unusable",
        }
    }

    /// What failed at Entra or on the way there, if another attempt may succeed or a contract was broken. `None`: the
    /// app or its user is refused.
    #[must_use]
    pub fn upstream_failure(&self) -> Option<UpstreamFailure> {
        match self {
            Self::Entra(EntraError::Upstream(failure)) => Some(failure.clone().explained(self.to_string())),
            // The discovery document is fetched again and again.
            Self::Entra(EntraError::NoTokenEndpoint) => Some(UpstreamFailure::Unavailable {
                cause: self.to_string(),
                retry_after: None,
            }),
            Self::Credential(error) if error.is_temporary() => Some(UpstreamFailure::Unavailable {
                cause: self.to_string(),
                retry_after: None,
            }),
            Self::Entra(_) | Self::Credential(_) => None,
        }
    }
}

/// An app of the broker's that asks Entra for tokens.
pub struct EntraApp {
    client_id: ClientAppId,
    credential: ClientCredential,
    entra: Arc<EntraClient>,
}

impl EntraApp {
    /// The app that `config` says.
    pub fn new(config: &AppConfig, deps: &CredentialDeps, entra: Arc<EntraClient>) -> Result<Self, CredentialError> {
        Ok(Self {
            client_id: config.client_id,
            credential: ClientCredential::new(&config.credential, deps)?,
            entra,
        })
    }

    /// A token of `scope` for the user whose token for this app is `assertion`.
    pub async fn on_behalf_of(
        &self,
        tenant: TenantId,
        assertion: &BearerToken,
        scope: &str,
        deadline: Instant,
    ) -> Result<EntraGrant, AppError> {
        let authentication = self.authenticate(tenant, deadline).await?;
        let asked = self
            .entra
            .on_behalf_of(tenant, self.client_id, &authentication, assertion, scope, deadline);
        Ok(asked.await?)
    }

    /// A token of `scope` for the app itself.
    pub async fn client_credentials(
        &self,
        tenant: TenantId,
        scope: &str,
        deadline: Instant,
    ) -> Result<EntraGrant, AppError> {
        let authentication = self.authenticate(tenant, deadline).await?;
        let asked = self
            .entra
            .client_credentials(tenant, self.client_id, &authentication, scope, deadline);
        Ok(asked.await?)
    }

    async fn authenticate(&self, tenant: TenantId, deadline: Instant) -> Result<ClientAuthentication, AppError> {
        let audience = self.entra.token_endpoint(tenant)?;
        Ok(self
            .credential
            .authenticate(self.client_id, &audience, deadline)
            .await?)
    }
}
