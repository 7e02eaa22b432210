//! Metrics over OTLP: what arrives, and what a collector that does not answer costs.

use std::time::Duration;

use base::build_info;
use base::clock::{Clock as _, SystemClock};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric};

use crate::support::eventually;
use crate::support::http::client;
use crate::support::otlp::Collector;
use crate::support::process::Served;
use crate::support::scrape::Scrape;

const FAST: (&str, &str) = ("OTEL_METRIC_EXPORT_INTERVAL", "100");

fn environment<'e>(origin: &'e str, more: &[(&'static str, &'e str)]) -> Vec<(&'static str, &'e str)> {
    let mut environment = vec![
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", origin),
        ("OTEL_SERVICE_NAME", "broker-under-test"),
        FAST,
    ];
    environment.extend_from_slice(more);
    environment
}

async fn scrape(served: &Served) -> Scrape {
    Scrape::of(served.management.trim_start_matches("http://")).await
}

fn one<'m>(metrics: &'m [Metric], name: &str) -> &'m Metric {
    let mut found = metrics.iter().filter(|metric| metric.name == name);
    let metric = found.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(found.next().is_none(), "{name} twice");
    metric
}

#[tokio::test]
async fn what_was_recorded_arrives_and_the_end_is_not_lost() {
    let collector = Collector::start().await;
    let endpoint = format!("{}/v1/metrics", collector.origin());
    // Too seldom for any but the last: it is the flush that is looked at.
    let slow = environment(&endpoint, &[("OTEL_METRIC_EXPORT_INTERVAL", "3600000")]);
    let served = Served::start(None, &slow).await;
    let token = served.token("alex");
    for _ in 0..3 {
        assert_eq!(served.post_token(&token).await.status, 200);
    }
    served.process.signal("TERM");
    let ended = served.process.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let exports = collector.metrics();
    assert_eq!(exports.len(), 1);
    let metrics = &exports[0];

    let requests = one(metrics, "http.server.request.duration");
    assert_eq!(requests.unit, "s");
    let Some(Data::Histogram(histogram)) = &requests.data else {
        panic!("{requests:?}");
    };
    assert_eq!(histogram.aggregation_temporality(), AggregationTemporality::Cumulative);
    let [point] = &histogram.data_points[..] else {
        panic!("{histogram:?}");
    };
    assert_eq!(point.count, 3);
    let buckets = [
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];
    assert_eq!(point.explicit_bounds, buckets);

    let hits = one(metrics, "acs_broker.cache.requests");
    let Some(Data::Sum(sum)) = &hits.data else {
        panic!("{hits:?}");
    };
    assert!(sum.is_monotonic);
    let total: i64 = sum
        .data_points
        .iter()
        .map(|point| match point.value {
            Some(Value::AsInt(value)) => value,
            _ => panic!("{point:?}"),
        })
        .sum();
    assert_eq!(total, 3);

    // A flag is a flag, as on spans.
    let exchanges = one(metrics, "acs_broker.exchange.duration");
    let Some(Data::Histogram(histogram)) = &exchanges.data else {
        panic!("{exchanges:?}");
    };
    let [point] = &histogram.data_points[..] else {
        panic!("{histogram:?}");
    };
    let ahead = point
        .attributes
        .iter()
        .find(|own| own.key == "acs_broker.exchange.ahead");
    let ahead = ahead.and_then(|own| own.value.clone()).and_then(|value| value.value);
    assert_eq!(ahead, Some(Any::BoolValue(false)));
    assert!(collector.bytes().contains("broker-under-test"));
    for part in token.split('.').skip(1) {
        assert!(!collector.bytes().contains(part));
    }
}

#[tokio::test]
async fn they_come_at_the_interval() {
    let collector = Collector::start().await;
    let endpoint = format!("{}/v1/metrics", collector.origin());
    let _served = Served::start(None, &environment(&endpoint, &[])).await;
    // Exports begin before the broker serves, so the first ones may not tell its state yet.
    let telling = || {
        let mut exports = collector.metrics();
        exports.retain(|metrics| metrics.iter().any(|metric| metric.name == "acs_broker.ready"));
        exports
    };
    eventually("three exports", async || telling().len() >= 3).await;
    let latest = telling().pop().unwrap();
    for name in [
        "acs_broker.ready",
        "acs_broker.jwks.age",
        "acs_broker.build_info",
        "acs_broker.assignments.entries",
    ] {
        one(&latest, name);
    }
}

/// Milliseconds for so many cached requests, one after another on one connection.
async fn serve(served: &Served, token: &str, requests: usize) -> f64 {
    let client = client(|builder| builder.pool_max_idle_per_host(1));
    let began = SystemClock::new();
    for _ in 0..requests {
        let answer = served.call("/token").bearer(token).send_with(&client).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    began.monotonic().as_secs_f64() * 1e3
}

/// Resident memory in KiB.
fn memory(served: &Served) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", served.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_collector_that_is_away_or_silent_costs_requests_nothing_and_is_reported() {
    const REQUESTS: usize = 1500;
    // Accepts, in the kernel's backlog, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}/v1/metrics", silent.local_addr().unwrap());
    let away = "http://127.0.0.1:1/v1/metrics".to_owned();
    let quiet = Served::start(None, &[]).await;
    let token = quiet.token("alex");
    serve(&quiet, &token, 200).await;
    let usual = serve(&quiet, &token, REQUESTS).await;
    let timeout = ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "500");
    for (name, endpoint, protocol) in [
        ("away", &away, "http/protobuf"),
        ("silent", &silent, "http/protobuf"),
        ("silent", &silent, "grpc"),
    ] {
        let protocol = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", protocol);
        let served = Served::start(None, &environment(endpoint, &[timeout, protocol])).await;
        let token = served.token("alex");
        serve(&served, &token, 200).await;
        let before = memory(&served);
        let busy = serve(&served, &token, REQUESTS).await;
        // Far from a precise measure, which a test beside others cannot be; a request that waited would take seconds.
        assert!(busy < usual * 3.0 + 1000.0, "{name}: {busy} ms, not about {usual} ms");
        eventually("the loss is counted", async || {
            let lost = [("acs_broker_signal", "metrics")];
            scrape(&served).await.sum("acs_broker_telemetry_dropped_total", &lost) >= 1.0
        })
        .await;
        serve(&served, &token, REQUESTS).await;
        let after = memory(&served);
        assert!(after < before + 16 * 1024, "{name}: {before} KiB, then {after} KiB");
        let began = SystemClock::new();
        served.process.signal("TERM");
        assert_eq!(served.process.end().await.code, Some(0));
        assert!(began.monotonic() < Duration::from_secs(9), "{name}");
    }
}

#[tokio::test]
async fn without_an_exporter_or_with_the_sdk_off_they_can_be_scraped() {
    let collector = Collector::start().await;
    let origin = collector.origin();
    for more in [
        &[][..],
        &[
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", origin.as_str()),
        ],
    ] {
        let served = Served::start(None, more).await;
        served.post_token(&served.token("alex")).await;
        let scraped = scrape(&served).await;
        let built = [("version", build_info::VERSION), ("commit", build_info::COMMIT)];
        assert!((scraped.sum("acs_broker_build_info", &built) - 1.0).abs() < 1e-9);
        assert!((scraped.sum("acs_broker_cache_requests_total", &[]) - 1.0).abs() < 1e-9);
        served.process.signal("TERM");
        assert_eq!(served.process.end().await.code, Some(0));
    }
    assert!(collector.metrics().is_empty());
}
