//! `[exchange]` and `[graph]`

use std::time::Duration;

use super::{API_VERSION, Surroundings, app, id, origin, positive, some};
use crate::cloud;
use crate::reader::Field;
use crate::section::Section;
use crate::{
    ExchangeConfig, ExchangeMode, GraphConfig, IdentityConfig, IdentityScope, OnBehalfOfConfig, validate, value,
};

/// `exchange.mode` by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Passthrough,
    OnBehalfOf,
    Identity,
}

/// Reads the section. `other_mode` is told where tokens are not for ACS, though more may be wrong with the section.
pub(super) fn exchange(
    section: &mut Section<'_, '_>,
    surroundings: Surroundings<'_>,
    other_mode: &mut Option<&'static str>,
) -> Option<ExchangeConfig> {
    let mode = section
        .field("mode", |raw| match value::text(raw)?.as_str() {
            "passthrough" => Ok(Mode::Passthrough),
            "on_behalf_of" => Ok(Mode::OnBehalfOf),
            "identity" => Ok(Mode::Identity),
            _ => Err("must be \"passthrough\", \"on_behalf_of\" or \"identity\"".to_owned()),
        })
        .or(Mode::Passthrough);
    *other_mode = match mode {
        Mode::Passthrough => *other_mode,
        Mode::OnBehalfOf => Some("on_behalf_of"),
        Mode::Identity => Some("identity"),
    };
    let endpoint = section.required("endpoint", origin);
    let api_version = section.field("api_version", value::text).or(API_VERSION.to_owned());
    let connect_timeout = section.field("connect_timeout", positive).or(Duration::from_secs(2));
    let timeout = section.field("timeout", positive).or(Duration::from_secs(5));
    let on_behalf_of = section.section("on_behalf_of", |section| {
        on_behalf_of(section, surroundings, mode == Mode::OnBehalfOf)
    });
    let identity = section.section("identity", |section| {
        identity(section, surroundings, mode == Mode::Identity)
    });
    let endpoint = endpoint?;
    let path = section.path_of("endpoint");
    validate::secure(section, &path, &endpoint, surroundings.allow_insecure);
    Some(ExchangeConfig {
        mode: match mode {
            Mode::Passthrough => ExchangeMode::Passthrough,
            Mode::OnBehalfOf => ExchangeMode::OnBehalfOf(on_behalf_of?),
            Mode::Identity => ExchangeMode::Identity(identity?),
        },
        endpoint,
        api_version,
        connect_timeout,
        timeout,
    })
}

fn on_behalf_of(
    section: &mut Section<'_, '_>,
    surroundings: Surroundings<'_>,
    chosen: bool,
) -> Option<OnBehalfOfConfig> {
    unused(section, chosen, "on_behalf_of");
    let app = app::app(section, surroundings, chosen);
    let scope = section
        .field("scope", value::text)
        .or(format!("{}/.default", surroundings.cloud.acs_clients()));
    Some(OnBehalfOfConfig { app: app?, scope })
}

fn identity(section: &mut Section<'_, '_>, surroundings: Surroundings<'_>, chosen: bool) -> Option<IdentityConfig> {
    unused(section, chosen, "identity");
    let access_key = app::secret(section, "access_key", surroundings, validate::access_key);
    if chosen && access_key.is_none() && !section.was_given("access_key") && !section.was_given("access_key_file") {
        section.missing("access_key", "or access_key_file is required");
    }
    let scopes = some(
        section,
        "scopes",
        |text| validate::identity_scope(text).map(|scope| scope.name().to_owned()),
        &["chat"],
    );
    let mut scopes: Vec<IdentityScope> = scopes
        .iter()
        .filter_map(|name| IdentityScope::from_name(name))
        .collect();
    scopes.sort_unstable();
    scopes.dedup();
    let lifetime = section
        .field("lifetime", |raw| validate::identity_lifetime(value::duration(raw)?))
        .or(Duration::from_hours(1));
    let api_version = section.field("api_version", value::text).or(API_VERSION.to_owned());
    Some(IdentityConfig {
        access_key: access_key?,
        scopes,
        lifetime,
        api_version,
    })
}

/// A mode's own section may stay while another mode is tried, but is probably not meant to.
fn unused(section: &mut Section<'_, '_>, chosen: bool, mode: &str) {
    if section.is_given() && !chosen {
        section.warn(format!("exchange.{mode}: is set, but exchange.mode is not \"{mode}\""));
    }
}

pub(super) fn graph(
    section: &mut Section<'_, '_>,
    surroundings: Surroundings<'_>,
    needed: bool,
) -> Option<GraphConfig> {
    let endpoint = match section.field("endpoint", origin) {
        Field::Absent => cloud::url(surroundings.cloud.graph()),
        other => other.given(),
    };
    let timeout = section.field("timeout", positive).or(Duration::from_secs(3));
    let cache_ttl = section.field("cache_ttl", positive).or(Duration::from_mins(5));
    let app = app::app(section, surroundings, needed);
    let endpoint = endpoint?;
    validate::secure(section, "graph.endpoint", &endpoint, surroundings.allow_insecure);
    Some(GraphConfig {
        endpoint,
        timeout,
        cache_ttl,
        app: app?,
    })
}

/// A tenant's id, wherever one is listed.
pub(super) fn tenant_id(section: &mut Section<'_, '_>) -> Field<base::ids::TenantId> {
    section.field("tenant_id", |raw| id(raw, "a tenant id"))
}
