//! `graph.consent`: what the users' tenant let the application do, at ACS's APIs and at the broker's own.

use std::collections::BTreeSet;

use azure::graph_admin::PermissionGrant;
use base::ids::{ClientAppId, ObjectId};
use config::Config;

use super::super::super::check::{Check, CheckId, Who};
use super::super::super::needs::AcsApi;
use super::super::entra::consent_url;
use super::{DIRECTORY, Looked, Missed, TenantGraph, missed};

/// How a tenant consented to an app's permissions of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// An administrator, for everyone.
    Everyone,
    /// The API's registration says that its users need not be asked.
    PreAuthorized,
    /// Single users, for themselves.
    SomeUsers,
    /// There is none; only the API's registration, which was not seen, could make it needless.
    MissingUnlessPreAuthorized,
    /// There is none.
    Missing,
    /// There can be none: the tenant does not have the API.
    NoApi,
}

/// What the grants of a tenant say about one API, which is a service principal there.
#[must_use]
pub fn consented(grants: &[PermissionGrant], api: ObjectId, wanted: &BTreeSet<String>) -> Consent {
    let for_api = grants.iter().filter(|grant| {
        let scopes = grant.scope.as_deref().unwrap_or_default();
        grant.resource_id == api && scopes.split_whitespace().any(|scope| wanted.contains(scope))
    });
    let kinds: Vec<&str> = for_api.map(|grant| grant.consent_type.as_str()).collect();
    if kinds.contains(&"AllPrincipals") {
        Consent::Everyone
    } else if kinds.is_empty() {
        Consent::Missing
    } else {
        Consent::SomeUsers
    }
}

fn not_asked<T>() -> Looked<T> {
    Err(Missed::NotAsked("Graph was not asked".to_owned()))
}

/// What is known of a tenant's consent to an app's permissions of an API of ACS's.
pub(in crate::doctor) fn consent_of(
    app: ClientAppId,
    (api, scopes): (AcsApi, &BTreeSet<String>),
    tenant: &TenantGraph,
) -> Looked<Consent> {
    let principal = tenant.principals.get(&app).cloned().unwrap_or_else(not_asked)?;
    let of_api = tenant.principal_of(api).clone()?;
    let (Some(_), Some(of_api)) = (principal, of_api) else {
        // An administrator's consent makes them.
        return Ok(Consent::Missing);
    };
    let grants = tenant.grants.get(&app).cloned().unwrap_or_else(not_asked)?;
    Ok(consented(&grants, of_api.id, scopes))
}

/// What is known of a tenant's consent to an app's permissions of the broker's own API. Its registration is looked for in all
/// `tenants`.
pub(in crate::doctor) fn own_api_consent_of(
    app: ClientAppId,
    (api, scopes): (ClientAppId, &BTreeSet<String>),
    tenant: &TenantGraph,
    tenants: &[TenantGraph],
) -> Looked<Consent> {
    let principal = tenant.principals.get(&api).cloned().unwrap_or_else(not_asked)?;
    let Some(principal) = principal else {
        return Ok(Consent::NoApi);
    };
    let grants = tenant.grants.get(&app).cloned().unwrap_or_else(not_asked)?;
    let consent = consented(&grants, principal.id, scopes);
    let registration = tenants.iter().find_map(|each| each.registration(api));
    Ok(match (consent, registration) {
        (Consent::Everyone, _) => Consent::Everyone,
        (_, Some(registration)) if registration.pre_authorizes(app, scopes) => Consent::PreAuthorized,
        (Consent::Missing, None) => Consent::MissingUnlessPreAuthorized,
        (consent, _) => consent,
    })
}

pub(super) fn consent(
    config: &Config,
    app: ClientAppId,
    (api, scopes): (AcsApi, &BTreeSet<String>),
    tenant: &TenantGraph,
) -> Check {
    let known = consent_of(app, (api, scopes), tenant);
    let url = consent_url(config, tenant.tenant, app);
    let fix = format!("an administrator of the tenant opens {url} and consents");
    check(known, app, api.name(), fix, tenant.administrator(app))
}

pub(super) fn own_api_consent(
    config: &Config,
    app: ClientAppId,
    (api, scopes): (ClientAppId, &BTreeSet<String>),
    tenant: &TenantGraph,
    tenants: &[TenantGraph],
) -> Check {
    let known = own_api_consent_of(app, (api, scopes), tenant, tenants);
    let url = |app| consent_url(config, tenant.tenant, app);
    let first = match known {
        Ok(Consent::NoApi) => format!("{} and then ", url(api)),
        _ => String::new(),
    };
    let fix = format!("an administrator of the tenant opens {first}{} and consents", url(app));
    let names = scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" or ");
    let api = format!("the broker's own API {api} ({names})");
    check(known, app, &api, fix, tenant.administrator(app))
}

/// What a consent to an app's permissions of `api` means.
fn check(known: Looked<Consent>, app: ClientAppId, api: &str, fix: String, who: Who) -> Check {
    let id = CheckId::GraphConsent;
    let none = format!("app {app} has no consent in the tenant for {api}");
    match known {
        Ok(Consent::Everyone) => Check::pass(
            id,
            format!("an administrator consented to app {app} for everyone, for {api}"),
        ),
        Ok(Consent::PreAuthorized) => Check::pass(
            id,
            format!("app {app} needs no consent for {api}, whose registration authorizes it"),
        ),
        Ok(Consent::SomeUsers) => Check::warn(
            id,
            format!("only single users consented to app {app} for {api}; others are asked, or turned away"),
            fix,
        )
        .by(who),
        Ok(Consent::MissingUnlessPreAuthorized) => Check::warn(
            id,
            format!("{none}; it needs none if that API's registration, which could not be looked up, authorizes it"),
            fix,
        )
        .by(who),
        Ok(Consent::Missing) => Check::fail(id, who, none, fix),
        Ok(Consent::NoApi) => Check::fail(id, who, format!("{none}, which the tenant does not know"), fix),
        Err(error) => missed(id, &error, DIRECTORY),
    }
}
