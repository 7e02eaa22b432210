//! Objects of Microsoft Graph, as far as the checks look at them. Members that Graph adds are ignored.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use base::ids::{ClientAppId, ObjectId, TenantId};

/// "servicePrincipal": an application in one tenant.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePrincipal {
    /// Its object id in this tenant.
    pub id: ObjectId,
    /// The application.
    pub app_id: ClientAppId,
    /// Whether it is switched on.
    #[serde(default)]
    pub account_enabled: Option<bool>,
    /// The application's home tenant.
    #[serde(default)]
    pub app_owner_organization_id: Option<TenantId>,
    /// The delegated permissions that it offers.
    #[serde(default)]
    pub oauth2_permission_scopes: Vec<PermissionScope>,
}

/// "permissionScope": a delegated permission.
#[derive(Debug, Clone, Deserialize)]
pub struct PermissionScope {
    /// Its id, which applications name.
    pub id: String,
    /// Its name, which tokens have in `scp`.
    #[serde(default)]
    pub value: Option<String>,
}

/// "application": a registration, which its home tenant alone has.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// Its object id.
    pub id: ObjectId,
    /// The application id.
    pub app_id: ClientAppId,
    /// Supported account types: `AzureADMyOrg`, `AzureADMultipleOrgs`, `AzureADandPersonalMicrosoftAccount`, …
    #[serde(default)]
    pub sign_in_audience: Option<String>,
    /// Redirect URIs of the platform "Web".
    #[serde(default)]
    pub web: Option<Redirects>,
    /// Those of "Single-page application".
    #[serde(default)]
    pub spa: Option<Redirects>,
    /// Those of "Mobile and desktop applications".
    #[serde(default)]
    pub public_client: Option<Redirects>,
    /// The permissions that it asks for, as Graph has them: they are written back whole.
    #[serde(default)]
    pub required_resource_access: Vec<Value>,
    /// What it is as an API.
    #[serde(default)]
    pub api: Option<ApiApplication>,
}

/// "apiApplication": an application as an API that others call.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiApplication {
    /// The delegated permissions that it offers.
    #[serde(default)]
    pub oauth2_permission_scopes: Vec<PermissionScope>,
    /// Clients whose users are not asked for consent.
    #[serde(default)]
    pub pre_authorized_applications: Vec<PreAuthorizedApplication>,
}

/// "preAuthorizedApplication": a client, and the delegated permissions that its users need not consent to.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreAuthorizedApplication {
    /// The client.
    pub app_id: ClientAppId,
    /// The permissions, by id.
    #[serde(default)]
    pub delegated_permission_ids: Vec<String>,
}

/// A platform's redirect URIs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Redirects {
    /// The URIs.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
}

impl Application {
    /// Whether users of `client` need no consent for one of these delegated permissions of this application.
    #[must_use]
    pub fn pre_authorizes(&self, client: ClientAppId, scopes: &BTreeSet<String>) -> bool {
        let Some(api) = &self.api else {
            return false;
        };
        let wanted = api
            .oauth2_permission_scopes
            .iter()
            .filter(|scope| scope.value.as_ref().is_some_and(|value| scopes.contains(value)));
        let wanted: Vec<&str> = wanted.map(|scope| scope.id.as_str()).collect();
        let mut of_client = api
            .pre_authorized_applications
            .iter()
            .filter(|authorized| authorized.app_id == client)
            .flat_map(|authorized| &authorized.delegated_permission_ids);
        of_client.any(|id| wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(id)))
    }

    /// The redirect URIs of all platforms.
    pub fn redirect_uris(&self) -> impl Iterator<Item = &str> {
        let platforms = [&self.web, &self.spa, &self.public_client];
        platforms
            .into_iter()
            .flatten()
            .flat_map(|platform| platform.redirect_uris.iter().map(String::as_str))
    }
}

/// "oAuth2PermissionGrant": consent to delegated permissions.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermissionGrant {
    /// The service principal of the client.
    pub client_id: ObjectId,
    /// `AllPrincipals` (an administrator for everyone), or `Principal` (one user).
    pub consent_type: String,
    /// The service principal of the API.
    pub resource_id: ObjectId,
    /// The permissions, separated by blanks.
    #[serde(default)]
    pub scope: Option<String>,
}

/// "appRoleAssignment": a user, a group or an application that is assigned to a service principal.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleAssignment {
    /// Who is assigned.
    pub principal_id: ObjectId,
}

/// "group".
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its object id.
    pub id: ObjectId,
}

/// A member of a group, of whatever type.
#[derive(Debug, Clone, Deserialize)]
pub struct Principal {
    /// `@odata.type`
    #[serde(rename = "@odata.type", default)]
    pub kind: Option<String>,
}

/// "subscribedSku": something that the tenant has licenses for.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sku {
    /// Whether it counts now.
    #[serde(default)]
    pub capability_status: Option<SkuState>,
    /// The services in it.
    #[serde(default)]
    pub service_plans: Vec<ServicePlan>,
}

/// `capabilityStatus`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SkuState {
    /// In force.
    Enabled,
    /// About to end; still in force.
    Warning,
    /// Not in force, or a state that is not known here.
    #[serde(other)]
    Ended,
}

/// "servicePlanInfo"
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePlan {
    /// `AAD_PREMIUM` is Entra ID P1, `AAD_PREMIUM_P2` is P2.
    #[serde(default)]
    pub service_plan_name: Option<String>,
}

impl Sku {
    /// Whether Entra ID P1 or P2 is in it, and in force.
    #[must_use]
    pub fn has_entra_premium(&self) -> bool {
        let in_force = self.capability_status.is_none_or(|state| state != SkuState::Ended);
        in_force
            && self
                .service_plans
                .iter()
                .filter_map(|plan| plan.service_plan_name.as_deref())
                .any(|name| matches!(name, "AAD_PREMIUM" | "AAD_PREMIUM_P2"))
    }
}
