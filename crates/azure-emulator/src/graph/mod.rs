//! Microsoft Graph, as far as the emulator has it: one file for each kind of object.

mod authorize;
pub(crate) mod error;
mod members;
pub(crate) mod state;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{any, post};
use http::StatusCode;

use self::error::GraphError;
use self::state::Graph;

/// Graph's routes.
pub(super) fn routes(graph: Arc<Graph>) -> Router {
    Router::new()
        .without_v07_checks()
        .route(
            "/v1.0/users/{user}/checkMemberGroups",
            post(members::check_member_groups),
        )
        .route("/v1.0/{*rest}", any(not_served))
        .with_state(graph)
}

/// Whatever else Graph has, the emulator does not.
async fn not_served(State(graph): State<Arc<Graph>>) -> Response {
    let message = "Resource not found for the segment: the emulator serves users/{id}/checkMemberGroups only.";
    GraphError::new(StatusCode::NOT_FOUND, "ResourceNotFound", message).into_response(graph.site.now())
}
