//! Clients that leave before they are answered: their requests are recorded as such, and the exchange that they began continues.

use base::clock::{Clock as _, SystemClock};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::eventually;
use crate::support::fake::{Fake, Gate, Reply, grant};
use crate::support::http::{Call, client};
use crate::support::observed::{PARENT, exporting_to, flushed, lines, one, trace, traceparent};
use crate::support::otlp::{Collector, attribute};
use crate::support::process::Served;
use crate::support::scrape::Scrape;
use crate::support::stack::ACS_PATH;

const DURATIONS: &str = "http_server_request_duration_seconds_count";

/// A broker whose ACS does not answer until the gate is open.
struct Held {
    served: Served,
    collector: Collector,
    acs: Fake,
    gate: Gate,
    token: String,
}

impl Held {
    async fn start(sampler: &str) -> Self {
        let acs = Fake::start().await;
        let gate = Gate::closed();
        let end = SystemClock::new().now() + std::time::Duration::from_hours(1);
        acs.on(ACS_PATH, Reply::json(&grant("after-all", end)).behind(&gate));
        let collector = Collector::start().await;
        let mut environment = exporting_to(&collector);
        for (name, value) in [
            ("OTEL_TRACES_SAMPLER", sampler),
            ("ACS_TOKEN_BROKER__TELEMETRY__SLOW_REQUEST", "1ms"),
            ("ACS_TOKEN_BROKER__SERVER__REQUEST_TIMEOUT", "10m"),
            ("ACS_TOKEN_BROKER__EXCHANGE__TIMEOUT", "10m"),
        ] {
            environment.push((name.to_owned(), value.to_owned()));
        }
        let served = Served::start_with(Some(&acs.origin()), |_| environment).await;
        let token = served.token_with_groups("alex");
        Self {
            served,
            collector,
            acs,
            gate,
            token,
        }
    }

    async fn is_under_way(&self) {
        eventually("the exchange is under way", async || self.acs.count(ACS_PATH) == 1).await;
    }

    async fn scrape(&self) -> Scrape {
        Scrape::of(self.served.management.trim_start_matches("http://")).await
    }

    /// Waits until the request is recorded, and returns all that was written about it.
    async fn recorded(self, version: &str) -> (Value, Vec<Value>, Vec<Span>) {
        let left = [
            ("error_type", "ClientClosed"),
            ("http_route", "/token"),
            ("network_protocol_version", version),
        ];
        eventually("it is counted", async || {
            self.scrape().await.sum(DURATIONS, &left) > 0.0
        })
        .await;
        let scrape = self.scrape().await;
        assert!((scrape.sum(DURATIONS, &left) - 1.0).abs() < f64::EPSILON);
        let series = scrape.series().iter().find(|series| {
            series.name == DURATIONS
                && series
                    .labels
                    .get("error_type")
                    .is_some_and(|code| code == "ClientClosed")
        });
        assert!(!series.unwrap().labels.contains_key("http_response_status_code"));
        let active = scrape.sum("http_server_active_requests", &[("http_request_method", "POST")]);
        assert!(active.abs() < f64::EPSILON, "{active}");
        // What the caller began goes on, and serves the next one.
        self.gate.open();
        eventually("it is in the cache", async || {
            self.scrape().await.sum("acs_broker_cache_entries", &[]) > 0.0
        })
        .await;
        let next = self.served.call("/token").bearer(&self.token);
        let answer = next.header("traceparent", &traceparent(2)).send().await;
        assert_eq!(answer.cache(), "hit");
        assert_eq!(self.acs.count(ACS_PATH), 1);
        let output = flushed(self.served).await.stdout;
        let line = lines(&output)
            .find(|line| line["acs_broker.error.code"] == "ClientClosed")
            .unwrap();
        // Nobody got the token of the first exchange, so no event says so.
        let events = lines(&output).filter(|line| line["target"] == "acs_token_broker::audit");
        (line, events.collect(), self.collector.trace(&trace(1)))
    }
}

fn assert_left(line: &Value, events: &[Value]) {
    assert_eq!(line["message"], "request", "{line}");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["http.route"], "/token");
    assert_eq!(line["trace_id"], trace(1));
    assert_eq!(line["request_id"].as_str().unwrap().len(), 36);
    assert_eq!(line["acs_broker.error.cause"], "the client left before it was answered");
    assert!(line.get("http.response.status_code").is_none(), "{line}");
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    let written: Vec<_> = events
        .iter()
        .map(|event| (&event["trace_id"], &event["acs_broker.cache.outcome"]))
        .collect();
    assert_eq!(written, [(&Value::from(trace(2)), &Value::from("hit"))]);
}

#[tokio::test]
async fn a_client_that_closes_its_connection() {
    let held = Held::start("parentbased_always_off").await;
    let mut stream = TcpStream::connect(held.served.public.trim_start_matches("http://"))
        .await
        .unwrap();
    let request = format!(
        "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\ntraceparent: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        traceparent(1),
        held.token
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    held.is_under_way().await;
    drop(stream);
    let (line, events, spans) = held.recorded("1.1").await;
    assert_left(&line, &events);
    // It was slow, so that one span is left of it: no error of the broker's.
    let span = one(&spans, "POST /token");
    assert_eq!(spans.len(), 1);
    assert_eq!(attribute(span, "acs_broker.trace.late").as_deref(), Some("slow"));
    assert_eq!(attribute(span, "error.type").as_deref(), Some("ClientClosed"));
    assert_eq!(attribute(span, "http.response.status_code"), None);
    assert_eq!(span.status.as_ref().map_or(0, |status| status.code), 0);
}

#[tokio::test]
async fn a_client_that_resets_its_stream() {
    let held = Held::start("parentbased_always_on").await;
    let http_2 = client(|builder| builder.http2_prior_knowledge().pool_max_idle_per_host(1));
    // The connection is there before, and stays.
    let first = Call::new("POST", format!("{}/token", held.served.public));
    let refused = first.send_with(&http_2).await.unwrap().outcome();
    assert_eq!(refused, "401 AuthenticationRequired");
    let call = held.served.call("/token").bearer(&held.token);
    let call = call.header("traceparent", &traceparent(1));
    let sending = tokio::spawn({
        let http_2 = http_2.clone();
        async move { call.send_with(&http_2).await.map(|answer| answer.status) }
    });
    held.is_under_way().await;
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    let (line, events, spans) = held.recorded("2").await;
    assert_left(&line, &events);
    let span = one(&spans, "POST /token");
    assert_eq!(crate::support::otlp::hex(&span.parent_span_id), PARENT);
    assert_eq!(attribute(span, "error.type").as_deref(), Some("ClientClosed"));
    assert_eq!(attribute(span, "http.response.status_code"), None);
    assert_eq!(span.status.as_ref().map_or(0, |status| status.code), 0);
    drop(http_2);
}
