//! `GET /`: the state of the broker at a glance, for people. No ids of users, nothing from elsewhere, no scripts.

mod html;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, header};

use self::html::Html;
use super::{Readiness, Report, only_get};
use crate::authenticate::KeyStatus;
use base::build_info;
use telemetry::metrics::{AssignmentsState, Bounded, BrokerState, BudgetState, CircuitOf, CircuitState};

/// Rows of a table. ACS's list can name very many tenants.
const MOST_ROWS: usize = 200;

#[derive(Clone)]
struct Overview {
    readiness: Readiness,
    state: Arc<dyn BrokerState>,
}

/// The one route.
pub(super) fn router(readiness: Readiness, state: Arc<dyn BrokerState>) -> Router {
    Router::new()
        .route("/", get(show).fallback(only_get))
        .with_state(Overview { readiness, state })
}

async fn show(State(overview): State<Overview>) -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_SECURITY_POLICY, html::policy()),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, overview.page().into_text()).into_response()
}

impl Overview {
    fn page(&self) -> Html {
        let report = self.readiness.report();
        let status = if report.not_ready.is_empty() {
            "ready"
        } else {
            "not ready"
        };
        let mut page = Html::page(&format!("acs-token-broker: {status}"));
        page.heading("h1", "acs-token-broker");
        page.paragraph(&format!(
            "Version {}, commit {}",
            build_info::VERSION,
            build_info::COMMIT
        ));
        readiness(&mut page, status, &report);
        let keys: Vec<KeyStatus> = self.readiness.authenticator.key_status().collect();
        signing_keys(&mut page, keys);
        sources(&mut page, &self.state.assignments());
        self.assignments_by_tenant(&mut page);
        self.fill(&mut page);
        if let Some(store) = &self.readiness.store {
            shared_cache(&mut page, &store.status());
        }
        budgets(&mut page, &self.state.budgets());
        circuits(&mut page, self.state.circuits());
        page
    }

    fn assignments_by_tenant(&self, page: &mut Html) {
        let mut rows = Vec::new();
        for assignments in &self.readiness.assignments {
            let Some(set) = assignments.watch.current() else {
                continue;
            };
            for (tenant, counts) in set.index.by_tenant() {
                rows.push([
                    resource_name(assignments.resource.as_deref()),
                    tenant.to_string(),
                    counts.users.to_string(),
                    counts.groups.to_string(),
                    if counts.whole > 0 { "yes" } else { "no" }.to_owned(),
                    if assignments.enforced { "yes" } else { "no" }.to_owned(),
                ]);
            }
        }
        page.heading("h2", "Assignments by tenant");
        let columns = ["Resource", "Tenant", "Users", "Groups", "Whole tenant", "Enforced"];
        page.table(&columns, &rows, MOST_ROWS);
    }

    fn fill(&self, page: &mut Html) {
        let cache = self.state.cache();
        let row = |name: &str, fill: Bounded| [name.to_owned(), fill.used.to_string(), fill.limit.to_string()];
        let rows = [
            row("Cached tokens", cache.entries),
            row("Bytes of cached tokens", cache.bytes),
            row("Requests being worked on", self.state.requests()),
            row("Open connections", self.state.connections()),
        ];
        page.heading("h2", "Cache and load");
        page.table(&["", "Now", "Limit"], &rows, MOST_ROWS);
    }
}

fn readiness(page: &mut Html, status: &str, report: &Report) {
    page.heading("h2", "Readiness");
    page.paragraph(status);
    for (title, items) in [("Not ready because", &report.not_ready), ("Degraded", &report.degraded)] {
        if !items.is_empty() {
            page.heading("h3", title);
            page.list(items);
        }
    }
}

fn signing_keys(page: &mut Html, mut keys: Vec<KeyStatus>) {
    keys.sort_by_key(|status| status.tenant);
    let rows: Vec<_> = keys
        .iter()
        .map(|status| {
            let state = match (status.tried, status.usable, status.overdue) {
                (false, ..) => "not fetched yet",
                (_, false, _) => "not usable",
                (_, true, true) => "usable, overdue",
                (_, true, false) => "usable",
            };
            [status.tenant.to_string(), state.to_owned(), ago(status.age)]
        })
        .collect();
    page.heading("h2", "Signing keys by tenant");
    page.table(&["Tenant", "Keys", "Last good fetch"], &rows, MOST_ROWS);
}

fn sources(page: &mut Html, sources: &[AssignmentsState]) {
    let rows: Vec<_> = sources
        .iter()
        .map(|source| {
            [
                resource_name(source.resource.as_deref()),
                source.source.to_owned(),
                source
                    .entries
                    .map_or_else(|| "none".to_owned(), |entries| entries.to_string()),
                ago(source.age),
                if source.failing { "failing" } else { "good" }.to_owned(),
            ]
        })
        .collect();
    page.heading("h2", "Sources of assignments");
    let columns = ["Resource", "Source", "Assignments", "Last good look", "Last look"];
    page.table(&columns, &rows, MOST_ROWS);
}

fn shared_cache(page: &mut Html, status: &shared_cache::Status) {
    let state = match (&status.failure, status.is_asked) {
        _ if status.keys.is_empty() => "away: there is no usable key".to_owned(),
        (_, true) => "reachable".to_owned(),
        (Some(failure), false) => format!("away: {failure}"),
        (None, false) => "not asked for a moment: an operation took too long".to_owned(),
    };
    // Their names; the first is the one that is written with.
    let keys = status.keys.join(", ");
    page.heading("h2", "Shared cache");
    page.table(&["Store", "Encryption keys"], &[[state, keys]], MOST_ROWS);
}

fn budgets(page: &mut Html, budgets: &[BudgetState]) {
    let rows: Vec<_> = budgets
        .iter()
        .map(|budget| {
            [
                resource_name(budget.resource.as_deref()),
                budget.free.to_string(),
                format!("{:.1}", budget.limit),
                budget.waiting.to_string(),
            ]
        })
        .collect();
    page.heading("h2", "Budget of exchanges");
    page.table(&["Resource", "Free now", "In force", "Waiting"], &rows, MOST_ROWS);
}

fn circuits(page: &mut Html, circuits: Vec<CircuitState>) {
    let rows: Vec<_> = circuits
        .into_iter()
        .map(|circuit| {
            let (upstream, subject) = match circuit.of {
                CircuitOf::Acs(resource) => ("ACS", format!("resource {}", resource_name(resource.as_deref()))),
                CircuitOf::Graph => ("Microsoft Graph", String::new()),
                CircuitOf::EntraToken(tenant) => ("Entra, tokens", format!("tenant {tenant}")),
            };
            let state = match circuit.state {
                0 => "closed",
                1 => "half-open",
                _ => "open",
            };
            [upstream.to_owned(), subject, state.to_owned()]
        })
        .collect();
    page.heading("h2", "Circuits");
    page.table(&["Upstream", "Of", "Circuit"], &rows, MOST_ROWS);
}

fn resource_name(name: Option<&str>) -> String {
    name.unwrap_or("(the only one)").to_owned()
}

fn ago(age: Option<Duration>) -> String {
    age.map_or_else(|| "never".to_owned(), |age| format!("{} s ago", age.as_secs()))
}
