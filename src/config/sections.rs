//! Every setting with its type, its default and its place.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::environment::Environment;
use super::reader::{Field, Section};
use super::units::{self, Reason};
use super::value::{self, Raw};
use super::{
    AssignmentsConfig, CacheConfig, Config, CorsConfig, EntraConfig, EnvironmentProxy, ExchangeConfig, ExchangeMode,
    LogFormat, ManagementConfig, RenewalConfig, ServerConfig, TelemetryConfig, TenantConfig, TlsConfig, UnknownGroups,
    UpstreamConfig, validate,
};
use crate::ids::TenantId;

/// The version of ACS's interface that has the Entra exchange.
const API_VERSION: &str = "2025-03-02-preview";

/// What Entra names ACS in tokens for its client interfaces: by id and by name.
const AUDIENCES: [&str; 2] = [
    "2a04943b-b6a7-4f65-8786-2bb6131b59f6",
    "https://communication.azure.com/clients",
];

/// Reads the whole. `None` if something without a default is missing; a problem says what.
pub(super) fn config(root: &mut Section<'_, '_>, folder: &Path, environment: &Environment) -> Option<Config> {
    let allow_insecure_upstreams = root.field("allow_insecure_upstreams", value::boolean).or(false);
    let server = root.section("server", |section| server(section, folder));
    let management = root.section("management", management);
    let entra = root.section("entra", |section| entra(section, allow_insecure_upstreams));
    let exchange = root.section("exchange", |section| exchange(section, allow_insecure_upstreams));
    let upstream = root.section("upstream", |section| upstream(section, folder, environment));
    let assignments = root.section("assignments", |section| assignments(section, folder));
    let cache = root.section("cache", cache);
    let telemetry = root.section("telemetry", telemetry);

    validate::listeners(root, server.listen, management.listen);
    let exchange = exchange?;
    validate::deadlines(root, &server, &exchange);
    Some(Config {
        allow_insecure_upstreams,
        server,
        management,
        entra: entra?,
        exchange,
        upstream,
        assignments,
        cache,
        telemetry,
    })
}

fn server(section: &mut Section<'_, '_>, folder: &Path) -> ServerConfig {
    ServerConfig {
        listen: section.field("listen", address).or(([127, 0, 0, 1], 8080).into()),
        request_timeout: section.field("request_timeout", positive).or(Duration::from_secs(10)),
        max_in_flight: section.field("max_in_flight", count).or(1024),
        max_connections: section.field("max_connections", count).or(4096),
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
        allowed_origins: section.list("allowed_origins", units::browser_origin).or(Vec::new()),
    };
    validate::cors(section, &cors);
    cors
}

pub(super) fn management(section: &mut Section<'_, '_>) -> ManagementConfig {
    ManagementConfig {
        listen: section.field("listen", address).or(([127, 0, 0, 1], 8081).into()),
    }
}

fn entra(section: &mut Section<'_, '_>, allow_insecure: bool) -> Option<EntraConfig> {
    let authority = section.field("authority", |raw| units::base_url(&value::text(raw)?));
    let authority = match authority {
        Field::Absent => Url::parse("https://login.microsoftonline.com").ok(),
        other => other.given(),
    };
    let audiences = some(section, "audiences", value::filled, &AUDIENCES);
    let required_scopes = some(section, "required_scopes", validate::scope, &["VoIP", "VoIP.Join"]);
    let clock_skew = section.field("clock_skew", |raw| validate::clock_skew(value::duration(raw)?));
    let jwks_refresh_interval = section
        .field("jwks_refresh_interval", positive)
        .or(Duration::from_hours(1));
    let jwks_refresh_cooldown = section
        .field("jwks_refresh_cooldown", positive)
        .or(Duration::from_secs(30));
    let jwks_wait = section.field("jwks_wait", positive).or(Duration::from_secs(2));
    let jwks_max_age = section.field("jwks_max_age", positive).or(Duration::from_hours(24));
    let tenants = tenants(section);
    validate::key_ages(section, jwks_refresh_interval, jwks_max_age);
    let authority = authority?;
    validate::secure(section, "entra.authority", &authority, allow_insecure);
    Some(EntraConfig {
        authority,
        audiences,
        required_scopes,
        clock_skew: clock_skew.or(Duration::from_mins(1)),
        jwks_refresh_interval,
        jwks_refresh_cooldown,
        jwks_wait,
        jwks_max_age,
        tenants,
    })
}

fn tenants(section: &mut Section<'_, '_>) -> Vec<TenantConfig> {
    let mut seen: HashMap<TenantId, usize> = HashMap::new();
    let tenants = section.sections("tenants", |tenant, index| {
        let id = tenant.required("id", |raw| {
            value::text(raw)?
                .parse::<TenantId>()
                .map_err(|_| "is not a tenant id (a GUID)".to_owned())
        });
        if let Some(id) = id {
            if let Some(first) = seen.get(&id) {
                tenant.problem("id", format!("is the same tenant as entra.tenants[{first}]"));
            } else {
                seen.insert(id, index);
            }
        }
        let name = tenant.field("name", value::any_text).given();
        Some(TenantConfig { id: id?, name })
    });
    match tenants {
        Field::Absent => section.missing("tenants", "is required: at least one [[entra.tenants]] with its id"),
        Field::Given(tenants) if tenants.is_empty() => section.problem("tenants", "must list at least one tenant"),
        Field::Given(tenants) => return tenants,
        Field::Refused => {}
    }
    Vec::new()
}

fn exchange(section: &mut Section<'_, '_>, allow_insecure: bool) -> Option<ExchangeConfig> {
    let mode = section
        .field("mode", |raw| validate::exchange_mode(&value::text(raw)?))
        .or(ExchangeMode::Passthrough);
    let endpoint = section.required("endpoint", |raw| units::base_url(&value::text(raw)?));
    let api_version = section.field("api_version", value::text).or(API_VERSION.to_owned());
    let connect_timeout = section.field("connect_timeout", positive).or(Duration::from_secs(2));
    let timeout = section.field("timeout", positive).or(Duration::from_secs(5));
    let endpoint = endpoint?;
    validate::secure(section, "exchange.endpoint", &endpoint, allow_insecure);
    Some(ExchangeConfig {
        mode,
        endpoint,
        api_version,
        connect_timeout,
        timeout,
    })
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
    UpstreamConfig {
        ca_file,
        proxy,
        environment_proxy: environment_proxy(section, environment),
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
        Ok(url) => {
            let exceptions = environment
                .get("NO_PROXY")
                .or_else(|| environment.get("no_proxy"))
                .map(str::to_owned);
            Some(EnvironmentProxy { url, exceptions })
        }
        Err(reason) => {
            section.variable_problem(name, reason);
            None
        }
    }
}

fn assignments(section: &mut Section<'_, '_>, folder: &Path) -> AssignmentsConfig {
    // A list already in the settings, so that a second source needs no new key.
    some(
        section,
        "sources",
        |text| validate::assignment_source(text).map(|()| text.to_owned()),
        &["file"],
    );
    AssignmentsConfig {
        file: section
            .field("file", |raw| validate::assignment_file(path(raw, folder)?))
            .or(folder.join("assignments.toml")),
        refresh_interval: section.field("refresh_interval", positive).or(Duration::from_secs(5)),
        unknown_groups: section
            .field("unknown_groups", |raw| validate::unknown_groups(&value::text(raw)?))
            .or(UnknownGroups::Acs),
        unknown_groups_max_age: section
            .field("unknown_groups_max_age", value::duration)
            .or(Duration::from_mins(10)),
    }
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

fn telemetry(section: &mut Section<'_, '_>) -> TelemetryConfig {
    TelemetryConfig {
        log_format: section
            .field("log_format", |raw| validate::log_format(&value::text(raw)?))
            .or(LogFormat::Json),
        log_level: section
            .field("log_level", |raw| validate::log_level(value::text(raw)?))
            .or("info".to_owned()),
    }
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

fn address(raw: Raw<'_>) -> Result<std::net::SocketAddr, Reason> {
    validate::socket_address(&value::text(raw)?)
}

fn path(raw: Raw<'_>, folder: &Path) -> Result<PathBuf, Reason> {
    value::text(raw).map(|text| folder.join(text))
}
