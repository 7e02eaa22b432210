//! `[entra]`

use std::collections::HashMap;
use std::time::Duration;

use super::exchange::TokensTaken;
use super::{Context, client_id, non_empty_list, origin, positive, tenant_id};
use crate::addressee::{ACS_CLIENTS_APP, TEAMS_APP};
use crate::cloud::{self, Cloud};
use crate::reader::Field;
use crate::section::Section;
use crate::{Addressee, EntraConfig, TenantConfig, validate, value};
use base::ids::TenantId;

/// The one setting that others follow from.
pub(super) fn cloud(section: &mut Section<'_, '_>) -> Cloud {
    section.field_or("cloud", value::choice, Cloud::Public)
}

/// The rest. Audiences and scopes have a default only where every resource takes tokens that are for ACS.
pub(super) fn entra(section: &mut Section<'_, '_>, context: Context<'_>, taken: TokensTaken) -> Option<EntraConfig> {
    let cloud = context.cloud;
    // Read ahead already; a variable that holds the whole table still holds it.
    let _ = section.field("cloud", |_| Ok(()));
    let authority = match section.field("authority", origin) {
        Field::Absent => cloud::url(cloud.authority()),
        other => other.given(),
    };
    let (known_audiences, known_scopes) = defaults(cloud, taken);
    let audiences = non_empty_list(section, "audiences", value::filled, &known_audiences);
    let required_scopes = non_empty_list(section, "required_scopes", validate::scope, &known_scopes);
    if let Some(mode) = taken.own_api {
        for (key, what) in [
            ("audiences", "the client id or App ID URI of the broker's own API"),
            ("required_scopes", "a scope of the broker's own API"),
        ] {
            if !section.was_given(key) {
                section.missing(key, &format!("is required with exchange.mode = \"{mode}\": {what}"));
            }
        }
    }
    validate::scopes_that_count(section, &audiences, &required_scopes);
    if taken.teams_users {
        warn_without_teams(section, &audiences, &required_scopes);
    }
    let clock_skew = section.field("clock_skew", |raw| {
        // With more leeway an expired token would pass for a valid one.
        validate::at_most(value::duration(raw)?, Duration::from_mins(10), "10m")
    });
    let jwks_refresh_interval = section.field_or("jwks_refresh_interval", positive, Duration::from_hours(1));
    let jwks_refresh_cooldown = section.field_or("jwks_refresh_cooldown", positive, Duration::from_secs(30));
    let jwks_wait = section.field_or("jwks_wait", positive, Duration::from_secs(2));
    let jwks_max_age = section.field_or("jwks_max_age", positive, Duration::from_hours(24));
    let jwks_withdrawal_grace = section.field_or(
        "jwks_withdrawal_grace",
        |raw| {
            // A compromised key is withdrawn, too, and no rotation takes as long to reach all front ends of an authority.
            validate::at_most(value::duration(raw)?, Duration::from_hours(1), "1h")
        },
        Duration::from_mins(2),
    );
    let tenants = tenants(section, context.allow_insecure);
    validate::key_ages(section, jwks_refresh_interval, jwks_max_age);
    let authority = authority?;
    validate::secure(section, "entra.authority", &authority, context.allow_insecure);
    Some(EntraConfig {
        cloud,
        authority,
        audiences,
        required_scopes,
        clock_skew: clock_skew.or(Duration::from_mins(1)),
        jwks_refresh_interval,
        jwks_refresh_cooldown,
        jwks_wait,
        jwks_max_age,
        jwks_withdrawal_grace,
        tenants,
    })
}

/// The audiences and scopes of the tokens for ACS that the resources take.
fn defaults(cloud: Cloud, taken: TokensTaken) -> (Vec<&'static str>, Vec<&'static str>) {
    let (mut audiences, mut scopes) = (Vec::new(), Vec::new());
    // Those of the default mode stand in where a problem hides the modes.
    if taken.acs_clients || !taken.teams_users {
        audiences.extend([ACS_CLIENTS_APP, cloud.acs_clients()]);
        scopes.extend(["VoIP", "VoIP.Join"]);
    }
    if taken.teams_users {
        audiences.extend([TEAMS_APP, cloud.acs_teams()]);
        scopes.extend(["Teams.ManageCalls", "Teams.ManageChats"]);
    }
    (audiences, scopes)
}

/// Warns where nobody can have a token that a resource for Teams users takes.
fn warn_without_teams(section: &mut Section<'_, '_>, audiences: &[String], scopes: &[String]) {
    let is_for_teams = |audience: &String| Addressee::from_audiences(&[audience]) == Addressee::AcsTeams;
    for (key, what, is_there) in [
        ("audiences", "ACS's API for Teams", audiences.iter().any(is_for_teams)),
        (
            "required_scopes",
            "Teams.ManageCalls or Teams.ManageChats",
            scopes.iter().any(|scope| scope.starts_with("Teams.")),
        ),
    ] {
        if !is_there {
            section.warn(format!(
                "entra.{key}: does not name {what}, so nobody gets a token with exchange.mode = \"teams_user\""
            ));
        }
    }
}

fn tenants(section: &mut Section<'_, '_>, allow_insecure: bool) -> Vec<TenantConfig> {
    let mut seen: HashMap<TenantId, usize> = HashMap::new();
    let tenants = section.sections("tenants", |tenant, index| {
        let id = tenant.required("id", tenant_id);
        if let Some(id) = id {
            if let Some(first) = seen.get(&id) {
                tenant.problem("id", format!("is the same tenant as entra.tenants[{first}]"));
            } else {
                seen.insert(id, index);
            }
        }
        let name = tenant.field("name", value::any_text).given();
        let app_id_for_keys = tenant.field("app_id_for_keys", client_id).given();
        let authority = tenant.field("authority", origin);
        if matches!(authority, Field::Refused) {
            return None;
        }
        let authority = authority.given();
        if let Some(authority) = &authority {
            let path = tenant.path_of("authority");
            validate::secure(tenant, &path, authority, allow_insecure);
        }
        Some(TenantConfig {
            id: id?,
            name,
            app_id_for_keys,
            authority,
        })
    });
    match tenants {
        Field::Absent => section.missing("tenants", "is required: at least one [[entra.tenants]] with its id"),
        Field::Given(tenants) if tenants.is_empty() => section.problem("tenants", "must list at least one tenant"),
        Field::Given(tenants) => return tenants,
        Field::Refused => {}
    }
    Vec::new()
}
