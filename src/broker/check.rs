//! Whether every secret, certificate and key can be read now. One that changes later is checked when it is used.

use std::sync::Arc;

use super::StartError;
use crate::clock::SharedClock;
use crate::config::{AcsAuthConfig, Config, CredentialConfig, ExchangeMode, ResourceConfig, SecretSource};
use crate::credential::{ClientCredential, CredentialDeps, ReloadingSecret};
use crate::upstream::Upstream;
use crate::upstream::acs_signing::{AccessKeyError, check_access_key};

/// Everything that is wrong with the broker's own credentials, by section.
pub(super) fn credentials(config: &Config, upstream: &Upstream, clock: &SharedClock) -> Vec<StartError> {
    let check = Check {
        deps: CredentialDeps {
            clock: Arc::clone(clock),
            upstream: upstream.clone(),
            cloud: config.entra.cloud,
        },
    };
    let resources = config.resources.iter().enumerate();
    let of_resources = resources.flat_map(|(place, resource)| check.resource(place, resource));
    let graph = config
        .graph
        .as_ref()
        .and_then(|graph| check.app("graph".to_owned(), &graph.app.credential));
    of_resources.chain(graph).collect()
}

struct Check {
    deps: CredentialDeps,
}

impl Check {
    fn resource(&self, place: usize, resource: &ResourceConfig) -> Vec<StartError> {
        let key = |key: &str| match &resource.name {
            Some(_) => format!("resources[{place}].{key}"),
            None => key.to_owned(),
        };
        let exchange = match &resource.exchange.mode {
            ExchangeMode::Passthrough => None,
            ExchangeMode::OnBehalfOf(mode) => self.app(key("exchange.on_behalf_of"), &mode.app.credential),
            ExchangeMode::Identity(mode) => self.access_key(&key("exchange.identity"), &mode.access_key),
        };
        let assignments = match &resource.assignments.acs_auth {
            Some(AcsAuthConfig::AccessKey(source)) => self.access_key(&key("assignments.acs"), source),
            Some(AcsAuthConfig::App { app, .. }) => self.app(key("assignments.acs"), &app.credential),
            Some(AcsAuthConfig::ManagedIdentity { .. }) | None => None,
        };
        exchange.into_iter().chain(assignments).collect()
    }

    fn app(&self, section: String, config: &CredentialConfig) -> Option<StartError> {
        let key = match config {
            CredentialConfig::Secret(SecretSource::Value(_)) => section + ".client_secret",
            CredentialConfig::Secret(SecretSource::File(_)) => section + ".client_secret_file",
            CredentialConfig::Certificate { .. } => section + ".certificate_file",
            CredentialConfig::WorkloadIdentity { .. } => section + ".federated_token_file",
            CredentialConfig::ManagedIdentity { .. } => section + ".credential",
        };
        let source = ClientCredential::new(config, &self.deps)
            .and_then(|credential| credential.check())
            .err()?;
        Some(StartError::Credential { key, source })
    }

    fn access_key(&self, section: &str, source: &SecretSource) -> Option<StartError> {
        let name = match source {
            SecretSource::Value(_) => "access_key",
            SecretSource::File(_) => "access_key_file",
        };
        let secret = ReloadingSecret::new(source.clone(), Arc::clone(&self.deps.clock));
        let read = secret
            .current()
            .map_err(|error| AccessKeyError::Unreadable(error.to_string()));
        let source = read.and_then(|key| check_access_key(&key)).err()?;
        let key = format!("{section}.{name}");
        Some(StartError::AccessKey { key, source })
    }
}
