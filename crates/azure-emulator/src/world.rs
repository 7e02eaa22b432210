//! Puts the emulated world together. Only what serves it and its handle name this file.

use std::net::SocketAddr;
use std::sync::Arc;

use super::acs::outlook::AssignmentOutlook;
use super::acs::state::Acs;
use super::control::state::{AssignmentListener, Controls};
use super::entra::keys::KeyStore;
use super::entra::state::Entra;
use super::error::EmulatorError;
use super::faults::Faults;
use super::graph::state::Graph;
use super::journal::Journal;
use super::options::EmulatorOptions;
use super::playground::Playground;
use super::scenario::Scenario;
use super::settings::CurrentSettings;
use super::site::{Origin, Site};

/// Every service of the emulator with its state; clones share it.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) scenario: Arc<Scenario>,
    pub(super) site: Arc<Site>,
    pub(super) settings: Arc<CurrentSettings>,
    pub(super) entra: Arc<Entra>,
    pub(super) acs: Arc<Acs>,
    pub(super) graph: Arc<Graph>,
    pub(super) faults: Arc<Faults>,
    pub(super) journal: Arc<Journal>,
    pub(super) listener: Arc<AssignmentListener>,
    pub(super) playground: Arc<Playground>,
}

impl World {
    /// The world of a scenario, served at an address. Makes keys, which is work for a processor.
    pub(super) fn new(
        scenario: Scenario,
        address: SocketAddr,
        options: &EmulatorOptions,
    ) -> Result<Self, EmulatorError> {
        let origins = options.origins.iter();
        let origins = origins.map(|text| Origin::parse(text).ok_or_else(|| EmulatorError::Origin(text.clone())));
        let keys = KeyStore::generate(scenario.tenants.iter().map(|tenant| tenant.id))?;
        if scenario.api_app.own_signing_key {
            for tenant in &scenario.tenants {
                keys.add_app_key(tenant.id, scenario.api_app.client_id)?;
            }
        }
        let site = Arc::new(Site {
            clock: Arc::clone(&options.clock),
            origin: without_usual_port(format!("http://{address}"), ":80"),
            tls_origin: options
                .tls
                .is_some()
                .then(|| without_usual_port(format!("https://localhost:{}", address.port()), ":443")),
            origins: origins.collect::<Result<_, _>>()?,
        });
        let (scenario, settings) = (Arc::new(scenario), Arc::new(CurrentSettings::default()));
        let entra = Entra::new(scenario.clone(), site.clone(), settings.clone(), keys)?;
        let acs = Acs::new(scenario.clone(), site.clone(), settings.clone(), &entra)?;
        let graph = Graph {
            scenario: scenario.clone(),
            site: site.clone(),
            settings: settings.clone(),
            tokens: entra.tokens.clone(),
            directory: entra.directory.clone(),
        };
        let acs = Arc::new(acs);
        let playground = Playground::new(scenario.clone(), Arc::new(AssignmentOutlook(acs.clone())));
        Ok(Self {
            playground: Arc::new(playground),
            listener: Arc::default(),
            scenario,
            site,
            settings,
            entra: Arc::new(entra),
            acs,
            graph: Arc::new(graph),
            faults: Arc::default(),
            journal: Arc::default(),
        })
    }

    /// What the controls over HTTP reach.
    pub(super) fn controls(&self) -> Controls {
        Controls {
            settings: self.settings.clone(),
            entra: self.entra.clone(),
            acs: self.acs.clone(),
            faults: self.faults.clone(),
            journal: self.journal.clone(),
            listener: self.listener.clone(),
        }
    }
}

/// An origin as clients write it: they leave the scheme's usual port out.
fn without_usual_port(origin: String, port: &str) -> String {
    match origin.strip_suffix(port) {
        Some(shorter) => shorter.to_owned(),
        None => origin,
    }
}
