//! Whether every secret, certificate and key can be read now. One that changes later is checked when it is used.

use std::sync::Arc;

use super::StartError;
use azure::Upstream;
use azure::acs_signing::{AccessKeyError, check_access_key};
use azure::credential::{ClientCredential, CredentialDeps, ReloadingSecret};
use base::clock::SharedClock;
use config::{
    AcsAuthConfig, Config, CredentialConfig, ExchangeMode, ResourceConfig, SecretSource, ServiceIdentity, StoreAuth,
};

/// Everything that is wrong with the broker's own credentials, by section.
pub(super) fn credentials(config: &Config, upstream: &Upstream, clock: &SharedClock) -> Vec<StartError> {
    Check::run(config, upstream, clock).wrong
}

/// What is odd about them, by setting.
pub(super) fn oddities(config: &Config, upstream: &Upstream, clock: &SharedClock) -> Vec<(String, &'static str)> {
    Check::run(config, upstream, clock).odd
}

struct Check {
    deps: CredentialDeps,
    found: Found,
}

#[derive(Default)]
struct Found {
    wrong: Vec<StartError>,
    odd: Vec<(String, &'static str)>,
}

impl Check {
    fn run(config: &Config, upstream: &Upstream, clock: &SharedClock) -> Found {
        let mut check = Self {
            deps: CredentialDeps {
                clock: Arc::clone(clock),
                upstream: upstream.clone(),
                cloud: config.entra.cloud,
            },
            found: Found::default(),
        };
        for resource in &config.resources {
            check.resource(resource);
        }
        if let Some(graph) = &config.graph {
            check.app("graph".to_owned(), &graph.app.credential);
        }
        if let Some(StoreAuth::Token { identity, .. }) = config.shared_cache.as_ref().map(|shared| &shared.auth) {
            check.identity("shared_cache".to_owned(), identity);
        }
        check.found
    }

    fn resource(&mut self, resource: &ResourceConfig) {
        if let ExchangeMode::OnBehalfOf(mode) = &resource.exchange.mode {
            self.app(resource.key("exchange.on_behalf_of"), &mode.app.credential);
        }
        for (section, auth) in resource.acs_auths() {
            self.acs_auth(resource.key(section), auth);
        }
    }

    fn acs_auth(&mut self, section: String, auth: &AcsAuthConfig) {
        match auth {
            AcsAuthConfig::AccessKey(source) => self.access_key(&section, source),
            AcsAuthConfig::Identity(identity) => self.identity(section, identity),
        }
    }

    fn identity(&mut self, section: String, identity: &ServiceIdentity) {
        match identity {
            ServiceIdentity::App { app, .. } => self.app(section, &app.credential),
            // A platform whose identities are not supported is found when one is made.
            ServiceIdentity::ManagedIdentity { client_id } => {
                let client_id = *client_id;
                self.app(section, &CredentialConfig::ManagedIdentity { client_id });
            }
        }
    }

    fn app(&mut self, section: String, config: &CredentialConfig) {
        let key = match config {
            CredentialConfig::Secret(SecretSource::Value(_)) => section + ".client_secret",
            CredentialConfig::Secret(SecretSource::File(_)) => section + ".client_secret_file",
            CredentialConfig::Certificate { .. } => section + ".certificate_file",
            CredentialConfig::WorkloadIdentity { .. } => section + ".federated_token_file",
            CredentialConfig::ManagedIdentity { .. } => section + ".credential",
        };
        let checked = ClientCredential::new(config, &self.deps).and_then(|credential| credential.check());
        match checked {
            Ok(oddity) => self.found.odd.extend(oddity.map(|oddity| (key, oddity))),
            Err(source) => self.found.wrong.push(StartError::Credential { key, source }),
        }
    }

    fn access_key(&mut self, section: &str, source: &SecretSource) {
        let name = match source {
            SecretSource::Value(_) => "access_key",
            SecretSource::File(_) => "access_key_file",
        };
        let secret = ReloadingSecret::new(source.clone(), Arc::clone(&self.deps.clock));
        let read = secret
            .current()
            .map_err(|error| AccessKeyError::Unreadable(error.to_string()));
        if let Err(source) = read.and_then(|key| check_access_key(&key)) {
            let key = format!("{section}.{name}");
            self.found.wrong.push(StartError::AccessKey { key, source });
        }
    }
}
