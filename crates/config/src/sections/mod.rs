//! Every setting with its type, its default and its place.

mod app;
mod assignments;
mod entra;
mod exchange;
mod resources;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment::Environment;
use super::origin;
use super::reader::Field;
use super::section::Section;
use super::units::{self, Reason};
use super::value::{self, Raw};
use super::{
    CacheConfig, Config, CorsConfig, EnvironmentProxy, LogFormat, ManagementConfig, NoProxy, RenewalConfig,
    ServerConfig, TelemetryConfig, TlsConfig, UpstreamConfig, UserIds, no_proxy, validate,
};

/// The version of ACS's interface that has the Entra exchange.
const API_VERSION: &str = "2025-03-02-preview";

/// What a section needs to know of its surroundings.
#[derive(Clone, Copy)]
struct Surroundings<'c> {
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
    let surroundings = Surroundings {
        folder,
        environment,
        allow_insecure,
        cloud,
    };
    let mut other_mode = None;
    let resources = resources::resources(root, surroundings, &mut other_mode);
    let entra = root.section("entra", |section| entra::entra(section, surroundings, other_mode));
    let upstream = root.section("upstream", |section| upstream(section, folder, environment));
    let asks_graph = resources.as_deref().is_some_and(resources::asks_graph);
    let graph = root.section("graph", |section| exchange::graph(section, surroundings, asks_graph));
    let cache = root.section("cache", cache);
    let telemetry = root.section("telemetry", |section| telemetry(section, surroundings));

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
        upstream,
        graph: graph.filter(|_| asks_graph),
        cache,
        telemetry,
    })
}

fn server(section: &mut Section<'_, '_>, folder: &Path) -> ServerConfig {
    ServerConfig {
        listen: section.field("listen", address).or(([127, 0, 0, 1], 8080).into()),
        request_timeout: section.field("request_timeout", positive).or(Duration::from_secs(10)),
        keep_alive_timeout: section
            .field("keep_alive_timeout", positive)
            .or(Duration::from_secs(75)),
        max_in_flight: section.field("max_in_flight", count).or(1024),
        max_connections: section.field("max_connections", count).or(4096),
        max_connections_per_address: section
            .field("max_connections_per_address", |raw| or_off(raw, count))
            .or(Some(1024)),
        trusted_proxies: section.list("trusted_proxies", units::network).or(Vec::new()),
        drain_delay: section.field("drain_delay", value::duration).or(Duration::ZERO),
        drain_timeout: section
            .field("drain_timeout", value::duration)
            .or(Duration::from_secs(20)),
        api_versions: some(section, "api_versions", value::filled, &[API_VERSION]),
        diagnostic_headers: section.field("diagnostic_headers", value::boolean).or(false),
        tls: section.section("tls", |section| tls(section, folder)),
        cors: section.section("cors", cors),
    }
}

fn tls(section: &mut Section<'_, '_>, folder: &Path) -> Option<TlsConfig> {
    let file = |raw: Raw<'_>| validate::readable_file(path(raw, folder)?);
    let certificate_file = section.field("certificate_file", file);
    let private_key_file = section.field("private_key_file", file);
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
        listen: section.field("listen", address).or(([127, 0, 0, 1], 8081).into()),
    }
}

fn upstream(section: &mut Section<'_, '_>, folder: &Path, environment: &Environment) -> UpstreamConfig {
    let ca_file = section
        .field("ca_file", |raw| validate::readable_file(path(raw, folder)?))
        .given();
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
        proxy,
        environment_proxy: environment_proxy(section, environment),
        no_proxy,
        max_response_bytes: section.field("max_response_bytes", size).or(1 << 20),
    }
}

fn environment_proxy(section: &mut Section<'_, '_>, environment: &Environment) -> Option<EnvironmentProxy> {
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
        Ok(url) => Some(EnvironmentProxy { url }),
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
    let (no_proxy, misread) = NoProxy::of_variable(text);
    for (place, reason) in misread {
        section.warn(format!("{name}: entry {place} {reason}; it is ignored"));
    }
    no_proxy
}

fn cache(section: &mut Section<'_, '_>) -> CacheConfig {
    let cache = CacheConfig {
        max_entries: section
            .field("max_entries", |raw| validate::at_least_one(value::number(raw)?))
            .or(100_000),
        max_bytes: section.field("max_bytes", size).or(256 << 20),
        renewal: RenewalConfig {
            expiry_margin: section.field("expiry_margin", positive).or(Duration::from_secs(30)),
            min_remaining: section
                .field("min_remaining", value::duration)
                .or(Duration::from_mins(10)),
            refresh_ahead: section
                .field("refresh_ahead", value::duration)
                .or(Duration::from_mins(20)),
            refresh_jitter: section
                .field("refresh_jitter", value::duration)
                .or(Duration::from_mins(5)),
            min_gain: section.field("min_gain", value::duration).or(Duration::from_mins(2)),
            renewal_backoff: section
                .field("renewal_backoff", value::duration)
                .or(Duration::from_secs(30)),
        },
    };
    validate::cache(section, &cache);
    cache
}

fn telemetry(section: &mut Section<'_, '_>, surroundings: Surroundings<'_>) -> TelemetryConfig {
    let user_ids = section
        .field("user_ids", |raw| validate::user_ids(&value::text(raw)?))
        .or(UserIds::Hash);
    let user_hash_key = app::secret(section, "user_hash_key", surroundings, validate::user_hash_key);
    if user_hash_key.is_some() && user_ids != UserIds::Hash {
        section.warn("telemetry.user_hash_key: is set, but telemetry.user_ids is not \"hash\"".to_owned());
    }
    TelemetryConfig {
        log_format: section
            .field("log_format", |raw| validate::log_format(&value::text(raw)?))
            .or(LogFormat::Json),
        log_level: section
            .field("log_level", |raw| validate::log_level(value::text(raw)?))
            .or("info".to_owned()),
        user_ids,
        user_hash_key,
        audit: section.field("audit", value::boolean).or(true),
        trust_incoming_sampling: section.field("trust_incoming_sampling", value::boolean).or(false),
        slow_request: section
            .field("slow_request", value::duration)
            .or(Duration::from_secs(1)),
    }
}

/// `telemetry.log_level`, which can change while the broker runs, with all that stands beside it.
pub(super) fn log_level(root: &mut Section<'_, '_>, folder: &Path, environment: &Environment) -> String {
    let surroundings = Surroundings {
        folder,
        environment,
        // No matter here.
        allow_insecure: false,
        cloud: super::Cloud::Public,
    };
    root.section("telemetry", |section| telemetry(section, surroundings))
        .log_level
}

/// Reads a list of strings that must not be empty.
fn some(
    section: &mut Section<'_, '_>,
    key: &str,
    item: impl Fn(&str) -> Result<String, Reason>,
    default: &[&str],
) -> Vec<String> {
    match section.list(key, item) {
        Field::Given(items) if items.is_empty() => section.problem(key, "must hold at least one"),
        Field::Given(items) => return items,
        Field::Absent | Field::Refused => {}
    }
    default.iter().copied().map(str::to_owned).collect()
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

/// A GUID of some kind.
fn id<T: std::str::FromStr>(raw: Raw<'_>, what: &str) -> Result<T, Reason> {
    parse_id(&value::text(raw)?, what)
}

fn parse_id<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Reason> {
    text.parse().map_err(|_| format!("is not {what} (a GUID)"))
}

fn path(raw: Raw<'_>, folder: &Path) -> Result<PathBuf, Reason> {
    value::text(raw).map(|text| folder.join(text))
}
