//! Controls over what users meet: consent and conditional access, the time, what ACS's tokens look like.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::reply::{bad_request, optional_json};
use super::state::{AssignmentListener, Controls};
use super::{describe, no_such_user};
use crate::acs::assignments::set_assigned;
use crate::acs::quota::Quota;
use crate::acs::state::Acs;
use crate::clock::MovableClock;
use crate::entra::policy::{ConditionalAccess, Consent, UserPolicy};
use crate::entra::state::Entra;
use crate::lock::lock;
use crate::scenario::UserKind;
use crate::site::Site;

/// These controls' routes.
pub(super) fn routes() -> Router<Controls> {
    Router::new()
        .without_v07_checks()
        .route("/_emulator/users/{name}", put(put_user))
        .route("/_emulator/clock", get(clock).post(advance))
        .route("/_emulator/acs", get(acs).put(put_acs))
}

/// The body of `PUT /_emulator/users/{name}`; what is left out stays.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NewPolicy {
    consent: Option<Consent>,
    conditional_access: Option<ConditionalAccess>,
    assigned: Option<bool>,
}

/// `PUT /_emulator/users/{name}`.
async fn put_user(
    State(entra): State<Arc<Entra>>,
    State(acs): State<Arc<Acs>>,
    State(listener): State<Arc<AssignmentListener>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let origin = entra.site.request_origin(request.extensions()).to_owned();
    let Some(user) = entra.scenario.user(&name) else {
        return no_such_user(&entra.scenario);
    };
    if user.kind != UserKind::Person {
        return bad_request("a daemon neither consents nor meets conditional access here");
    }
    let new: NewPolicy = match optional_json(request).await {
        Ok(new) => new,
        Err(response) => return response,
    };
    let old = entra.policies.of(user);
    entra.policies.set(
        user,
        UserPolicy {
            consent: new.consent.unwrap_or(old.consent),
            conditional_access: new.conditional_access.unwrap_or(old.conditional_access),
        },
    );
    if let Some(assigned) = new.assigned {
        set_assigned(&acs, user, assigned);
        let assignments = lock(&acs.assignments).values().cloned().collect();
        listener.call(assignments);
    }
    Json(describe(&entra, &acs, user, &origin)).into_response()
}

/// The body of `POST /_emulator/clock`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Advance {
    advance: String,
}

/// `GET /_emulator/clock`.
async fn clock(State(site): State<Arc<Site>>) -> Response {
    time(&site)
}

/// `POST /_emulator/clock`: moves the time on, never back.
async fn advance(State(site): State<Arc<Site>>, request: Request) -> Response {
    let requested: Advance = match optional_json(request).await {
        Ok(requested) => requested,
        Err(response) => return response,
    };
    match MovableClock::parse_advance(&requested.advance).and_then(|by| site.clock.advance(by)) {
        Ok(()) => time(&site),
        Err(error) => bad_request(error.to_string()),
    }
}

fn time(site: &Site) -> Response {
    Json(json!({"now": site.now().to_string(), "ahead_seconds": site.clock.ahead().as_secs()})).into_response()
}

/// The body of `PUT /_emulator/acs`; what is left out is as at the start.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AcsSettings {
    encrypted_tokens: bool,
    /// `500/30s`, or `off`.
    quota: Option<String>,
}

/// `GET /_emulator/acs`.
async fn acs(State(acs): State<Arc<Acs>>) -> Response {
    shown(&acs)
}

/// `PUT /_emulator/acs`.
async fn put_acs(State(acs): State<Arc<Acs>>, request: Request) -> Response {
    let new: AcsSettings = match optional_json(request).await {
        Ok(new) => new,
        Err(response) => return response,
    };
    let quota = match new.quota.as_deref().map_or(Ok(None), Quota::parse) {
        Ok(quota) => quota,
        Err(error) => return bad_request(error.to_string()),
    };
    acs.encrypted_tokens.store(new.encrypted_tokens, Ordering::Relaxed);
    acs.counted.set(quota);
    shown(&acs)
}

fn shown(acs: &Acs) -> Response {
    let encrypted = acs.encrypted_tokens.load(Ordering::Relaxed);
    Json(json!({"encrypted_tokens": encrypted, "quota": Quota::text(acs.counted.quota())})).into_response()
}
