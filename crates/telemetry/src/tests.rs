//! The whole subscriber, used locally: the process's globals stay untouched.

mod collector;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Full};
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::sync::mpsc;

use super::propagation::{extract, set_remote_parent};
use super::*;
use base::clock::{Clock, ManualClock, SystemClock};
use serve::{HeadLimits, Listener, ServeOptions, ShutdownSignals, run};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Takes what is logged.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Output {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn options(log_level: &str) -> TelemetryOptions {
    TelemetryOptions {
        log_format: LogFormat::Json,
        log_level: log_level.to_owned(),
        trust_incoming_sampling: false,
        slow_request: Duration::from_secs(1),
        clock: ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap()),
    }
}

/// What is written at `log_level` while `work` runs, one parsed object a line.
fn lines(log_level: &str, work: impl FnOnce()) -> Vec<serde_json::Value> {
    let output = Output::default();
    let (dispatch, guard) = assemble(&options(log_level), &|_| None, output.clone()).unwrap();
    tracing::dispatcher::with_default(&dispatch, work);
    drop(guard);
    let output = output.text();
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A span as the API layer makes it, child of a caller's span.
fn request_span() -> tracing::Span {
    let mut headers = HeaderMap::new();
    let parent = format!("00-{TRACE_ID}-00f067aa0ba902b7-00");
    headers.insert("traceparent", HeaderValue::from_str(&parent).unwrap());
    let span = tracing::info_span!("request", otel.kind = "server", otel.name = "POST /token");
    set_remote_parent(&span, extract(&headers));
    span
}

#[test]
fn a_log_line_is_one_object_with_the_callers_trace() {
    let lines = lines("info", || {
        request_span().in_scope(|| {
            tracing::info!(
                http.response.status_code = 401_i64,
                text = "two\nlines \u{1b}[0m",
                level = "forged",
                "answered\nat last"
            );
        });
    });
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(line["timestamp"], "2026-11-24T12:00:00.000000Z");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["field.level"], "forged");
    assert_eq!(line["target"], "acs_token_broker_telemetry::tests");
    assert_eq!(line["message"], "answered\nat last");
    assert_eq!(line["http.response.status_code"], 401);
    assert_eq!(line["text"], "two\nlines \u{1b}[0m");
    assert_eq!(line["trace_id"], TRACE_ID);
    assert_eq!(line["span_id"].as_str().unwrap().len(), 16);
    assert_ne!(line["span_id"], "00f067aa0ba902b7");
}

#[test]
fn a_quiet_log_keeps_its_trace_ids() {
    let lines = lines("error", || {
        request_span().in_scope(|| {
            tracing::debug_span!("not traced").in_scope(|| {
                tracing::warn!("not logged");
                let error: &(dyn std::error::Error + 'static) =
                    &TelemetryError::Runtime(std::io::Error::other("no thread"));
                tracing::error!(error, "broken");
            });
        });
        tracing::error!("outside");
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["trace_id"], TRACE_ID);
    assert_eq!(
        lines[0]["error"],
        "the OTLP exporter's runtime cannot be started: no thread"
    );
    assert!(lines[1].get("trace_id").is_none());
}

#[test]
fn other_crates_never_log_what_passes_through_them() {
    let lines = lines("trace,h2=trace,hyper=trace", || {
        tracing::trace!(target: "h2::codec", "authorization: Bearer eyJ");
        tracing::debug!(target: "hyper::proto", "authorization: Bearer eyJ");
        tracing::info!(target: "opentelemetry_sdk", "authorization: Bearer eyJ");
        tracing::info!(target: "hyper", "harmless");
        tracing::trace!("ours");
    });
    let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["harmless", "ours"]);
}

#[test]
fn the_exporter_is_not_heard_often() {
    let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
    let output = Output::default();
    let mut options = options("info");
    options.clock = Arc::clone(&clock) as SharedClock;
    let (dispatch, _guard) = assemble(&options, &|_| None, output.clone()).unwrap();
    tracing::dispatcher::with_default(&dispatch, || {
        for _ in 0..130 {
            tracing::error!(target: "opentelemetry_sdk", "export failed");
            clock.advance(Duration::from_secs(1));
        }
    });
    assert_eq!(output.text().lines().count(), 3);
}

#[test]
fn people_get_text() {
    let output = Output::default();
    let mut options = options("info");
    options.log_format = LogFormat::Pretty;
    let (dispatch, _guard) = assemble(&options, &|_| None, output.clone()).unwrap();
    tracing::dispatcher::with_default(&dispatch, || tracing::info!("listening"));
    let output = output.text();
    assert!(output.contains("2026-11-24T12:00:00.000Z"), "{output}");
    assert!(output.contains("listening"), "{output}");
}

#[test]
fn variables_that_cannot_be_served_are_said_and_keep_nothing_from_starting() {
    let environment = |name: &str| match name {
        "OTEL_TRACES_SAMPLER" => Some("often".to_owned()),
        // That of all three signals.
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some("udp".to_owned()),
        "OTEL_EXPORTER_OTLP_HEADERS" => Some("s3cret".to_owned()),
        "OTEL_BLRP_MAX_QUEUE_SIZE" | "OTEL_METRIC_EXPORT_INTERVAL" => Some("0".to_owned()),
        _ => None,
    };
    let warnings = warnings(&environment);
    let mut names: Vec<_> = warnings
        .iter()
        .map(|warning| warning.split(':').next().unwrap())
        .collect();
    names.sort_unstable();
    let all = [
        "OTEL_BLRP_MAX_QUEUE_SIZE",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_METRIC_EXPORT_INTERVAL",
        "OTEL_TRACES_SAMPLER",
    ];
    assert_eq!(names, all, "{warnings:?}");
    assert!(!warnings.concat().contains("s3cret"));
    assert!(super::warnings(&|_| None).is_empty());
    let (_dispatch, guard) = assemble(&options("info"), &environment, std::io::sink).unwrap();
    assert_eq!(guard.warnings, warnings);
    let refused = assemble(&options("info,=="), &|_| None, std::io::sink).map(|_| ());
    assert!(matches!(refused, Err(TelemetryError::LogLevel(_))), "{refused:?}");
}
