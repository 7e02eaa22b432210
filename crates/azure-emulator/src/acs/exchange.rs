//! `POST /access/entra/:exchangeAccessToken`.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::verify::{Accepts, CLIENTS, Verified, verify};
use super::{AcsError, ENTRA_VERSIONS, JSON, api_version, assignments, json_object, token};
use crate::router::bearer_token;
use crate::world::{SharedWorld, World, lock};

/// The handler.
pub(super) async fn exchange(State(world): State<SharedWorld>, request: Request) -> Response {
    match answer(&world, request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn answer(world: &World, request: Request) -> Result<Value, AcsError> {
    api_version(request.uri(), ENTRA_VERSIONS)?;
    let caller = bearer(world, request.headers(), &CLIENTS)?;
    // The body has no members in this version; what else an object holds is ignored.
    json_object(request, JSON).await?;
    if !is_assigned(world, &caller) {
        let message = "The user is not permitted to obtain access tokens for this Communication Services resource \
                       with this client application.";
        return Err(AcsError::new(StatusCode::FORBIDDEN, "Forbidden", message).inner("NoAssignment"));
    }
    let identity = format!(
        "8:acs:{}_wf_{}_{}",
        world.scenario.resource.id, caller.tenant, caller.object_id
    );
    let scopes: Vec<&str> = caller
        .scopes
        .iter()
        .map(|scope| if *scope == "VoIP" { "voip" } else { "voip.join" })
        .collect();
    // The ACS token ends with the Entra token, to the second.
    let access_token = token::mint(world, &identity, &scopes, caller.expires_on)?;
    Ok(json!({"identity": {"id": identity}, "accessToken": access_token}))
}

/// The caller whom the bearer token speaks for, if it is for this API.
pub(super) fn bearer(world: &World, headers: &HeaderMap, accepts: &Accepts) -> Result<Verified, AcsError> {
    let Some(token) = bearer_token(headers) else {
        return Err(AcsError::denied("Denied by the resource provider."));
    };
    verify(token, &world.keys, world.issuer_origin(), world.now(), accepts).map_err(|refusal| {
        AcsError::new(StatusCode::UNAUTHORIZED, "Unauthorized", refusal.to_string()).inner(refusal.name())
    })
}

/// Groups come from the directory, never from the token.
fn is_assigned(world: &World, caller: &Verified) -> bool {
    let user = world.scenario.person(caller.tenant, caller.object_id);
    let groups = user.map(|user| world.scenario.groups_of(user)).unwrap_or_default();
    assignments::covering(
        lock(&world.acs.assignments).values(),
        caller.tenant,
        caller.object_id,
        &groups,
        caller.client,
    )
    .is_some()
}
