//! Every instrument: its name, unit, labels and meaning. docs/telemetry.md has the same table, and a test holds the two together.
//!
//! Names that begin with `http.` are those of OpenTelemetry's semantic conventions for HTTP metrics (stable); the rest
//! is ours. Renaming one breaks dashboards and alerts.

/// What kind of instrument it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows. Prometheus appends `_total`.
    Counter,
    /// A value at the moment of reading.
    Gauge,
    /// A sum that goes up and down; for Prometheus a gauge.
    UpDownCounter,
    /// A distribution.
    Histogram,
}

/// One instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// OpenTelemetry's name.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// UCUM; in braces what is counted. Empty for flags.
    pub unit: &'static str,
    /// All labels that a series can have.
    pub labels: &'static [&'static str],
    /// What it measures.
    pub description: &'static str,
}

impl Definition {
    /// The name as scraped, after OpenTelemetry's compatibility rules for Prometheus.
    #[must_use]
    pub fn prometheus_name(&self) -> String {
        let unit = match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{unit}{total}", self.name.replace('.', "_"))
    }
}

macro_rules! catalogue {
    ($($constant:ident $kind:ident $name:literal $unit:literal [$($label:literal),*] $description:literal;)*) => {
        $(pub(super) const $constant: Definition = Definition {
            name: $name,
            kind: Kind::$kind,
            unit: $unit,
            labels: &[$($label),*],
            description: $description,
        };)*

        /// All instruments, in the order of the documentation.
        pub const ALL: &[Definition] = &[$($constant),*];
    };
}

catalogue! {
    SERVER_DURATION Histogram "http.server.request.duration" "s"
        ["http.request.method", "http.route", "http.response.status_code", "url.scheme", "network.protocol.version", "error.type"]
        "Duration of requests at the public listener, to the answer or until the client left.";
    ACTIVE_REQUESTS UpDownCounter "http.server.active_requests" "{request}"
        ["http.request.method", "url.scheme"]
        "Requests at the public listener that are not answered yet.";
    CLIENT_DURATION Histogram "http.client.request.duration" "s"
        ["http.request.method", "server.address", "server.port", "http.response.status_code", "error.type", "acs_broker.upstream"]
        "Duration of single calls to Entra, Graph, ACS and the platform.";
    AUTHENTICATION Counter "acs_broker.authentication" "{decision}"
        ["acs_broker.outcome", "acs_broker.reason"]
        "Presented Entra tokens, by what was decided.";
    AUTHORIZATION Counter "acs_broker.authorization" "{decision}"
        ["acs_broker.outcome", "acs_broker.assignment.kind", "acs_broker.reason", "acs_broker.resource.name"]
        "Authenticated callers, by what the assignments say.";
    CACHE_REQUESTS Counter "acs_broker.cache.requests" "{request}"
        ["acs_broker.cache.outcome", "acs_broker.resource.name"]
        "Permitted callers, by how they got their ACS token.";
    CACHE_ENTRIES Gauge "acs_broker.cache.entries" "{entry}" []
        "Cached ACS tokens.";
    CACHE_SIZE Gauge "acs_broker.cache.size" "By" []
        "What the cached ACS tokens weigh against cache.max_bytes, each at least max_bytes / max_entries.";
    CACHE_ENTRIES_LIMIT Gauge "acs_broker.cache.entries.limit" "{entry}" []
        "cache.max_entries.";
    CACHE_SIZE_LIMIT Gauge "acs_broker.cache.size.limit" "By" []
        "cache.max_bytes.";
    STORE_OPERATIONS Counter "acs_broker.shared_cache.operations" "{operation}"
        ["acs_broker.outcome"]
        "Operations at the store that replicas share, by what came of them.";
    STORE_DURATION Histogram "acs_broker.shared_cache.operation.duration" "s"
        ["acs_broker.shared_cache.operation"]
        "Duration of operations at the store that replicas share, to the answer or until they were given up.";
    EXCHANGE_DURATION Histogram "acs_broker.exchange.duration" "s"
        ["acs_broker.exchange.mode", "acs_broker.outcome", "acs_broker.exchange.ahead", "acs_broker.resource.name"]
        "Duration of exchanges for an ACS token, retries and Entra included.";
    EXCHANGE_BUDGET Gauge "acs_broker.exchange.budget" "{request}"
        ["acs_broker.resource.name"]
        "Requests that could be sent to the ACS endpoint now.";
    EXCHANGE_BUDGET_LIMIT Gauge "acs_broker.exchange.budget.limit" "{request}"
        ["acs_broker.resource.name"]
        "The budget of the ACS endpoint that is in force, less than the configured one for a while after ACS limited the broker.";
    EXCHANGE_QUEUE Gauge "acs_broker.exchange.queue" "{caller}"
        ["acs_broker.resource.name"]
        "First-time callers who wait for a place in the budget of the ACS endpoint.";
    CIRCUIT_STATE Gauge "acs_broker.circuit.state" ""
        ["acs_broker.upstream", "acs_broker.resource.name", "acs_broker.tenant.id"]
        "Circuit of an upstream: 0 closed, 1 half-open, 2 open.";
    MEMBERSHIP_REQUESTS Counter "acs_broker.membership.requests" "{request}"
        ["acs_broker.outcome"]
        "Callers whose group memberships were looked up, by how that was answered.";
    JWKS_REFRESHES Counter "acs_broker.jwks.refreshes" "{fetch}"
        ["acs_broker.tenant.id", "acs_broker.outcome", "acs_broker.jwks.cause"]
        "Fetches of a listed tenant's signing keys.";
    JWKS_AGE Gauge "acs_broker.jwks.age" "s"
        ["acs_broker.tenant.id"]
        "Time since a listed tenant's signing keys were last fetched.";
    JWKS_USABLE Gauge "acs_broker.jwks.usable" ""
        ["acs_broker.tenant.id"]
        "Whether a listed tenant has signing keys young enough to serve.";
    ASSIGNMENTS_ENTRIES Gauge "acs_broker.assignments.entries" "{assignment}"
        ["acs_broker.resource.name", "acs_broker.assignments.source"]
        "Assignments that a source listed at its last good look.";
    ASSIGNMENTS_AGE Gauge "acs_broker.assignments.age" "s"
        ["acs_broker.resource.name", "acs_broker.assignments.source"]
        "Time since a source of assignments was last looked at with success.";
    ASSIGNMENTS_FAILING Gauge "acs_broker.assignments.failing" ""
        ["acs_broker.resource.name", "acs_broker.assignments.source"]
        "Whether the last look at a source of assignments failed.";
    REFUSALS Counter "acs_broker.refusals" "{request}"
        ["acs_broker.reason"]
        "Requests refused for their number or size, or because of a stop.";
    LIMITS_REFUSED Counter "acs_broker.limits.refused" "{request}"
        ["acs_broker.limit"]
        "Requests refused by a limit on callers or by the budget of exchanges.";
    REQUESTS_IN_FLIGHT Gauge "acs_broker.requests.in_flight" "{request}" []
        "Places taken of server.max_in_flight.";
    REQUESTS_LIMIT Gauge "acs_broker.requests.limit" "{request}" []
        "server.max_in_flight.";
    CONNECTIONS_OPEN Gauge "acs_broker.connections.open" "{connection}" []
        "Open connections at the public listener.";
    CONNECTIONS_LIMIT Gauge "acs_broker.connections.limit" "{connection}" []
        "server.max_connections.";
    CONNECTIONS_CLOSED Counter "acs_broker.connections.closed" "{connection}"
        ["acs_broker.reason"]
        "Connections at the public listener that were closed for others, or since their address had too many.";
    READY Gauge "acs_broker.ready" "" []
        "Whether /readyz says 200.";
    BUILD_INFO Gauge "acs_broker.build_info" ""
        ["version", "commit"]
        "Always 1; the labels say what runs.";
    TELEMETRY_DROPPED Counter "acs_broker.telemetry.dropped" "{item}"
        ["acs_broker.signal"]
        "Spans, log lines and exports of metrics that were lost.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_scraped() {
        for (definition, name) in [
            (SERVER_DURATION, "http_server_request_duration_seconds"),
            (AUTHENTICATION, "acs_broker_authentication_total"),
            (CACHE_SIZE_LIMIT, "acs_broker_cache_size_limit_bytes"),
            (JWKS_AGE, "acs_broker_jwks_age_seconds"),
            (READY, "acs_broker_ready"),
        ] {
            assert_eq!(definition.prometheus_name(), name);
        }
        for definition in ALL {
            assert!(definition.description.ends_with('.'), "{}", definition.name);
        }
    }
}
