//! The steps in Microsoft Graph.

use std::collections::BTreeSet;

use azure::graph_admin::{
    DEFAULT_ROLE, ServicePrincipal, assignment_body, required_permissions_body, service_principal_body,
};
use base::ids::{ClientAppId, ObjectId};
use serde_json::{Value, json};

use super::super::check::Who;
use super::super::needs::{AcsApi, AppNeed};
use super::super::rules::graph::{TenantGraph, asked_for, permission_ids};
use super::{Action, Request, Step};

pub(super) fn create_principal(api: AcsApi, tenant: &TenantGraph, graph: &str) -> Option<Step> {
    if !matches!(tenant.principal_of(api), Ok(None)) {
        return None;
    }
    let who = if tenant.is_home() {
        Who::AppTenantAdmin
    } else {
        Who::UserTenantAdmin
    };
    let step = Step::new(
        "graph.acs_clients_principal",
        tenant.tenant,
        who,
        Action::CreatePrincipal(tenant.tenant, api),
        format!(
            "create the service principal of {} in tenant {}",
            api.name(),
            tenant.tenant
        ),
    );
    let request = Request {
        method: "POST",
        url: format!("{graph}/v1.0/servicePrincipals"),
        body: service_principal_body(api.app_id()),
    };
    Some(step.with(format!("az ad sp create --id {}", api.id()), request))
}

pub(super) fn add_permissions(
    app: ClientAppId,
    scopes: &BTreeSet<String>,
    api: AcsApi,
    home: &TenantGraph,
    graph: &str,
) -> Option<Step> {
    let api_id = api.id();
    let registration = home.registration(app)?;
    let names = scopes.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let (ids, body) = match home.principal_of(api) {
        Ok(Some(principal)) => {
            let ids = permission_ids(principal, scopes);
            let asked = asked_for(&registration.required_resource_access, api_id);
            if ids.is_empty()
                || ids
                    .iter()
                    .any(|id| asked.iter().any(|asked| asked.eq_ignore_ascii_case(id)))
            {
                return None;
            }
            let all = extended(&registration.required_resource_access, api_id, &ids)?;
            (ids, required_permissions_body(&all))
        }
        // Its permissions have ids once the service principal is there.
        Ok(None) if asked_for(&registration.required_resource_access, api_id).is_empty() => {
            let body = json!({ "requiredResourceAccess": ["{what is there}", { "resourceAppId": api_id, "resourceAccess": [{ "id": format!("{{id of {names}}}"), "type": "Scope" }] }] });
            (vec![format!("{{id of {names}}}")], body)
        }
        Ok(None) | Err(_) => return None,
    };
    let step = Step::new(
        "graph.app_permissions",
        app,
        Who::AppTenantAdmin,
        Action::AddPermissions(home.tenant, app, api),
        format!("add {names} of {} to the permissions of app {app}", api.name()),
    );
    let arguments: Vec<String> = ids.iter().map(|id| format!("{id}=Scope")).collect();
    let request = Request {
        method: "PATCH",
        url: format!("{graph}/v1.0/applications/{}", registration.id),
        body,
    };
    Some(step.with(
        format!(
            "az ad app permission add --id {app} --api {api_id} --api-permissions {}",
            arguments.join(" ")
        ),
        request,
    ))
}

/// The permissions that an application asks for with these of `api` added; `None` if all are there.
#[must_use]
pub fn extended(required: &[Value], api: &str, ids: &[String]) -> Option<Vec<Value>> {
    let asked = asked_for(required, api);
    let missing: Vec<Value> = ids
        .iter()
        .filter(|id| !asked.iter().any(|asked| asked.eq_ignore_ascii_case(id)))
        .map(|id| json!({ "id": id, "type": "Scope" }))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let mut all = required.to_vec();
    let of_api = all.iter_mut().find_map(|entry| {
        let id = entry.get("resourceAppId").and_then(Value::as_str)?;
        if id.eq_ignore_ascii_case(api) {
            entry.get_mut("resourceAccess")?.as_array_mut()
        } else {
            None
        }
    });
    match of_api {
        Some(access) => access.extend(missing),
        None => all.push(json!({ "resourceAppId": api, "resourceAccess": missing })),
    }
    Some(all)
}

/// What is added to an application, by what Graph says at the moment of writing; `None` if nothing is missing.
#[must_use]
pub fn permissions_to_write(
    required: &[Value],
    principal: &ServicePrincipal,
    need: &AppNeed,
    api: AcsApi,
) -> Option<Vec<Value>> {
    extended(required, api.id(), &permission_ids(principal, need.of(api)))
}

pub(super) fn assign_group(group: ObjectId, tenant: &TenantGraph, graph: &str) -> Option<Step> {
    let principal = match (&tenant.acs_clients, &tenant.assigned) {
        (Ok(Some(principal)), Ok(assigned)) if !assigned.iter().any(|each| each.principal_id == group) => {
            Some(principal.id)
        }
        (Ok(None), _) => None,
        _ => return None,
    };
    let missing_group = matches!(tenant.groups.get(&group), Some(Ok(None)));
    if missing_group {
        return None;
    }
    let step = Step::new(
        "graph.group_assigned",
        group,
        Who::UserTenantAdmin,
        Action::AssignGroup(tenant.tenant, group),
        format!(
            "assign group {group} to Azure Communication Services Clients in tenant {}",
            tenant.tenant
        ),
    );
    let (shown, body) = if let Some(principal) = principal {
        (principal.to_string(), assignment_body(principal, group))
    } else {
        let unknown = "{id of the service principal}";
        let body = json!({ "principalId": group, "resourceId": unknown, "appRoleId": DEFAULT_ROLE });
        (unknown.to_owned(), body)
    };
    let url = format!("{graph}/v1.0/servicePrincipals/{shown}/appRoleAssignedTo");
    let az = format!("az rest --method POST --url {url} --body '{body}'");
    Some(step.with(
        az,
        Request {
            method: "POST",
            url,
            body,
        },
    ))
}
