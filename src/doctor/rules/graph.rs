//! `graph.*`: the administrators' steps, in each tenant that Graph could be asked in.

mod consent;
mod groups;
mod registration;

use std::collections::BTreeMap;

use azure::UpstreamFailure;
use azure::credential::AppError;
use azure::graph_admin::{AdminError, Application, Group, PermissionGrant, RoleAssignment, ServicePrincipal, Sku};
use base::ids::{ClientAppId, ObjectId, TenantId};
use config::Config;

pub use self::consent::{Consent, consented};
use self::consent::{consent, own_api_consent};
pub(in crate::doctor) use self::consent::{consent_of, own_api_consent_of};
use self::groups::{group_assigned, group_exists, license};
use self::registration::registration;
pub use self::registration::{asked_for, permission_ids};
use super::super::check::{Check, CheckId, Who};
use super::super::needs::{AcsApi, Needs};
use super::entra::{app_failure, undecided};

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
    /// The one of the API for Teams users, if it is needed.
    pub acs_teams: Looked<Option<ServicePrincipal>>,
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
        for api in AcsApi::ALL.into_iter().filter(|api| needs.uses(*api)) {
            checks.push(acs_principal(api, tenant, home).about(tenant.tenant));
        }
        if needs.groups.values().any(|of| *of == tenant.tenant) {
            checks.push(license(tenant).about(tenant.tenant));
        }
    }
    for (app, need) in &needs.apps {
        checks.extend(registration(*app, need, tenants));
        for api in AcsApi::ALL.into_iter().filter(|api| !need.of(*api).is_empty()) {
            let of_users = tenants.iter().filter(|tenant| need.tenants.contains(&tenant.tenant));
            checks
                .extend(of_users.map(|tenant| consent(config, *app, (api, need.of(api)), tenant).about(tenant.tenant)));
        }
        for (api, scopes) in &need.apis {
            let of_users = tenants.iter().filter(|tenant| need.tenants.contains(&tenant.tenant));
            checks.extend(
                of_users
                    .map(|tenant| own_api_consent(config, *app, (*api, scopes), tenant, tenants).about(tenant.tenant)),
            );
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
    /// The registration of an application that is needed, if this is its home.
    #[must_use]
    pub fn registration(&self, app: ClientAppId) -> Option<&Application> {
        self.registrations.get(&app)?.as_ref().ok()?.as_ref()
    }

    /// Who administers an application here.
    #[must_use]
    pub fn administrator(&self, app: ClientAppId) -> Who {
        if self.registration(app).is_some() {
            Who::AppTenantAdmin
        } else {
            Who::UserTenantAdmin
        }
    }

    /// Whether it is the home of an application that is needed.
    #[must_use]
    pub fn is_home(&self) -> bool {
        self.registrations.values().any(|found| matches!(found, Ok(Some(_))))
    }

    /// The service principal of an API of ACS's.
    pub fn principal_of(&self, api: AcsApi) -> &Looked<Option<ServicePrincipal>> {
        match api {
            AcsApi::Clients => &self.acs_clients,
            AcsApi::Teams => &self.acs_teams,
        }
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

fn acs_principal(api: AcsApi, tenant: &TenantGraph, is_home: bool) -> Check {
    let id = CheckId::GraphAcsClientsPrincipal;
    let who = if is_home {
        Who::AppTenantAdmin
    } else {
        Who::UserTenantAdmin
    };
    let (name, api_id) = (api.name(), api.id());
    match tenant.principal_of(api) {
        Ok(Some(principal)) if principal.account_enabled == Some(false) => Check::fail(
            id,
            who,
            format!("the service principal of {name} is disabled"),
            format!("enable it: Enterprise applications, {name}, Properties, Enabled for users to sign-in"),
        ),
        Ok(Some(_)) => Check::pass(id, format!("the tenant has a service principal of {name}")),
        Ok(None) => Check::fail(
            id,
            who,
            format!("the tenant has no service principal of {name}"),
            format!("create it: az, or Graph POST /v1.0/servicePrincipals {{\"appId\":\"{api_id}\"}}"),
        )
        .with_command(format!("az ad sp create --id {api_id}")),
        Err(error) => missed(id, error, APPLICATIONS),
    }
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
