//! Looking: what the rules judge is fetched here, side by side, each call with a time limit.

mod apply;
mod graph;
mod resource;
mod shared_cache;
mod tenant;
mod token;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use azure::acs_assignments::EntraAssignment;
use azure::{Response, SendError, Upstream};
use base::clock::SharedClock;
use base::ids::{ClientAppId, TenantId};
use config::{AppConfig, Config, ExchangeMode};
use futures_util::future::{BoxFuture, join_all};
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use telemetry::metrics::Metrics;
use telemetry::metrics::labels::Peer;
use url::Url;

pub use self::graph::{GraphAccess, NoTenant, given_token};
use super::check::{Check, CheckId};
use super::needs::Needs;
use super::rules;
use super::rules::acs::ResourceLook;
use super::rules::entra::TenantLook;
use super::rules::graph::TenantGraph;
use super::rules::shared_cache::StoreLook;
use crate::authorize::assignment::Assignment;
use crate::authorize::source::parse;
use crate::broker::{Services, StartError, WellKnownEndpoints};

/// The longest that one call may take.
pub const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Called when a look has ended: how many have, of how many.
pub type Progress<'p> = &'p (dyn Fn(usize, usize) + Send + Sync);

/// What looks at Azure by a configuration.
pub struct Looker<'c> {
    config: &'c Config,
    services: Services,
    upstream: Upstream,
    clock: SharedClock,
    // Empty: all that are listed.
    only: BTreeSet<TenantId>,
}

/// What was seen of Azure.
pub struct Seen<'c> {
    /// Each tenant.
    pub tenants: Vec<TenantLook>,
    /// Each resource.
    pub resources: Vec<ResourceLook<'c>>,
    /// What the assignments make necessary.
    pub needs: Needs,
    /// What Graph said, by tenant.
    pub graph: Vec<TenantGraph>,
    /// What was seen of the store that replicas share, if there is one.
    pub store: Option<StoreLook>,
    // By how much this machine's clock was ahead, by each answer that said the time.
    differences: Vec<SignedDuration>,
    credentials: Vec<Check>,
}

/// An app of the broker's own, by its section.
struct OwnApp<'c> {
    key: String,
    config: &'c AppConfig,
}

impl<'c> Looker<'c> {
    /// A looker at `only` these tenants; at all that are listed if there are none.
    pub fn new(config: &'c Config, clock: SharedClock, only: BTreeSet<TenantId>) -> Result<Self, StartError> {
        let endpoints = Arc::new(WellKnownEndpoints::new(&config.entra));
        let services = Services::new(config, endpoints, Arc::clone(&clock), Metrics::noop())?;
        Ok(Self {
            config,
            upstream: services.upstream(CALL_LIMIT)?,
            services,
            clock,
            only,
        })
    }

    fn is_wanted(&self, tenant: TenantId) -> bool {
        self.only.is_empty() || self.only.contains(&tenant)
    }

    /// The listed tenants that are wanted.
    fn tenants(&self) -> impl Iterator<Item = TenantId> {
        let listed = self.config.entra.tenants.iter().map(|tenant| tenant.id);
        listed.filter(|tenant| self.is_wanted(*tenant))
    }

    /// Looks at everything.
    pub async fn look(&self, access: &GraphAccess, progress: Progress<'_>) -> Seen<'c> {
        let apps = self.own_apps();
        let total = self.tenants().count() * (2 + apps.len()) + self.config.resources.len();
        let done = std::sync::atomic::AtomicUsize::new(0);
        let step = || progress(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1, total);
        let tenants = join_all(self.tenants().map(|tenant| async move {
            let looked = self.tenant(tenant).await;
            step();
            looked
        }));
        let resources = join_all(self.config.resources.iter().map(|resource| async move {
            let looked = self.resource(resource).await;
            step();
            looked
        }));
        let asked: Vec<BoxFuture<'_, Check>> = apps
            .iter()
            .flat_map(|app| self.tenants().map(move |tenant| (app, tenant)))
            .map(|(app, tenant)| {
                Box::pin(async move {
                    let check = self.credential(app, tenant).await;
                    step();
                    check
                }) as BoxFuture<'_, Check>
            })
            .collect();
        let (tenants, resources, mut credentials, store) =
            tokio::join!(tenants, resources, join_all(asked), self.store());
        if apps.is_empty() {
            credentials.push(Check::skip(
                CheckId::EntraCredential,
                "the broker has no app of its own",
            ));
        }
        let mut differences = Vec::new();
        let mut seen_tenants = Vec::new();
        for (look, difference) in tenants {
            differences.extend(difference);
            seen_tenants.push(look);
        }
        let mut seen_resources = Vec::new();
        for (look, difference) in resources {
            differences.extend(difference);
            seen_resources.push(look);
        }
        let needs = self.needs(&seen_resources);
        let graph = self.graph(&needs, access, &step).await;
        Seen {
            tenants: seen_tenants,
            resources: seen_resources,
            needs,
            graph,
            store,
            differences,
            credentials,
        }
    }

    /// What the assignments in force make necessary, in the tenants that are wanted.
    fn needs(&self, resources: &[ResourceLook<'_>]) -> Needs {
        let mut needs = Needs::default();
        for look in resources {
            let mut assignments: Vec<EntraAssignment> = Vec::new();
            if let Some(Ok(file)) = &look.file {
                assignments.extend(file.iter().cloned().map(EntraAssignment::from));
            }
            if look.config.assignments.acs.is_some()
                && let Some(Ok(listed)) = look.listed()
            {
                assignments.extend(listed.iter().cloned());
            }
            assignments.retain(|assignment| self.is_wanted(assignment.tenant_id));
            needs.add(self.config, look.config, &assignments);
        }
        needs
    }

    /// The apps that ask Entra for tokens, each once.
    fn own_apps(&self) -> Vec<OwnApp<'c>> {
        let mut apps: Vec<OwnApp<'c>> = Vec::new();
        let mut seen: BTreeMap<ClientAppId, Vec<&config::CredentialConfig>> = BTreeMap::new();
        let resources = self
            .config
            .resources
            .iter()
            .filter_map(|resource| match &resource.exchange.mode {
                ExchangeMode::OnBehalfOf(settings) => Some((resource.key("exchange.on_behalf_of"), &settings.app)),
                ExchangeMode::Passthrough | ExchangeMode::Identity(_) | ExchangeMode::TeamsUser(_) => None,
            });
        let graph = self
            .config
            .graph_for_checks
            .iter()
            .map(|graph| ("graph".to_owned(), &graph.app));
        for (key, app) in resources.chain(graph) {
            let credentials = seen.entry(app.client_id).or_default();
            if !credentials.contains(&&app.credential) {
                credentials.push(&app.credential);
                apps.push(OwnApp { key, config: app });
            }
        }
        apps
    }

    /// Asks for a token of the app's own, which shows whether Entra takes its credential. What it is for does not matter:
    /// Graph is known in every tenant.
    async fn credential(&self, app: &OwnApp<'_>, tenant: TenantId) -> Check {
        let outcome = match self.services.app(app.config, &app.key) {
            Ok(own) => {
                let deadline = tokio::time::Instant::now() + CALL_LIMIT;
                let scope = format!("{}/.default", self.config.entra.cloud.graph());
                own.client_credentials(tenant, &scope, deadline).await.map(drop)
            }
            Err(StartError::Credential { source, .. }) => Err(source.into()),
            Err(error) => {
                return Check::skip(CheckId::EntraCredential, error.to_string()).about(tenant);
            }
        };
        rules::entra::credential(&app.key, app.config.client_id, tenant, &outcome, self.config)
    }

    /// Asks without a credential: what status there is, and what time it is there.
    async fn ask(&self, peer: Peer, url: Url) -> Result<(StatusCode, Option<SignedDuration>), SendError> {
        let asked_at = self.clock.now();
        let request = self.upstream.request(Method::GET, url);
        let deadline = tokio::time::Instant::now() + CALL_LIMIT;
        let response = self.upstream.send(peer, request, deadline).await?;
        Ok((response.status, self.difference(asked_at, &response)))
    }

    /// By how much this machine's clock was ahead when `response` came, if it says the time.
    fn difference(&self, asked_at: Timestamp, response: &Response) -> Option<SignedDuration> {
        let date = response.headers.get(http::header::DATE)?.to_str().ok()?;
        let theirs = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
        let now = self.clock.now();
        // The time lies between the question and the answer. Theirs has no fraction.
        if theirs > now {
            Some(now.duration_since(theirs))
        } else {
            Some(asked_at.duration_since(theirs).max(SignedDuration::ZERO))
        }
    }

    /// The tenants that the configuration lists.
    fn listed(&self) -> HashSet<TenantId> {
        self.config.entra.tenants.iter().map(|tenant| tenant.id).collect()
    }
}

impl Seen<'_> {
    /// The checks of everything but the token, in no order.
    #[must_use]
    pub fn checks(&self, config: &Config, now: Timestamp) -> Vec<Check> {
        let today = jiff::tz::Offset::UTC.to_datetime(now).date();
        let mut checks = vec![rules::entra::clock(&self.differences, config.entra.clock_skew)];
        for look in &self.tenants {
            checks.extend(rules::entra::tenant(look, &config.upstream));
        }
        checks.extend(self.credentials.iter().cloned());
        for look in &self.resources {
            checks.extend(rules::acs::resource(look, config, today));
        }
        checks.extend(rules::graph::checks(config, &self.needs, &self.graph));
        checks.extend(shared_cache::checks(config, self.store.as_ref()));
        let known = &config.doctor.acknowledged;
        checks
            .into_iter()
            .map(|check| check.unless_acknowledged(known))
            .collect()
    }
}

/// The checks of Azure where there is no network: none is looked at.
#[must_use]
pub fn offline(config: &Config, only: &BTreeSet<TenantId>) -> Vec<Check> {
    const WHY: &str = "not looked at offline";
    let tenants = || {
        config
            .entra
            .tenants
            .iter()
            .filter(|tenant| only.is_empty() || only.contains(&tenant.id))
    };
    let mut checks = vec![Check::skip(CheckId::ClockSkew, WHY)];
    for &id in CheckId::ALL {
        let name = id.name();
        if name.starts_with("entra.") || name.starts_with("graph.") {
            checks.extend(tenants().map(|tenant| Check::skip(id, WHY).about(tenant.id)));
        } else if name.starts_with("acs.") {
            let resources = config.resources.iter();
            checks.extend(resources.map(|resource| Check::skip(id, WHY).about_resource(resource.name.as_deref())));
        }
    }
    match &config.shared_cache {
        Some(shared) => checks.extend([
            Check::skip(CheckId::SharedCacheReachable, WHY),
            shared_cache::offline(shared),
        ]),
        None => checks.extend(rules::shared_cache::absent()),
    }
    checks
}

/// The assignments of a file, or what is wrong with it.
pub(super) fn read_file(path: &std::path::Path) -> Result<Vec<Assignment>, String> {
    parse::read_file(path).map_err(|problem| format!("{}: {problem}", path.display()))
}
