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
pub(super) fn routes(acs: Arc<Acs>) -> Router {
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
        .route("/teamsUser/:exchangeAccessToken", post(teams_users::exchange))
        .route("/identities", post(identities::create))
        .route("/identities/{id}", delete(identities::delete))
        .route("/identities/{id}/:issueAccessToken", post(identities::issue))
        .route("/identities/{id}/:revokeAccessTokens", post(identities::revoke))
        .route_layer(from_fn_with_state(acs.clone(), authorization::require));
    Router::new()
        .without_v07_checks()
        .route("/access/entra/:exchangeAccessToken", post(exchange::exchange))
        .route("/access/teamsExtension/:exchangeAccessToken", post(teams::exchange))
        .merge(managed)
        .with_state(acs)
}
