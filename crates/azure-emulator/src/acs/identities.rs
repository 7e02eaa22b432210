//! Bring-your-own identities: create, issue, revoke, delete.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, Uri};
use jiff::SignedDuration;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::AcsError;
use super::request::{IDENTITY_VERSIONS, JSON, api_version, json_object, optional_json_object};
use super::state::Acs;
use super::token;
use crate::lock::lock;

/// The scopes that may be requested for.
const SCOPES: [&str; 5] = ["chat", "voip", "chat.join", "chat.join.limited", "voip.join"];
/// How long tokens live unless the request says so, in minutes.
const DEFAULT_MINUTES: i64 = 1440;
/// The longest custom id.
const MAX_CUSTOM_ID_CHARACTERS: usize = 256;

/// `POST /identities`.
pub(super) async fn create(State(acs): State<Arc<Acs>>, request: Request) -> Response {
    respond(async {
        let version = api_version(request.uri(), IDENTITY_VERSIONS)?;
        let body = optional_json_object(request, JSON).await?;
        let custom_id = custom_id(&body, version)?;
        let requested = match body.get("createTokenWithScopes") {
            None | Some(Value::Null) => None,
            Some(Value::Array(list)) if list.is_empty() => None,
            Some(scopes) => Some(parse_scopes("createTokenWithScopes", scopes)?),
        };
        let minutes = minutes(&body)?;
        let (id, status) = find_or_create(&acs, custom_id.as_deref());
        let mut answer = json!({"identity": {"id": id}});
        if let Some(custom_id) = custom_id {
            answer["identity"]["customId"] = json!(custom_id);
        }
        if let Some(scopes) = requested {
            answer["accessToken"] = mint(&acs, &id, &scopes, minutes)?;
        }
        Ok((status, Json(answer)).into_response())
    })
    .await
}

/// `POST /identities/{id}/:issueAccessToken`.
pub(super) async fn issue(State(acs): State<Arc<Acs>>, Path(id): Path<String>, request: Request) -> Response {
    respond(async {
        api_version(request.uri(), IDENTITY_VERSIONS)?;
        let body = json_object(request, JSON).await?;
        let scopes = parse_scopes("scopes", body.get("scopes").unwrap_or(&Value::Null))?;
        let minutes = minutes(&body)?;
        known(&acs, &id)?;
        Ok(Json(mint(&acs, &id, &scopes, minutes)?).into_response())
    })
    .await
}

/// `POST /identities/{id}/:revokeAccessTokens`. Nothing here accepts ACS tokens, so there is nothing to be seen of
/// a revocation but its answer.
pub(super) async fn revoke(State(acs): State<Arc<Acs>>, Path(id): Path<String>, uri: Uri) -> Response {
    respond(async {
        api_version(&uri, IDENTITY_VERSIONS)?;
        known(&acs, &id)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// `DELETE /identities/{id}`.
pub(super) async fn delete(State(acs): State<Arc<Acs>>, Path(id): Path<String>, uri: Uri) -> Response {
    respond(async {
        api_version(&uri, IDENTITY_VERSIONS)?;
        known(&acs, &id)?;
        lock(&acs.identities).remove(&id);
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

async fn respond(answer: impl Future<Output = Result<Response, AcsError>>) -> Response {
    answer.await.unwrap_or_else(AcsError::into_response)
}

/// The custom id's identity if there is one (200), else a new one (201).
fn find_or_create(acs: &Acs, custom_id: Option<&str>) -> (String, StatusCode) {
    let mut identities = lock(&acs.identities);
    let existing = identities
        .iter()
        .find(|(_, found)| custom_id.is_some() && found.as_deref() == custom_id);
    if let Some((id, _)) = existing {
        return (id.clone(), StatusCode::OK);
    }
    let id = format!("8:acs:{}_{}", acs.scenario.resource.id, Uuid::new_v4());
    identities.insert(id.clone(), custom_id.map(str::to_owned));
    (id, StatusCode::CREATED)
}

fn known(acs: &Acs, id: &str) -> Result<(), AcsError> {
    if lock(&acs.identities).contains_key(id) {
        return Ok(());
    }
    let message = "Provided identity doesn't exist.";
    Err(AcsError::new(StatusCode::NOT_FOUND, "IdentityNotFound", message))
}

/// Only the preview knows custom ids; the stable versions refuse the member.
fn custom_id(body: &Map<String, Value>, version: &str) -> Result<Option<String>, AcsError> {
    let custom_id = match body.get("customId") {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.as_str(),
    };
    if !version.ends_with("-preview") {
        let message = format!("The customId is not supported in the API version '{version}'.");
        return Err(AcsError::invalid("customId", message));
    }
    match custom_id {
        Some(text) if !text.is_empty() && text.chars().count() <= MAX_CUSTOM_ID_CHARACTERS => Ok(Some(text.to_owned())),
        _ => Err(AcsError::invalid(
            "customId",
            "The customId must be a text of 1 to 256 characters.",
        )),
    }
}

fn parse_scopes(target: &str, value: &Value) -> Result<Vec<&'static str>, AcsError> {
    value
        .as_array()
        .filter(|list| !list.is_empty())
        .and_then(|list| {
            list.iter()
                .map(|scope| {
                    let scope = scope.as_str()?;
                    SCOPES.into_iter().find(|known| *known == scope)
                })
                .collect()
        })
        .ok_or_else(|| {
            let message = format!("The scopes must be a list of at least one of {}.", SCOPES.join(", "));
            AcsError::invalid(target, message)
        })
}

fn minutes(body: &Map<String, Value>) -> Result<i64, AcsError> {
    match body.get("expiresInMinutes") {
        None | Some(Value::Null) => Ok(DEFAULT_MINUTES),
        Some(value) => value
            .as_i64()
            .filter(|minutes| (60..=1440).contains(minutes))
            .ok_or_else(|| {
                let message = "The expiresInMinutes must be between 60 and 1440.";
                AcsError::invalid("expiresInMinutes", message)
            }),
    }
}

fn mint(acs: &Acs, id: &str, scopes: &[&str], minutes: i64) -> Result<Value, AcsError> {
    let end = acs.site.now().saturating_add(SignedDuration::from_mins(minutes));
    let end = end.unwrap_or_else(|_| acs.site.now());
    token::mint(acs, id, scopes, end)
}
