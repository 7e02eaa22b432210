//! `graph.consent`: what the users' tenant let the application do.

use azure::graph_admin::PermissionGrant;
use base::ids::{ClientAppId, ObjectId};
use config::Config;

use super::super::super::check::{Check, CheckId, Who};
use super::super::super::needs::AppNeed;
use super::super::entra::consent_url;
use super::{DIRECTORY, Looked, Missed, TenantGraph, missed};

/// How a tenant consented to an app's permissions of ACS Clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// An administrator, for everyone.
    Everyone,
    /// Single users, for themselves.
    SomeUsers,
    /// There is none.
    Missing,
}

/// What the grants of a tenant say about ACS Clients.
#[must_use]
pub fn consented(grants: &[PermissionGrant], acs_clients: ObjectId, need: &AppNeed) -> Consent {
    let for_acs = grants.iter().filter(|grant| {
        let scopes = grant.scope.as_deref().unwrap_or_default();
        grant.resource_id == acs_clients && scopes.split_whitespace().any(|scope| need.scopes.contains(scope))
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
pub(in crate::doctor) fn consent_of(app: ClientAppId, need: &AppNeed, tenant: &TenantGraph) -> Looked<Consent> {
    let not_asked = || Missed::NotAsked("Graph was not asked".to_owned());
    let principal = tenant
        .principals
        .get(&app)
        .cloned()
        .unwrap_or_else(|| Err(not_asked()))?;
    let acs_clients = tenant.acs_clients.clone()?;
    let (Some(_), Some(acs_clients)) = (principal, acs_clients) else {
        // An administrator's consent makes them.
        return Ok(Consent::Missing);
    };
    let grants = tenant.grants.get(&app).cloned().unwrap_or_else(|| Err(not_asked()))?;
    Ok(consented(&grants, acs_clients.id, need))
}

pub(super) fn consent(config: &Config, app: ClientAppId, need: &AppNeed, tenant: &TenantGraph) -> Check {
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
    match consent_of(app, need, tenant) {
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
            format!("app {app} has no consent in the tenant for Azure Communication Services Clients"),
            fix(),
        ),
        Err(error) => missed(id, &error, DIRECTORY),
    }
}
