//! Which variables of the shell `dev` obeys.
//!
//! A shell may hold the settings of a real broker. Those that say where requests go, or with whose credential, would
//! lead emulated users out to Azure, or a real secret into the emulator; so in `dev` they are problems. An address on
//! loopback is one too, if it is not the emulator's: a forwarded port leads out. Only settings that are known to be
//! harmless here are obeyed.
//!
//! The standard variables need no list. Managed identities and federated tokens are asked for by nobody here, proxies
//! are never used for loopback, and telemetry goes where `OTEL_*` says, as it does everywhere.

use config::load::Environment;
use config::{Config, units};

/// Settings, and tables with all that is in them, that may be overridden.
const HARMLESS: [&str; 40] = [
    "allow_insecure_upstreams",
    "server",
    "management",
    "cache",
    "doctor",
    "telemetry",
    "limits",
    "entra.audiences",
    "entra.required_scopes",
    "entra.clock_skew",
    "entra.jwks_refresh_interval",
    "entra.jwks_refresh_cooldown",
    "entra.jwks_wait",
    "entra.jwks_max_age",
    "entra.jwks_withdrawal_grace",
    "exchange.mode",
    "exchange.api_version",
    "exchange.teams_extension_api_version",
    "exchange.connect_timeout",
    "exchange.timeout",
    "exchange.upstream_exchanges",
    "exchange.on_behalf_of.scope",
    "exchange.identity.scopes",
    "exchange.identity.lifetime",
    "exchange.identity.api_version",
    "exchange.teams_user.api_version",
    "exchange.teams_user.teams_cloud",
    "upstream.ca_file",
    "upstream.no_proxy",
    "upstream.max_response_bytes",
    "upstream.breaker",
    "graph.timeout",
    "graph.cache_ttl",
    "assignments.sources",
    "assignments.file",
    "assignments.refresh_interval",
    "assignments.unknown_groups",
    "assignments.unknown_groups_max_age",
    "assignments.acs.refresh_interval",
    "assignments.acs.max_age",
];

/// Settings that may say what they say already: the emulator's address.
const ADDRESSES: [&str; 3] = ["entra.authority", "exchange.endpoint", "graph.endpoint"];

/// Every variable that `dev` does not obey, one line each.
pub(super) fn problems(environment: &Environment, origin: &str) -> Vec<String> {
    let refused = environment.settings().filter_map(|(name, path)| {
        let reason = refusal(&path, environment.get(&name), origin)?;
        Some(format!("{path}: {reason} (from {name})"))
    });
    refused.collect()
}

/// Every upstream of the whole configuration that is not the emulator, wherever it came from: a default for one.
pub(super) fn upstreams_elsewhere(config: &Config, origin: &str) -> Vec<String> {
    let authority = ("entra.authority", &config.entra.authority);
    let tenants = config.entra.tenants.iter();
    let tenants = tenants.filter_map(|tenant| Some(("entra.tenants", tenant.authority.as_ref()?)));
    let endpoints = config
        .resources
        .iter()
        .map(|resource| ("exchange.endpoint", &resource.exchange.endpoint));
    let graph = config.graph.iter().map(|graph| ("graph.endpoint", &graph.endpoint));
    std::iter::once(authority)
        .chain(tenants)
        .chain(endpoints)
        .chain(graph)
        .filter(|(_, url)| url.origin().ascii_serialization() != origin)
        .map(|(key, _)| format!("{key}: {ELSEWHERE}"))
        .collect()
}

const ELSEWHERE: &str = "names an upstream other than the emulator, and `dev` asks no other";

fn refusal(path: &str, text: Option<&str>, origin: &str) -> Option<&'static str> {
    if ADDRESSES.contains(&path) {
        let is_emulator = text
            .and_then(|text| units::base_url(text.trim()).ok())
            .is_some_and(|url| url.origin().ascii_serialization() == origin);
        return (!is_emulator).then_some(ELSEWHERE);
    }
    let is_harmless = HARMLESS.iter().any(|known| within(path, known));
    (!is_harmless).then_some(
        "could name an upstream other than the emulator, or a credential for one, and is not obeyed in `dev`; unset it",
    )
}

/// Whether `path` is `ancestor` or lies within it.
fn within(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
