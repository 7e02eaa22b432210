//! Sampling: decided before a span is made; what fails or is slow leaves one all the same; a collector that is away
//! costs nothing.

use azure_emulator::{Endpoint, Fault};
use base::clock::{Clock as _, SystemClock};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::support::eventually;
use crate::support::http::Call;
use crate::support::observed::{PARENT, exported_with, flushed, lines, one, trace, traceparent};
use crate::support::otlp::{attribute, hex};
use crate::support::process::Served;

const OFF: (&str, &str) = ("OTEL_TRACES_SAMPLER", "parentbased_always_off");

async fn post(served: &Served, token: &str, n: u32) -> String {
    let call = served.call("/token").bearer(token);
    call.header("traceparent", &traceparent(n)).send().await.outcome()
}

/// What ACS was sent as `traceparent` by the `n`th trace.
fn seen_by_acs(served: &Served, n: u32) -> Vec<String> {
    let calls = served.emulator.journal().into_iter();
    calls
        .filter(|call| call.endpoint == Some(Endpoint::Exchange))
        .filter_map(|call| call.traceparent)
        .filter(|parent| parent.contains(&trace(n)))
        .collect()
}

#[tokio::test]
async fn what_is_not_sampled_makes_no_span_but_its_trace_goes_on() {
    let (served, collector) = exported_with(&[OFF]).await;
    let alex = served.token("alex");
    assert_eq!(post(&served, &alex, 1).await, "200");
    assert_eq!(post(&served, &alex, 2).await, "200");
    let grady = served.token_with_groups("grady");
    assert_eq!(post(&served, &grady, 3).await, "403 NotAssigned/NoAssignment");
    let seen = seen_by_acs(&served, 1);
    assert_eq!(seen.len(), 1);
    assert!(seen[0].ends_with("-00") && !seen[0].contains(PARENT), "{seen:?}");
    let output = flushed(served).await.stdout;
    // A refusal leaves no span: anyone can cause one.
    assert_eq!(collector.spans(), []);
    for n in [1, 2, 3] {
        let logged: Vec<_> = lines(&output).filter(|line| line["trace_id"] == trace(n)).collect();
        assert!(logged.iter().any(|line| line["message"] == "request"), "{logged:?}");
        assert!(logged.iter().all(|line| line["span_id"] != PARENT));
        let ids: std::collections::BTreeSet<_> = logged.iter().map(|line| line["span_id"].to_string()).collect();
        assert_eq!(ids.len(), 1);
    }
}

#[tokio::test]
async fn an_error_that_was_not_sampled_leaves_one_span() {
    let (served, collector) = exported_with(&[OFF]).await;
    served
        .emulator
        .set_fault(Endpoint::Exchange, Fault::status(500))
        .unwrap();
    assert_eq!(post(&served, &served.token("alex"), 1).await, "503 UpstreamUnavailable");
    let acs_saw = seen_by_acs(&served, 1);
    let output = flushed(served).await.stdout;
    let spans = collector.spans();
    let span = one(&spans, "POST /token");
    assert_eq!(spans.len(), 1);
    assert_eq!((span.kind(), hex(&span.trace_id)), (SpanKind::Server, trace(1)));
    assert_eq!(hex(&span.parent_span_id), PARENT);
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/token"),
        ("url.path", "/token"),
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
        ("http.response.status_code", "503"),
        ("error.type", "UpstreamUnavailable"),
        ("acs_broker.trace.late", "error"),
    ] {
        assert_eq!(attribute(span, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(span.status.as_ref().unwrap().code, 2);
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    // It is what the log tells, and what ACS took for its parent.
    let id = hex(&span.span_id);
    assert!(lines(&output).any(|line| line["span_id"] == id && line["message"] == "request"));
    assert!(acs_saw.iter().all(|parent| parent.contains(&id)), "{acs_saw:?}");
}

#[tokio::test]
async fn a_slow_request_that_was_not_sampled_leaves_one_span() {
    let slow = ("ACS_TOKEN_BROKER__TELEMETRY__SLOW_REQUEST", "200ms");
    let (served, collector) = exported_with(&[OFF, slow]).await;
    let fault = Fault {
        latency_ms: Some(250),
        ..Fault::default()
    };
    served.emulator.set_fault(Endpoint::Exchange, fault).unwrap();
    let token = served.token("alex");
    assert_eq!(post(&served, &token, 1).await, "200");
    served.emulator.clear_faults();
    assert_eq!(post(&served, &token, 2).await, "200");
    flushed(served).await;
    let spans = collector.spans();
    let span = one(&spans, "POST /token");
    assert_eq!((spans.len(), hex(&span.trace_id)), (1, trace(1)));
    assert_eq!(attribute(span, "acs_broker.trace.late").as_deref(), Some("slow"));
    assert_eq!(attribute(span, "http.response.status_code").as_deref(), Some("200"));
    assert!(span.end_time_unix_nano - span.start_time_unix_nano >= 200_000_000);
}

#[tokio::test]
async fn the_callers_sampling_flag_counts_only_if_it_is_trusted() {
    let trusted = ("ACS_TOKEN_BROKER__TELEMETRY__TRUST_INCOMING_SAMPLING", "true");
    for (environment, sampler, wanted) in [
        (None, "parentbased_always_off", [0, 0, 0]),
        (None, "parentbased_always_on", [4, 4, 4]),
        (Some(trusted), "parentbased_always_off", [4, 0, 0]),
        (Some(trusted), "parentbased_always_on", [4, 0, 4]),
        // It asks for no parents.
        (Some(trusted), "always_off", [0, 0, 0]),
    ] {
        let environment: Vec<_> = environment
            .into_iter()
            .chain([("OTEL_TRACES_SAMPLER", sampler)])
            .collect();
        let (served, collector) = exported_with(&environment).await;
        let token = served.token("alex");
        assert_eq!(post(&served, &token, 9).await, "200");
        for (n, flags) in [(1, "01"), (2, "00")] {
            let parent = format!("00-{}-{PARENT}-{flags}", trace(n));
            let call = served.call("/token").bearer(&token).header("traceparent", &parent);
            assert_eq!(call.send().await.outcome(), "200");
        }
        assert_eq!(served.call("/token").bearer(&token).send().await.outcome(), "200");
        flushed(served).await;
        let spans = collector.spans();
        let others = [1, 2, 9].map(trace);
        let roots = spans.iter().filter(|span| !others.contains(&hex(&span.trace_id)));
        // The keys are fetched in traces of their own.
        let own: Vec<_> = roots
            .filter(|span| attribute(span, "acs_broker.upstream").is_none() && span.name != "fetch keys")
            .collect();
        let found = [
            collector.trace(&trace(1)).len(),
            collector.trace(&trace(2)).len(),
            own.len(),
        ];
        assert_eq!(found, wanted, "{sampler} {environment:?}");
    }
}

#[tokio::test]
async fn a_ratio_goes_by_the_trace_id_and_takes_whole_traces() {
    let ratio = [
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
    ];
    let (served, collector) = exported_with(&ratio).await;
    let token = served.token("alex");
    for _ in 0..40 {
        assert_eq!(served.post_token(&token).await.status, 200);
    }
    flushed(served).await;
    let spans = collector.spans();
    let servers: Vec<_> = spans.iter().filter(|span| span.name == "POST /token").collect();
    // Less than once in ten million runs it is none or all.
    assert!((1..40).contains(&servers.len()), "{}", servers.len());
    for server in servers {
        let id = hex(&server.trace_id);
        assert!(collector.trace(&id).len() >= 4);
        // OpenTelemetry's rule: the last 63 bits, as a number, are below the ratio.
        let low = u64::from_str_radix(&id[16..], 16).unwrap() >> 1;
        assert!(low < u64::MAX / 4 + 1, "{id}");
    }
}

#[tokio::test]
async fn a_collector_that_never_answers_costs_requests_nothing() {
    let bounds = [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "64"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "64"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "50"),
    ];
    let (served, collector) = exported_with(&bounds).await;
    let _gate = collector.hang();
    let token = served.token("alex");
    assert_eq!(served.post_token(&token).await.status, 200);
    eventually("an export hangs", async || collector.requests() > 0).await;
    let clock = SystemClock::new();
    // Four spans and two records each: far more than may wait.
    for _ in 0..300 {
        assert_eq!(served.post_token(&token).await.status, 200);
    }
    let took = clock.monotonic();
    assert!(took.as_secs() < 5, "{took:?}");
    assert_eq!(served.readiness().await, Some(200));
    served.process.signal("TERM");
    let ended = served.process.end().await;
    assert_eq!(ended.code, Some(0));
    // What is written here is complete.
    let requests = lines(&ended.stdout).filter(|line| line["message"] == "request");
    assert_eq!(requests.count(), 301);
    let all = clock.monotonic();
    assert!(
        all.saturating_sub(took).as_secs() < 8,
        "the end is not held up: {all:?}"
    );
}

#[tokio::test]
async fn baggage_goes_nowhere() {
    let (served, collector) = exported_with(&[]).await;
    let call = Call::new("POST", format!("{}/token", served.public))
        .bearer(&served.token("alex"))
        .header("traceparent", &traceparent(1))
        .header("baggage", "key=carried-baggage");
    assert_eq!(call.send().await.outcome(), "200");
    let output = flushed(served).await.stdout;
    assert!(!collector.bytes().contains("carried-baggage") && !output.contains("carried-baggage"));
}
