//! `POST /access/entra/:exchangeAccessToken`.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::verify::{Verified, verify};
use super::{AcsError, ENTRA_VERSIONS, JSON, api_version, assignments, json_object, token};
use crate::emulator::world::{SharedWorld, World, lock};

/// The handler.
pub(super) async fn exchange(State(world): State<SharedWorld>, request: Request) -> Response {
    match answer(&world, request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn answer(world: &World, request: Request) -> Result<Value, AcsError> {
    api_version(request.uri(), ENTRA_VERSIONS)?;
    let caller = authenticate(world, request.headers())?;
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

fn authenticate(world: &World, headers: &HeaderMap) -> Result<Verified, AcsError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let token = match (values.next(), values.next()) {
        (Some(value), None) => value
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim()),
        _ => None,
    };
    let Some(token) = token else {
        return Err(AcsError::denied("Denied by the resource provider."));
    };
    verify(token, &world.keys, &world.origin, world.now()).map_err(|refusal| {
        AcsError::new(StatusCode::UNAUTHORIZED, "Unauthorized", refusal.to_string()).inner(refusal.name())
    })
}

/// Groups come from the directory, never from the token.
fn is_assigned(world: &World, caller: &Verified) -> bool {
    let groups = world.scenario.groups_of(caller.tenant, caller.object_id);
    assignments::covering(
        lock(&world.acs.assignments).values(),
        caller.tenant,
        caller.object_id,
        groups,
        caller.client,
    )
    .is_some()
}
