//! `POST /teamsUser/:exchangeAccessToken`: the Entra token of a Teams user for an ACS token of that user.
//!
//! [REST API specification, data-plane Identity, 2022-06-01 to 2026-09-23]

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::assignments::parse_guid;
use super::error::AcsError;
use super::request::{JSON, TEAMS_USER_VERSIONS, api_version, json_object};
use super::state::Acs;
use super::token;
use super::verify::{TEAMS_USER, verify};

/// The handler. Who asks was checked before.
pub(super) async fn exchange(State(acs): State<Arc<Acs>>, request: Request) -> Response {
    match answer(&acs, request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn answer(acs: &Acs, request: Request) -> Result<Value, AcsError> {
    api_version(request.uri(), TEAMS_USER_VERSIONS)?;
    let body = json_object(request, JSON).await?;
    let token = body
        .get("token")
        .and_then(Value::as_str)
        .filter(|token| !token.is_empty())
        .ok_or_else(|| AcsError::invalid("token", "The token must be the access token of a Teams user."))?;
    let (app, user) = (guid(&body, "appId")?, guid(&body, "userId")?);
    let caller = verify(token, &acs.tokens, acs.site.now(), &TEAMS_USER).map_err(|refusal| {
        AcsError::new(StatusCode::UNAUTHORIZED, "Unauthorized", refusal.to_string()).inner(refusal.into())
    })?;
    for (target, named, claimed) in [("appId", app, caller.client), ("userId", user, caller.object_id)] {
        if named != claimed {
            let message = format!("The {target} is not that of the token.");
            return Err(AcsError::invalid(target, message));
        }
    }
    let identity = format!("8:orgid:{}", caller.object_id);
    let scopes: Vec<String> = caller.scopes.iter().map(|scope| scope.to_ascii_lowercase()).collect();
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    // The ACS token ends with the Entra token.
    token::mint(acs, &identity, &scopes, caller.expires_on)
}

fn guid(body: &Map<String, Value>, name: &str) -> Result<Uuid, AcsError> {
    let text = body.get(name).and_then(Value::as_str);
    text.and_then(parse_guid)
        .ok_or_else(|| AcsError::invalid(name, format!("The {name} must be a GUID.")))
}
