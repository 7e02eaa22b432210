//! The management listener: probes, metrics and the log level, never on the public one.

mod explain;
mod log_level;
mod page;
mod upstreams;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use self::upstreams::Upstreams;
use crate::authenticate::{Authenticator, KeyStatus};
use crate::authorize::source::{AssignmentWatch, SourceKind, SourceStatus};
use crate::pipeline::TokenPipeline;
use ::serve::{Excess, HeadLimits};
use shared_cache::SharedCache;
use telemetry::LogLevel;
use telemetry::metrics::{BrokerState, Metrics, TEXT_FORMAT};

/// What readiness depends on.
#[derive(Clone)]
pub struct Readiness {
    /// Whose keys must have been tried.
    pub authenticator: Arc<Authenticator>,
    /// The assignments that must be loaded.
    pub assignments: Vec<ResourceAssignments>,
    /// What is shown of upstreams.
    pub upstreams: Upstreams,
    /// The store that replicas share, if there is one.
    pub store: Option<Arc<SharedCache>>,
    /// Cancelled from the first signal on.
    pub draining: CancellationToken,
}

/// The assignments of one resource.
#[derive(Clone)]
pub struct ResourceAssignments {
    /// The resource's name, where there are several.
    pub resource: Option<String>,
    /// What is known of them.
    pub watch: AssignmentWatch,
    /// Whether a caller whom none covers is refused.
    pub enforced: bool,
}

/// Whether the broker should get traffic, and what is not as it should be.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    not_ready: Vec<String>,
    degraded: Vec<String>,
}

/// What the management listener shows.
pub struct Shown {
    /// What readiness depends on.
    pub readiness: Readiness,
    /// What is measured.
    pub metrics: Metrics,
    /// How full the broker is.
    pub state: Arc<dyn BrokerState>,
    /// What tokens are explained by.
    pub pipeline: Arc<TokenPipeline>,
}

/// The router of the management listener; with the log's level, that can be changed here. No request takes longer than
/// `request_timeout`: few connections are open at once, and a client that sends half a body would keep probes out.
pub fn router(shown: Shown, level: Option<LogLevel>, request_timeout: Duration) -> Router {
    let Shown {
        readiness,
        metrics,
        state,
        pipeline,
    } = shown;
    let pages = page::router(readiness.clone(), state).merge(explain::router(pipeline));
    let router = Router::new()
        .route(
            "/livez",
            get(|| async { Json(json!({ "status": "alive" })) }).fallback(only_get),
        )
        .route("/readyz", get(readyz).fallback(only_get))
        .with_state(readiness)
        .route("/metrics", get(scrape).fallback(only_get).with_state(metrics))
        .merge(pages)
        .fallback(|| async {
            error(
                StatusCode::NOT_FOUND,
                "NotFound",
                "Use GET /, GET /livez, GET /readyz, GET /metrics, POST /explain, or GET or PUT /loglevel.",
            )
        });
    let router = match level {
        Some(level) => router.merge(log_level::router(level)),
        None => router,
    };
    router.layer(middleware::from_fn(move |request: Request, next: Next| async move {
        match request.extensions().get() {
            Some(Excess::Head) => {
                return error(
                    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                    "HeadersTooLarge",
                    "The header section is too large.",
                );
            }
            Some(Excess::Memory) => return error(StatusCode::SERVICE_UNAVAILABLE, "Overloaded", "Try again."),
            None => {}
        }
        tokio::time::timeout(request_timeout, next.run(request))
            .await
            .unwrap_or_else(|_| {
                error(
                    StatusCode::REQUEST_TIMEOUT,
                    "RequestTimeout",
                    "The request took too long.",
                )
            })
    }))
}

/// What of a head the management listener serves.
#[must_use]
pub fn head_limits() -> HeadLimits {
    HeadLimits {
        fields: 100,
        // A token that the public listener takes can be explained.
        bytes: 32 * 1024,
        read: [
            header::AUTHORIZATION,
            header::CONTENT_LENGTH,
            header::CONTENT_TYPE,
            header::HOST,
            header::ORIGIN,
            explain::SEC_FETCH_SITE,
        ]
        .into(),
        on_refusal: vec![header::HOST],
    }
}

/// Prometheus text, whether or not metrics are pushed anywhere. Off the workers: it takes a while where there are many
/// series.
async fn scrape(State(metrics): State<Metrics>) -> Response {
    match tokio::task::spawn_blocking(move || metrics.scrape()).await {
        Ok(Ok(text)) => ([(http::header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Ok(Err(fault)) => {
            tracing::error!(error = %fault, "cannot render metrics");
            unscrapable()
        }
        Err(_) => unscrapable(),
    }
}

fn unscrapable() -> Response {
    error(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalError",
        "Metrics cannot be rendered. See the log.",
    )
}

impl Readiness {
    /// Whether the broker should get traffic.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.report().not_ready.is_empty()
    }

    fn report(&self) -> Report {
        let keys: Vec<KeyStatus> = self.authenticator.key_status().collect();
        let sources: Vec<_> = self
            .assignments
            .iter()
            .map(|assignments| (assignments.resource.as_deref(), assignments.watch.status()))
            .collect();
        let mut report = report(self.draining.is_cancelled(), &keys, &sources);
        let unenforced = self.assignments.iter().filter(|assignments| !assignments.enforced);
        report.degraded.extend(unenforced.map(|assignments| {
            let name = assignments.resource.as_deref();
            named(name, "assignments are not enforced".to_owned())
        }));
        report.degraded.extend(self.upstreams.degraded());
        // Without it this replica goes on by itself: never a reason not to be ready.
        let is_away = self.store.as_ref().is_some_and(|store| !store.status().is_reachable());
        report.degraded.extend(is_away.then(|| "shared_cache".to_owned()));
        report
    }
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let report = readiness.report();
    let (code, status) = if report.not_ready.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    let body: Value = json!({ "status": status, "reasons": report.not_ready, "degraded": report.degraded });
    (code, Json(body)).into_response()
}

/// Ready once each source of assignments was loaded and every tenant was tried, at least one with keys young enough. What
/// merely grows old is reported, and does not unready a replica: the others are no better off.
fn report(draining: bool, keys: &[KeyStatus], sources: &[(Option<&str>, Vec<SourceStatus>)]) -> Report {
    let mut report = Report {
        not_ready: Vec::new(),
        degraded: Vec::new(),
    };
    if draining {
        report.not_ready.push("shutting down".to_owned());
    }
    for (resource, sources) in sources {
        for source in sources.iter().filter(|source| source.age.is_none()) {
            let text = match source.kind {
                SourceKind::File => "assignments are not loaded",
                SourceKind::Acs => "assignments from ACS are not loaded",
            };
            report.not_ready.push(named(*resource, text.to_owned()));
        }
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
    for (resource, sources) in sources {
        let degraded = sources.iter().filter_map(degraded);
        report.degraded.extend(degraded.map(|text| named(*resource, text)));
    }
    report
}

/// With the resource's name, where there are several.
fn named(resource: Option<&str>, text: String) -> String {
    match resource {
        Some(name) => format!("resource {name}: {text}"),
        None => text,
    }
}

/// What is not as it should be with a source of assignments.
fn degraded(source: &SourceStatus) -> Option<String> {
    let failing = source.failing_for.map(|failing| failing.as_secs());
    match (source.kind, source.age) {
        (SourceKind::File, _) => failing.map(|s| format!("the assignment file has been unusable for {s} s")),
        (SourceKind::Acs, None) => failing.map(|s| format!("assignments could not be fetched from ACS for {s} s")),
        (SourceKind::Acs, Some(age)) => (failing.is_some() || source.overdue || source.over).then(|| {
            let consequence = if source.over {
                ", which is too long for them to count"
            } else {
                ""
            };
            format!(
                "assignments from ACS were last fetched {} s ago{consequence}",
                age.as_secs()
            )
        }),
    }
}

async fn only_get() -> Response {
    method_not_allowed("Use GET.", "GET, HEAD")
}

fn method_not_allowed(message: &str, allow: &'static str) -> Response {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
    response
        .headers_mut()
        .insert(http::header::ALLOW, http::HeaderValue::from_static(allow));
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
        let source = |kind, loaded: bool, failing: Option<u64>| SourceStatus {
            kind,
            entries: None,
            age: loaded.then_some(Duration::from_secs(7)),
            failing_for: failing.map(Duration::from_secs),
            overdue: false,
            over: false,
        };
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
            for kind in [SourceKind::File, SourceKind::Acs] {
                let report = report(draining, &keys, &[(None, vec![source(kind, loaded, failing)])]);
                assert_eq!(
                    (report.not_ready.is_empty(), report.degraded.len()),
                    (ready, degraded),
                    "{report:?}"
                );
            }
        }
        let loaded = vec![source(SourceKind::File, true, None)];
        let one = vec![
            source(SourceKind::File, true, Some(3)),
            source(SourceKind::Acs, false, None),
        ];
        let sources = [(Some("contoso"), loaded), (Some("fabrikam"), one)];
        let report = report(false, std::slice::from_ref(&good), &sources);
        assert_eq!(
            report.not_ready,
            ["resource fabrikam: assignments from ACS are not loaded"]
        );
        assert_eq!(
            report.degraded,
            ["resource fabrikam: the assignment file has been unusable for 3 s"]
        );
    }

    #[test]
    fn what_is_reported_of_assignments_from_acs() {
        let usual = SourceStatus {
            kind: SourceKind::Acs,
            entries: None,
            age: Some(Duration::from_secs(400)),
            failing_for: None,
            overdue: false,
            over: false,
        };
        let message = "assignments from ACS were last fetched 400 s ago";
        for (status, wanted) in [
            (usual, None),
            (
                SourceStatus {
                    failing_for: Some(Duration::from_secs(3)),
                    ..usual
                },
                Some(message.to_owned()),
            ),
            (SourceStatus { overdue: true, ..usual }, Some(message.to_owned())),
            (
                SourceStatus { over: true, ..usual },
                Some(format!("{message}, which is too long for them to count")),
            ),
        ] {
            assert_eq!(degraded(&status), wanted);
        }
    }
}
