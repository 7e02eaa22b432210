use std::collections::BTreeSet;

use super::labels::Peer;
use super::*;

/// A broker that stands still.
struct Still;

impl BrokerState for Still {
    fn cache(&self) -> CacheState {
        CacheState {
            entries: self.requests(),
            bytes: self.requests(),
        }
    }

    fn requests(&self) -> Bounded {
        Bounded { used: 3, limit: 7 }
    }

    fn connections(&self) -> Bounded {
        self.requests()
    }

    fn connections_closed(&self) -> [(&'static str, u64); 2] {
        [("address", 2), ("idle", 3)]
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn keys(&self) -> Vec<KeysState> {
        vec![KeysState {
            tenant: "a-tenant".to_owned(),
            age: Some(Duration::from_millis(1500)),
            usable: true,
        }]
    }

    fn assignments(&self) -> Vec<AssignmentsState> {
        vec![AssignmentsState {
            resource: None,
            source: "file",
            entries: Some(5),
            age: Some(Duration::from_secs(2)),
            failing: false,
        }]
    }

    fn budgets(&self) -> Vec<BudgetState> {
        vec![BudgetState {
            resource: None,
            free: 4,
            limit: 2.5,
            waiting: 6,
        }]
    }

    fn circuits(&self) -> Vec<CircuitState> {
        let of = [
            CircuitOf::Acs(None),
            CircuitOf::Graph,
            CircuitOf::EntraToken("a-tenant".to_owned()),
        ];
        of.map(|of| CircuitState { of, state: 1 }).into()
    }
}

fn url() -> url::Url {
    url::Url::parse("https://acs.example/x?secret").unwrap()
}

/// Each instrument, once and with all its labels.
fn record_everything(metrics: &Metrics) -> Arc<dyn BrokerState> {
    let state: Arc<dyn BrokerState> = Arc::new(Still);
    metrics.watch(Arc::downgrade(&state));
    let answered = Answered {
        method: "POST",
        route: Some("/token"),
        status: Some(503),
        scheme: "https",
        version: "2",
        error: Some("Overloaded"),
    };
    metrics.answered(&answered, Duration::from_millis(7));
    metrics.refused(Refusal::Overloaded);
    let url = url();
    let called = Called {
        peer: Peer::Acs,
        url: &url,
        method: "POST",
        status: Some(429),
        failure: None,
    };
    metrics.called(&called, Duration::from_secs(20));
    metrics.called(
        &Called {
            peer: Peer::Healthcheck,
            ..called
        },
        Duration::from_secs(1),
    );
    metrics.authenticated(Authentication::Expired);
    metrics.membership("asked");
    metrics.limited(labels::Limit::Queue);
    metrics.dropped(Signal::Traces, 3);
    let resource = metrics.resource(None);
    resource.authorized(Authorization::NotLoaded);
    resource.cache(CacheRequest::Shared);
    resource.exchanged("passthrough", "granted", true, Duration::from_millis(30));
    let store = metrics.store(["hit", "miss"]);
    store.ended("hit");
    store.took("get", Duration::from_millis(2));
    metrics.tenant_keys("a-tenant").fetched(KeyFetch::Schedule, false);
    state
}

#[test]
fn every_instrument_is_reported_under_its_name_with_its_labels() {
    let metrics = Metrics::local();
    let _state = record_everything(&metrics);
    let text = metrics.scrape().unwrap();
    let scraped: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name != "target_info")
        .collect();
    let listed: BTreeSet<String> = all::ALL.iter().map(Definition::prometheus_name).collect();
    assert_eq!(scraped, listed);
    for definition in all::ALL {
        let name = definition.prometheus_name();
        assert!(
            text.contains(&format!("# HELP {name} {}\n", definition.description)),
            "{name}"
        );
        for label in definition.labels {
            let label = label.replace('.', "_");
            let has = |line: &str| line.starts_with(&name) && line.contains(&format!("{label}=\""));
            assert!(text.lines().any(has), "{name} has no {label}");
        }
    }
    for line in [
        "http_server_request_duration_seconds_bucket{error_type=\"Overloaded\",http_request_method=\"POST\",http_response_status_code=\"503\",http_route=\"/token\",network_protocol_version=\"2\",url_scheme=\"https\",le=\"0.01\"} 1",
        "http_client_request_duration_seconds_count{acs_broker_upstream=\"acs\",error_type=\"429\",http_request_method=\"POST\",http_response_status_code=\"429\",server_address=\"acs.example\",server_port=\"443\"} 1",
        "acs_broker_authentication_total{acs_broker_outcome=\"refused\",acs_broker_reason=\"Expired\"} 1",
        "acs_broker_authentication_total{acs_broker_outcome=\"accepted\",acs_broker_reason=\"accepted\"} 0",
        "acs_broker_authorization_total{acs_broker_assignment_kind=\"none\",acs_broker_outcome=\"undecided\",acs_broker_reason=\"NotLoaded\",acs_broker_resource_name=\"default\"} 1",
        "acs_broker_cache_requests_total{acs_broker_cache_outcome=\"shared\",acs_broker_resource_name=\"default\"} 1",
        "acs_broker_exchange_duration_seconds_count{acs_broker_exchange_ahead=\"true\",acs_broker_exchange_mode=\"passthrough\",acs_broker_outcome=\"granted\",acs_broker_resource_name=\"default\"} 1",
        "acs_broker_shared_cache_operations_total{acs_broker_outcome=\"miss\"} 0",
        "acs_broker_shared_cache_operations_total{acs_broker_outcome=\"hit\"} 1",
        "acs_broker_shared_cache_operation_duration_seconds_bucket{acs_broker_shared_cache_operation=\"get\",le=\"0.0025\"} 1",
        "acs_broker_jwks_refreshes_total{acs_broker_jwks_cause=\"schedule\",acs_broker_outcome=\"failed\",acs_broker_tenant_id=\"a-tenant\"} 1",
        "acs_broker_jwks_age_seconds{acs_broker_tenant_id=\"a-tenant\"} 1.5",
        "acs_broker_telemetry_dropped_total{acs_broker_signal=\"traces\"} 3",
        "acs_broker_requests_limit 7",
    ] {
        assert!(text.lines().any(|scraped| scraped == line), "{line}\nin\n{text}");
    }
    assert!(!text.contains("healthcheck") && !text.contains("secret"));
}

#[test]
fn a_request_is_active_until_it_is_over_or_given_up() {
    let metrics = Metrics::local();
    let active = |method: &str| {
        let text = metrics.scrape().unwrap();
        let series = format!("http_server_active_requests{{http_request_method=\"{method}\",url_scheme=\"https\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap().to_owned()
    };
    let first = metrics.request_began("POST", "https");
    let second = metrics.request_began("BREW", "https");
    assert_eq!((active("POST").as_str(), active("_OTHER").as_str()), ("1", "1"));
    drop((first, second));
    assert_eq!((active("POST").as_str(), active("_OTHER").as_str()), ("0", "0"));
}

#[test]
fn series_are_bounded() {
    let metrics = Metrics::local();
    let called = |port: u16| {
        let url = url::Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let called = Called {
            peer: Peer::Acs,
            url: &url,
            method: "GET",
            status: None,
            failure: Some("timeout"),
        };
        metrics.called(&called, Duration::from_secs(1));
    };
    (1..3000).for_each(called);
    let text = metrics.scrape().unwrap();
    let series = text
        .lines()
        .filter(|line| line.starts_with("http_client_request_duration_seconds_count"));
    assert_eq!(series.count(), MOST_SERIES + 1);
    assert!(text.contains("otel_metric_overflow=\"true\""));
}

#[test]
fn nobody_reads_what_is_for_nobody() {
    let metrics = Metrics::noop();
    let _state = record_everything(&metrics);
    assert_eq!(metrics.scrape().unwrap(), "");
}
