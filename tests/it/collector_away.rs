//! A collector that is away, or at the end of a dead connection, loses nothing while there is room.

use std::collections::BTreeSet;
use std::time::Duration;

use base::clock::{Clock as _, SystemClock};

use crate::support::eventually;
use crate::support::http::Call;
use crate::support::observed::{flushed, lines, trace, traceparent};
use crate::support::otlp::{Collector, hex};
use crate::support::process::Served;
use crate::support::scrape::Scrape;
use crate::support::wire::Wire;

const PROTOCOLS: [&str; 2] = ["http/protobuf", "grpc"];
const AUDIT: &str = "acs_token_broker::audit";

/// A broker that sends by way of a wire, soon and often.
async fn exporting(protocol: &str, more: &[(&str, &str)]) -> (Served, Wire, Collector) {
    let collector = Collector::start().await;
    let wire = Wire::to(&collector.origin()).await;
    let origin = wire.origin();
    let usual = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", origin.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "50"),
    ];
    let environment = [&usual, more].concat();
    (Served::start(None, &environment).await, wire, collector)
}

/// The `n`th call. Each has an audit event, an access line, a server span and three stages at least.
async fn call(served: &Served, token: &str, n: u32) {
    let call = served
        .call("/token")
        .bearer(token)
        .header("traceparent", &traceparent(n));
    assert_eq!(call.send().await.outcome(), "200");
}

/// How many server spans, access lines and audit events of calls have come, doubled ones included.
fn arrived(collector: &Collector) -> [usize; 3] {
    let spans = collector.spans();
    let logs = collector.logs();
    let access = |target: &str| target == "acs_token_broker::api::layers";
    [
        spans.iter().filter(|span| span.name == "POST /token").count(),
        logs.iter().filter(|(target, _)| access(target)).count(),
        logs.iter().filter(|(target, _)| target == AUDIT).count(),
    ]
}

/// How many calls' server spans, access lines and audit events have come, each call counted once: an export whose
/// answer was swallowed is sent again.
fn distinct(collector: &Collector) -> [usize; 3] {
    let spans = collector.spans().into_iter().filter(|span| span.name == "POST /token");
    let spans: BTreeSet<Vec<u8>> = spans.map(|span| span.trace_id).collect();
    let calls = |wanted: &str| -> usize {
        let logs = collector.logs().into_iter().filter(|(target, _)| target == wanted);
        logs.map(|(_, record)| record.trace_id)
            .collect::<BTreeSet<Vec<u8>>>()
            .len()
    };
    [spans.len(), calls("acs_token_broker::api::layers"), calls(AUDIT)]
}

async fn dropped(served: &Served, signal: &str) -> f64 {
    let scraped = Scrape::of(served.management.trim_start_matches("http://")).await;
    scraped.sum("acs_broker_telemetry_dropped_total", &[("acs_broker_signal", signal)])
}

/// Waits until an attempt has failed.
async fn has_failed(served: &Served) {
    let failed = |line: &str| line.contains("the collector does not take telemetry now").then_some(());
    served.process.line("an attempt has failed", failed).await;
}

async fn comes_back(protocol: &str) {
    const CALLS: u32 = 60;
    let (served, mut wire, collector) = exporting(protocol, &[]).await;
    let token = served.token("alex");
    call(&served, &token, 0).await;
    eventually("the first arrives", async || arrived(&collector) == [1; 3]).await;
    wire.cut().await;
    for n in 1..CALLS {
        call(&served, &token, n).await;
    }
    has_failed(&served).await;
    assert_eq!(arrived(&collector), [1; 3]);
    wire.mend().await;
    let all = [CALLS as usize; 3];
    eventually("all arrive", async || arrived(&collector) == all).await;
    assert_eq!(
        (dropped(&served, "traces").await, dropped(&served, "logs").await),
        (0.0, 0.0)
    );
    for n in 0..CALLS {
        let spans = collector.trace(&trace(n));
        assert!(spans.len() >= 4, "{n}: {spans:?}");
    }
    // And again at the end, which does not wait for the next attempt's turn.
    wire.cut().await;
    call(&served, &token, CALLS).await;
    served.process.signal("TERM");
    wire.mend().await;
    let ended = served.process.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(arrived(&collector), [CALLS as usize + 1; 3]);
    // Nothing about exporting is exported.
    let sent = collector.logs();
    assert!(sent.iter().all(|(target, _)| target.starts_with("acs_token_broker")));
    assert!(lines(&ended.stdout).any(|line| line["message"] == "the collector takes telemetry again"));
}

#[tokio::test]
async fn nothing_is_lost_while_it_is_away_over_http() {
    comes_back(PROTOCOLS[0]).await;
}

#[tokio::test]
async fn nothing_is_lost_while_it_is_away_over_grpc() {
    comes_back(PROTOCOLS[1]).await;
}

#[tokio::test]
async fn beyond_the_room_there_is_the_oldest_go_and_are_counted() {
    // Strangers have no more lines than 60 in a minute.
    const CALLS: u32 = 56;
    const ROOM: usize = 16;
    for protocol in PROTOCOLS {
        let room = [("OTEL_BSP_MAX_QUEUE_SIZE", "16"), ("OTEL_BLRP_MAX_QUEUE_SIZE", "16")];
        let (served, mut wire, collector) = exporting(protocol, &room).await;
        wire.cut().await;
        // One span and one line each.
        for n in 0..CALLS {
            let call = Call::new("GET", format!("{}/nothing", served.public)).header("traceparent", &traceparent(n));
            assert_eq!(call.send().await.status, 404);
        }
        has_failed(&served).await;
        let least = f64::from(CALLS - 16);
        for signal in ["traces", "logs"] {
            eventually("the loss is counted", async || dropped(&served, signal).await >= least).await;
        }
        wire.mend().await;
        flushed(served).await;
        let ids = |found: BTreeSet<String>| (0..CALLS).filter(|n| found.contains(&trace(*n))).collect::<Vec<_>>();
        let spans = ids(collector.spans().iter().map(|span| hex(&span.trace_id)).collect());
        let records = ids(collector
            .logs()
            .iter()
            .map(|(_, record)| hex(&record.trace_id))
            .collect());
        // The latest, without a gap. A line of something else may take a place.
        for arrived in [spans, records] {
            assert!((ROOM - 4..=ROOM).contains(&arrived.len()), "{protocol}: {arrived:?}");
            let latest: Vec<u32> = (CALLS - u32::try_from(arrived.len()).unwrap()..CALLS).collect();
            assert_eq!(arrived, latest, "{protocol}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_swallows_delays_one_exports_time_and_loses_nothing() {
    const CALLS: u32 = 10;
    for protocol in PROTOCOLS {
        let (served, wire, collector) = exporting(protocol, &[]).await;
        let token = served.token("alex");
        call(&served, &token, 0).await;
        eventually("the first arrives", async || arrived(&collector) == [1; 3]).await;
        let before = wire.accepted();
        wire.swallow();
        let began = SystemClock::new();
        for n in 1..CALLS {
            call(&served, &token, n).await;
        }
        eventually("all arrive", async || distinct(&collector) == [CALLS as usize; 3]).await;
        let took = began.monotonic();
        // The limit of one export, 1 s, and what a busy machine adds.
        assert!(took < Duration::from_secs(4), "{protocol}: {took:?}");
        assert!(wire.accepted() > before, "{protocol}");
        assert_eq!(
            (dropped(&served, "traces").await, dropped(&served, "logs").await),
            (0.0, 0.0)
        );
    }
}
