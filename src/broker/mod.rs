//! The composition root: from a configuration to a running broker. The only room that knows all others.

mod check;
mod hosts;
mod resource;
mod services;
mod start_error;
mod state;
mod telemetry;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use url::Url;

use self::resource::Sources;
pub(crate) use self::services::open_store;
pub use self::services::{Services, WellKnownEndpoints};
pub use self::start_error::StartError;
use self::state::Watched;
pub use self::telemetry::{UserNamesError, configured_user_hash};
use crate::admission::{Admission, Overloaded};
use crate::api::{self, AccessLines, ApiSettings, SignIn, Target};
use crate::authenticate::{Authenticator, AuthenticatorParts, Authority, ListedTenant, Policy, RefreshSettings};
use crate::authorize::source::AssignmentWatch;
use crate::cache::TokenCache;
use crate::management::{self, Readiness, ResourceAssignments, Shown, Upstreams};
use crate::pipeline::TokenPipeline;
use crate::route::{Resource, Routes};
use crate::shared::key_names;
use ::serve::{
    self, Budget, Eviction, Listener, OpenConnections, ReloadingCertificate, ServeOptions, ShutdownSignals, TlsError,
    Wanted,
};
use ::telemetry::LogLevel;
use ::telemetry::metrics::Metrics;
use azure::Upstream;
use base::clock::SharedClock;
use base::ids::TenantId;
use base::tasks::Tasks;
use config::{AssignmentsMode, Config, ResourceConfig};
use shared_cache::SharedCache;

/// Connections of the management listener: probes and a scraper need few.
const MANAGEMENT_CONNECTIONS: usize = 64;
/// Streams of one HTTP/2 connection there.
const MANAGEMENT_STREAMS: u32 = 8;
/// How long a connection is kept there without a request. Probes and scrapers open another.
const MANAGEMENT_IDLE: Duration = Duration::from_secs(10);
/// How long a head or a request may take there: its clients are near.
const MANAGEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the store is asked how full the budgets are that replicas share.
const BUDGET_LOOKS: Duration = Duration::from_secs(5);
/// How long background work may take to stop, the next included.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// How long the end waits until leases and places are given back to the shared cache.
const STORE_LIMIT: Duration = Duration::from_secs(1);

/// A broker with its sockets bound, not serving yet.
pub struct Broker {
    public: Listener,
    management: Listener,
    certificate: Option<Arc<ReloadingCertificate>>,
    config: Config,
    pipeline: Arc<TokenPipeline>,
    assignments: Vec<ResourceAssignments>,
    upstreams: Upstreams,
    store: Option<Arc<SharedCache>>,
    sources: Vec<Sources>,
    tasks: Tasks,
    log_level: Option<LogLevel>,
    // The origins beside those of this machine that a broker for development is for.
    development: Option<Vec<String>>,
}

impl Broker {
    /// Makes what is made from files that the configuration names, and binds nothing: all for which
    /// [`build`](Self::build) would fail, but for an address.
    #[must_use]
    pub fn check(config: &Config, clock: &SharedClock) -> Vec<StartError> {
        let store = config.shared_cache.as_ref().map_or(Ok(()), SharedCache::check);
        let mut wrong: Vec<StartError> = Vec::new();
        wrong.extend(certificate(config).err().map(StartError::from));
        wrong.extend(store.err().map(StartError::from));
        match Upstream::new(&config.upstream, services::connect_timeout(config)) {
            Ok(upstream) => {
                wrong.extend(telemetry::check(&config.telemetry).map(StartError::from));
                wrong.extend(check::credentials(config, &upstream, clock));
            }
            Err(error) => wrong.push(error.into()),
        }
        wrong
    }

    /// What a broker so configured may have open at once.
    #[must_use]
    pub fn wanted_files(config: &Config) -> Wanted {
        Wanted {
            connections: config.server.max_connections,
            upstream: config.server.max_in_flight,
            management: MANAGEMENT_CONNECTIONS,
        }
    }

    /// What is odd about the files that the configuration names, but no reason not to start: certificates that have ended, keys
    /// of the shared cache that cannot be used.
    #[must_use]
    pub fn warnings(config: &Config, clock: &SharedClock) -> Vec<String> {
        let server = certificate(config).ok().flatten();
        let server = server.and_then(|certificate| certificate.validity());
        let mut warnings = Vec::new();
        if let Some(validity) = server {
            if let Some(oddity) = validity.oddity(clock.now().as_second()) {
                warnings.push(format!("server.tls.certificate_file: {oddity}; callers refuse it"));
            }
            if validity.is_version_1 {
                warnings.push(
                    "server.tls.certificate_file: holds an X.509 certificate of version 1, which names no host in a way \
                     that current clients accept"
                        .to_owned(),
                );
            }
        }
        if let Some(shared) = &config.shared_cache
            && let Err(error) = key_names(&shared.encryption_keys_file)
        {
            let file = shared.encryption_keys_file.display();
            warnings.push(format!(
                "shared_cache.encryption_keys_file: {file} {error}; until it can be used the store counts as away"
            ));
        }
        if let Ok(upstream) = Upstream::plain(STOP_LIMIT, 1) {
            let oddities = check::oddities(config, &upstream, clock).into_iter();
            warnings.extend(oddities.map(|(key, oddity)| format!("{key}: {oddity}; Entra refuses it")));
        }
        warnings
    }

    /// Builds all parts, binds both listeners and reads assignment files once. What happens is recorded in `metrics`,
    /// which the management listener shows.
    pub async fn build(config: Config, clock: SharedClock, metrics: Metrics) -> Result<Self, StartError> {
        let certificate = certificate(&config)?;
        let tasks = Tasks::default();
        let upstream =
            Upstream::new(&config.upstream, services::connect_timeout(&config))?.with_metrics(metrics.clone());
        if let Some(error) = check::credentials(&config, &upstream, &clock).into_iter().next() {
            return Err(error);
        }
        for warning in Self::warnings(&config, &clock) {
            tracing::warn!("{warning}");
        }
        let authenticator = Arc::new(authenticator(&config, &upstream, &clock, &tasks, &metrics));
        let endpoints = Arc::clone(&authenticator) as _;
        let mut services = Services::new(&config, endpoints, Arc::clone(&clock), metrics.clone())?;
        services.start_store(&config, &tasks)?;
        let listed: HashSet<_> = config.entra.tenants.iter().map(|tenant| tenant.id).collect();
        let mut resources = Vec::new();
        let mut assignments = Vec::new();
        let mut sources = Vec::new();
        for resource in &config.resources {
            let built = resource::build(resource, &services, &listed)?;
            built.sources.load();
            resources.push(built.resource);
            sources.push(built.sources);
            assignments.push(ResourceAssignments {
                resource: resource.name.clone(),
                watch: built.assignments,
                enforced: resource.assignments.mode == AssignmentsMode::Enforce,
            });
        }
        let upstreams = services.upstreams(&resources);
        let store = services.store();
        let pipeline = Arc::new(TokenPipeline {
            authenticator,
            limits: services.caller_limits(),
            routes: Routes::new(resources),
            cache: TokenCache::new(&config.cache, Arc::clone(&clock)),
            admission: Admission::new(config.server.max_in_flight, Overloaded::Requests),
            exchange_limit: Admission::new(config.server.max_in_flight, Overloaded::Exchanges),
            users: telemetry::user_names(&config.telemetry)?,
            clock,
            metrics,
        });
        Ok(Self {
            public: bind("server.listen", config.server.listen).await?,
            management: bind("management.listen", config.management.listen).await?,
            certificate,
            config,
            pipeline,
            assignments,
            upstreams,
            store,
            sources,
            tasks,
            log_level: None,
            development: None,
        })
    }

    /// The same, letting the management listener change the log's level.
    #[must_use]
    pub fn with_log_level(self, level: LogLevel) -> Self {
        Self {
            log_level: Some(level),
            ..self
        }
    }

    /// The same for development, where web pages are near: it answers only requests whose `Host` is this machine or of
    /// one of `origins`, and lets the pages of this machine and of `origins` read its answers.
    #[must_use]
    pub fn for_development(self, origins: Vec<String>) -> Self {
        Self {
            development: Some(origins),
            ..self
        }
    }

    /// The public listener's address, with its real port.
    #[must_use]
    pub fn public_address(&self) -> SocketAddr {
        self.public.address()
    }

    /// The management listener's address, with its real port.
    #[must_use]
    pub fn management_address(&self) -> SocketAddr {
        self.management.address()
    }

    /// Serves until the first signal and through the drain. The management listener answers to the end.
    pub async fn run(self, signals: ShutdownSignals) {
        let Self {
            public,
            management,
            certificate,
            config,
            pipeline,
            assignments,
            upstreams,
            store,
            sources,
            tasks,
            log_level,
            development,
        } = self;
        let guarded = |router| match &development {
            Some(origins) => hosts::this_machine_only(router, origins),
            None => router,
        };
        pipeline.authenticator.start(&tasks);
        for sources in sources {
            sources.start(&tasks);
        }

        if store.is_some() {
            tasks.spawn(look_at_budgets(upstreams.clone()));
        }
        let readiness = Readiness {
            authenticator: Arc::clone(&pipeline.authenticator),
            assignments,
            upstreams,
            store: store.clone(),
            draining: signals.draining.clone(),
        };
        let open = OpenConnections::default();
        // The metrics hold it weakly, since the pipeline holds them: it is looked at until the end of this function.
        let state = Watched::new(Arc::clone(&pipeline), readiness.clone(), &config, open.clone());
        pipeline.metrics.watch(state.as_weak());
        let shown = Shown {
            readiness,
            metrics: pipeline.metrics.clone(),
            state: Arc::clone(&state) as _,
            pipeline: Arc::clone(&pipeline),
        };
        let brief = config.server.request_timeout.min(MANAGEMENT_TIMEOUT);
        let probes = management::router(shown, log_level, brief);
        // The probes outlive the public listener, so that the drain can be watched.
        let last = ShutdownSignals {
            draining: CancellationToken::new(),
            abort: signals.abort.clone(),
        };
        let options = ServeOptions {
            // A probe gets a place, whatever else holds them.
            eviction: Eviction::Any,
            head_timeout: brief,
            keep_alive_timeout: MANAGEMENT_IDLE,
            http2_idle_timeout: MANAGEMENT_IDLE,
            http2_streams: MANAGEMENT_STREAMS,
            drain_timeout: STOP_LIMIT,
            ..ServeOptions::new(MANAGEMENT_CONNECTIONS, management::head_limits())
        };
        let probes = serve::run(management, guarded(probes.into()), options, last.clone());

        let stop_accepting = signals.delayed(config.server.drain_delay);
        let options = ServeOptions {
            max_connections_per_address: config.server.max_connections_per_address,
            trusted_proxies: config.server.trusted_proxies.clone(),
            open,
            head_timeout: config.server.request_timeout,
            keep_alive_timeout: config.server.keep_alive_timeout,
            leaving: signals.draining.clone(),
            drain_timeout: config.server.drain_timeout,
            tls: certificate,
            ..ServeOptions::new(config.server.max_connections, api::layers::head_limits())
        };
        let settings = api_settings(&config, development.as_deref(), options.memory.work.clone());
        let access_lines = Arc::clone(&settings.access_lines);
        tasks.spawn(sum_up(Arc::clone(&access_lines), Arc::clone(&pipeline.clock)));
        let public_handler = api::handler(Arc::clone(&pipeline), settings, stop_accepting.draining.clone());
        let public = async {
            let drained = serve::run(public, guarded(public_handler), options, stop_accepting).await;
            if drained.cut > 0 {
                tracing::warn!(
                    connections = drained.cut,
                    "connections were cut at the end of the drain"
                );
            }
            last.draining.cancel();
        };
        tokio::join!(probes, public);
        let begun = tokio::time::Instant::now();
        if let Some(store) = store {
            // Or other replicas wait for leases, and count places, that nobody has any more.
            store.finish(STORE_LIMIT).await;
        }
        tasks.stop(STOP_LIMIT.saturating_sub(begun.elapsed())).await;
        access_lines.sum_up(None);
        drop(state);
    }
}

/// Keeps what is shown of shared budgets fresh: replicas that send nothing hear nothing of them otherwise.
async fn look_at_budgets(upstreams: Upstreams) {
    let mut ticks = tokio::time::interval(BUDGET_LOOKS);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (_, endpoint) in &upstreams.endpoints {
            if let Some(budget) = &endpoint.budget {
                budget.look().await;
            }
        }
    }
}

/// Writes how many requests had no line in the log, also where none comes any more that would say so.
async fn sum_up(lines: Arc<AccessLines>, clock: SharedClock) {
    let mut ticks = tokio::time::interval(api::ACCESS_LOG_WINDOW / 6);
    loop {
        ticks.tick().await;
        lines.sum_up(Some(clock.monotonic()));
    }
}

/// The stages of one resource, before anything of its assignments is loaded: for a command that looks once.
pub(crate) fn stages(
    config: &ResourceConfig,
    services: &Services,
    listed: &HashSet<TenantId>,
) -> Result<(Resource, AssignmentWatch), StartError> {
    let built = resource::build(config, services, listed)?;
    Ok((built.resource, built.assignments))
}

fn certificate(config: &Config) -> Result<Option<Arc<ReloadingCertificate>>, TlsError> {
    let Some(tls) = &config.server.tls else {
        return Ok(None);
    };
    let certificate = ReloadingCertificate::load(&tls.certificate_file, &tls.private_key_file)?;
    Ok(Some(Arc::new(certificate)))
}

/// The authenticator that `config` says.
pub(crate) fn authenticator(
    config: &Config,
    upstream: &Upstream,
    clock: &SharedClock,
    tasks: &Tasks,
    metrics: &Metrics,
) -> Authenticator {
    let entra = &config.entra;
    Authenticator::new(AuthenticatorParts {
        upstream: upstream.clone(),
        tenants: entra
            .tenants
            .iter()
            .map(|tenant| ListedTenant {
                id: tenant.id,
                authority: match &tenant.authority {
                    Some(own) => Authority::own(own.clone()),
                    None => Authority::common(entra.authority.clone()),
                },
                app: tenant.app_id_for_keys,
            })
            .collect(),
        policy: Policy::new(&entra.audiences, &entra.required_scopes, entra.clock_skew),
        refresh: RefreshSettings {
            interval: entra.jwks_refresh_interval,
            cooldown: entra.jwks_refresh_cooldown,
            wait: entra.jwks_wait,
            max_age: entra.jwks_max_age,
            withdrawal_grace: entra.jwks_withdrawal_grace,
        },
        waiting_room: config.server.max_connections,
        clock: Arc::clone(clock),
        tasks: tasks.clone(),
        metrics: metrics.clone(),
    })
}

/// `development`: the origins that a broker for development is for.
fn api_settings(config: &Config, development: Option<&[String]>, memory: Budget) -> ApiSettings {
    let allowed_origins = config.server.cors.allowed_origins.iter();
    ApiSettings {
        memory,
        audit: config.telemetry.audit,
        trusted_proxies: config.server.trusted_proxies.clone(),
        access_lines: Arc::new(AccessLines::new(config.telemetry.access_log)),
        api_versions: config.server.api_versions.clone(),
        teams_api_versions: config.server.teams_api_versions.clone(),
        base_path: config.server.base_path.clone(),
        request_timeout: config.server.request_timeout,
        diagnostic_headers: config.server.diagnostic_headers,
        allowed_origins: allowed_origins
            .chain(development.into_iter().flatten())
            .cloned()
            .collect(),
        loopback_origins: development.is_some(),
        allowed_headers: config.server.cors.allowed_headers.clone(),
        required_scopes: config.entra.required_scopes.join(" "),
        targets: config
            .resources
            .iter()
            .map(|resource| Target::new(resource.exchange.endpoint.clone(), resource.name.as_deref()))
            .collect(),
        scope_prefixes: config
            .entra
            .audiences
            .iter()
            .map(|audience| format!("{audience}/"))
            .collect(),
        sign_in: SignIn::new(&config.entra.authority, own_authorities(config)),
    }
}

/// The tenants that are not at `entra.authority`, and where they are.
fn own_authorities(config: &Config) -> impl Iterator<Item = (TenantId, &Url)> {
    let tenants = config.entra.tenants.iter();
    tenants.filter_map(|tenant| Some((tenant.id, tenant.authority.as_ref()?)))
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<Listener, StartError> {
    Listener::bind(address)
        .await
        .map_err(|source| StartError::Bind { key, address, source })
}
