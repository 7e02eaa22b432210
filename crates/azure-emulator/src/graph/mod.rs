//! Microsoft Graph, as far as the emulator has it: one file for each kind of object. This one chooses the operation.
//!
//! Graph's paths have keys in parentheses (`servicePrincipals(appId='…')`), which no router reads, so that they are taken
//! apart here.

mod apps;
mod authorize;
mod consents;
pub(crate) mod error;
mod members;
mod organization;
mod query;
pub(crate) mod state;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, post};
use axum::{Json, Router};
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Map, Value};

use self::authorize::{Caller, Need, authenticate};
use self::error::GraphError;
use self::query::{ListCall, Listing, entity, page};
use self::state::Graph;
use crate::request::{bearer_token, read_body};

/// Graph's routes.
pub(super) fn routes(graph: Arc<Graph>) -> Router {
    Router::new()
        .without_v07_checks()
        .route(
            "/v1.0/users/{user}/checkMemberGroups",
            post(members::check_member_groups),
        )
        .route("/v1.0/{*path}", any(operation))
        .with_state(graph)
}

/// Everything else that Graph has.
async fn operation(State(graph): State<Arc<Graph>>, Path(path): Path<String>, request: Request) -> Response {
    match answer(&graph, &path, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(graph.site.now()),
    }
}

/// A call of a caller whose token counts.
struct Call<'a> {
    graph: &'a Graph,
    caller: Caller,
    list: ListCall<'a>,
    body: Result<Map<String, Value>, GraphError>,
}

async fn answer(graph: &Graph, path: &str, request: Request) -> Result<Response, GraphError> {
    let (parts, body) = request.into_parts();
    let caller = authenticate(graph, bearer_token(&parts.headers))?;
    let body = match parts.method {
        Method::POST | Method::PATCH => json_object(&parts.headers, body).await,
        _ => Ok(Map::new()),
    };
    let origin = graph.site.request_origin(&parts.extensions);
    let call = Call {
        graph,
        caller,
        list: ListCall {
            address: format!("{origin}{}", parts.uri.path()),
            query: parts.uri.query().unwrap_or_default(),
            usual_page: graph.settings.get().graph_page_size,
        },
        body,
    };
    let segments = segments(path);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match parts.method {
        Method::GET => read(&call, &segments),
        Method::POST | Method::PATCH => change(call, &parts.method, &segments),
        _ => Err(GraphError::not_served(path)),
    }
}

/// The parts of a path; a key in parentheses is one of its own.
fn segments(path: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for part in path.trim_end_matches('/').split('/') {
        match part.strip_suffix(')').and_then(|open| open.split_once('(')) {
            Some((name, key)) => parts.extend([name.to_owned(), key.to_owned()]),
            None => parts.push(part.to_owned()),
        }
    }
    parts
}

impl Call<'_> {
    fn list(&self, need: Need, listing: Listing, objects: impl FnOnce() -> Vec<Value>) -> Result<Response, GraphError> {
        self.caller.may(self.graph, need)?;
        Ok(Json(page(&self.list, listing, objects())?).into_response())
    }

    fn entity(&self, context: &str, object: Value) -> Response {
        Json(entity(&self.list, context, object)).into_response()
    }
}

fn read(call: &Call<'_>, segments: &[&str]) -> Result<Response, GraphError> {
    let (graph, tenant) = (call.graph, call.caller.tenant);
    let may = |need: Need| call.caller.may(graph, need);
    match segments {
        ["servicePrincipals"] => call.list(authorize::READ_APPLICATIONS, apps::PRINCIPALS, || {
            apps::principals(graph, tenant)
        }),
        ["servicePrincipals", key] => {
            may(authorize::READ_APPLICATIONS)?;
            let found = apps::principal(graph, tenant, key)?;
            Ok(call.entity("servicePrincipals", apps::principal_json(graph, &found)))
        }
        ["servicePrincipals", key, "appRoleAssignedTo"] => {
            may(authorize::READ_APPLICATIONS)?;
            let found = apps::principal(graph, tenant, key)?;
            call.list(authorize::READ_APPLICATIONS, consents::ROLES, || {
                consents::assigned_to(graph, &found)
            })
        }
        ["servicePrincipals", key, "appRoleAssignments"] => {
            may(authorize::READ_APPLICATIONS)?;
            let found = apps::principal(graph, tenant, key)?;
            call.list(authorize::READ_APPLICATIONS, consents::ROLES, || {
                consents::assignments_of(graph, tenant, found.id)
            })
        }
        ["servicePrincipals", key, "oauth2PermissionGrants"] => {
            may(authorize::READ_GRANTS)?;
            let found = apps::principal(graph, tenant, key)?;
            call.list(authorize::READ_GRANTS, consents::GRANTS, || {
                consents::grants(graph, tenant, Some(found.id))
            })
        }
        ["oauth2PermissionGrants"] => call.list(authorize::READ_GRANTS, consents::GRANTS, || {
            consents::grants(graph, tenant, None)
        }),
        ["applications"] => call.list(authorize::READ_APPLICATIONS, apps::APPLICATIONS, || {
            apps::applications(graph, tenant)
        }),
        ["applications", key] => {
            may(authorize::READ_APPLICATIONS)?;
            let found = apps::application(graph, tenant, key)?;
            Ok(call.entity("applications", apps::application_json(graph, &found)))
        }
        ["groups"] => call.list(authorize::READ_GROUPS, organization::GROUPS, || {
            organization::groups(graph, tenant)
        }),
        ["groups", id] => {
            may(authorize::READ_GROUPS)?;
            let found = organization::group(graph, tenant, id)?;
            Ok(call.entity("groups", organization::group_json(found)))
        }
        ["groups", id, "appRoleAssignments"] => {
            may(authorize::READ_APPLICATIONS)?;
            let found = organization::group(graph, tenant, id)?;
            call.list(authorize::READ_APPLICATIONS, consents::ROLES, || {
                consents::assignments_of(graph, tenant, found.id)
            })
        }
        ["groups", id, which @ ("members" | "transitiveMembers"), cast @ ..] if cast.len() < 2 => {
            may(authorize::READ_GROUPS)?;
            let found = organization::group(graph, tenant, id)?;
            let transitive = *which == "transitiveMembers";
            let members = organization::members(graph, found, transitive, cast.first().copied())?;
            call.list(authorize::READ_GROUPS, organization::MEMBERS, || members)
        }
        ["users", id] => {
            may(authorize::READ_USERS)?;
            let found = organization::person(graph, tenant, id).ok_or_else(|| error::not_found(id))?;
            Ok(call.entity("users", organization::user_json(graph, found)))
        }
        ["users", id, "licenseDetails"] => {
            may(authorize::READ_LICENSES)?;
            let found = organization::licenses(graph, tenant, id)?;
            call.list(authorize::READ_LICENSES, organization::LICENSES, || found)
        }
        ["subscribedSkus"] => call.list(authorize::READ_SKUS, organization::SKUS, || {
            organization::skus(graph, tenant)
        }),
        ["organization"] => call.list(authorize::READ_ORGANIZATION, organization::ORGANIZATIONS, || {
            organization::organizations(graph, tenant)
        }),
        ["organization", id] => {
            may(authorize::READ_ORGANIZATION)?;
            let found = organization::organizations(graph, tenant)
                .into_iter()
                .find(|found| found["id"] == *id);
            Ok(call.entity("organization", found.ok_or_else(|| error::not_found(id))?))
        }
        _ => Err(GraphError::not_served(&segments.join("/"))),
    }
}

fn change(call: Call<'_>, method: &Method, segments: &[&str]) -> Result<Response, GraphError> {
    let (graph, tenant) = (call.graph, call.caller.tenant);
    let may = |need: Need| call.caller.may(graph, need);
    let created = |context: &str, object: Value| {
        let answer = Json(entity(&call.list, context, object));
        (StatusCode::CREATED, answer).into_response()
    };
    match (method.as_str(), segments) {
        ("POST", ["servicePrincipals"]) => {
            may(authorize::CHANGE_APPLICATIONS)?;
            let new = apps::create_principal(graph, tenant, &call.body?)?;
            Ok(created("servicePrincipals", apps::principal_json(graph, &new)))
        }
        ("PATCH", ["servicePrincipals", key]) => {
            may(authorize::CHANGE_APPLICATIONS)?;
            let found = apps::principal(graph, tenant, key)?;
            apps::change_principal(graph, &found, &call.body?)?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        ("POST", ["servicePrincipals", key, "appRoleAssignedTo" | "appRoleAssignments"]) => {
            may(authorize::ASSIGN_ROLES)?;
            apps::principal(graph, tenant, key)?;
            let new = consents::assign(graph, tenant, &call.body?)?;
            Ok(created("appRoleAssignments", new))
        }
        ("POST", ["groups", id, "appRoleAssignments"]) => {
            may(authorize::ASSIGN_ROLES)?;
            organization::group(graph, tenant, id)?;
            let new = consents::assign(graph, tenant, &call.body?)?;
            Ok(created("appRoleAssignments", new))
        }
        ("PATCH", ["applications", key]) => {
            may(authorize::CHANGE_APPLICATIONS)?;
            let found = apps::application(graph, tenant, key)?;
            apps::change_application(graph, &found, &call.body?)?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Err(GraphError::not_served(&segments.join("/"))),
    }
}

/// A body that says that it is JSON.
async fn json_body(headers: &HeaderMap, body: Body) -> Result<Bytes, GraphError> {
    let body = read_body(Request::new(body))
        .await
        .map_err(|_| GraphError::bad_request("The request body is too large."))?;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|value| value.to_ascii_lowercase().starts_with("application/json")) {
        return Ok(body);
    }
    let message = "Write requests (excluding DELETE) must contain the Content-Type header declaration.";
    Err(GraphError::bad_request(message))
}

/// The body of a request that changes something.
async fn json_object(headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, GraphError> {
    let body = json_body(headers, body).await?;
    let members: Result<Map<String, Value>, _> = serde_json::from_slice(&body);
    let mut members = members.map_err(|_| {
        let message = "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of \
                       valid JSON format.";
        GraphError::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    })?;
    // Annotations, such as the type that Kiota's clients send, are no properties.
    members.retain(|name, _| !name.starts_with("@odata."));
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::segments;

    #[test]
    fn a_key_in_parentheses_is_a_segment() {
        assert_eq!(
            segments("servicePrincipals(appId='x')/appRoleAssignedTo"),
            ["servicePrincipals", "appId='x'", "appRoleAssignedTo"]
        );
        assert_eq!(segments("groups/a/members/"), ["groups", "a", "members"]);
    }
}
