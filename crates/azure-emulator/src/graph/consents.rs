//! Consents (`oauth2PermissionGrants`) and assignments of app roles.
//!
//! <https://learn.microsoft.com/graph/api/resources/oauth2permissiongrant>,
//! <https://learn.microsoft.com/graph/api/resources/approleassignment>

use http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::apps::guid;
use super::error::{GraphError, not_found};
use super::query::Listing;
use super::state::Graph;
use crate::entra::directory::AssignError;
use crate::entra::directory::objects::{Grant, PrincipalKind, RoleAssignment, ServicePrincipal};

pub(super) const GRANTS: Listing = Listing {
    context: "oauth2PermissionGrants",
    of: "oAuth2PermissionGrant",
    filters: &["clientId", "consentType", "principalId", "resourceId"],
};
pub(super) const ROLES: Listing = Listing {
    context: "appRoleAssignments",
    of: "appRoleAssignment",
    filters: &["principalDisplayName", "resourceId"],
};

/// The consents in a tenant, or those of one client there.
pub(super) fn grants(graph: &Graph, tenant: Uuid, client: Option<Uuid>) -> Vec<Value> {
    let all = graph.directory.grants(tenant);
    let chosen = all.iter().filter(|grant| client.is_none_or(|id| grant.client == id));
    chosen.map(grant_json).collect()
}

fn grant_json(grant: &Grant) -> Value {
    json!({
        "id": grant.id,
        "clientId": grant.client.to_string(),
        "consentType": if grant.user.is_some() { "Principal" } else { "AllPrincipals" },
        "principalId": grant.user.map(|id| id.to_string()),
        "resourceId": grant.resource.to_string(),
        "scope": grant.scopes.join(" "),
    })
}

/// Who has roles at an API.
pub(super) fn assigned_to(graph: &Graph, api: &ServicePrincipal) -> Vec<Value> {
    let all = graph.directory.roles(api.tenant);
    let chosen = all.iter().filter(|role| role.resource == api.id);
    chosen.map(|role| role_json(graph, role)).collect()
}

/// What roles a principal has, at whichever API.
pub(super) fn assignments_of(graph: &Graph, tenant: Uuid, principal: Uuid) -> Vec<Value> {
    let all = graph.directory.roles(tenant);
    let chosen = all.iter().filter(|role| role.principal == principal);
    chosen.map(|role| role_json(graph, role)).collect()
}

fn role_json(graph: &Graph, role: &RoleAssignment) -> Value {
    let kind: &'static str = role.kind.into();
    json!({
        "id": role.id,
        "deletedDateTime": null,
        "appRoleId": role.role.to_string(),
        "createdDateTime": role.created.to_string(),
        "principalDisplayName": name_of(graph, role.tenant, role.principal, role.kind),
        "principalId": role.principal.to_string(),
        "principalType": kind,
        "resourceDisplayName": name_of(graph, role.tenant, role.resource, PrincipalKind::ServicePrincipal),
        "resourceId": role.resource.to_string(),
    })
}

fn name_of(graph: &Graph, tenant: Uuid, id: Uuid, kind: PrincipalKind) -> Option<String> {
    let scenario = &graph.scenario;
    match kind {
        PrincipalKind::Group => {
            let mut groups = scenario.groups.iter();
            groups.find(|group| group.id == id).map(|group| group.name.clone())
        }
        PrincipalKind::User => scenario.person(tenant, id).map(|user| user.display_name.clone()),
        PrincipalKind::ServicePrincipal => {
            let principals = graph.directory.principals(tenant);
            let found = principals.iter().find(|principal| principal.id == id)?;
            graph.directory.app(found.app_id).map(|app| app.name.clone())
        }
    }
}

/// `POST …/appRoleAssignedTo` of an API, and `POST …/appRoleAssignments` of a principal.
pub(super) fn assign(graph: &Graph, tenant: Uuid, body: &Map<String, Value>) -> Result<Value, GraphError> {
    let (principal, resource, role) = (
        guid(body, "principalId")?,
        guid(body, "resourceId")?,
        guid(body, "appRoleId")?,
    );
    let now = graph.site.now();
    let assigned = graph.directory.assign(tenant, principal, resource, role, now);
    let assigned = assigned.map_err(|error| match error {
        AssignError::NoResource => not_found(&resource.to_string()),
        AssignError::NoPrincipal => not_found(&principal.to_string()),
        AssignError::NoRole => GraphError::bad_request("Permission being assigned was not found on application"),
        AssignError::Exists => GraphError::new(
            StatusCode::BAD_REQUEST,
            "Request_BadRequest",
            "Permission being assigned already exists on the object",
        ),
    })?;
    Ok(role_json(graph, &assigned))
}
