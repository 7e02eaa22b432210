//! The ACS resource that a command is about.

use std::path::Path;
use std::sync::Arc;

use acs_token_broker::broker::{Services, WellKnownEndpoints};
use azure::acs_assignments::AcsAssignments;
use azure::acs_assignments::teams::AcsTeamsAssignments;
use base::clock::SystemClock;
use config::load::{Environment, load};
use config::{AssignmentFileConfig, Config, ResourceConfig};
use telemetry::metrics::Metrics;

use super::failure::Failure;

pub(super) struct Resource {
    pub(super) client: AcsAssignments,
    pub(super) teams: AcsTeamsAssignments,
    pub(super) file: Option<AssignmentFileConfig>,
}

impl Resource {
    /// The resource of that name; without a name the only one there is.
    pub(super) fn load(file: Option<&Path>, environment: &Environment, name: Option<&str>) -> Result<Self, Failure> {
        let config = load(file, environment).map_err(Failure::Configuration)?.config;
        let resource = choose(&config, name)?;
        let assignments = &resource.assignments;
        let auth = assignments.acs_auth.as_ref().ok_or_else(|| {
            let key = resource.key("assignments.acs.access_key");
            Failure::NoAuth(format!("{key}, access_key_file or credential"))
        })?;
        let endpoints = WellKnownEndpoints::new(&config.entra);
        let services = Services::new(&config, Arc::new(endpoints), SystemClock::shared(), Metrics::noop())?;
        let exchange = &resource.exchange;
        let acs = services.signed_acs(services.upstream(exchange.connect_timeout)?, auth, "assignments.acs")?;
        Ok(Self {
            client: AcsAssignments::new(acs.clone(), &exchange.endpoint, &exchange.api_version, exchange.timeout),
            teams: AcsTeamsAssignments::new(
                acs,
                &exchange.endpoint,
                &exchange.teams_extension_api_version,
                exchange.timeout,
            ),
            file: assignments.file.clone(),
        })
    }
}

/// The resource of that name; without a name the only one there is.
pub(super) fn choose<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c ResourceConfig, Failure> {
    let names: Vec<&str> = config
        .resources
        .iter()
        .filter_map(|resource| resource.name.as_deref())
        .collect();
    match (name, &config.resources[..]) {
        (None, [only]) => Ok(only),
        (None, _) => Err(Failure::WhichResource(names.join(", "))),
        (Some(name), resources) => resources
            .iter()
            .find(|resource| resource.name.as_deref() == Some(name))
            .ok_or_else(|| {
                Failure::NoSuchResource(if names.is_empty() {
                    "the configuration lists no [[resources]]".to_owned()
                } else {
                    format!("there are {}", names.join(", "))
                })
            }),
    }
}
