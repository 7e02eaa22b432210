//! The controls under `/_emulator/`: demo users and their tokens, keys, faults, the journal, and what is registered.
//!
//! Anyone on this machine may use them, but no web page from elsewhere: a page that has its own name point at a
//! loopback address is refused by the `Host` header, a page that sends requests across origins by `Origin`.

mod azure;

use std::collections::BTreeMap;

use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::acs::assignments::covering;
use crate::endpoint::Endpoint;
use crate::entra::issue::{TokenRequest, issue};
use crate::faults::Fault;
use crate::router::{host, is_loopback_origin, read_body, too_large};
use crate::scenario::{Tenant, User, UserKind};
use crate::world::{SharedWorld, World, lock};
use base::loopback::is_loopback_host;

const ROOT: &str = "/_emulator/";

/// Whether a path is a control's.
pub(crate) fn is_control(path: &str) -> bool {
    path.starts_with(ROOT)
}

/// Whether front-end pages on this machine may use a control: to list demo users and sign them in.
pub(crate) fn is_for_pages(path: &str) -> bool {
    path.strip_prefix(ROOT)
        .is_some_and(|rest| rest == "users" || (rest.starts_with("users/") && rest.ends_with("/token")))
}

/// The controls' routes.
pub(crate) fn routes() -> Router<SharedWorld> {
    Router::new()
        .without_v07_checks()
        .route("/_emulator/users", get(users))
        .route("/_emulator/users/{name}/token", post(token))
        .route("/_emulator/keys/rotate", post(rotate))
        .route("/_emulator/faults", get(faults).put(put_faults).delete(clear_faults))
        .route("/_emulator/faults/{endpoint}", delete(clear_fault))
        .route("/_emulator/journal", get(journal).delete(clear_journal))
        .merge(azure::routes())
        .route_layer(from_fn(guard))
}

/// An error of a control. There is no contract of Azure's to follow here; ours is `{"error":{"code","message"}}`.
fn problem(status: StatusCode, code: &str, message: impl Into<String>) -> Response {
    let message: String = message.into();
    (status, Json(json!({"error": {"code": code, "message": message}}))).into_response()
}

fn bad_request(message: impl Into<String>) -> Response {
    problem(StatusCode::BAD_REQUEST, "InvalidRequest", message)
}

/// Keeps foreign web pages out.
async fn guard(request: Request, next: Next) -> Response {
    match permitted(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(message) => problem(StatusCode::FORBIDDEN, "Forbidden", message),
    }
}

fn permitted(uri: &Uri, headers: &HeaderMap) -> Result<(), &'static str> {
    let Some(host) = host(headers, uri).filter(|host| is_loopback_host(host)) else {
        return Err("the Host header must name this machine, such as localhost or 127.0.0.1");
    };
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let same_origin = origin
        .to_str()
        .ok()
        .and_then(|text| text.split_once("://"))
        .is_some_and(|(_, origin_host)| origin_host.eq_ignore_ascii_case(host));
    if same_origin || (is_for_pages(uri.path()) && is_loopback_origin(origin)) {
        Ok(())
    } else {
        Err("web pages of other origins may not use this control")
    }
}

/// `GET /_emulator/users`.
async fn users(State(world): State<SharedWorld>, request: Request) -> Response {
    let origin = world.origin_asked(request.extensions());
    let users: Vec<Value> = world
        .scenario
        .users
        .iter()
        .map(|user| describe(&world, user, origin))
        .collect();
    Json(users).into_response()
}

fn describe(world: &World, user: &User, origin: &str) -> Value {
    let tenant = world.scenario.tenants.iter().find(|tenant| tenant.id == user.tenant_id);
    let assignments = lock(&world.acs.assignments);
    let covered_by = match user.kind {
        UserKind::Daemon { .. } => None,
        UserKind::Person => covering(
            assignments.values(),
            user.tenant_id,
            user.object_id,
            &world.scenario.groups_of(user),
            world.scenario.client_app.client_id,
        ),
    };
    let covered_by = covered_by.map(|assignment| {
        let name = world
            .scenario
            .groups
            .iter()
            .map(|group| (group.id, &group.name))
            .chain(world.scenario.tenants.iter().map(|tenant| (tenant.id, &tenant.name)))
            .chain([(user.object_id, &user.display_name)])
            .find(|(id, _)| *id == assignment.object_id)
            .map(|(_, name)| name);
        json!({
            "principalType": assignment.principal_type.name(),
            "objectId": assignment.object_id.to_string(),
            "name": name,
        })
    });
    let (kind, username) = match user.kind {
        UserKind::Person => ("person", Some(world.scenario.user_principal_name(user))),
        UserKind::Daemon { .. } => ("daemon", None),
    };
    json!({
        "name": user.name,
        "displayName": user.display_name,
        "kind": kind,
        "username": username,
        "tenant": {
            "id": user.tenant_id.to_string(),
            "name": tenant.map(|tenant| &tenant.name),
        },
        "objectId": user.object_id.to_string(),
        "coveredBy": covered_by,
        "stepUp": user.step_up,
        "tokenUrl": format!("{origin}{ROOT}users/{}/token", user.name),
    })
}

/// `POST /_emulator/users/{name}/token`.
async fn token(State(world): State<SharedWorld>, Path(name): Path<String>, request: Request) -> Response {
    let Some(user) = world.scenario.user(&name) else {
        let names: Vec<&str> = world.scenario.users.iter().map(|user| user.name.as_str()).collect();
        let message = format!("there is no demo user of this name; there are {}", names.join(", "));
        return problem(StatusCode::NOT_FOUND, "UserNotFound", message);
    };
    let asked: TokenRequest = match optional_json(request).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    match issue(&world, user, &asked) {
        Ok(Some(token)) => ([(header::CACHE_CONTROL, "no-store")], Json(token.to_json())).into_response(),
        Ok(None) => {
            bad_request("the API has no signing key of its own; the control apps/{client_id}/signing-keys makes one")
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "signing failed"),
    }
}

/// The body of `POST /_emulator/keys/rotate`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rotation {
    /// Only this tenant, by id, domain or name.
    tenant: Option<String>,
    /// Take the old keys out of the set at once.
    withdraw_old: bool,
}

/// `POST /_emulator/keys/rotate`.
async fn rotate(State(world): State<SharedWorld>, request: Request) -> Response {
    let rotation: Rotation = match optional_json(request).await {
        Ok(rotation) => rotation,
        Err(response) => return response,
    };
    let tenants: Vec<&Tenant> = match &rotation.tenant {
        None => world.scenario.tenants.iter().collect(),
        Some(text) => match world.scenario.tenant(text) {
            Some(tenant) => vec![tenant],
            None => return problem(StatusCode::NOT_FOUND, "TenantNotFound", "there is no such tenant"),
        },
    };
    let mut keys = Vec::new();
    for tenant in tenants {
        let Ok(Some(kid)) = world.keys.rotate(tenant.id) else {
            return problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                "no key could be made",
            );
        };
        if rotation.withdraw_old {
            world.keys.withdraw_old(tenant.id);
        }
        let published: Vec<String> = world
            .keys
            .published(tenant.id)
            .iter()
            .map(|key| key.kid.clone())
            .collect();
        keys.push(json!({
            "tenant": {"id": tenant.id.to_string(), "name": tenant.name},
            "kid": kid,
            "published": published,
        }));
    }
    Json(json!({ "keys": keys })).into_response()
}

/// `GET /_emulator/faults`.
async fn faults(State(world): State<SharedWorld>) -> Response {
    Json(world.faults.current()).into_response()
}

/// `PUT /_emulator/faults`: replaces all faults.
async fn put_faults(State(world): State<SharedWorld>, request: Request) -> Response {
    let members: Map<String, Value> = match optional_json(request).await {
        Ok(members) => members,
        Err(response) => return response,
    };
    let mut faults = BTreeMap::new();
    for (name, value) in members {
        let Some(endpoint) = Endpoint::from_name(&name) else {
            let names = Endpoint::ALL.map(Endpoint::name).join(", ");
            return bad_request(format!("there is no endpoint of this name; there are {names}"));
        };
        match serde_json::from_value::<Fault>(value) {
            Ok(fault) => faults.insert(endpoint, fault),
            Err(error) => return bad_request(format!("fault for `{name}`: {error}")),
        };
    }
    match world.faults.replace(faults) {
        Ok(()) => Json(world.faults.current()).into_response(),
        Err(error) => bad_request(error.to_string()),
    }
}

/// `DELETE /_emulator/faults`.
async fn clear_faults(State(world): State<SharedWorld>) -> StatusCode {
    world.faults.clear(None);
    StatusCode::NO_CONTENT
}

/// `DELETE /_emulator/faults/{endpoint}`.
async fn clear_fault(State(world): State<SharedWorld>, Path(name): Path<String>) -> Response {
    match Endpoint::from_name(&name) {
        Some(endpoint) => {
            world.faults.clear(Some(endpoint));
            StatusCode::NO_CONTENT.into_response()
        }
        None => problem(
            StatusCode::NOT_FOUND,
            "EndpointNotFound",
            "there is no endpoint of this name",
        ),
    }
}

/// `GET /_emulator/journal`.
async fn journal(State(world): State<SharedWorld>) -> Response {
    let counts: BTreeMap<Endpoint, usize> = Endpoint::ALL
        .into_iter()
        .map(|endpoint| (endpoint, world.journal.count(endpoint)))
        .collect();
    Json(json!({"counts": counts, "calls": world.journal.calls()})).into_response()
}

/// `DELETE /_emulator/journal`.
async fn clear_journal(State(world): State<SharedWorld>) -> StatusCode {
    world.journal.clear();
    StatusCode::NO_CONTENT
}

/// Reads a JSON object whatever the content type says, for people with curl; no body is an empty object.
async fn optional_json<T: serde::de::DeserializeOwned + Default>(request: Request) -> Result<T, Response> {
    let body = read_body(request).await.map_err(|_| too_large())?;
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    // By way of a map: serde would take a list for a struct too.
    serde_json::from_slice::<Map<String, Value>>(&body)
        .and_then(|members| T::deserialize(Value::Object(members)))
        .map_err(|error| bad_request(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_pages_are_kept_out() {
        let cases = [
            ("/_emulator/faults", "localhost:8090", None, true),
            ("/_emulator/faults", "127.0.0.1:8090", None, true),
            ("/_emulator/faults", "evil.example:8090", None, false),
            ("/_emulator/users/a/token", "evil.example", None, false),
            (
                "/_emulator/faults",
                "localhost:8090",
                Some("http://localhost:8090"),
                true,
            ),
            (
                "/_emulator/faults",
                "localhost:8090",
                Some("http://localhost:3000"),
                false,
            ),
            ("/_emulator/faults", "localhost:8090", Some("null"), false),
            (
                "/_emulator/users/a/token",
                "localhost:8090",
                Some("http://localhost:3000"),
                true,
            ),
            (
                "/_emulator/users/a/token",
                "localhost:8090",
                Some("https://127.0.0.1:3000"),
                true,
            ),
            (
                "/_emulator/users/a/token",
                "localhost:8090",
                Some("https://evil.example"),
                false,
            ),
            ("/_emulator/users/a/token", "localhost:8090", Some("null"), false),
        ];
        for (path, host, origin, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert("host", host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert("origin", origin.parse().unwrap());
            }
            let uri = path.parse().unwrap();
            assert_eq!(permitted(&uri, &headers).is_ok(), expected, "{path} {host} {origin:?}");
        }
        assert!(permitted(&"/_emulator/users".parse().unwrap(), &HeaderMap::new()).is_err());
    }
}
