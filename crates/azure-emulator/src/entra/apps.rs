//! What changes of the credentials of the broker's app while the emulator runs.

use std::sync::Mutex;

use jiff::Timestamp;

use super::certificate::{Certificate, InvalidCertificate};
use crate::lock::lock;
use crate::scenario::{ApiApp, ClientSecret, FederatedCredential};

/// The registration as it stands.
#[derive(Debug)]
pub(crate) struct Registration {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    secrets: Vec<ClientSecret>,
    certificates: Vec<Certificate>,
    federated: Vec<FederatedCredential>,
}

/// The result of checking a client secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretCheck {
    Good,
    Expired,
    Unknown,
}

impl Registration {
    /// The registration as the scenario has it, on this origin.
    pub(crate) fn new(app: &ApiApp, origin: &str) -> Result<Self, InvalidCertificate> {
        let certificates = app.certificates.iter().map(|pem| Certificate::from_pem(pem));
        Ok(Self {
            state: Mutex::new(State {
                secrets: app.secrets.clone(),
                certificates: certificates.collect::<Result<_, _>>()?,
                federated: app
                    .federated_credentials
                    .iter()
                    .map(|credential| absolute(credential.clone(), origin))
                    .collect(),
            }),
        })
    }

    /// Registers a certificate and gives it back.
    pub(crate) fn add_certificate(&self, pem: &str) -> Result<Certificate, InvalidCertificate> {
        let certificate = Certificate::from_pem(pem)?;
        let mut state = lock(&self.state);
        if !state
            .certificates
            .iter()
            .any(|known| known.x5t_s256 == certificate.x5t_s256)
        {
            state.certificates.push(certificate.clone());
        }
        Ok(certificate)
    }

    /// The registered certificates.
    pub(crate) fn certificates(&self) -> Vec<Certificate> {
        lock(&self.state).certificates.clone()
    }

    /// Takes a certificate away by its thumbprint in any of the three spellings; whether there was one.
    pub(crate) fn remove_certificate(&self, thumbprint: &str) -> bool {
        let mut state = lock(&self.state);
        let before = state.certificates.len();
        state.certificates.retain(|known| {
            known.x5t != thumbprint
                && known.x5t_s256 != thumbprint
                && !known.thumbprint.eq_ignore_ascii_case(thumbprint)
        });
        state.certificates.len() < before
    }

    /// Registers a federated credential, on this origin if its issuer is a path.
    pub(crate) fn add_federated(&self, credential: FederatedCredential, origin: &str) -> FederatedCredential {
        let credential = absolute(credential, origin);
        let mut state = lock(&self.state);
        if !state.federated.contains(&credential) {
            state.federated.push(credential.clone());
        }
        credential
    }

    /// The federated credentials, with full issuers.
    pub(crate) fn federated(&self) -> Vec<FederatedCredential> {
        lock(&self.state).federated.clone()
    }

    /// Takes every federated credential away.
    pub(crate) fn clear_federated(&self) {
        lock(&self.state).federated.clear();
    }

    /// Replaces the client secrets.
    pub(crate) fn set_secrets(&self, secrets: Vec<ClientSecret>) {
        lock(&self.state).secrets = secrets;
    }

    /// Checks a secret as of now.
    pub(crate) fn check_secret(&self, sent: &str, now: Timestamp) -> SecretCheck {
        let state = lock(&self.state);
        let mut found = SecretCheck::Unknown;
        for secret in state.secrets.iter().filter(|secret| secret.value == sent) {
            if secret.expires_on.is_none_or(|end| now < end) {
                return SecretCheck::Good;
            }
            found = SecretCheck::Expired;
        }
        found
    }
}

fn absolute(mut credential: FederatedCredential, origin: &str) -> FederatedCredential {
    if credential.issuer.starts_with('/') {
        credential.issuer.insert_str(0, origin);
    }
    credential
}
