//! The controls under `/_emulator/`: demo users and their tokens, keys, faults, the journal, and what is registered.
//!
//! Anyone on this machine may use them, but no web page from elsewhere (`callers`).

mod azure;
mod conditions;
mod reply;
pub(crate) mod state;
pub(crate) mod steps;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::reply::{bad_request, optional_json, problem};
use self::state::Controls;
use crate::acs::assignments::covering;
use crate::acs::state::Acs;
use crate::endpoint::Endpoint;
use crate::entra::issue::{TokenRequest, issue};
use crate::entra::state::Entra;
use crate::faults::{Fault, Faults};
use crate::journal::Journal;
use crate::lock::lock;
use crate::scenario::{Scenario, Tenant, User, UserKind};

const ROOT: &str = "/_emulator/";

/// Whether a path is a control's.
pub(crate) fn is_control(path: &str) -> bool {
    path.starts_with(ROOT)
}

/// The controls' routes.
pub(crate) fn routes(controls: Controls) -> Router {
    Router::new()
        .without_v07_checks()
        .route("/_emulator/users", get(users))
        .route("/_emulator/users/{name}/token", post(token))
        .route("/_emulator/keys/rotate", post(rotate))
        .route("/_emulator/faults", get(faults).put(put_faults).delete(clear_faults))
        .route("/_emulator/faults/{endpoint}", delete(clear_fault))
        .route("/_emulator/journal", get(journal).delete(clear_journal))
        .merge(azure::routes())
        .merge(conditions::routes())
        .merge(steps::routes())
        .with_state(controls)
}

/// `GET /_emulator/users`.
async fn users(State(entra): State<Arc<Entra>>, State(acs): State<Arc<Acs>>, request: Request) -> Response {
    let origin = entra.site.request_origin(request.extensions());
    let users: Vec<Value> = entra
        .scenario
        .users
        .iter()
        .map(|user| describe(&entra, &acs, user, origin))
        .collect();
    Json(users).into_response()
}

fn describe(entra: &Entra, acs: &Acs, user: &User, origin: &str) -> Value {
    let (scenario, policy) = (&entra.scenario, entra.policies.of(user));
    let tenant = scenario.tenants.iter().find(|tenant| tenant.id == user.tenant_id);
    let assignments = lock(&acs.assignments);
    let covered_by = match user.kind {
        UserKind::Daemon { .. } => None,
        UserKind::Person => covering(
            assignments.values(),
            user.tenant_id,
            user.object_id,
            &scenario.groups_of(user),
            scenario.client_app.client_id,
        ),
    };
    let covered_by = covered_by.map(|assignment| {
        let name = scenario
            .groups
            .iter()
            .map(|group| (group.id, &group.name))
            .chain(scenario.tenants.iter().map(|tenant| (tenant.id, &tenant.name)))
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
        UserKind::Person => ("person", Some(scenario.user_principal_name(user))),
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
        "administrator": user.administrator,
        "coveredBy": covered_by,
        "stepUp": entra.policies.step_up(user),
        "consent": policy.consent,
        "conditionalAccess": policy.conditional_access,
        "tokenUrl": format!("{origin}{ROOT}users/{}/token", user.name),
    })
}

fn no_such_user(scenario: &Scenario) -> Response {
    let names: Vec<&str> = scenario.users.iter().map(|user| user.name.as_str()).collect();
    let message = format!("there is no demo user of this name; there are {}", names.join(", "));
    problem(StatusCode::NOT_FOUND, "UserNotFound", message)
}

/// `POST /_emulator/users/{name}/token`.
async fn token(State(entra): State<Arc<Entra>>, Path(name): Path<String>, request: Request) -> Response {
    let Some(user) = entra.scenario.user(&name) else {
        return no_such_user(&entra.scenario);
    };
    let requested: TokenRequest = match optional_json(request).await {
        Ok(requested) => requested,
        Err(response) => return response,
    };
    match issue(&entra, user, &requested) {
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
async fn rotate(State(entra): State<Arc<Entra>>, request: Request) -> Response {
    let rotation: Rotation = match optional_json(request).await {
        Ok(rotation) => rotation,
        Err(response) => return response,
    };
    let tenants: Vec<&Tenant> = match &rotation.tenant {
        None => entra.scenario.tenants.iter().collect(),
        Some(text) => match entra.scenario.tenant(text) {
            Some(tenant) => vec![tenant],
            None => return problem(StatusCode::NOT_FOUND, "TenantNotFound", "there is no such tenant"),
        },
    };
    let mut keys = Vec::new();
    for tenant in tenants {
        let Ok(Some(kid)) = entra.keys.rotate(tenant.id) else {
            return problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                "no key could be made",
            );
        };
        if rotation.withdraw_old {
            entra.keys.withdraw_old(tenant.id);
        }
        let published: Vec<String> = entra
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
async fn faults(State(faults): State<Arc<Faults>>) -> Response {
    Json(faults.current()).into_response()
}

/// `PUT /_emulator/faults`: replaces all faults.
async fn put_faults(State(faults): State<Arc<Faults>>, request: Request) -> Response {
    let members: Map<String, Value> = match optional_json(request).await {
        Ok(members) => members,
        Err(response) => return response,
    };
    let mut new = BTreeMap::new();
    for (name, value) in members {
        let Some(endpoint) = Endpoint::from_name(&name) else {
            let names: Vec<&str> = Endpoint::ALL.iter().map(|endpoint| endpoint.name()).collect();
            let names = names.join(", ");
            return bad_request(format!("there is no endpoint of this name; there are {names}"));
        };
        match serde_json::from_value::<Fault>(value) {
            Ok(fault) => new.insert(endpoint, fault),
            Err(error) => return bad_request(format!("fault for `{name}`: {error}")),
        };
    }
    match faults.replace(new) {
        Ok(()) => Json(faults.current()).into_response(),
        Err(error) => bad_request(error.to_string()),
    }
}

/// `DELETE /_emulator/faults`.
async fn clear_faults(State(faults): State<Arc<Faults>>) -> StatusCode {
    faults.clear(None);
    StatusCode::NO_CONTENT
}

/// `DELETE /_emulator/faults/{endpoint}`.
async fn clear_fault(State(faults): State<Arc<Faults>>, Path(name): Path<String>) -> Response {
    match Endpoint::from_name(&name) {
        Some(endpoint) => {
            faults.clear(Some(endpoint));
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
async fn journal(State(journal): State<Arc<Journal>>) -> Response {
    let counts: BTreeMap<Endpoint, usize> = Endpoint::ALL
        .iter()
        .map(|&endpoint| (endpoint, journal.count(endpoint)))
        .collect();
    Json(json!({"counts": counts, "calls": journal.calls()})).into_response()
}

/// `DELETE /_emulator/journal`.
async fn clear_journal(State(journal): State<Arc<Journal>>) -> StatusCode {
    journal.clear();
    StatusCode::NO_CONTENT
}
