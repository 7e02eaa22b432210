//! What an application's registration says, in its home tenant.

use std::collections::BTreeSet;

use azure::graph_admin::{Application, ServicePrincipal};
use base::ids::{ClientAppId, TenantId};
use serde_json::Value;

use super::super::super::check::{Check, CheckId, Who};
use super::super::super::needs::{AcsApi, AppNeed};
use super::{APPLICATIONS, TenantGraph, missed};

/// `graph.app_account_type`, `graph.app_redirect_uris`, `graph.app_permissions`: in the app's home tenant.
pub(super) fn registration(app: ClientAppId, need: &AppNeed, tenants: &[TenantGraph]) -> Vec<Check> {
    let mut ids = Vec::new();
    if need.signs_in {
        ids.extend([CheckId::GraphAppAccountType, CheckId::GraphAppRedirectUris].map(|id| (id, AcsApi::Clients)));
    }
    let apis = AcsApi::ALL.into_iter().filter(|api| !need.of(*api).is_empty());
    ids.extend(apis.map(|api| (CheckId::GraphAppPermissions, api)));
    let found = tenants
        .iter()
        .find_map(|tenant| Some((tenant, tenant.registration(app)?)));
    let Some((home, registration)) = found else {
        let check = |(id, _)| no_registration(id, app, tenants);
        return ids.into_iter().map(check).collect();
    };
    let check = |(id, api)| match id {
        CheckId::GraphAppAccountType => account_type(app, need, home.tenant, registration),
        CheckId::GraphAppRedirectUris => redirect_uris(app, registration),
        _ => permissions(app, need.of(api), api, home, registration),
    };
    ids.into_iter().map(|each| check(each).about(home.tenant)).collect()
}

/// No tenant that was asked has the registration.
fn no_registration(id: CheckId, app: ClientAppId, tenants: &[TenantGraph]) -> Check {
    let owner = tenants.iter().find_map(|tenant| match tenant.principals.get(&app) {
        Some(Ok(Some(principal))) => principal.app_owner_organization_id,
        _ => None,
    });
    let asked = |owner: TenantId| tenants.iter().find(|tenant| tenant.tenant == owner);
    if let Some(owner) = owner
        && asked(owner).is_none_or(|tenant| tenant.registrations.get(&app).is_none_or(Result::is_err))
    {
        return Check::skip(
            id,
            format!("app {app} is registered in tenant {owner}, where Graph was not asked: give --graph-token-file a token from there"),
        )
        .about(owner);
    }
    let failed = tenants.iter().find_map(|tenant| match tenant.registrations.get(&app) {
        Some(Err(error)) => Some(error),
        _ => None,
    });
    match failed {
        Some(error) => {
            let check = missed(id, error, APPLICATIONS);
            Check {
                summary: format!("app {app}: {}", check.summary),
                ..check
            }
        }
        None if tenants.iter().any(|tenant| tenant.registrations.contains_key(&app)) => Check::skip(
            id,
            format!(
                "app {app} is registered in none of the tenants that were asked: check the assignments' clientIds, or give --graph-token-file a token from its home tenant"
            ),
        ),
        None => Check::skip(id, "Graph was not asked"),
    }
}

fn account_type(app: ClientAppId, need: &AppNeed, home: TenantId, registration: &Application) -> Check {
    let id = CheckId::GraphAppAccountType;
    let kind = registration.sign_in_audience.as_deref().unwrap_or("AzureADMyOrg");
    let others: Vec<String> = need
        .tenants
        .iter()
        .filter(|tenant| **tenant != home)
        .map(ToString::to_string)
        .collect();
    if others.is_empty() || matches!(kind, "AzureADMultipleOrgs" | "AzureADandPersonalMicrosoftAccount") {
        return Check::pass(
            id,
            format!("users of all assigned tenants can sign in to app {app} ({kind})"),
        );
    }
    Check::fail(
        id,
        Who::AppTenantAdmin,
        format!("app {app} lets only users of its own tenant sign in ({kind}), and users of {} are assigned", others.join(", ")),
        format!("Authentication, Supported account types: multitenant; or Graph PATCH /v1.0/applications/{} {{\"signInAudience\":\"AzureADMultipleOrgs\"}}", registration.id),
    )
    .with_command(format!("az ad app update --id {app} --sign-in-audience AzureADMultipleOrgs"))
}

fn redirect_uris(app: ClientAppId, registration: &Application) -> Check {
    let id = CheckId::GraphAppRedirectUris;
    let count = registration.redirect_uris().count();
    if count > 0 {
        return Check::pass(id, format!("app {app} has redirect URIs ({count})"));
    }
    Check::warn(
        id,
        format!("app {app} has no redirect URI: no web page can sign users in"),
        "Authentication, Add a platform: the front end's address, as a single-page application for one in a browser",
    )
    .by(Who::AppTenantAdmin)
    .with_command(format!("az ad app update --id {app} --web-redirect-uris https://…"))
}

/// The ids of the permissions that are needed, by name, as the tenant's service principal has them.
#[must_use]
pub fn permission_ids(principal: &ServicePrincipal, scopes: &BTreeSet<String>) -> Vec<String> {
    let of = |name: &str| {
        principal
            .oauth2_permission_scopes
            .iter()
            .find(|scope| scope.value.as_deref() == Some(name))
    };
    scopes
        .iter()
        .filter_map(|name| of(name))
        .map(|scope| scope.id.clone())
        .collect()
}

/// The delegated permissions of `api` that an application asks for, by id.
#[must_use]
pub fn asked_for(required: &[Value], api: &str) -> Vec<String> {
    let of_api = required.iter().filter(|entry| {
        let id = entry.get("resourceAppId").and_then(Value::as_str);
        id.is_some_and(|id| id.eq_ignore_ascii_case(api))
    });
    of_api
        .filter_map(|entry| entry.get("resourceAccess")?.as_array())
        .flatten()
        .filter(|access| access.get("type").and_then(Value::as_str) == Some("Scope"))
        .filter_map(|access| access.get("id")?.as_str().map(str::to_owned))
        .collect()
}

fn permissions(
    app: ClientAppId,
    scopes: &BTreeSet<String>,
    api: AcsApi,
    home: &TenantGraph,
    registration: &Application,
) -> Check {
    let id = CheckId::GraphAppPermissions;
    let (api_name, api_id) = (api.name(), api.id());
    let asked = asked_for(&registration.required_resource_access, api_id);
    let wanted = match home.principal_of(api) {
        Ok(Some(principal)) => permission_ids(principal, scopes),
        // Without it the names of the permissions are not known.
        _ => Vec::new(),
    };
    let names: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let has_one = if wanted.is_empty() {
        !asked.is_empty()
    } else {
        wanted
            .iter()
            .any(|id| asked.iter().any(|asked| asked.eq_ignore_ascii_case(id)))
    };
    if has_one {
        return Check::pass(id, format!("app {app} asks for permissions of {api_name}"));
    }
    let permission = wanted.first().map_or("{permission id}", String::as_str);
    Check::fail(
        id,
        Who::AppTenantAdmin,
        format!("app {app} does not ask for {} of {api_name}", names.join(" or ")),
        format!(
            "API permissions, Add a permission, APIs my organization uses, {api_name}: {}; \
             then grant admin consent",
            names.join(", ")
        ),
    )
    .with_command(format!(
        "az ad app permission add --id {app} --api {api_id} --api-permissions {permission}=Scope"
    ))
}
