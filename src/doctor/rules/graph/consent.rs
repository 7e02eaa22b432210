//! `graph.consent`: what the users' tenant let the application do.

use std::collections::BTreeSet;

use azure::graph_admin::PermissionGrant;
use base::ids::{ClientAppId, ObjectId};
use config::Config;

use super::super::super::check::{Check, CheckId, Who};
use super::super::super::needs::AcsApi;
use super::super::entra::consent_url;
use super::{DIRECTORY, Looked, Missed, TenantGraph, missed};

/// How a tenant consented to an app's permissions of an API of ACS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// An administrator, for everyone.
    Everyone,
    /// Single users, for themselves.
    SomeUsers,
    /// There is none.
    Missing,
}

/// What the grants of a tenant say about the API with this service principal.
#[must_use]
pub fn consented(grants: &[PermissionGrant], api: ObjectId, wanted: &BTreeSet<String>) -> Consent {
    let for_acs = grants.iter().filter(|grant| {
        let scopes = grant.scope.as_deref().unwrap_or_default();
        grant.resource_id == api && scopes.split_whitespace().any(|scope| wanted.contains(scope))
    });
    let kinds: Vec<&str> = for_acs.map(|grant| grant.consent_type.as_str()).collect();
    if kinds.contains(&"AllPrincipals") {
        Consent::Everyone
    } else if kinds.is_empty() {
        Consent::Missing
    } else {
        Consent::SomeUsers
    }
}

/// What is known of a tenant's consent to an app.
pub(in crate::doctor) fn consent_of(
    app: ClientAppId,
    scopes: &BTreeSet<String>,
    api: AcsApi,
    tenant: &TenantGraph,
) -> Looked<Consent> {
    let not_asked = || Missed::NotAsked("Graph was not asked".to_owned());
    let principal = tenant
        .principals
        .get(&app)
        .cloned()
        .unwrap_or_else(|| Err(not_asked()))?;
    let of_api = tenant.principal_of(api).clone()?;
    let (Some(_), Some(of_api)) = (principal, of_api) else {
        // An administrator's consent makes them.
        return Ok(Consent::Missing);
    };
    let grants = tenant.grants.get(&app).cloned().unwrap_or_else(|| Err(not_asked()))?;
    Ok(consented(&grants, of_api.id, scopes))
}

pub(super) fn consent(
    config: &Config,
    app: ClientAppId,
    scopes: &BTreeSet<String>,
    api: AcsApi,
    tenant: &TenantGraph,
) -> Check {
    let id = CheckId::GraphConsent;
    let fix = || {
        format!(
            "an administrator of the tenant opens {} and consents",
            consent_url(config, tenant.tenant, app)
        )
    };
    let who = if tenant
        .registrations
        .get(&app)
        .is_some_and(|found| matches!(found, Ok(Some(_))))
    {
        Who::AppTenantAdmin
    } else {
        Who::UserTenantAdmin
    };
    match consent_of(app, scopes, api, tenant) {
        Ok(Consent::Everyone) => Check::pass(id, format!("an administrator consented to app {app} for everyone")),
        Ok(Consent::SomeUsers) => Check::warn(
            id,
            format!("only single users consented to app {app}; others are asked, or turned away"),
            fix(),
        )
        .by(who),
        Ok(Consent::Missing) => Check::fail(
            id,
            who,
            format!("app {app} has no consent in the tenant for {}", api.name()),
            fix(),
        ),
        Err(error) => missed(id, &error, DIRECTORY),
    }
}
