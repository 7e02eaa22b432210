//! One ACS resource with the stages that are its own, from its configuration.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use super::services::Services;
use crate::authorize::Authorizer;
use crate::authorize::source::acs::{AcsSource, AcsSourceSettings};
use crate::authorize::source::file::FileSource;
use crate::authorize::source::{AssignmentWatch, SourceKind};
use crate::exchange::{Exchanger, Mode, OnBehalfOf};
use crate::route::{Resource, Selector};
use azure::acs::AcsExchange;
use azure::acs_assignments::AcsAssignments;
use azure::acs_identities::AcsIdentities;
use azure::acs_teams_users::AcsTeamsUsers;
use base::ids::TenantId;
use base::tasks::Tasks;
use config::{AssignmentsConfig, AssignmentsMode, ExchangeMode, ResourceConfig};

/// A resource, what is known of its assignments, and what keeps that so.
pub(super) struct Built {
    pub(super) resource: Resource,
    pub(super) assignments: AssignmentWatch,
    pub(super) sources: Sources,
}

/// Where a resource's assignments come from.
pub(super) struct Sources {
    file: Option<(Arc<FileSource>, Duration)>,
    acs: Option<Arc<AcsSource>>,
}

impl Sources {
    /// Looks at the file, which is at hand. Blocks on file I/O.
    pub(super) fn load(&self) {
        if let Some((file, _)) = &self.file {
            file.reload();
        }
    }

    /// Keeps them fresh until the tasks are stopped.
    pub(super) fn start(self, tasks: &Tasks) {
        if let Some((file, interval)) = self.file {
            tasks.spawn(file.run(interval));
        }
        if let Some(acs) = self.acs {
            tasks.spawn(acs.run());
        }
    }
}

/// Builds a resource.
pub(super) fn build(
    config: &ResourceConfig,
    services: &Services,
    listed: &HashSet<TenantId>,
) -> Result<Built, StartError> {
    let (assignments, sources) = sources(config, services, listed)?;
    let exchanger = exchanger(config, services)?;
    let tier = services.tier(&config.exchange, exchanger.mode_name());
    Ok(Built {
        resource: Resource {
            name: config.name.as_deref().map(Arc::from),
            selector: Selector {
                tenants: config.tenants.iter().copied().collect(),
                client_ids: config.client_ids.iter().copied().collect(),
            },
            authorizer: authorizer(config, assignments.clone(), services),
            exchanger: Arc::new(exchanger),
            shared: tier.map(|tier| tier as _),
            unknown_groups_max_age: config.assignments.unknown_groups_max_age,
            metrics: services.metrics.resource(config.name.as_deref()),
        },
        assignments,
        sources,
    })
}

/// Where we choose the scopes of tokens, nobody gets one before it is known what the file narrows.
fn authorizer(config: &ResourceConfig, assignments: AssignmentWatch, services: &Services) -> Authorizer {
    let mut authorizer = Authorizer::new(assignments, config.assignments.unknown_groups);
    if config.assignments.mode == AssignmentsMode::Audit {
        authorizer = authorizer.not_enforced();
    }
    if let Some(memberships) = &services.memberships {
        authorizer = authorizer.with_memberships(Arc::clone(memberships));
    }
    match config.exchange.mode {
        ExchangeMode::Identity(_) => authorizer.with_scopes(),
        ExchangeMode::Passthrough | ExchangeMode::OnBehalfOf(_) | ExchangeMode::TeamsUser(_) => authorizer,
    }
}

fn sources(
    config: &ResourceConfig,
    services: &Services,
    listed: &HashSet<TenantId>,
) -> Result<(AssignmentWatch, Sources), StartError> {
    let AssignmentsConfig { file, acs, .. } = &config.assignments;
    let kinds = [
        file.as_ref().map(|_| SourceKind::File),
        acs.as_ref().map(|_| SourceKind::Acs),
    ];
    let watch = AssignmentWatch::new(Arc::clone(&services.clock), kinds.into_iter().flatten());
    let file = file.as_ref().map(|file| {
        let handle = watch.source(SourceKind::File);
        let source = FileSource::new(file.path.clone(), listed.clone(), handle);
        (source, file.refresh_interval)
    });
    let acs = match acs {
        None => None,
        Some(acs) => {
            let exchange = &config.exchange;
            let upstream = services.upstream(exchange.connect_timeout)?;
            let signed = services.signed_acs(upstream, &acs.auth, "assignments.acs")?;
            let client = AcsAssignments::new(signed, &exchange.endpoint, &exchange.api_version, exchange.timeout);
            let settings = AcsSourceSettings {
                refresh_interval: acs.refresh_interval,
                max_age: acs.max_age,
            };
            let handle = watch.source(SourceKind::Acs);
            Some(AcsSource::new(client, listed.clone(), handle, settings))
        }
    };
    Ok((watch, Sources { file, acs }))
}

fn exchanger(config: &ResourceConfig, services: &Services) -> Result<Exchanger, StartError> {
    let exchange = &config.exchange;
    let upstream = services.upstream(exchange.connect_timeout)?;
    let acs = || {
        AcsExchange::new(
            upstream.clone(),
            &exchange.endpoint,
            &exchange.api_version,
            &exchange.teams_extension_api_version,
        )
    };
    let mode = match &exchange.mode {
        ExchangeMode::Passthrough => Mode::Passthrough(acs()),
        ExchangeMode::OnBehalfOf(config) => {
            let app = services.app(&config.app, "exchange.on_behalf_of")?;
            Mode::OnBehalfOf(acs(), Box::new(OnBehalfOf::new(app, config.scope.clone())))
        }
        ExchangeMode::Identity(config) => {
            let signed = services.signed_acs(upstream, &config.auth, "exchange.identity")?;
            Mode::Identity {
                identities: AcsIdentities::new(signed, &exchange.endpoint, &config.api_version),
                scopes: config.scopes.clone(),
                // Validated to be a day at most.
                lifetime: u16::try_from(config.lifetime.as_secs() / 60).unwrap_or(u16::MAX),
            }
        }
        ExchangeMode::TeamsUser(config) => {
            let signed = services.signed_acs(upstream, &config.auth, "exchange.teams_user")?;
            Mode::TeamsUser {
                teams_users: AcsTeamsUsers::new(signed, &exchange.endpoint, &config.api_version),
                cloud: config.cloud,
            }
        }
    };
    // Two resources may share an endpoint, but nothing that is cached.
    let name = config.name.as_deref().unwrap_or_default();
    let resource = format!("{name} {}", exchange.endpoint);
    let exchanger = Exchanger::new(
        mode,
        &resource,
        exchange.timeout,
        services.endpoint(exchange),
        Arc::clone(&services.clock),
    );
    Ok(if services.mixed_modes {
        exchanger.with_strict_audience()
    } else {
        exchanger
    })
}
