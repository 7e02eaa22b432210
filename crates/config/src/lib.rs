//! The broker's settings: one struct per TOML section.
//!
//! [`load`](load::load) reads the file and the environment and validates the whole; every problem is reported
//! at once, by key. Each setting with its default stands in `config.example.toml`.

mod addressee;
mod assignments;
mod cloud;
mod credential;
mod environment;
mod exchange;
pub mod invisible;
pub mod limits;
pub mod load;
mod log_filter;
mod no_proxy;
mod origin;
mod reader;
mod section;
mod sections;
mod shared_cache;
pub mod units;
mod unknown;
mod validate;
mod value;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

pub use self::addressee::Addressee;
pub use self::assignments::{
    AcsAuthConfig, AcsSourceConfig, AssignmentFileConfig, AssignmentsConfig, AssignmentsMode, GraphConfig,
    UnknownGroups,
};
pub use self::cloud::Cloud;
pub use self::credential::{AppConfig, CredentialConfig, SecretSource, ServiceIdentity};
pub use self::exchange::{
    ExchangeConfig, ExchangeMode, IdentityConfig, IdentityScope, OnBehalfOfConfig, TeamsCloud, TeamsUserConfig,
};
pub use self::limits::{BreakerConfig, LimitsConfig, Rate, RateOrOff};
pub use self::log_filter::log_filter;
pub use self::no_proxy::NoProxy;
pub use self::shared_cache::{SentinelConfig, SharedCacheConfig, StoreAuth, StoreKind, StoreServer};
pub use self::validate::SHORTEST_HASH_KEY;
use base::ids::{ClientAppId, TenantId};

/// All settings of a broker, valid as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Plain http to `entra.authority` and `exchange.endpoint` beyond loopback addresses.
    pub allow_insecure_upstreams: bool,
    /// The public listener.
    pub server: ServerConfig,
    /// The management listener.
    pub management: ManagementConfig,
    /// Whose tokens are accepted.
    pub entra: EntraConfig,
    /// The ACS resources, in the order in which callers are matched against them. One that everyone matches stands
    /// for the top-level `[exchange]` and `[assignments]`.
    pub resources: Vec<ResourceConfig>,
    /// How much callers may ask for, and how much is asked of ACS.
    pub limits: LimitsConfig,
    /// Limits and trust for every outgoing call.
    pub upstream: UpstreamConfig,
    /// How group membership is asked for, if any resource asks.
    pub graph: Option<GraphConfig>,
    /// `[graph]`, whether the broker itself asks Graph or not: for `doctor` and `setup`.
    pub graph_for_checks: Option<GraphConfig>,
    /// How long exchanged tokens are served again.
    pub cache: CacheConfig,
    /// The store that replicas share, if there is one.
    pub shared_cache: Option<SharedCacheConfig>,
    /// What the command `doctor` leaves out.
    pub doctor: DoctorConfig,
    /// Logs, and what traces may contain. Exporters are set by the standard `OTEL_*` variables.
    pub telemetry: TelemetryConfig,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Address of the public listener.
    pub listen: SocketAddr,
    /// The whole request's deadline, upstream calls included; slow heads and bodies are cut off by it.
    pub request_timeout: Duration,
    /// How long an HTTP/1.1 connection is kept without a request.
    pub keep_alive_timeout: Duration,
    /// Requests being worked on at once.
    pub max_in_flight: usize,
    /// Open connections.
    pub max_connections: usize,
    /// Those of them that one address may have. `None`: any number.
    pub max_connections_per_address: Option<usize>,
    /// Addresses that may have any number.
    pub trusted_proxies: Vec<IpNet>,
    /// How long serving goes on after the first signal.
    pub drain_delay: Duration,
    /// How long requests in flight may then still take.
    pub drain_timeout: Duration,
    /// The path below which all public paths stand; empty for none. It begins with a slash and does not end in one.
    pub base_path: String,
    /// Values of `api-version` accepted on the ACS path.
    pub api_versions: Vec<String>,
    /// The same on the path of Teams Phone extension.
    pub teams_api_versions: Vec<String>,
    /// Whether answers carry `Server-Timing` and `x-cache`.
    pub diagnostic_headers: bool,
    /// Certificate and key, if the broker serves TLS itself.
    pub tls: Option<TlsConfig>,
    /// Browser origins.
    pub cors: CorsConfig,
}

/// `[server.tls]`
#[derive(Debug, Clone, PartialEq)]
pub struct TlsConfig {
    /// File with the certificate and its chain.
    pub certificate_file: PathBuf,
    /// File with the private key.
    pub private_key_file: PathBuf,
}

/// `[server.cors]`
#[derive(Debug, Clone, PartialEq)]
pub struct CorsConfig {
    /// Exact origins, as browsers send them (`https://app.contoso.com`), or `null`.
    pub allowed_origins: Vec<String>,
    /// Names of request headers that browsers may send beside those that are always allowed, in lower case.
    pub allowed_headers: Vec<String>,
}

/// `[management]`
#[derive(Debug, Clone, PartialEq)]
pub struct ManagementConfig {
    /// Address of the management listener.
    pub listen: SocketAddr,
}

/// `[entra]`
#[derive(Debug, Clone, PartialEq)]
pub struct EntraConfig {
    /// The national cloud, from which other defaults follow.
    pub cloud: Cloud,
    /// Origin of the Entra authority; tenants and paths are appended.
    pub authority: Url,
    /// Accepted `aud` values.
    pub audiences: Vec<String>,
    /// Scopes of which a token must have at least one.
    pub required_scopes: Vec<String>,
    /// Leeway for `exp`, `nbf` and `iat`.
    pub clock_skew: Duration,
    /// How often keys are fetched ahead in the background.
    pub jwks_refresh_interval: Duration,
    /// Shortest time between two refreshes that an unknown `kid` causes, per tenant.
    pub jwks_refresh_cooldown: Duration,
    /// How long a caller with an unknown `kid` waits for the fetch under way.
    pub jwks_wait: Duration,
    /// How long the last good keys serve while Entra is away.
    pub jwks_max_age: Duration,
    /// How long a key that a newer set lacks is still good.
    pub jwks_withdrawal_grace: Duration,
    /// The only tenants that are ever looked up.
    pub tenants: Vec<TenantConfig>,
}

/// `[[entra.tenants]]`
#[derive(Debug, Clone, PartialEq)]
pub struct TenantConfig {
    /// The tenant's id.
    pub id: TenantId,
    /// A name for people.
    pub name: Option<String>,
    /// The app whose own signing keys are fetched (`?appid=`), where claims mapping gives it some.
    pub app_id_for_keys: Option<ClientAppId>,
    /// Origin of an authority of its own, as External ID tenants have one; without, that of all.
    pub authority: Option<Url>,
}

/// `[[resources]]`: an ACS resource and who is served from it.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceConfig {
    /// A name of its own among the resources; `None` for the top-level one.
    pub name: Option<String>,
    /// Where it stands in the configuration: `resources[1]`. Empty for the top-level one.
    pub path: String,
    /// Whose users it serves; all listed tenants' if empty.
    pub tenants: Vec<TenantId>,
    /// Through which client apps; through all if empty.
    pub client_ids: Vec<ClientAppId>,
    /// Where and how tokens are exchanged.
    pub exchange: ExchangeConfig,
    /// Who may have a token.
    pub assignments: AssignmentsConfig,
}

impl ResourceConfig {
    /// The whole path of one of its settings, as problems name it: `resources[1].exchange.timeout`.
    #[must_use]
    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// How the broker shows ACS who asks there in its own name, each with its section: that of the assignments first.
    pub fn acs_auths(&self) -> impl Iterator<Item = (&'static str, &AcsAuthConfig)> {
        let of_mode = match &self.exchange.mode {
            ExchangeMode::TeamsUser(settings) => Some(("exchange.teams_user", &settings.auth)),
            ExchangeMode::Identity(settings) => Some(("exchange.identity", &settings.auth)),
            ExchangeMode::Passthrough | ExchangeMode::OnBehalfOf(_) => None,
        };
        let listing = self.assignments.acs_auth.as_ref();
        listing.map(|auth| ("assignments.acs", auth)).into_iter().chain(of_mode)
    }
}

/// `[upstream]`
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamConfig {
    /// File with trust anchors beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Proxy for calls that do not go to loopback.
    pub proxy: Option<ProxyUrl>,
    /// Proxy of `HTTPS_PROXY` for https calls that do not go to loopback.
    pub environment_proxy: Option<ProxyUrl>,
    /// What goes by neither proxy: `upstream.no_proxy` and `NO_PROXY` together.
    pub no_proxy: NoProxy,
    /// Largest response body read from an upstream, in bytes.
    pub max_response_bytes: u64,
    /// When an upstream that fails is left alone for a while. `None`: never.
    pub breaker: Option<BreakerConfig>,
}

/// The URL of a proxy. It may hold a password, so only its origin is shown.
#[derive(Clone, PartialEq)]
pub struct ProxyUrl(pub Url);

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.origin().ascii_serialization().fmt(f)
    }
}

/// `[cache]`
#[derive(Debug, Clone, PartialEq)]
pub struct CacheConfig {
    /// Bound in entries.
    pub max_entries: u64,
    /// Bound in bytes.
    pub max_bytes: u64,
    /// How the life of an entry is used.
    pub renewal: RenewalConfig,
}

/// The part of `[cache]` that decides what a cached token is good for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RenewalConfig {
    /// Never served from the cache with less than this left.
    pub expiry_margin: Duration,
    /// With less left, renewed before answering. Zero turns that off.
    pub min_remaining: Duration,
    /// With less left, served at once and renewed in the background. Zero turns that off.
    pub refresh_ahead: Duration,
    /// `refresh_ahead` is widened by a random part of this.
    pub refresh_jitter: Duration,
    /// What a renewal must add to be worth a call.
    pub min_gain: Duration,
    /// After a failed or gainless renewal, none for that key for this long.
    pub renewal_backoff: Duration,
}

/// `[doctor]`
#[derive(Debug, Clone, PartialEq)]
pub struct DoctorConfig {
    /// Checks whose warnings the operator knows, by their ids.
    pub acknowledged: Vec<String>,
}

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryConfig {
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Filter in tracing-subscriber's syntax.
    pub log_level: String,
    /// How users are named in logs and traces.
    pub user_ids: UserIds,
    /// Key of the hash of user ids; one is made up at start if absent.
    pub user_hash_key: Option<SecretSource>,
    /// Whether each token handed out or refused is an event of its own.
    pub audit: bool,
    /// Which requests have a line in the log.
    pub access_log: AccessLog,
    /// Whether a caller's own sampled flag decides where a `parentbased_` sampler asks.
    pub trust_incoming_sampling: bool,
    /// A request that takes as long leaves a span though it was not sampled. Zero turns that off.
    pub slow_request: Duration,
}

/// `telemetry.user_ids`
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum UserIds {
    /// As a keyed hash.
    Hash,
    /// As Entra's object id.
    Plain,
    /// Not at all.
    None,
}

/// `telemetry.access_log`
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum AccessLog {
    /// All of them.
    All,
    /// Those that are answered with an error code.
    Errors,
    /// None.
    None,
}

/// `telemetry.log_format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}
