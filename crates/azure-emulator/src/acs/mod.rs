//! The Azure Communication Services side: the exchanges of Entra tokens, assignments, and identities.
//!
//! Handlers take [`state::Acs`]; of Entra they know what verifies a token.

pub(crate) mod assignments;
mod authorization;
mod encrypted;
mod error;
mod exchange;
mod identities;
pub(crate) mod outlook;
pub(crate) mod quota;
mod request;
mod signing;
pub(crate) mod state;
mod teams;
mod teams_users;
pub(crate) mod token;
mod verify;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};

#[cfg(test)]
pub(super) use self::signing::sign as sign_for_test;

use self::state::Acs;

/// ACS's routes. Everything but the exchanges takes the resource's access key, or an app's Entra token.
pub(super) fn routes(acs: &Arc<Acs>) -> Router {
    // Whatever issues a token counts.
    let quota = || from_fn_with_state(Arc::clone(acs), quota::hold);
    let managed = Router::new()
        .without_v07_checks()
        .route(
            "/access/entra/assignments",
            get(assignments::list).patch(assignments::patch),
        )
        .route(
            "/access/entra/assignments/{id}",
            get(assignments::get).put(assignments::put).delete(assignments::delete),
        )
        .route(
            "/access/teamsExtension/tenants/{tenant}/assignments/{id}",
            get(teams::get).put(teams::put).delete(teams::delete),
        )
        .route(
            "/teamsUser/:exchangeAccessToken",
            post(teams_users::exchange).layer(quota()),
        )
        .route("/identities", post(identities::create).layer(quota()))
        .route("/identities/{id}", delete(identities::delete))
        .route(
            "/identities/{id}/:issueAccessToken",
            post(identities::issue).layer(quota()),
        )
        .route("/identities/{id}/:revokeAccessTokens", post(identities::revoke))
        .route_layer(from_fn_with_state(Arc::clone(acs), authorization::require));
    Router::new()
        .without_v07_checks()
        .route(
            "/access/entra/:exchangeAccessToken",
            post(exchange::exchange).layer(quota()),
        )
        .route(
            "/access/teamsExtension/:exchangeAccessToken",
            post(teams::exchange).layer(quota()),
        )
        .merge(managed)
        .with_state(Arc::clone(acs))
}
