//! `[exchange]` and `[graph]`

use std::time::Duration;

use super::{API_VERSION, Context, STABLE_API_VERSION, acs_auth, app, limits, non_empty_list, origin, positive};
use crate::cloud;
use crate::exchange::ExchangeModeName as Mode;
use crate::reader::Field;
use crate::section::Section;
use crate::{
    ExchangeConfig, ExchangeMode, GraphConfig, IdentityConfig, IdentityScope, OnBehalfOfConfig, RateOrOff, TeamsCloud,
    TeamsUserConfig, validate, value,
};

/// Whose tokens the resources take: what Entra's defaults follow from.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TokensTaken {
    /// A mode whose tokens are for an API of the broker's own, if a resource has one.
    pub(super) own_api: Option<&'static str>,
    /// Whether a resource takes those for ACS's client interfaces.
    pub(super) acs_clients: bool,
    /// Whether a resource takes those of Teams users.
    pub(super) teams_users: bool,
}

impl TokensTaken {
    fn add(&mut self, mode: Mode) {
        match mode {
            Mode::Passthrough => self.acs_clients = true,
            Mode::TeamsUser => self.teams_users = true,
            Mode::OnBehalfOf | Mode::Identity => self.own_api = Some(mode.into()),
        }
    }
}

/// Reads the section. The mode is added to `taken` even if the section has problems.
pub(super) fn exchange(
    section: &mut Section<'_, '_>,
    context: Context<'_>,
    taken: &mut TokensTaken,
) -> Option<ExchangeConfig> {
    let mode = section.field_or("mode", value::choice, Mode::Passthrough);
    taken.add(mode);
    let endpoint = section.required("endpoint", origin);
    let api_version = section.field_or("api_version", value::text, API_VERSION.to_owned());
    let teams_extension_api_version = section.field_or(
        "teams_extension_api_version",
        value::text,
        STABLE_API_VERSION.to_owned(),
    );
    let connect_timeout = section.field_or("connect_timeout", positive, Duration::from_secs(2));
    let timeout = section.field_or("timeout", positive, Duration::from_secs(5));
    let own_budget = section.field("upstream_exchanges", limits::budget);
    let own_budget = own_budget.given().map(RateOrOff::from);
    let on_behalf_of = section.section("on_behalf_of", |section| {
        on_behalf_of(section, context, mode == Mode::OnBehalfOf)
    });
    let identity = section.section("identity", |section| identity(section, context, mode == Mode::Identity));
    let teams_user = section.section("teams_user", |section| {
        teams_user(section, context, mode == Mode::TeamsUser)
    });
    let endpoint = endpoint?;
    let path = section.path_of("endpoint");
    validate::secure(section, &path, &endpoint, context.allow_insecure);
    Some(ExchangeConfig {
        mode: match mode {
            Mode::Passthrough => ExchangeMode::Passthrough,
            Mode::OnBehalfOf => ExchangeMode::OnBehalfOf(on_behalf_of?),
            Mode::Identity => ExchangeMode::Identity(identity?),
            Mode::TeamsUser => ExchangeMode::TeamsUser(teams_user?),
        },
        endpoint,
        api_version,
        teams_extension_api_version,
        connect_timeout,
        timeout,
        // Known once all resources are.
        budget: own_budget.and_then(RateOrOff::rate),
        own_budget,
    })
}

fn on_behalf_of(section: &mut Section<'_, '_>, context: Context<'_>, chosen: bool) -> Option<OnBehalfOfConfig> {
    unused(section, chosen, "on_behalf_of");
    let app = app::app(section, context, chosen);
    let scope = section.field_or(
        "scope",
        value::text,
        format!("{}/.default", context.cloud.acs_clients()),
    );
    Some(OnBehalfOfConfig { app: app?, scope })
}

fn identity(section: &mut Section<'_, '_>, context: Context<'_>, chosen: bool) -> Option<IdentityConfig> {
    unused(section, chosen, "identity");
    let auth = acs_auth::acs_auth(section, context, chosen);
    let mut scopes = non_empty_list(section, "scopes", IdentityScope::parse, &[IdentityScope::Chat]);
    scopes.sort_unstable();
    scopes.dedup();
    let lifetime = section.field_or(
        "lifetime",
        |raw| validate::identity_lifetime(value::duration(raw)?),
        Duration::from_hours(1),
    );
    let api_version = section.field_or("api_version", value::text, API_VERSION.to_owned());
    Some(IdentityConfig {
        auth: auth?,
        scopes,
        lifetime,
        api_version,
    })
}

fn teams_user(section: &mut Section<'_, '_>, context: Context<'_>, chosen: bool) -> Option<TeamsUserConfig> {
    unused(section, chosen, "teams_user");
    let auth = acs_auth::acs_auth(section, context, chosen);
    let api_version = section.field_or("api_version", value::text, STABLE_API_VERSION.to_owned());
    let cloud = section.field_or("teams_cloud", value::choice, TeamsCloud::Public);
    Some(TeamsUserConfig {
        auth: auth?,
        api_version,
        cloud,
    })
}

/// A mode's own section may stay while another mode is tried, but is probably not meant to.
fn unused(section: &mut Section<'_, '_>, chosen: bool, mode: &str) {
    if section.is_given() && !chosen {
        section.warn(format!("exchange.{mode}: is set, but exchange.mode is not \"{mode}\""));
    }
}

pub(super) fn graph(section: &mut Section<'_, '_>, context: Context<'_>, needed: bool) -> Option<GraphConfig> {
    let endpoint = match section.field("endpoint", origin) {
        Field::Absent => cloud::url(context.cloud.graph()),
        other => other.given(),
    };
    let timeout = section.field_or("timeout", positive, Duration::from_secs(3));
    let cache_ttl = section.field_or("cache_ttl", positive, Duration::from_mins(5));
    let app = app::app(section, context, needed);
    let endpoint = endpoint?;
    validate::secure(section, "graph.endpoint", &endpoint, context.allow_insecure);
    Some(GraphConfig {
        endpoint,
        timeout,
        cache_ttl,
        app: app?,
    })
}
