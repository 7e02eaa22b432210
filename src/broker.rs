//! The composition root: from a configuration to a running broker. The only file that knows all rooms.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::api::{self, ApiSettings, Target};
use crate::authenticate::{Authenticator, AuthenticatorParts, Policy, RefreshSettings};
use crate::authorize::Authorizer;
use crate::authorize::source::acs::{AcsSource, AcsSourceSettings};
use crate::authorize::source::file::FileSource;
use crate::authorize::source::{AssignmentWatch, SourceKind};
use crate::cache::TokenCache;
use crate::clock::{SharedClock, SystemClock};
use crate::config::{Config, ExchangeMode, ResourceConfig};
use crate::credential::{self, NoServiceTokens};
use crate::exchange::Exchanger;
use crate::management::{self, Readiness};
use crate::pipeline::TokenPipeline;
use crate::serve::{self, Listener, ReloadingCertificate, ServeOptions, ShutdownSignals, TlsError};
use crate::tasks::Tasks;
use crate::upstream::acs::AcsExchange;
use crate::upstream::acs_assignments::AcsAssignments;
use crate::upstream::acs_signing::SignedAcs;
use crate::upstream::{Upstream, UpstreamSetupError};

/// Connections of the management listener: probes and a scraper need few.
const MANAGEMENT_CONNECTIONS: usize = 64;
/// How long background work may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Why a broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("{key} = {address}: {source}")]
    Bind {
        /// The setting.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The certificate or key of `server.tls` cannot be used.
    #[error("server.tls: {0}")]
    Tls(#[from] TlsError),
    /// The client for upstream calls cannot be made.
    #[error(transparent)]
    Upstream(#[from] UpstreamSetupError),
    /// Nothing could sign the requests for assignments at ACS.
    #[error(transparent)]
    Assignments(#[from] NoServiceTokens),
}

/// A broker with its sockets bound, not serving yet.
pub struct Broker {
    public: Listener,
    management: Listener,
    certificate: Option<Arc<ReloadingCertificate>>,
    config: Config,
    pipeline: Arc<TokenPipeline>,
    assignments: AssignmentWatch,
    sources: Sources,
    tasks: Tasks,
}

impl Broker {
    /// Makes what is made from files that the configuration names, and binds nothing: whether
    /// [`build`](Self::build) could fail for more than an address.
    pub fn check(config: &Config) -> Result<(), StartError> {
        certificate(config)?;
        let upstream = Upstream::new(&config.upstream, config.resources[0].exchange.connect_timeout)?;
        for resource in &config.resources {
            sources(config, resource, &upstream, &SystemClock::shared())?;
        }
        Ok(())
    }

    /// Builds all parts, binds both listeners and reads the assignments once.
    pub async fn build(config: Config, clock: SharedClock) -> Result<Self, StartError> {
        let certificate = certificate(&config)?;
        let tasks = Tasks::default();
        let upstream = Upstream::new(&config.upstream, config.resources[0].exchange.connect_timeout)?;
        let (assignments, sources) = sources(&config, &config.resources[0], &upstream, &clock)?;
        if let Some((file, _)) = &sources.file {
            file.reload();
        }
        let pipeline = Arc::new(TokenPipeline {
            authenticator: Arc::new(authenticator(&config, &upstream, &clock, &tasks)),
            authorizer: Authorizer::new(assignments.clone(), config.resources[0].assignments.unknown_groups),
            cache: TokenCache::new(&config.cache, Arc::clone(&clock)),
            exchanger: Arc::new(exchanger(&config, &upstream, &clock)),
            admission: Admission::new(config.server.max_in_flight),
            underway: Admission::new(config.server.max_in_flight),
            unknown_groups_max_age: config.resources[0].assignments.unknown_groups_max_age,
            clock,
        });
        Ok(Self {
            public: bind("server.listen", config.server.listen).await?,
            management: bind("management.listen", config.management.listen).await?,
            certificate,
            config,
            pipeline,
            assignments,
            sources,
            tasks,
        })
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
            sources,
            tasks,
        } = self;
        pipeline.authenticator.start(&tasks);
        if let Some((file, interval)) = sources.file {
            tasks.spawn(file.run(interval));
        }
        if let Some(acs) = sources.acs {
            tasks.spawn(acs.run());
        }

        let probes = management::router(Readiness {
            authenticator: Arc::clone(&pipeline.authenticator),
            assignments,
            draining: signals.draining.clone(),
        });
        // The probes outlive the public listener, so that the drain can be watched.
        let last = ShutdownSignals {
            draining: CancellationToken::new(),
            abort: signals.abort.clone(),
        };
        let options = ServeOptions {
            max_connections: MANAGEMENT_CONNECTIONS,
            head_timeout: config.server.request_timeout,
            drain_timeout: STOP_LIMIT,
            tls: None,
        };
        let probes = serve::run(management, probes, options, last.clone());

        let stop_accepting = signals.delayed(config.server.drain_delay);
        let router = api::router(
            Arc::clone(&pipeline),
            api_settings(&config),
            stop_accepting.draining.clone(),
        );
        let options = ServeOptions {
            max_connections: config.server.max_connections,
            head_timeout: config.server.request_timeout,
            drain_timeout: config.server.drain_timeout,
            tls: certificate,
        };
        let public = async {
            let drained = serve::run(public, router, options, stop_accepting).await;
            if drained.cut > 0 {
                tracing::warn!(
                    connections = drained.cut,
                    "connections were cut at the end of the drain"
                );
            }
            last.draining.cancel();
        };
        tokio::join!(probes, public);
        tasks.stop(STOP_LIMIT).await;
    }
}

/// Where a resource's assignments come from.
struct Sources {
    file: Option<(Arc<FileSource>, Duration)>,
    acs: Option<Arc<AcsSource>>,
}

/// The assignments of `resource`, and the sources that will load them.
fn sources(
    config: &Config,
    resource: &ResourceConfig,
    upstream: &Upstream,
    clock: &SharedClock,
) -> Result<(AssignmentWatch, Sources), StartError> {
    let (file, acs) = (&resource.assignments.file, &resource.assignments.acs);
    let kinds = [
        file.as_ref().map(|_| SourceKind::File),
        acs.as_ref().map(|_| SourceKind::Acs),
    ];
    let watch = AssignmentWatch::new(Arc::clone(clock), kinds.into_iter().flatten());
    let listed = || config.entra.tenants.iter().map(|tenant| tenant.id).collect();
    let file = file.as_ref().map(|file| {
        let source = FileSource::new(file.path.clone(), listed(), watch.source(SourceKind::File));
        (source, file.refresh_interval)
    });
    let acs = match acs {
        None => None,
        Some(acs) => {
            let auth = credential::acs_auth(&acs.auth, clock)?;
            let client = AcsAssignments::new(
                SignedAcs::new(upstream.clone(), auth, Arc::clone(clock)),
                &resource.exchange.endpoint,
                &resource.exchange.api_version,
                resource.exchange.timeout,
            );
            let settings = AcsSourceSettings {
                refresh_interval: acs.refresh_interval,
                max_age: acs.max_age,
            };
            Some(AcsSource::new(
                client,
                listed(),
                watch.source(SourceKind::Acs),
                settings,
            ))
        }
    };
    Ok((watch, Sources { file, acs }))
}

fn certificate(config: &Config) -> Result<Option<Arc<ReloadingCertificate>>, TlsError> {
    let Some(tls) = &config.server.tls else {
        return Ok(None);
    };
    let certificate = ReloadingCertificate::load(&tls.certificate_file, &tls.private_key_file)?;
    Ok(Some(Arc::new(certificate)))
}

fn authenticator(config: &Config, upstream: &Upstream, clock: &SharedClock, tasks: &Tasks) -> Authenticator {
    let entra = &config.entra;
    Authenticator::new(AuthenticatorParts {
        upstream: upstream.clone(),
        authority: entra.authority.clone(),
        tenants: entra
            .tenants
            .iter()
            .map(|tenant| (tenant.id, tenant.app_id_for_keys))
            .collect(),
        policy: Policy::new(&entra.audiences, &entra.required_scopes, entra.clock_skew),
        refresh: RefreshSettings {
            interval: entra.jwks_refresh_interval,
            cooldown: entra.jwks_refresh_cooldown,
            wait: entra.jwks_wait,
            max_age: entra.jwks_max_age,
        },
        waiting_room: config.server.max_connections,
        clock: Arc::clone(clock),
        tasks: tasks.clone(),
    })
}

fn exchanger(config: &Config, upstream: &Upstream, clock: &SharedClock) -> Exchanger {
    let exchange = &config.resources[0].exchange;
    let acs = AcsExchange::new(upstream.clone(), &exchange.endpoint, &exchange.api_version);
    match exchange.mode {
        ExchangeMode::Passthrough => {
            Exchanger::passthrough(acs, exchange.endpoint.as_str(), exchange.timeout, Arc::clone(clock))
        }
        _ => unimplemented!(),
    }
}

fn api_settings(config: &Config) -> ApiSettings {
    ApiSettings {
        max_bodies: config.server.max_connections,
        api_versions: config.server.api_versions.clone(),
        request_timeout: config.server.request_timeout,
        diagnostic_headers: config.server.diagnostic_headers,
        allowed_origins: config.server.cors.allowed_origins.clone(),
        required_scopes: config.entra.required_scopes.join(" "),
        target: Target::new(config.resources[0].exchange.endpoint.clone()),
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<Listener, StartError> {
    Listener::bind(address)
        .await
        .map_err(|source| StartError::Bind { key, address, source })
}
