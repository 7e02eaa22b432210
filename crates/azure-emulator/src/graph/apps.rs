//! Service principals and registrations.
//!
//! <https://learn.microsoft.com/graph/api/resources/serviceprincipal>, <https://learn.microsoft.com/graph/api/resources/application>

use http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::{GraphError, not_found};
use super::query::Listing;
use super::state::Graph;
use crate::entra::directory::CreateError;
use crate::entra::directory::catalog::Permission;
use crate::entra::directory::objects::{Access, Application, RequiredResource, ServicePrincipal};

pub(super) const PRINCIPALS: Listing = Listing {
    context: "servicePrincipals",
    of: "servicePrincipal",
    filters: &["appId", "displayName", "id", "servicePrincipalType"],
};
pub(super) const APPLICATIONS: Listing = Listing {
    context: "applications",
    of: "application",
    filters: &["appId", "displayName", "id", "signInAudience"],
};

const AUDIENCES: [&str; 4] = [
    "AzureADMyOrg",
    "AzureADMultipleOrgs",
    "AzureADandPersonalMicrosoftAccount",
    "PersonalMicrosoftAccount",
];

/// How a path names an app's object: by its id, or as `appId='…'`.
pub(super) fn key(text: &str) -> Option<Key> {
    match text.strip_prefix("appId=") {
        Some(quoted) => {
            let id = quoted.strip_prefix('\'')?.strip_suffix('\'')?;
            Uuid::try_parse(id).ok().map(Key::AppId)
        }
        None => Uuid::try_parse(text).ok().map(Key::Id),
    }
}

/// What names an app's object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Id(Uuid),
    AppId(Uuid),
}

/// The service principal that a path names.
pub(super) fn principal(graph: &Graph, tenant: Uuid, text: &str) -> Result<ServicePrincipal, GraphError> {
    let key = key(text).ok_or_else(|| not_found(text))?;
    let mut all = graph.directory.principals(tenant).into_iter();
    all.find(|found| key == Key::Id(found.id) || key == Key::AppId(found.app_id))
        .ok_or_else(|| not_found(text))
}

/// The registration that a path names.
pub(super) fn application(graph: &Graph, tenant: Uuid, text: &str) -> Result<Application, GraphError> {
    let key = key(text).ok_or_else(|| not_found(text))?;
    let mut all = graph.directory.applications(tenant).into_iter();
    all.find(|found| key == Key::Id(found.id) || key == Key::AppId(found.app_id))
        .ok_or_else(|| not_found(text))
}

pub(super) fn principals(graph: &Graph, tenant: Uuid) -> Vec<Value> {
    let all = graph.directory.principals(tenant);
    all.iter().map(|found| principal_json(graph, found)).collect()
}

pub(super) fn principal_json(graph: &Graph, principal: &ServicePrincipal) -> Value {
    let Some(app) = graph.directory.app(principal.app_id) else {
        return Value::Null;
    };
    let is_identity = app.is_managed_identity;
    let mut names = vec![app.app_id.to_string()];
    names.extend(app.uris.iter().filter(|uri| !uri.is_empty()).cloned());
    let role = |role: &Permission| {
        json!({
            "id": role.id.to_string(),
            "value": role.value,
            "displayName": role.value,
            "description": role.value,
            "isEnabled": true,
            "origin": "Application",
            "allowedMemberTypes": ["Application"],
        })
    };
    json!({
        "id": principal.id.to_string(),
        "deletedDateTime": null,
        "accountEnabled": true,
        "appId": principal.app_id.to_string(),
        "appDisplayName": app.name,
        "displayName": app.name,
        "appOwnerOrganizationId": app.owner.to_string(),
        "appRoleAssignmentRequired": principal.assignment_required,
        "servicePrincipalNames": names,
        "servicePrincipalType": if is_identity { "ManagedIdentity" } else { "Application" },
        "signInAudience": if is_identity { Value::Null } else { json!("AzureADMultipleOrgs") },
        "tags": [],
        "appRoles": app.roles.iter().map(role).collect::<Vec<_>>(),
        "oauth2PermissionScopes": app.scopes.iter().map(scope_json).collect::<Vec<_>>(),
    })
}

/// "permissionScope"
fn scope_json(scope: &Permission) -> Value {
    json!({
        "id": scope.id.to_string(),
        "value": scope.value,
        "type": "User",
        "isEnabled": true,
        "adminConsentDisplayName": scope.value,
        "adminConsentDescription": scope.value,
        "userConsentDisplayName": scope.value,
        "userConsentDescription": scope.value,
    })
}

/// `POST /servicePrincipals`.
pub(super) fn create_principal(
    graph: &Graph,
    tenant: Uuid,
    body: &Map<String, Value>,
) -> Result<ServicePrincipal, GraphError> {
    let app_id = guid(body, "appId")?;
    graph
        .directory
        .create_principal(app_id, tenant)
        .map_err(|error| match error {
            CreateError::Exists => GraphError::new(
                StatusCode::CONFLICT,
                "Request_MultipleObjectsWithSameKeyValue",
                format!(
                    "The service principal cannot be created, updated, or restored because the service principal name \
                 {app_id} is already in use."
                ),
            ),
            CreateError::NoApp => GraphError::new(
                StatusCode::BAD_REQUEST,
                "NoBackingApplicationObject",
                format!("The appId '{app_id}' of the service principal does not reference a valid application object."),
            ),
        })
}

/// `PATCH /servicePrincipals/{id}`: whether assignment is required, which is all that can be changed here.
pub(super) fn change_principal(
    graph: &Graph,
    principal: &ServicePrincipal,
    body: &Map<String, Value>,
) -> Result<(), GraphError> {
    const REQUIRED: &str = "appRoleAssignmentRequired";
    if let Some(other) = body.keys().find(|name| *name != REQUIRED) {
        return Err(invalid_property(other));
    }
    if let Some(value) = body.get(REQUIRED) {
        let required = value.as_bool().ok_or_else(|| invalid_property(REQUIRED))?;
        let (directory, change) = (&graph.directory, |found: &mut ServicePrincipal| {
            found.assignment_required = required;
        });
        directory.change_principal(principal.tenant, principal.id, change);
    }
    Ok(())
}

pub(super) fn applications(graph: &Graph, tenant: Uuid) -> Vec<Value> {
    let all = graph.directory.applications(tenant);
    all.iter().map(|found| application_json(graph, found)).collect()
}

pub(super) fn application_json(graph: &Graph, application: &Application) -> Value {
    let app = graph.directory.app(application.app_id);
    let required = |required: &RequiredResource| {
        let access = |access: &Access| {
            let kind: &'static str = access.kind.into();
            json!({"id": access.id.to_string(), "type": kind})
        };
        json!({
            "resourceAppId": required.app_id.to_string(),
            "resourceAccess": required.access.iter().map(access).collect::<Vec<_>>(),
        })
    };
    json!({
        "id": application.id.to_string(),
        "deletedDateTime": null,
        "appId": application.app_id.to_string(),
        "displayName": app.map(|app| app.name.as_str()),
        "identifierUris": app.map(|app| app.uris.as_slice()).unwrap_or_default(),
        "publisherDomain": null,
        "signInAudience": application.sign_in_audience,
        "requiredResourceAccess": application.required.iter().map(required).collect::<Vec<_>>(),
        "spa": {"redirectUris": application.spa},
        "publicClient": {"redirectUris": application.public_client},
        "web": {"redirectUris": application.web},
        "api": {
            "requestedAccessTokenVersion": 2,
            "knownClientApplications": [],
            "oauth2PermissionScopes": app.into_iter().flat_map(|app| &app.scopes).map(scope_json).collect::<Vec<_>>(),
            "preAuthorizedApplications": [],
        },
        "isFallbackPublicClient": null,
        "tags": [],
    })
}

/// `PATCH /applications/{id}`: all of it or nothing.
pub(super) fn change_application(
    graph: &Graph,
    application: &Application,
    body: &Map<String, Value>,
) -> Result<(), GraphError> {
    let mut new = application.clone();
    for (name, value) in body {
        let invalid = || invalid_property(name);
        match name.as_str() {
            "signInAudience" => {
                let audience = value
                    .as_str()
                    .filter(|text| AUDIENCES.contains(text))
                    .ok_or_else(invalid)?;
                audience.clone_into(&mut new.sign_in_audience);
            }
            "requiredResourceAccess" => new.required = required(value).ok_or_else(invalid)?,
            "spa" => new.spa = redirect_uris(value).ok_or_else(invalid)?,
            "publicClient" => new.public_client = redirect_uris(value).ok_or_else(invalid)?,
            "web" => new.web = redirect_uris(value).ok_or_else(invalid)?,
            _ => return Err(invalid()),
        }
    }
    graph
        .directory
        .change_application(application.tenant, application.id, |found| *found = new);
    Ok(())
}

fn required(value: &Value) -> Option<Vec<RequiredResource>> {
    let id = |value: &Value, name: &str| Uuid::try_parse(value.get(name)?.as_str()?).ok();
    let access = |value: &Value| -> Option<Access> {
        Some(Access {
            id: id(value, "id")?,
            kind: value.get("type")?.as_str()?.parse().ok()?,
        })
    };
    let resource = |value: &Value| -> Option<RequiredResource> {
        let list = value.get("resourceAccess")?.as_array()?;
        Some(RequiredResource {
            app_id: id(value, "resourceAppId")?,
            access: list.iter().map(access).collect::<Option<_>>()?,
        })
    };
    value.as_array()?.iter().map(resource).collect()
}

fn redirect_uris(value: &Value) -> Option<Vec<String>> {
    let list = value.get("redirectUris")?.as_array()?;
    list.iter().map(|uri| Some(uri.as_str()?.to_owned())).collect()
}

/// A member of a body that must be a GUID.
pub(super) fn guid(body: &Map<String, Value>, name: &str) -> Result<Uuid, GraphError> {
    let text = body.get(name).and_then(Value::as_str).ok_or_else(|| {
        GraphError::bad_request(format!("A value is required for property '{name}' of the resource."))
    })?;
    Uuid::try_parse(text).map_err(|_| invalid_property(name))
}

fn invalid_property(name: &str) -> GraphError {
    let shown: String = name.chars().take(100).collect();
    GraphError::bad_request(format!(
        "Invalid value specified for property '{shown}' of the resource."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_by_either_id() {
        let id = "2a04943b-b6a7-4f65-8786-2bb6131b59f6";
        let parsed = Uuid::try_parse(id).unwrap();
        assert_eq!(key(id), Some(Key::Id(parsed)));
        assert_eq!(key(&format!("appId='{id}'")), Some(Key::AppId(parsed)));
        for other in ["x", "appId=x", "appId='x'", &format!("appId={id}")] {
            assert_eq!(key(other), None, "{other}");
        }
    }
}
