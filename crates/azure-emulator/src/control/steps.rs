//! Controls over the administrators' steps: which are done, and doing and undoing one.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};

use super::reply::problem;
use super::state::Controls;
use crate::acs::assignments::{are_customers_assigned, set_customers_assigned};
use crate::acs::state::Acs;
use crate::entra::state::Entra;
use crate::scenario::Step;

/// These controls' routes.
pub(super) fn routes() -> Router<Controls> {
    Router::new()
        .without_v07_checks()
        .route("/_emulator/steps", get(list))
        .route("/_emulator/steps/{step}", put(done).delete(undone))
}

/// Does a step or undoes it. The broker's own assignments stay as they are: what ACS lacks shows at ACS.
pub(crate) fn set_step(entra: &Entra, acs: &Acs, step: Step, done: bool) {
    match step {
        Step::AcsAssignment => set_customers_assigned(acs, done),
        _ => entra.directory.set_step(step, done, entra.site.now()),
    }
}

/// Whether a step is done now, by whichever way.
pub(crate) fn is_step_done(entra: &Entra, acs: &Acs, step: Step) -> bool {
    entra
        .directory
        .is_done(step)
        .unwrap_or_else(|| are_customers_assigned(acs))
}

/// `GET /_emulator/steps`.
async fn list(State(entra): State<Arc<Entra>>, State(acs): State<Arc<Acs>>) -> Response {
    let steps: Vec<Value> = Step::ALL
        .iter()
        .map(|step| json!({"step": step.name(), "done": is_step_done(&entra, &acs, *step)}))
        .collect();
    Json(steps).into_response()
}

/// `PUT /_emulator/steps/{step}`.
async fn done(State(entra): State<Arc<Entra>>, State(acs): State<Arc<Acs>>, Path(name): Path<String>) -> Response {
    set(&entra, &acs, &name, true)
}

/// `DELETE /_emulator/steps/{step}`.
async fn undone(State(entra): State<Arc<Entra>>, State(acs): State<Arc<Acs>>, Path(name): Path<String>) -> Response {
    set(&entra, &acs, &name, false)
}

fn set(entra: &Entra, acs: &Acs, name: &str, done: bool) -> Response {
    let Some(step) = Step::from_name(name) else {
        let names: Vec<&str> = Step::ALL.iter().map(|step| step.name()).collect();
        let message = format!("there is no step of this name; there are {}", names.join(", "));
        return problem(StatusCode::NOT_FOUND, "StepNotFound", message);
    };
    set_step(entra, acs, step, done);
    StatusCode::NO_CONTENT.into_response()
}
