//! Teams Phone extension: the exchange of its Entra tokens, and its assignments.
//!
//! [REST API specification, data-plane Identity, 2025-06-30 and 2026-09-23]

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::assignments::parse_guid;
use super::error::AcsError;
use super::exchange::bearer;
use super::request::{JSON, TEAMS_VERSIONS, api_version, json_object};
use super::state::Acs;
use super::token;
use super::verify::{TEAMS_EXTENSION, Verified};
use crate::lock::lock;
use crate::scenario::TeamsAssignment;

impl TeamsAssignment {
    fn to_json(&self) -> Value {
        let mut value = json!({
            "objectId": self.object_id.to_string(),
            "tenantId": self.tenant_id.to_string(),
            "principalType": self.principal_type.name(),
        });
        if !self.client_ids.is_empty() {
            value["clientIds"] = json!(self.client_ids.iter().map(Uuid::to_string).collect::<Vec<_>>());
        }
        value
    }

    /// Reads the members of a `PUT` body, for the ids in the path.
    fn parse(tenant_id: Uuid, object_id: Uuid, body: &Map<String, Value>) -> Result<Self, AcsError> {
        let principal_type = body
            .get("principalType")
            .and_then(|name| name.as_str()?.parse().ok())
            .ok_or_else(|| {
                let message = "The principalType must be one of user and resourceAccount.";
                AcsError::invalid("principalType", message)
            })?;
        let client_ids = match body.get("clientIds") {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(value) => value
                .as_array()
                .and_then(|ids| ids.iter().map(|id| id.as_str().and_then(parse_guid)).collect()),
        };
        Ok(Self {
            object_id,
            tenant_id,
            principal_type,
            client_ids: client_ids
                .ok_or_else(|| AcsError::invalid("clientIds", "The clientIds must be a list of GUIDs."))?,
        })
    }

    fn covers(&self, caller: &Verified) -> bool {
        (self.tenant_id, self.object_id) == (caller.tenant, caller.object_id)
            && (self.client_ids.is_empty() || self.client_ids.contains(&caller.client))
    }
}

/// `POST /access/teamsExtension/:exchangeAccessToken`.
pub(super) async fn exchange(State(acs): State<Arc<Acs>>, request: Request) -> Response {
    match answer(&acs, request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn answer(acs: &Acs, request: Request) -> Result<Value, AcsError> {
    api_version(request.uri(), TEAMS_VERSIONS)?;
    let caller = bearer(acs, request.headers(), &TEAMS_EXTENSION)?;
    json_object(request, JSON).await?;
    let covered = lock(&acs.teams_assignments)
        .values()
        .any(|assignment| assignment.covers(&caller));
    if !covered {
        let message = "The user is not permitted to obtain Teams Phone extension access tokens for this Communication \
                       Services resource with this client application.";
        return Err(AcsError::new(StatusCode::FORBIDDEN, "Forbidden", message).inner("NoAssignment"));
    }
    let identity = format!(
        "8:acs:{}_{}_{}",
        acs.scenario.resource.id, caller.tenant, caller.object_id
    );
    let access_token = token::mint(acs, &identity, &["teamsextension.managecalls"], caller.expires_on)?;
    Ok(json!({"identity": {"id": identity}, "accessToken": access_token}))
}

/// `GET /access/teamsExtension/tenants/{tenantId}/assignments/{objectId}`.
pub(super) async fn get(
    State(acs): State<Arc<Acs>>,
    Path((tenant, object)): Path<(String, String)>,
    request: Request,
) -> Response {
    let found = ids(&request, &tenant, &object).and_then(|ids| {
        let message = format!("There is no assignment with the objectId '{}'.", ids.1);
        lock(&acs.teams_assignments)
            .get(&ids)
            .map(TeamsAssignment::to_json)
            .ok_or_else(|| AcsError::new(StatusCode::NOT_FOUND, "NotFound", message))
    });
    match found {
        Ok(assignment) => Json(assignment).into_response(),
        Err(error) => error.into_response(),
    }
}

/// `PUT /access/teamsExtension/tenants/{tenantId}/assignments/{objectId}`.
pub(super) async fn put(
    State(acs): State<Arc<Acs>>,
    Path((tenant, object)): Path<(String, String)>,
    request: Request,
) -> Response {
    let read = async {
        let (tenant, object) = ids(&request, &tenant, &object)?;
        TeamsAssignment::parse(tenant, object, &json_object(request, JSON).await?)
    };
    match read.await {
        Err(error) => error.into_response(),
        Ok(assignment) => {
            let answer = Json(assignment.to_json());
            let key = (assignment.tenant_id, assignment.object_id);
            let replaced = lock(&acs.teams_assignments).insert(key, assignment);
            let status = if replaced.is_some() {
                StatusCode::OK
            } else {
                StatusCode::CREATED
            };
            (status, answer).into_response()
        }
    }
}

/// `DELETE /access/teamsExtension/tenants/{tenantId}/assignments/{objectId}`.
pub(super) async fn delete(
    State(acs): State<Arc<Acs>>,
    Path((tenant, object)): Path<(String, String)>,
    request: Request,
) -> Response {
    match ids(&request, &tenant, &object) {
        Err(error) => error.into_response(),
        Ok(ids) => {
            lock(&acs.teams_assignments).remove(&ids);
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

fn ids(request: &Request, tenant: &str, object: &str) -> Result<(Uuid, Uuid), AcsError> {
    api_version(request.uri(), TEAMS_VERSIONS)?;
    let guid = |target: &str, text: &str| {
        parse_guid(text).ok_or_else(|| AcsError::invalid(target, format!("The {target} must be a GUID.")))
    };
    Ok((guid("tenantId", tenant)?, guid("objectId", object)?))
}
