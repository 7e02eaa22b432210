//! Every setting with its type, its default and its place.

mod acs_auth;
mod app;
mod assignments;
mod entra;
mod exchange;
mod limits;
mod resources;
mod shared_cache;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment::Environment;
use super::origin;
use super::reader::Field;
use super::section::Section;
use super::units::{self, Reason};
use super::value::{self, Raw};
use super::{
    AccessLog, CacheConfig, Config, CorsConfig, DoctorConfig, LogFormat, ManagementConfig, NoProxy, ProxyUrl,
    RenewalConfig, ServerConfig, TelemetryConfig, TlsConfig, UpstreamConfig, UserIds, no_proxy, validate,
};
use base::ids::{ClientAppId, TenantId};

/// The version of ACS's interface that has the Entra exchange.
const API_VERSION: &str = "2025-03-02-preview";

/// The versions that have the Teams Phone extension's exchange.
const TEAMS_API_VERSIONS: [&str; 2] = [STABLE_API_VERSION, "2026-09-23"];

/// The first stable version with Teams Phone extension.
const STABLE_API_VERSION: &str = "2025-06-30";

/// What sections need beside their own settings.
#[derive(Clone, Copy)]
struct Context<'c> {
    /// Where relative paths start.
    folder: &'c Path,
    environment: &'c Environment,
    /// `allow_insecure_upstreams`
    allow_insecure: bool,
    /// `entra.cloud`
    cloud: super::Cloud,
}

/// Reads the whole. `None` if something without a default is missing; a problem says what.
pub(super) fn config(root: &mut Section<'_, '_>, folder: &Path, environment: &Environment) -> Option<Config> {
    let allow_insecure = root.field("allow_insecure_upstreams", value::boolean).or(false);
    let server = root.section("server", |section| server(section, folder));
    let management = root.section("management", management);
    // The cloud comes first: other sections' defaults follow from it. So do the modes: Entra's follow from them.
    let cloud = root.section_ahead("entra", entra::cloud);
    let context = Context {
        folder,
        environment,
        allow_insecure,
        cloud,
    };
    let mut taken = exchange::TokensTaken::default();
    let mut resources = resources::resources(root, context, &mut taken);
    let shared_cache = root.section("shared_cache", |section| {
        let shared_cache = shared_cache::shared_cache(section, context);
        section.is_given().then_some(shared_cache)
    });
    let limits = root.section("limits", |section| {
        limits::limits(
            section,
            resources.as_deref_mut().unwrap_or_default(),
            shared_cache.is_some(),
        )
    });
    let entra = root.section("entra", |section| entra::entra(section, context, taken));
    let upstream = root.section("upstream", |section| upstream(section, folder, environment));
    let asks_graph = resources.as_deref().is_some_and(resources::asks_graph);
    let graph = root.section("graph", |section| exchange::graph(section, context, asks_graph));
    let cache = root.section("cache", cache);
    let doctor = root.section("doctor", |section| DoctorConfig {
        acknowledged: section.list("acknowledged", validate::acknowledged).or(Vec::new()),
    });
    let telemetry = root.section("telemetry", |section| telemetry(section, context));

    validate::listeners(root, server.listen, management.listen);
    let resources = resources?;
    let entra = entra?;
    validate::deadlines(root, &server, &resources);
    validate::routes(root, &entra, &resources);
    Some(Config {
        allow_insecure_upstreams: allow_insecure,
        server,
        management,
        entra,
        resources,
        limits,
        upstream,
        graph: graph.clone().filter(|_| asks_graph),
        graph_for_checks: graph,
        cache,
        shared_cache: shared_cache.flatten(),
        doctor,
        telemetry,
    })
}

fn server(section: &mut Section<'_, '_>, folder: &Path) -> ServerConfig {
    ServerConfig {
        listen: section.field_or("listen", address, ([127, 0, 0, 1], 8080).into()),
        request_timeout: section.field_or("request_timeout", positive, Duration::from_secs(10)),
        keep_alive_timeout: section.field_or("keep_alive_timeout", positive, Duration::from_secs(75)),
        max_in_flight: section.field_or("max_in_flight", count, 1024),
        max_connections: section.field_or("max_connections", count, 4096),
        max_connections_per_address: section.field_or(
            "max_connections_per_address",
            |raw| or_off(raw, count),
            Some(1024),
        ),
        trusted_proxies: section.list("trusted_proxies", units::network).or(Vec::new()),
        drain_delay: section.field_or("drain_delay", value::duration, Duration::ZERO),
        drain_timeout: section.field_or("drain_timeout", value::duration, Duration::from_secs(20)),
        base_path: section.field_or(
            "base_path",
            |raw| validate::base_path(value::plain_text(raw)?),
            String::new(),
        ),
        api_versions: non_empty_list(section, "api_versions", value::filled, &[API_VERSION]),
        teams_api_versions: non_empty_list(section, "teams_api_versions", value::filled, &TEAMS_API_VERSIONS),
        diagnostic_headers: section.field_or("diagnostic_headers", value::boolean, false),
        tls: section.section("tls", |section| tls(section, folder)),
        cors: section.section("cors", cors),
    }
}

fn tls(section: &mut Section<'_, '_>, folder: &Path) -> Option<TlsConfig> {
    let certificate_file = section.field("certificate_file", |raw| file(raw, folder));
    let private_key_file = section.field("private_key_file", |raw| file(raw, folder));
    if section.is_given() {
        for (key, field) in [
            ("certificate_file", &certificate_file),
            ("private_key_file", &private_key_file),
        ] {
            if matches!(field, Field::Absent) {
                section.missing(key, "is required: TLS takes both a certificate and a key");
            }
        }
    }
    Some(TlsConfig {
        certificate_file: certificate_file.given()?,
        private_key_file: private_key_file.given()?,
    })
}

fn cors(section: &mut Section<'_, '_>) -> CorsConfig {
    let cors = CorsConfig {
        allowed_origins: section.list("allowed_origins", origin::browser_origin).or(Vec::new()),
        allowed_headers: section.list("allowed_headers", validate::header_name).or(Vec::new()),
    };
    validate::cors(section, &cors);
    cors
}

pub(super) fn management(section: &mut Section<'_, '_>) -> ManagementConfig {
    ManagementConfig {
        listen: section.field_or("listen", address, ([127, 0, 0, 1], 8081).into()),
    }
}

fn upstream(section: &mut Section<'_, '_>, folder: &Path, environment: &Environment) -> UpstreamConfig {
    let ca_file = section.field("ca_file", |raw| file(raw, folder)).given();
    let proxy = section
        .field("proxy", |raw| units::proxy_url(&value::text(raw)?))
        .given();
    if proxy.as_ref().is_some_and(|url| url.password().is_some()) && !section.is_from_environment("proxy") {
        let reason =
            "holds a password, which is not for this file; set ACS_TOKEN_BROKER__UPSTREAM__PROXY or HTTPS_PROXY";
        section.problem("proxy", reason);
    }
    let mut no_proxy = environment_no_proxy(section, environment);
    no_proxy.extend(section.list("no_proxy", no_proxy::exception).or(Vec::new()));
    UpstreamConfig {
        ca_file,
        proxy: proxy.map(ProxyUrl),
        environment_proxy: environment_proxy(section, environment),
        no_proxy,
        max_response_bytes: section.field_or("max_response_bytes", size, 1 << 20),
        breaker: section.section_or_off("breaker", limits::breaker),
    }
}

fn environment_proxy(section: &mut Section<'_, '_>, environment: &Environment) -> Option<ProxyUrl> {
    for name in [
        "HTTPS_PROXY",
        "https_proxy",
        "NO_PROXY",
        "no_proxy",
        "ACS_TOKEN_BROKER_CONFIG",
    ] {
        if environment.is_garbled(name) {
            section.variable_problem(name, "is not UTF-8 text");
        }
    }
    let (name, text) = ["HTTPS_PROXY", "https_proxy"]
        .into_iter()
        .find_map(|name| Some((name, environment.get(name)?)))?;
    match units::environment_proxy_url(text) {
        Ok(url) => Some(ProxyUrl(url)),
        Err(reason) => {
            section.variable_problem(name, reason);
            None
        }
    }
}

/// `no_proxy` goes before `NO_PROXY`, as with curl. What is not understood was written for another program: it is warned of.
fn environment_no_proxy(section: &mut Section<'_, '_>, environment: &Environment) -> NoProxy {
    let found = ["no_proxy", "NO_PROXY"]
        .into_iter()
        .find_map(|name| Some((name, environment.get(name)?)));
    let Some((name, text)) = found else {
        return NoProxy::default();
    };
    let (no_proxy, misread) = NoProxy::parse_variable(text);
    for (place, reason) in misread {
        section.warn(format!("{name}: entry {place} {reason}; it is ignored"));
    }
    no_proxy
}

fn cache(section: &mut Section<'_, '_>) -> CacheConfig {
    let cache = CacheConfig {
        max_entries: section.field_or(
            "max_entries",
            |raw| validate::at_least_one(value::number(raw)?),
            100_000,
        ),
        max_bytes: section.field_or("max_bytes", size, 256 << 20),
        renewal: RenewalConfig {
            expiry_margin: section.field_or("expiry_margin", positive, Duration::from_secs(30)),
            min_remaining: section.field_or("min_remaining", value::duration, Duration::from_mins(10)),
            refresh_ahead: section.field_or("refresh_ahead", value::duration, Duration::from_mins(20)),
            refresh_jitter: section.field_or("refresh_jitter", value::duration, Duration::from_mins(5)),
            min_gain: section.field_or("min_gain", value::duration, Duration::from_mins(2)),
            renewal_backoff: section.field_or("renewal_backoff", value::duration, Duration::from_secs(30)),
        },
    };
    validate::cache(section, &cache);
    cache
}

fn telemetry(section: &mut Section<'_, '_>, context: Context<'_>) -> TelemetryConfig {
    let user_ids = section.field_or("user_ids", value::choice, UserIds::Hash);
    let user_hash_key = app::secret(section, "user_hash_key", context, validate::user_hash_key);
    if user_hash_key.is_some() && user_ids != UserIds::Hash {
        section.warn("telemetry.user_hash_key: is set, but telemetry.user_ids is not \"hash\"".to_owned());
    }
    TelemetryConfig {
        log_format: section.field_or("log_format", value::choice, LogFormat::Json),
        log_level: section.field_or(
            "log_level",
            |raw| validate::log_level(value::text(raw)?),
            "info".to_owned(),
        ),
        user_ids,
        user_hash_key,
        audit: section.field_or("audit", value::boolean, true),
        access_log: section.field_or("access_log", value::choice, AccessLog::All),
        trust_incoming_sampling: section.field_or("trust_incoming_sampling", value::boolean, false),
        slow_request: section.field_or("slow_request", value::duration, Duration::from_secs(1)),
    }
}

/// `telemetry.log_level`, which can change while the broker runs, with all that stands beside it.
pub(super) fn log_level(root: &mut Section<'_, '_>, folder: &Path, environment: &Environment) -> String {
    let context = Context {
        folder,
        environment,
        // No matter here.
        allow_insecure: false,
        cloud: super::Cloud::Public,
    };
    root.section("telemetry", |section| telemetry(section, context))
        .log_level
}

/// Reads a list that must not be empty.
fn non_empty_list<T, D: Copy + Into<T>>(
    section: &mut Section<'_, '_>,
    key: &str,
    item: impl Fn(&str) -> Result<T, Reason>,
    default: &[D],
) -> Vec<T> {
    match section.list(key, item) {
        Field::Given(items) if items.is_empty() => section.problem(key, "must hold at least one"),
        Field::Given(items) => return items,
        Field::Absent | Field::Refused => {}
    }
    default.iter().copied().map(Into::into).collect()
}

fn positive(raw: Raw<'_>) -> Result<Duration, Reason> {
    validate::positive(value::duration(raw)?)
}

fn size(raw: Raw<'_>) -> Result<u64, Reason> {
    validate::at_least_one(value::byte_size(raw)?)
}

fn count(raw: Raw<'_>) -> Result<usize, Reason> {
    validate::count(value::number(raw)?)
}

/// A value that can be switched off.
fn or_off<T>(raw: Raw<'_>, read: impl FnOnce(Raw<'_>) -> Result<T, Reason>) -> Result<Option<T>, Reason> {
    let is_off = match &raw {
        Raw::Toml(toml::Value::String(text)) => text == "off",
        Raw::Toml(_) => false,
        Raw::Variable(text) => text.trim() == "off",
    };
    if is_off {
        return Ok(None);
    }
    read(raw).map(Some).map_err(|reason| {
        if reason.ends_with("a whole number") {
            format!("{reason} or \"off\"")
        } else {
            reason
        }
    })
}

fn address(raw: Raw<'_>) -> Result<std::net::SocketAddr, Reason> {
    validate::socket_address(&value::text(raw)?)
}

fn origin(raw: Raw<'_>) -> Result<url::Url, Reason> {
    units::base_url(&value::text(raw)?)
}

fn parse_id<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Reason> {
    text.parse().map_err(|_| format!("is not {what} (a GUID)"))
}

fn tenant_id(raw: Raw<'_>) -> Result<TenantId, Reason> {
    parse_id(&value::text(raw)?, "a tenant id")
}

fn client_id(raw: Raw<'_>) -> Result<ClientAppId, Reason> {
    parse_id(&value::text(raw)?, "a client id")
}

/// A file that must be readable when the broker starts.
fn file(raw: Raw<'_>, folder: &Path) -> Result<PathBuf, Reason> {
    validate::readable_file(folder.join(value::text(raw)?))
}
