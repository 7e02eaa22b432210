//! The management listener: probes, never on the public one.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::authenticate::{Authenticator, KeyStatus};
use crate::authorize::source::AssignmentWatch;

/// What readiness depends on.
#[derive(Clone)]
pub struct Readiness {
    /// Whose keys must have been tried.
    pub authenticator: Arc<Authenticator>,
    /// The assignments that must be loaded.
    pub assignments: AssignmentWatch,
    /// Cancelled from the first signal on.
    pub draining: CancellationToken,
}

/// Whether the broker should get traffic, and what is not as it should be.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    not_ready: Vec<String>,
    degraded: Vec<String>,
}

/// The router of the management listener.
pub fn router(readiness: Readiness) -> Router {
    Router::new()
        .route(
            "/livez",
            get(|| async { Json(json!({ "status": "alive" })) }).fallback(method_not_allowed),
        )
        .route("/readyz", get(readyz).fallback(method_not_allowed))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "NotFound", "Use GET /livez or GET /readyz.") })
        .with_state(readiness)
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let keys: Vec<KeyStatus> = readiness.authenticator.key_status().collect();
    let report = report(
        readiness.draining.is_cancelled(),
        &keys,
        readiness.assignments.current().is_some(),
        readiness.assignments.failing_for().map(|age| age.as_secs()),
    );
    let (code, status) = if report.not_ready.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    let body: Value = json!({ "status": status, "reasons": report.not_ready, "degraded": report.degraded });
    (code, Json(body)).into_response()
}

/// Ready once the assignments are loaded and every tenant was tried, at least one with keys young enough. What
/// merely grows old is told, and does not unready a replica: the others are no better off.
fn report(draining: bool, keys: &[KeyStatus], assignments: bool, assignments_failing_for: Option<u64>) -> Report {
    let mut report = Report {
        not_ready: Vec::new(),
        degraded: Vec::new(),
    };
    if draining {
        report.not_ready.push("shutting down".to_owned());
    }
    if !assignments {
        report.not_ready.push("assignments are not loaded".to_owned());
    }
    for status in keys {
        if !status.tried {
            report
                .not_ready
                .push(format!("signing keys of tenant {} were not fetched yet", status.tenant));
        } else if !status.usable {
            report
                .degraded
                .push(format!("no usable signing keys of tenant {}", status.tenant));
        } else if let Some(age) = status.age.filter(|_| status.overdue) {
            report.degraded.push(format!(
                "signing keys of tenant {} were last fetched {} s ago",
                status.tenant,
                age.as_secs()
            ));
        }
    }
    if keys.iter().all(|status| status.tried) && !keys.iter().any(|status| status.usable) {
        report.not_ready.push("no tenant has usable signing keys".to_owned());
    }
    if let Some(seconds) = assignments_failing_for {
        report
            .degraded
            .push(format!("the assignment source has been unusable for {seconds} s"));
    }
    report
}

async fn method_not_allowed() -> Response {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "Use GET.");
    response
        .headers_mut()
        .insert(http::header::ALLOW, http::HeaderValue::from_static("GET, HEAD"));
    response
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({ "error": { "code": code, "message": message } });
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn keys(tried: bool, usable: bool, overdue: bool) -> KeyStatus {
        KeyStatus {
            tenant: "11111111-0000-4000-8000-000000000001".parse().unwrap(),
            tried,
            age: usable.then_some(Duration::from_secs(7)),
            usable,
            overdue,
        }
    }

    #[test]
    fn when_ready() {
        let good = keys(true, true, false);
        let old = keys(true, true, true);
        let failed = keys(true, false, true);
        let untried = keys(false, false, true);
        // draining, keys, assignments loaded, failing -> ready, how many are degraded
        for (draining, keys, loaded, failing, ready, degraded) in [
            (false, vec![good.clone()], true, None, true, 0),
            (false, vec![good.clone(), failed.clone()], true, None, true, 1),
            (false, vec![old.clone()], true, Some(3), true, 2),
            (false, vec![good.clone(), untried.clone()], true, None, false, 0),
            (false, vec![failed.clone()], true, None, false, 1),
            (false, vec![good.clone()], false, Some(3), false, 1),
            (true, vec![good.clone()], true, None, false, 0),
        ] {
            let report = report(draining, &keys, loaded, failing);
            assert_eq!(
                (report.not_ready.is_empty(), report.degraded.len()),
                (ready, degraded),
                "{report:?}"
            );
        }
    }
}
