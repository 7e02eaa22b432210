//! What several resources share: the ways out, the broker's apps at Entra, and group membership.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use url::Url;

use super::StartError;
use crate::authenticate::Addressee;
use crate::authorize::membership::{MembershipSettings, Memberships};
use crate::limits::CallerLimits;
use crate::management::Upstreams;
use crate::route::Resource;
use crate::shared::{Authorities, REDIS_SCOPE, ResourceTier, StoreBudget, StoreObserver, StoreTokens, TierSettings};
use azure::acs_signing::{AcsAuth, ServiceTokens, SignedAcs};
use azure::breaker::Breaker;
use azure::budget::{Budget, BudgetSettings};
use azure::credential::app_tokens::AppTokens;
use azure::credential::{
    AppServiceTokens, CredentialDeps, EntraApp, IdentityServiceTokens, ManagedIdentity, ReloadingSecret,
};
use azure::endpoint::Endpoint;
use azure::entra::{EntraClient, TokenEndpoints};
use azure::graph::GraphClient;
use azure::pause::Pause;
use azure::{Upstream, UpstreamSetupError};
use base::clock::SharedClock;
use base::ids::TenantId;
use base::tasks::Tasks;
use config::{
    AcsAuthConfig, AppConfig, Cloud, Config, EntraConfig, ExchangeConfig, GraphConfig, LimitsConfig, ServiceIdentity,
    SharedCacheConfig, StoreAuth, UpstreamConfig,
};
use shared_cache::{Observer, Settings, SharedCache};
use telemetry::metrics::Metrics;
use telemetry::metrics::labels::Peer;

/// Services of the broker, made from its configuration.
pub struct Services {
    pub(super) clock: SharedClock,
    pub(super) memberships: Option<Arc<Memberships>>,
    pub(super) metrics: Metrics,
    entra: Arc<EntraClient>,
    upstream: UpstreamConfig,
    cloud: Cloud,
    // One connection pool for each connect timeout.
    clients: Mutex<HashMap<Duration, Upstream>>,
    connect_timeout: Duration,
    // ACS limits an endpoint, however many resources of ours stand for it.
    endpoints: Mutex<HashMap<String, Arc<Endpoint>>>,
    // The longest exchange at each endpoint, by its origin.
    longest: HashMap<String, Duration>,
    authorities: Arc<Authorities>,
    store: Option<Arc<SharedCache>>,
    limits: LimitsConfig,
    caller_limits: Arc<CallerLimits>,
    // Whether resources differ in what their tokens are for.
    pub(super) mixed_modes: bool,
}

impl Services {
    /// The services that `config` says. `endpoints` knows where listed tenants are asked for tokens.
    pub fn new(
        config: &Config,
        endpoints: Arc<dyn TokenEndpoints>,
        clock: SharedClock,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let connect_timeout = connect_timeout(config);
        let upstream = Upstream::new(&config.upstream, connect_timeout)?.with_metrics(metrics.clone());
        let endpoints = Endpoints {
            listed: config.entra.tenants.iter().map(|tenant| tenant.id).collect(),
            discovered: endpoints,
            well_known: WellKnownEndpoints::new(&config.entra),
        };
        let breaker = config.upstream.breaker;
        let entra = EntraClient::new(upstream.clone(), Arc::new(endpoints), breaker, Arc::clone(&clock));
        let mut services = Self {
            caller_limits: Arc::new(CallerLimits::new(&config.limits, &clock)),
            clock,
            memberships: None,
            metrics,
            entra: Arc::new(entra),
            upstream: config.upstream.clone(),
            cloud: config.entra.cloud,
            clients: Mutex::new(HashMap::from([(connect_timeout, upstream.clone())])),
            connect_timeout,
            endpoints: Mutex::default(),
            longest: longest_exchanges(config),
            authorities: Arc::new(Authorities::new(config)),
            store: None,
            limits: config.limits.clone(),
            mixed_modes: mixed_modes(config),
        };
        if let Some(graph) = &config.graph {
            let tokens = services.graph_tokens(graph)?;
            let settings = MembershipSettings {
                timeout: graph.timeout,
                cache_ttl: graph.cache_ttl,
            };
            let clock = || Arc::clone(&services.clock);
            let client = GraphClient::new(upstream, graph.endpoint.clone(), breaker, clock());
            let memberships = Memberships::new(client, tokens, settings, services.caller_limits(), clock());
            let memberships = memberships.with_metrics(services.metrics.clone());
            services.memberships = Some(Arc::new(memberships));
        }
        Ok(services)
    }

    /// A client whose connections open within `connect_timeout`.
    pub fn upstream(&self, connect_timeout: Duration) -> Result<Upstream, UpstreamSetupError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&connect_timeout) {
            return Ok(client.clone());
        }
        let client = Upstream::new(&self.upstream, connect_timeout)?.with_metrics(self.metrics.clone());
        clients.insert(connect_timeout, client.clone());
        Ok(client)
    }

    /// Starts to use the store that replicas share, if `config` names one. Resources that are built from then on use it.
    pub(super) fn start_store(&mut self, config: &Config, tasks: &Tasks) -> Result<(), StartError> {
        if let Some(shared) = &config.shared_cache {
            let observer = Arc::new(StoreObserver::new(&self.metrics));
            let settings = self.store_settings(config, shared)?;
            self.store = Some(open_store(settings, &self.clock, observer, tasks)?);
        }
        Ok(())
    }

    /// The store that replicas share, once it is used.
    pub(super) fn store(&self) -> Option<Arc<SharedCache>> {
        self.store.clone()
    }

    /// What a connection to the store takes.
    pub(crate) fn store_settings(&self, config: &Config, shared: &SharedCacheConfig) -> Result<Settings, StartError> {
        let tokens = match &shared.auth {
            StoreAuth::Password { .. } => None,
            StoreAuth::Token { identity, .. } => {
                let tokens = self.service_tokens(identity, REDIS_SCOPE.to_owned(), "shared_cache")?;
                Some(Arc::new(StoreTokens(tokens)) as _)
            }
        };
        Ok(Settings {
            config: shared.clone(),
            tokens,
            expiry_margin: config.cache.renewal.expiry_margin,
            clock_skew: config.entra.clock_skew,
        })
    }

    /// What replicas share of the tokens of `exchange`, if they share anything.
    pub(super) fn tier(&self, exchange: &ExchangeConfig, mode: &'static str) -> Option<Arc<ResourceTier>> {
        let store = Arc::clone(self.store.as_ref()?);
        let settings = TierSettings {
            authorities: Arc::clone(&self.authorities),
            endpoint: exchange.endpoint.origin().ascii_serialization(),
            mode,
            timeout: exchange.timeout,
        };
        Some(Arc::new(ResourceTier::new(store, settings)))
    }

    /// What guards the ACS endpoint of `exchange`. Resources of one endpoint share it.
    pub(super) fn endpoint(&self, exchange: &ExchangeConfig) -> Arc<Endpoint> {
        let origin = exchange.endpoint.origin().ascii_serialization();
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint = endpoints.entry(origin).or_insert_with_key(|origin| {
            let clock = || Arc::clone(&self.clock);
            let pause = Arc::new(Pause::new(clock()));
            let budget = exchange.budget.map(|rate| {
                let settings = BudgetSettings {
                    rate: rate.shared_by(self.limits.replicas),
                    queue: self.limits.upstream_queue,
                    renewal_share: self.limits.renewal_share,
                };
                match &self.store {
                    Some(store) => {
                        let longest = self.longest.get(origin).copied().unwrap_or(exchange.timeout);
                        let shared = StoreBudget::new(store.budget(origin), rate, longest);
                        Budget::shared(settings, Arc::new(shared), Arc::clone(&pause), clock())
                    }
                    None => Budget::new(settings, clock()),
                }
            });
            let (breaker, upstream) = (self.upstream.breaker, Peer::Acs.into_str());
            Arc::new(Endpoint {
                pause,
                breaker: Breaker::new(breaker, upstream, origin.clone(), clock()),
                budget,
            })
        });
        Arc::clone(endpoint)
    }

    /// The limits on callers.
    pub(super) fn caller_limits(&self) -> Arc<CallerLimits> {
        Arc::clone(&self.caller_limits)
    }

    /// The circuits of Graph and of Entra's token endpoints, and those of the endpoints of `resources`.
    pub(super) fn upstreams(&self, resources: &[Resource]) -> Upstreams {
        Upstreams {
            endpoints: resources
                .iter()
                .map(|resource| (resource.name.clone(), Arc::clone(resource.exchanger.endpoint())))
                .collect(),
            memberships: self.memberships.clone(),
            entra: Arc::clone(&self.entra),
        }
    }

    /// Tokens of the app of `[graph]` for Graph.
    pub fn graph_tokens(&self, graph: &GraphConfig) -> Result<AppTokens, StartError> {
        let scope = format!("{}/.default", graph_name(&graph.endpoint, self.cloud));
        self.app_tokens(&graph.app, scope, "graph")
    }

    /// The app of section `key`.
    pub(crate) fn app(&self, config: &AppConfig, key: &str) -> Result<EntraApp, StartError> {
        let deps = CredentialDeps {
            clock: Arc::clone(&self.clock),
            upstream: self.upstream(self.connect_timeout)?,
            cloud: self.cloud,
        };
        EntraApp::new(config, &deps, Arc::clone(&self.entra)).map_err(|source| StartError::Credential {
            key: key.to_owned(),
            source,
        })
    }

    fn app_tokens(&self, config: &AppConfig, scope: String, key: &str) -> Result<AppTokens, StartError> {
        let app = self.app(config, key)?;
        Ok(AppTokens::new(app, scope, Arc::clone(&self.clock)))
    }

    /// Asks an ACS resource in the broker's own name, through `upstream`. `key` is the section that says how.
    pub fn signed_acs(&self, upstream: Upstream, config: &AcsAuthConfig, key: &str) -> Result<SignedAcs, StartError> {
        let auth = match config {
            AcsAuthConfig::AccessKey(source) => {
                AcsAuth::AccessKey(Arc::new(ReloadingSecret::new(source.clone(), Arc::clone(&self.clock))))
            }
            AcsAuthConfig::Identity(identity) => {
                let scope = format!("{}/.default", self.cloud.acs());
                AcsAuth::ServiceToken(self.service_tokens(identity, scope, key)?)
            }
        };
        Ok(SignedAcs::new(upstream, auth, Arc::clone(&self.clock)))
    }

    /// Tokens of the broker's own for `scope`. `key` is the section that names the identity.
    fn service_tokens(
        &self,
        identity: &ServiceIdentity,
        scope: String,
        key: &str,
    ) -> Result<Arc<dyn ServiceTokens>, StartError> {
        Ok(match identity {
            ServiceIdentity::App { tenant_id, app } => {
                Arc::new(AppServiceTokens::new(self.app_tokens(app, scope, key)?, *tenant_id))
            }
            ServiceIdentity::ManagedIdentity { client_id } => {
                let upstream = self.upstream(self.connect_timeout)?;
                let identity = ManagedIdentity::new(*client_id, upstream, Arc::clone(&self.clock));
                let identity = identity.map_err(|source| StartError::Credential {
                    key: key.to_owned(),
                    source: source.into(),
                })?;
                Arc::new(IdentityServiceTokens::new(identity, scope))
            }
        })
    }
}

/// Starts to connect to the store, in the background.
pub(crate) fn open_store(
    settings: Settings,
    clock: &SharedClock,
    observer: Arc<dyn Observer>,
    tasks: &Tasks,
) -> Result<Arc<SharedCache>, StartError> {
    Ok(SharedCache::start(settings, Arc::clone(clock), observer, tasks)?)
}

/// The longest that a request at each endpoint may be on its way, with what is asked of the store before it.
fn longest_exchanges(config: &Config) -> HashMap<String, Duration> {
    let before = config
        .shared_cache
        .as_ref()
        .map_or(Duration::ZERO, |shared| 2 * shared.timeout);
    let mut longest = HashMap::new();
    for resource in &config.resources {
        let origin = resource.exchange.endpoint.origin().ascii_serialization();
        let of_endpoint = longest.entry(origin).or_insert(Duration::ZERO);
        *of_endpoint = (resource.exchange.timeout + before).max(*of_endpoint);
    }
    longest
}

/// Graph's name at Entra: its address in the cloud, whatever proxy or stand-in it is reached at.
fn graph_name(endpoint: &Url, cloud: Cloud) -> &'static str {
    let address = endpoint.origin().ascii_serialization();
    [Cloud::Public, Cloud::UsGov, Cloud::China]
        .map(Cloud::graph)
        .into_iter()
        .find(|name| *name == address)
        .unwrap_or(cloud.graph())
}

/// Whether some resources take tokens for ACS, and others those for an API of the broker's own.
fn mixed_modes(config: &Config) -> bool {
    let mut for_acs = config
        .resources
        .iter()
        .map(|resource| resource.exchange.mode.takes_acs_tokens());
    let first = for_acs.next();
    let mixed = for_acs.any(|other| Some(other) != first);
    // Where the operator lists one kind of audience alone, it is meant for all.
    let is_for_acs = |audience: &String| Addressee::from_audiences(&[audience]).is_acs();
    let audiences = &config.entra.audiences;
    mixed && audiences.iter().any(is_for_acs) && !audiences.iter().all(is_for_acs)
}

/// For Entra and Graph, which belong to no resource: the first resource's.
pub(super) fn connect_timeout(config: &Config) -> Duration {
    config
        .resources
        .first()
        .map_or(Duration::from_secs(2), |resource| resource.exchange.connect_timeout)
}

/// Token endpoints: of a listed tenant, what its discovery document says. The tenant of an ACS resource need not be
/// listed, since none of its users need be served; the operator names it, and the authority's own path is used.
struct Endpoints {
    listed: std::collections::HashSet<TenantId>,
    discovered: Arc<dyn TokenEndpoints>,
    well_known: WellKnownEndpoints,
}

impl TokenEndpoints for Endpoints {
    fn token_endpoint(&self, tenant: TenantId) -> Option<Url> {
        if self.listed.contains(&tenant) {
            self.discovered.token_endpoint(tenant)
        } else {
            self.well_known.token_endpoint(tenant)
        }
    }
}

/// Where nothing is discovered: a command that runs once asks at the authority's own path.
pub struct WellKnownEndpoints {
    authority: Url,
    own: HashMap<TenantId, Url>,
}

impl WellKnownEndpoints {
    /// Those at the authorities that `entra` names.
    #[must_use]
    pub fn new(entra: &EntraConfig) -> Self {
        let tenants = entra.tenants.iter();
        Self {
            authority: entra.authority.clone(),
            own: tenants
                .filter_map(|tenant| Some((tenant.id, tenant.authority.clone()?)))
                .collect(),
        }
    }
}

impl TokenEndpoints for WellKnownEndpoints {
    fn token_endpoint(&self, tenant: TenantId) -> Option<Url> {
        let mut url = self.own.get(&tenant).unwrap_or(&self.authority).clone();
        url.set_path(&format!("/{tenant}/oauth2/v2.0/token"));
        Some(url)
    }
}
