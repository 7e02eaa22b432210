//! How the broker shows who it is: its secrets, and what it proves with them.
//!
//! Four ways ([`CredentialConfig`]): a secret; a certificate, by which the broker signs client assertions itself; the
//! federated token of its platform (workload identity), which is a client assertion as it stands; and the token of a
//! managed identity that the app trusts, which is one too ("Configure an application to trust a managed identity").

mod app;
pub mod app_tokens;
mod certificate;
mod managed_identity;
mod reloading;
mod service_tokens;

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use url::Url;

pub use self::app::{AppError, EntraApp};
use self::certificate::CertificateFile;
pub use self::certificate::{CertificateError, CertificateFileError};
pub use self::managed_identity::{ManagedIdentity, ManagedIdentityError};
pub use self::reloading::{ReloadingFile, ReloadingSecret, SecretError};
pub use self::service_tokens::{AppServiceTokens, IdentityServiceTokens};
use crate::entra::ClientAuthentication;
use crate::{Upstream, UpstreamFailure};
use base::clock::SharedClock;
use base::ids::ClientAppId;
use config::{Cloud, CredentialConfig, SecretSource};

/// The broker cannot show who it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The secret or the federated token.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateFileError),
    /// The managed identity.
    #[error(transparent)]
    ManagedIdentity(#[from] ManagedIdentityError),
}

impl CredentialError {
    /// Whether it may be otherwise soon, without anybody doing anything.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::ManagedIdentity(ManagedIdentityError::Upstream(
                UpstreamFailure::Unavailable { .. } | UpstreamFailure::Timeout
            ))
        )
    }
}

/// What a credential needs beside its own settings.
#[derive(Clone)]
pub struct CredentialDeps {
    /// The time.
    pub clock: SharedClock,
    /// For managed identities.
    pub upstream: Upstream,
    /// Whose audience a managed identity's token must have.
    pub cloud: Cloud,
}

/// How an app shows who it is.
pub struct ClientCredential(Kind);

enum Kind {
    Secret(ReloadingSecret),
    Certificate {
        file: Arc<CertificateFile>,
        clock: SharedClock,
    },
    WorkloadIdentity(ReloadingSecret),
    ManagedIdentity {
        identity: ManagedIdentity,
        audience: &'static str,
    },
}

impl ClientCredential {
    /// The credential that `config` says. Files are read at the first use.
    pub fn new(config: &CredentialConfig, deps: &CredentialDeps) -> Result<Self, CredentialError> {
        let clock = || Arc::clone(&deps.clock);
        Ok(Self(match config {
            CredentialConfig::Secret(source) => Kind::Secret(ReloadingSecret::new(source.clone(), clock())),
            CredentialConfig::Certificate { file, password } => Kind::Certificate {
                file: CertificateFile::new(file.clone(), password.clone(), &deps.clock),
                clock: clock(),
            },
            CredentialConfig::WorkloadIdentity { federated_token_file } => {
                let source = SecretSource::File(federated_token_file.clone());
                Kind::WorkloadIdentity(ReloadingSecret::new(source, clock()))
            }
            CredentialConfig::ManagedIdentity { client_id } => Kind::ManagedIdentity {
                identity: ManagedIdentity::new(*client_id, deps.upstream.clone(), clock())?,
                audience: deps.cloud.token_exchange_audience(),
            },
        }))
    }

    /// Shows, to the token endpoint `audience`, that the app `client_id` asks.
    pub async fn authenticate(
        &self,
        client_id: ClientAppId,
        audience: &Url,
        deadline: Instant,
    ) -> Result<ClientAuthentication, CredentialError> {
        Ok(match &self.0 {
            Kind::Secret(secret) => ClientAuthentication::Secret(secret.latest().await?),
            Kind::Certificate { file, clock } => {
                let assertion = file.latest().await?.assertion(client_id, audience, clock.now());
                ClientAuthentication::Assertion(assertion.map_err(|error| file.named(error))?)
            }
            Kind::WorkloadIdentity(token) => {
                let token = token.latest().await?;
                ClientAuthentication::Assertion(SecretString::from(token.expose_secret()))
            }
            Kind::ManagedIdentity { identity, audience } => {
                let token = identity.token(audience, deadline).await?.access_token;
                ClientAuthentication::Assertion(SecretString::from(token.expose()))
            }
        })
    }

    /// Reads what is read from files, and says what is wrong with it. A managed identity is not asked. What is odd, but may
    /// do, is what a good outcome brings; it reads on from the file's name.
    pub fn check(&self) -> Result<Option<&'static str>, CredentialError> {
        match &self.0 {
            Kind::Secret(secret) | Kind::WorkloadIdentity(secret) => {
                secret.current()?;
                Ok(None)
            }
            Kind::Certificate { file, clock } => Ok(file.current()?.oddity(clock.now())),
            Kind::ManagedIdentity { .. } => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
