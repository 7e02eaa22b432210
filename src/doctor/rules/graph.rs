//! `graph.*`: the administrators' steps, in each tenant that Graph could be asked in.

use std::collections::BTreeMap;

use azure::UpstreamFailure;
use azure::credential::AppError;
use azure::graph_admin::{AdminError, Application, Group, PermissionGrant, RoleAssignment, ServicePrincipal, Sku};
use base::ids::{ClientAppId, ObjectId, TenantId};
use config::Config;
use serde_json::Value;

use super::super::check::{Check, CheckId, Who};
use super::super::needs::{ACS_CLIENTS, AppNeed, Needs};
use super::entra::{app_failure, consent_url, undecided};

/// What Graph said, or why it was not asked.
pub type Looked<T> = Result<T, Missed>;

/// Why there is no answer of Graph's.
#[derive(Debug, Clone)]
pub enum Missed {
    /// It was not asked; why.
    NotAsked(String),
    /// It was asked, and did not say.
    Failed(AdminError),
}

/// A token for Graph in one tenant, or why there is none.
#[derive(Debug, Clone)]
pub enum TokenLook {
    /// There is one.
    Have(&'static str),
    /// None is configured or given for this tenant.
    None(String),
    /// The app of `[graph]` got none.
    App(ClientAppId, Box<AppError>),
    /// The given one is no good.
    Given(String),
}

/// What Graph said in one tenant.
#[derive(Debug, Clone)]
pub struct TenantGraph {
    /// The tenant.
    pub tenant: TenantId,
    /// The token.
    pub token: TokenLook,
    /// The service principal of ACS Clients.
    pub acs_clients: Looked<Option<ServicePrincipal>>,
    /// Who is assigned to it.
    pub assigned: Looked<Vec<RoleAssignment>>,
    /// The registrations of the apps that are needed, in their home tenant.
    pub registrations: BTreeMap<ClientAppId, Looked<Option<Application>>>,
    /// Their service principals.
    pub principals: BTreeMap<ClientAppId, Looked<Option<ServicePrincipal>>>,
    /// What was consented to for them.
    pub grants: BTreeMap<ClientAppId, Looked<Vec<PermissionGrant>>>,
    /// The groups that are assigned.
    pub groups: BTreeMap<ObjectId, Looked<Option<Group>>>,
    /// Whether groups are members of them.
    pub nested: BTreeMap<ObjectId, Looked<bool>>,
    /// The tenant's licenses.
    pub skus: Looked<Vec<Sku>>,
}

const APPLICATIONS: &str = "Application.Read.All";
const DIRECTORY: &str = "Directory.Read.All";
const LICENSES: &str = "LicenseAssignment.Read.All";

/// All checks over what was looked at.
#[must_use]
pub fn checks(config: &Config, needs: &Needs, tenants: &[TenantGraph]) -> Vec<Check> {
    let mut checks = Vec::new();
    for tenant in tenants {
        let home = tenant.is_home();
        checks.push(token(config, tenant).about(tenant.tenant));
        if needs.acs_clients() {
            checks.push(acs_clients(tenant, home).about(tenant.tenant));
        }
        if needs.groups.values().any(|of| *of == tenant.tenant) {
            checks.push(license(tenant).about(tenant.tenant));
        }
    }
    for (app, need) in &needs.apps {
        checks.extend(registration(*app, need, tenants));
        if !need.scopes.is_empty() {
            let of_users = tenants.iter().filter(|tenant| need.tenants.contains(&tenant.tenant));
            checks.extend(of_users.map(|tenant| consent(config, *app, need, tenant).about(tenant.tenant)));
        }
    }
    for (group, tenant) in &needs.groups {
        if let Some(tenant) = tenants.iter().find(|each| each.tenant == *tenant) {
            checks.push(group_exists(*group, tenant).about(group));
            checks.push(group_assigned(*group, tenant).about(group));
        }
    }
    checks
}

impl TenantGraph {
    /// Whether it is the home of an application that is needed.
    #[must_use]
    pub fn is_home(&self) -> bool {
        self.registrations.values().any(|found| matches!(found, Ok(Some(_))))
    }
}

/// The check that stands for an answer which is not there.
fn missed(id: CheckId, missed: &Missed, permission: &str) -> Check {
    match missed {
        Missed::NotAsked(why) => Check::skip(id, why),
        Missed::Failed(AdminError::Forbidden(_)) => {
            Check::skip(id, format!("the token for Graph lacks the permission {permission}"))
        }
        Missed::Failed(AdminError::Upstream(failure)) => undecided(id, "Graph", failure),
        Missed::Failed(error) => undecided(id, "Graph", &UpstreamFailure::InvalidResponse(error.to_string())),
    }
}

fn token(config: &Config, tenant: &TenantGraph) -> Check {
    let id = CheckId::GraphToken;
    // The first answer shows whether the token is one for Graph.
    if let Err(Missed::Failed(error @ AdminError::Unauthorized(_))) = &tenant.acs_clients {
        return Check::fail(
            id,
            Who::Operator,
            format!("{error}"),
            "get a new token for Microsoft Graph in this tenant, as an administrator",
        )
        .with_command(az_token(tenant.tenant));
    }
    match &tenant.token {
        TokenLook::Have(from) => Check::pass(id, format!("Graph is asked with {from}")),
        TokenLook::None(why) => Check::skip(id, why).with_command(az_token(tenant.tenant)),
        TokenLook::App(app, error) => app_failure(id, "graph", *app, tenant.tenant, error, config),
        TokenLook::Given(why) => Check::fail(
            id,
            Who::Operator,
            why,
            "get a new token for Microsoft Graph in this tenant, as an administrator",
        )
        .with_command(az_token(tenant.tenant)),
    }
}

fn az_token(tenant: TenantId) -> String {
    format!("az account get-access-token --resource-type ms-graph --tenant {tenant} --query accessToken -o tsv")
}

fn acs_clients(tenant: &TenantGraph, is_home: bool) -> Check {
    let id = CheckId::GraphAcsClientsPrincipal;
    let who = if is_home {
        Who::AppTenantAdmin
    } else {
        Who::UserTenantAdmin
    };
    let command = format!("az ad sp create --id {ACS_CLIENTS}");
    match &tenant.acs_clients {
        Ok(Some(principal)) if principal.account_enabled == Some(false) => Check::fail(
            id,
            who,
            "the service principal of Azure Communication Services Clients is disabled",
            "enable it: Enterprise applications, Azure Communication Services Clients, Properties, Enabled for users to sign-in",
        ),
        Ok(Some(_)) => Check::pass(
            id,
            "the tenant has a service principal of Azure Communication Services Clients",
        ),
        Ok(None) => Check::fail(
            id,
            who,
            "the tenant has no service principal of Azure Communication Services Clients",
            format!("create it: az, or Graph POST /v1.0/servicePrincipals {{\"appId\":\"{ACS_CLIENTS}\"}}"),
        )
        .with_command(command),
        Err(error) => missed(id, error, APPLICATIONS),
    }
}

/// `graph.app_account_type`, `graph.app_redirect_uris`, `graph.app_permissions`: in the app's home tenant.
fn registration(app: ClientAppId, need: &AppNeed, tenants: &[TenantGraph]) -> Vec<Check> {
    let mut ids = Vec::new();
    if need.signs_in {
        ids.extend([CheckId::GraphAppAccountType, CheckId::GraphAppRedirectUris]);
    }
    if !need.scopes.is_empty() {
        ids.push(CheckId::GraphAppPermissions);
    }
    let found = tenants.iter().find_map(|tenant| match tenant.registrations.get(&app) {
        Some(Ok(Some(registration))) => Some((tenant, registration)),
        _ => None,
    });
    let Some((home, registration)) = found else {
        let check = |id| no_registration(id, app, tenants);
        return ids.into_iter().map(check).collect();
    };
    let check = |id| match id {
        CheckId::GraphAppAccountType => account_type(app, need, home.tenant, registration),
        CheckId::GraphAppRedirectUris => redirect_uris(app, registration),
        _ => permissions(app, need, home, registration),
    };
    ids.into_iter().map(|id| check(id).about(home.tenant)).collect()
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
pub fn permission_ids(principal: &ServicePrincipal, need: &AppNeed) -> Vec<String> {
    let of = |name: &str| {
        principal
            .oauth2_permission_scopes
            .iter()
            .find(|scope| scope.value.as_deref() == Some(name))
    };
    need.scopes
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

fn permissions(app: ClientAppId, need: &AppNeed, home: &TenantGraph, registration: &Application) -> Check {
    let id = CheckId::GraphAppPermissions;
    let asked = asked_for(&registration.required_resource_access, ACS_CLIENTS);
    let wanted = match &home.acs_clients {
        Ok(Some(principal)) => permission_ids(principal, need),
        // Without it the names of the permissions are not known.
        _ => Vec::new(),
    };
    let names: Vec<&str> = need.scopes.iter().map(String::as_str).collect();
    let has_one = if wanted.is_empty() {
        !asked.is_empty()
    } else {
        wanted
            .iter()
            .any(|id| asked.iter().any(|asked| asked.eq_ignore_ascii_case(id)))
    };
    if has_one {
        return Check::pass(
            id,
            format!("app {app} asks for permissions of Azure Communication Services Clients"),
        );
    }
    let permission = wanted.first().map_or("{permission id}", String::as_str);
    Check::fail(
        id,
        Who::AppTenantAdmin,
        format!(
            "app {app} does not ask for {} of Azure Communication Services Clients",
            names.join(" or ")
        ),
        format!(
            "API permissions, Add a permission, APIs my organization uses, Azure Communication Services Clients: {}; \
             then grant admin consent",
            names.join(", ")
        ),
    )
    .with_command(format!(
        "az ad app permission add --id {app} --api {ACS_CLIENTS} --api-permissions {permission}=Scope"
    ))
}

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

fn consent(config: &Config, app: ClientAppId, need: &AppNeed, tenant: &TenantGraph) -> Check {
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

fn group_exists(group: ObjectId, tenant: &TenantGraph) -> Check {
    let id = CheckId::GraphGroupExists;
    match tenant.groups.get(&group) {
        Some(Ok(Some(_))) => Check::pass(id, "the tenant has the group"),
        Some(Ok(None)) => Check::fail(
            id,
            Who::Operator,
            format!("tenant {} has no group {group}", tenant.tenant),
            "ask the administrator of the users' tenant for the group's object id, and mend the assignment's objectId or tenantId",
        ),
        Some(Err(error)) => missed(id, error, DIRECTORY),
        None => Check::skip(id, "Graph was not asked"),
    }
}

fn group_assigned(group: ObjectId, tenant: &TenantGraph) -> Check {
    let id = CheckId::GraphGroupAssigned;
    let fix = "Enterprise applications, Azure Communication Services Clients, Users and groups: add the group (Entra ID P1 or P2)";
    match &tenant.acs_clients {
        Err(error) => return missed(id, error, APPLICATIONS),
        Ok(None) => {
            return Check::fail(
                id,
                Who::UserTenantAdmin,
                "the group cannot be assigned: the tenant has no service principal of Azure Communication Services Clients",
                format!("create the service principal (az ad sp create --id {ACS_CLIENTS}), then: {fix}"),
            );
        }
        Ok(Some(_)) => {}
    }
    match (&tenant.assigned, tenant.nested.get(&group)) {
        (Err(error), _) => missed(id, error, APPLICATIONS),
        (Ok(assigned), _) if !assigned.iter().any(|each| each.principal_id == group) => Check::fail(
            id,
            Who::UserTenantAdmin,
            "the group is not assigned to Azure Communication Services Clients: Entra gives its members no token",
            fix,
        )
        .with_command(format!("acs-token-broker setup plan --tenant {}", tenant.tenant)),
        (Ok(_), Some(Ok(true))) => Check::warn(
            id,
            "the group is assigned; groups are members of it, and the members of those are not covered by the assignment",
            "assign the inner groups to Azure Communication Services Clients too",
        )
        .by(Who::UserTenantAdmin),
        (Ok(_), _) => Check::pass(id, "the group is assigned to Azure Communication Services Clients"),
    }
}

fn license(tenant: &TenantGraph) -> Check {
    let id = CheckId::GraphLicense;
    match &tenant.skus {
        Ok(skus) if skus.iter().any(Sku::has_entra_premium) => Check::pass(id, "the tenant has Entra ID P1 or P2"),
        Ok(_) => Check::fail(
            id,
            Who::UserTenantAdmin,
            "the tenant has neither Entra ID P1 nor P2, which the assignment of groups to applications needs",
            "get licenses, or assign users or the tenant at ACS in place of groups",
        ),
        Err(error) => missed(id, error, LICENSES),
    }
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
