//! Entra assignments: the rule, and the REST operations under `/access/entra/assignments`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::AcsError;
use super::request::{ENTRA_VERSIONS, JSON, api_version, json_object};
use super::state::Acs;
use crate::lock::lock;
use crate::request::query_parameter;
use crate::scenario::{Assignment, PrincipalType, User};

impl Assignment {
    fn to_json(&self) -> Value {
        json!({
            "objectId": self.object_id.to_string(),
            "tenantId": self.tenant_id.to_string(),
            "principalType": self.principal_type.name(),
            "clientIds": self.client_ids.iter().map(Uuid::to_string).collect::<Vec<_>>(),
        })
    }

    /// Reads the members of a `PUT` body, for the object id in the path.
    fn parse(object_id: Uuid, body: &Map<String, Value>) -> Result<Self, AcsError> {
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        if body.contains_key("objectId") && text("objectId").and_then(parse_guid) != Some(object_id) {
            let message = "The objectId in the body differs from the one in the path.";
            return Err(AcsError::invalid("objectId", message));
        }
        let tenant_id = text("tenantId")
            .and_then(parse_guid)
            .ok_or_else(|| AcsError::invalid("tenantId", "The tenantId must be a GUID."))?;
        let principal_type: PrincipalType =
            text("principalType")
                .and_then(|name| name.parse().ok())
                .ok_or_else(|| {
                    let message = "The principalType must be one of user, group and tenant.";
                    AcsError::invalid("principalType", message)
                })?;
        if principal_type == PrincipalType::Tenant && object_id != tenant_id {
            let message = "The objectId of a tenant assignment must be the tenantId.";
            return Err(AcsError::invalid("objectId", message));
        }
        let client_ids = body
            .get("clientIds")
            .and_then(Value::as_array)
            .filter(|ids| !ids.is_empty())
            .and_then(|ids| ids.iter().map(|id| id.as_str().and_then(parse_guid)).collect())
            .ok_or_else(|| AcsError::invalid("clientIds", "The clientIds must be a list of at least one GUID."))?;
        Ok(Self {
            object_id,
            tenant_id,
            principal_type,
            client_ids,
        })
    }
}

/// The assignment that lets this user of this client app in, if one does.
pub(crate) fn covering<'a>(
    assignments: impl IntoIterator<Item = &'a Assignment>,
    tenant: Uuid,
    object_id: Uuid,
    groups: &[Uuid],
    client: Uuid,
) -> Option<&'a Assignment> {
    assignments.into_iter().find(|assignment| {
        assignment.tenant_id == tenant
            && assignment.client_ids.contains(&client)
            && match assignment.principal_type {
                PrincipalType::User => assignment.object_id == object_id,
                PrincipalType::Group => groups.contains(&assignment.object_id),
                PrincipalType::Tenant => assignment.object_id == tenant,
            }
    })
}

/// Takes away every assignment that covers a user, or gives back those of the scenario that do.
pub(crate) fn set_assigned(acs: &Acs, user: &User, assigned: bool) {
    let (scenario, groups) = (&acs.scenario, acs.scenario.groups_of(user));
    let client = scenario.client_app.client_id;
    let covers =
        |assignment: &Assignment| covering([assignment], user.tenant_id, user.object_id, &groups, client).is_some();
    let mut assignments = lock(&acs.assignments);
    if assigned {
        let own = scenario.assignments.iter().filter(|assignment| covers(assignment));
        assignments.extend(own.map(|assignment| (assignment.object_id, assignment.clone())));
    } else {
        assignments.retain(|_, assignment| !covers(assignment));
    }
}

/// Gives back the scenario's assignments of customers' users, or takes them away.
pub(crate) fn set_customers_assigned(acs: &Acs, assigned: bool) {
    let scenario = &acs.scenario;
    let of_customers = scenario
        .assignments
        .iter()
        .filter(|found| scenario.is_customer(found.tenant_id));
    let mut assignments = lock(&acs.assignments);
    for assignment in of_customers {
        if assigned {
            assignments.insert(assignment.object_id, assignment.clone());
        } else {
            assignments.remove(&assignment.object_id);
        }
    }
}

/// Whether all of the scenario's assignments of customers' users are there.
pub(crate) fn are_customers_assigned(acs: &Acs) -> bool {
    let (scenario, assignments) = (&acs.scenario, lock(&acs.assignments));
    let mut of_customers = scenario
        .assignments
        .iter()
        .filter(|found| scenario.is_customer(found.tenant_id));
    of_customers.all(|found| assignments.contains_key(&found.object_id))
}

/// Only the hyphenated form is an id to ACS.
pub(super) fn parse_guid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

/// `GET /access/entra/assignments`, a page at a time.
/// <https://github.com/microsoft/api-guidelines/blob/vNext/azure/Guidelines.md#collections>
pub(super) async fn list(State(acs): State<Arc<Acs>>, request: Request) -> Response {
    match page(&acs, &request) {
        Ok(page) => Json(page).into_response(),
        Err(error) => error.into_response(),
    }
}

fn page(acs: &Acs, request: &Request) -> Result<Value, AcsError> {
    let version = api_version(request.uri(), ENTRA_VERSIONS)?;
    let parameter = |name: &str| query_parameter(request.uri().query(), name);
    let most = acs.settings.get().assignments_page_size;
    let requested = parameter("maxpagesize");
    let size = match &requested {
        None => most,
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|size| *size > 0)
            .ok_or_else(|| AcsError::invalid("maxpagesize", "The maxpagesize must be a positive number."))?
            .min(most),
    };
    let after = parameter("skipToken")
        .map(|text| parse_guid(&text).ok_or_else(|| AcsError::invalid("skipToken", "The skipToken is invalid.")))
        .transpose()?;
    let assignments = lock(&acs.assignments);
    let mut rest = assignments
        .values()
        .filter(|found| after.is_none_or(|after| found.object_id > after));
    let value: Vec<&Assignment> = rest.by_ref().take(size).collect();
    let mut page = json!({"value": value.iter().map(|found| found.to_json()).collect::<Vec<_>>()});
    if let (Some(last), Some(_)) = (value.last(), rest.next()) {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("api-version", version);
        if let Some(requested) = &requested {
            query.append_pair("maxpagesize", requested);
        }
        // What a page ends with, so that changes in between neither hide nor repeat another assignment.
        query.append_pair("skipToken", &last.object_id.to_string());
        page["nextLink"] = json!(format!(
            "{}{}?{}",
            acs.site.request_origin(request.extensions()),
            request.uri().path(),
            query.finish()
        ));
    }
    Ok(page)
}

fn list_of<'a>(assignments: impl Iterator<Item = &'a Assignment>) -> Json<Value> {
    Json(json!({"value": assignments.map(Assignment::to_json).collect::<Vec<_>>()}))
}

/// `GET /access/entra/assignments/{objectId}`.
pub(super) async fn get(State(acs): State<Arc<Acs>>, Path(id): Path<String>, request: Request) -> Response {
    match object_id(&request, &id) {
        Err(error) => error.into_response(),
        Ok(id) => match lock(&acs.assignments).get(&id) {
            Some(assignment) => Json(assignment.to_json()).into_response(),
            None => not_found(id).into_response(),
        },
    }
}

/// `PUT /access/entra/assignments/{objectId}`.
pub(super) async fn put(State(acs): State<Arc<Acs>>, Path(id): Path<String>, request: Request) -> Response {
    let read = async {
        let id = object_id(&request, &id)?;
        Assignment::parse(id, &json_object(request, JSON).await?)
    };
    match read.await {
        Err(error) => error.into_response(),
        Ok(assignment) => {
            let answer = Json(assignment.to_json());
            let replaced = lock(&acs.assignments).insert(assignment.object_id, assignment);
            let status = if replaced.is_some() {
                StatusCode::OK
            } else {
                StatusCode::CREATED
            };
            (status, answer).into_response()
        }
    }
}

/// `DELETE /access/entra/assignments/{objectId}`. Deleting what is not there succeeds, as the method is idempotent
/// and the specification knows no other answer.
pub(super) async fn delete(State(acs): State<Arc<Acs>>, Path(id): Path<String>, request: Request) -> Response {
    match object_id(&request, &id) {
        Err(error) => error.into_response(),
        Ok(id) => {
            lock(&acs.assignments).remove(&id);
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

/// `PATCH /access/entra/assignments`, a merge patch over all assignments by object id: all of it or nothing.
pub(super) async fn patch(State(acs): State<Arc<Acs>>, request: Request) -> Response {
    let read = async {
        api_version(request.uri(), ENTRA_VERSIONS)?;
        json_object(request, &["application/merge-patch+json"]).await
    };
    match read.await {
        Err(error) => error.into_response(),
        Ok(changes) => {
            let mut assignments = lock(&acs.assignments);
            match patched(&assignments, &changes) {
                Err(error) => error.into_response(),
                Ok(after) => {
                    *assignments = after;
                    // The objects that the patch set; none when it only removed.
                    let set = changes.keys().filter_map(|id| assignments.get(&parse_guid(id)?));
                    let answer = list_of(set);
                    if answer.0["value"] == json!([]) {
                        StatusCode::NO_CONTENT.into_response()
                    } else {
                        answer.into_response()
                    }
                }
            }
        }
    }
}

/// Applies a merge patch (RFC 7386).
fn patched(
    before: &BTreeMap<Uuid, Assignment>,
    changes: &Map<String, Value>,
) -> Result<BTreeMap<Uuid, Assignment>, AcsError> {
    let mut after = before.clone();
    for (id, change) in changes {
        let id = parse_guid(id).ok_or_else(|| AcsError::invalid("objectId", "The objectId must be a GUID."))?;
        match change {
            Value::Null => {
                after.remove(&id);
            }
            Value::Object(members) => {
                let mut merged = match after.get(&id).map(Assignment::to_json) {
                    Some(Value::Object(current)) => current,
                    _ => Map::new(),
                };
                for (name, value) in members {
                    if value.is_null() {
                        merged.remove(name);
                    } else {
                        merged.insert(name.clone(), value.clone());
                    }
                }
                after.insert(id, Assignment::parse(id, &merged)?);
            }
            _ => {
                let message = "An assignment must be an object, or null to remove it.";
                return Err(AcsError::invalid(&id.to_string(), message));
            }
        }
    }
    Ok(after)
}

fn object_id(request: &Request, id: &str) -> Result<Uuid, AcsError> {
    api_version(request.uri(), ENTRA_VERSIONS)?;
    parse_guid(id).ok_or_else(|| AcsError::invalid("objectId", "The objectId must be a GUID."))
}

fn not_found(id: Uuid) -> AcsError {
    let message = format!("There is no assignment with the objectId '{id}'.");
    AcsError::new(StatusCode::NOT_FOUND, "NotFound", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: Uuid = Uuid::from_u128(1);
    const USER: Uuid = Uuid::from_u128(2);
    const GROUP: Uuid = Uuid::from_u128(3);
    const APP: Uuid = Uuid::from_u128(4);

    fn assignment(object_id: Uuid, principal_type: PrincipalType) -> Assignment {
        Assignment {
            object_id,
            tenant_id: TENANT,
            principal_type,
            client_ids: vec![APP],
        }
    }

    #[test]
    fn the_rule() {
        use PrincipalType as P;
        let other = Uuid::from_u128(9);
        let cases = [
            (assignment(USER, P::User), TENANT, USER, &[][..], APP, true),
            (assignment(USER, P::User), TENANT, other, &[], APP, false),
            (assignment(USER, P::User), other, USER, &[], APP, false),
            (assignment(USER, P::User), TENANT, USER, &[], other, false),
            (assignment(GROUP, P::Group), TENANT, USER, &[GROUP], APP, true),
            (assignment(GROUP, P::Group), TENANT, USER, &[other], APP, false),
            (assignment(GROUP, P::Group), other, USER, &[GROUP], APP, false),
            (assignment(GROUP, P::Group), TENANT, GROUP, &[], APP, false),
            (assignment(GROUP, P::User), TENANT, USER, &[GROUP], APP, false),
            (assignment(TENANT, P::Tenant), TENANT, USER, &[], APP, true),
            (assignment(TENANT, P::Tenant), other, USER, &[], APP, false),
            (assignment(TENANT, P::Tenant), TENANT, USER, &[], other, false),
        ];
        for (number, (assignment, tenant, user, groups, client, expected)) in cases.into_iter().enumerate() {
            let found = covering([&assignment], tenant, user, groups, client).is_some();
            assert_eq!(found, expected, "case {number}");
        }
    }

    #[test]
    fn bodies_are_validated() {
        let good = json!({"tenantId": TENANT.to_string(), "principalType": "user", "clientIds": [APP.to_string()]});
        let with = |name: &str, value: Value| {
            let mut body = good.as_object().unwrap().clone();
            body.insert(name.to_owned(), value);
            Assignment::parse(USER, &body).map_err(|error| error.target.unwrap())
        };
        assert!(with("principalType", json!("group")).is_ok());
        let cases = [
            ("tenantId", json!("x"), "tenantId"),
            ("tenantId", json!(TENANT.simple().to_string()), "tenantId"),
            ("principalType", json!("User"), "principalType"),
            ("principalType", json!("tenant"), "objectId"),
            ("clientIds", json!([]), "clientIds"),
            ("clientIds", json!(["x"]), "clientIds"),
            ("clientIds", json!(null), "clientIds"),
            ("objectId", json!(GROUP.to_string()), "objectId"),
        ];
        for (name, value, target) in cases {
            assert_eq!(with(name, value.clone()).unwrap_err(), target, "{name} {value}");
        }
    }

    #[test]
    fn a_patch_is_all_or_nothing() {
        let before = BTreeMap::from([(USER, assignment(USER, PrincipalType::User))]);
        let apply = |changes: Value| patched(&before, changes.as_object().unwrap());
        let after = apply(json!({USER.to_string(): {"clientIds": [GROUP.to_string()]}})).unwrap();
        assert_eq!(after[&USER].client_ids, [GROUP]);
        assert_eq!(after[&USER].tenant_id, TENANT);
        assert!(apply(json!({USER.to_string(): null})).unwrap().is_empty());
        for bad in [
            json!({GROUP.to_string(): {"clientIds": [APP.to_string()]}}),
            json!({USER.to_string(): 1}),
            json!({"x": null}),
            json!({USER.to_string(): {"tenantId": null}}),
        ] {
            assert!(apply(bad.clone()).is_err(), "{bad}");
        }
    }
}
