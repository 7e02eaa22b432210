//! `POST /access/entra/:exchangeAccessToken`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::error::AcsError;
use super::request::{ENTRA_VERSIONS, JSON, api_version, json_object};
use super::state::Acs;
use super::verify::{Accepts, CLIENTS, Verified, verify};
use super::{assignments, token};
use crate::entra::apis::ACS_CLIENTS_APP;
use crate::lock::lock;
use crate::request::bearer_token;

/// The handler.
pub(super) async fn exchange(State(acs): State<Arc<Acs>>, request: Request) -> Response {
    match answer(&acs, request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn answer(acs: &Acs, request: Request) -> Result<Value, AcsError> {
    api_version(request.uri(), ENTRA_VERSIONS)?;
    let caller = bearer(acs, request.headers(), &CLIENTS)?;
    // The body has no members in this version; what else an object holds is ignored.
    json_object(request, JSON).await?;
    if !is_assigned(acs, &caller) {
        let message = "The user is not permitted to obtain access tokens for this Communication Services resource \
                       with this client application.";
        return Err(AcsError::new(StatusCode::FORBIDDEN, "Forbidden", message).inner("NoAssignment"));
    }
    let identity = format!(
        "8:acs:{}_wf_{}_{}",
        acs.scenario.resource.id, caller.tenant, caller.object_id
    );
    let scopes: Vec<&str> = caller
        .scopes
        .iter()
        .map(|scope| if *scope == "VoIP" { "voip" } else { "voip.join" })
        .collect();
    // The ACS token ends with the Entra token, to the second.
    let access_token = token::mint(acs, &identity, &scopes, caller.expires_on)?;
    Ok(json!({"identity": {"id": identity}, "accessToken": access_token}))
}

/// The caller that the bearer token identifies, if the token is for this API.
pub(super) fn bearer(acs: &Acs, headers: &HeaderMap, accepts: &Accepts) -> Result<Verified, AcsError> {
    let Some(token) = bearer_token(headers) else {
        return Err(AcsError::denied("Denied by the resource provider."));
    };
    verify(token, &acs.tokens, acs.site.now(), accepts).map_err(|refusal| {
        AcsError::new(StatusCode::UNAUTHORIZED, "Unauthorized", refusal.to_string()).inner(refusal.into())
    })
}

/// Groups come from the directory, never from the token.
fn is_assigned(acs: &Acs, caller: &Verified) -> bool {
    let user = acs.scenario.person(caller.tenant, caller.object_id);
    let mut groups = user.map(|user| acs.scenario.groups_of(user)).unwrap_or_default();
    // ACS learns only of groups that are assigned to its app in their own tenant.
    groups.retain(|group| acs.directory.knows_group(ACS_CLIENTS_APP, caller.tenant, *group));
    assignments::covering(
        lock(&acs.assignments).values(),
        caller.tenant,
        caller.object_id,
        &groups,
        caller.client,
    )
    .is_some()
}
