//! An OTLP collector, for both protocols, that keeps what it is sent.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::fake::{Fake, Gate, Reply};

const TRACES: &str = "/v1/traces";
const LOGS: &str = "/v1/logs";
const METRICS: &str = "/v1/metrics";

/// The method in gRPC of what has this path in http.
fn method(path: &str) -> &'static str {
    match path {
        TRACES => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        LOGS => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        _ => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    }
}

/// A running collector.
pub(crate) struct Collector(Fake);

impl Collector {
    pub(crate) async fn start() -> Self {
        let fake = Fake::start().await;
        let empty = Reply::status(200).header("content-type", "application/x-protobuf");
        for path in [TRACES, LOGS, METRICS] {
            fake.on(path, empty.clone());
            fake.on(method(path), Reply::grpc());
        }
        Self(fake)
    }

    /// Takes nothing any more: no request is answered.
    pub(crate) fn hang(&self) -> Gate {
        let gate = Gate::closed();
        for path in [TRACES, LOGS, METRICS] {
            self.0.on(path, Reply::status(200).behind(&gate));
        }
        gate
    }

    /// How many requests have come.
    pub(crate) fn requests(&self) -> usize {
        self.0.calls().len()
    }

    pub(crate) fn origin(&self) -> String {
        self.0.origin()
    }

    /// Every byte received, as text.
    pub(crate) fn bytes(&self) -> String {
        let calls = self.0.calls();
        calls
            .iter()
            .map(|call| String::from_utf8_lossy(&call.body).into_owned())
            .collect()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let requests = self.received::<ExportTraceServiceRequest>(TRACES).into_iter();
        requests
            .flat_map(|request| request.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }

    /// What each export of metrics had, the last one last.
    pub(crate) fn metrics(&self) -> Vec<Vec<Metric>> {
        let requests = self.received::<ExportMetricsServiceRequest>(METRICS).into_iter();
        requests
            .map(|request| {
                let resources = request.resource_metrics.into_iter();
                let scopes = resources.flat_map(|resource| resource.scope_metrics);
                scopes.flat_map(|scope| scope.metrics).collect()
            })
            .collect()
    }

    /// Log records, each with its target.
    pub(crate) fn logs(&self) -> Vec<(String, LogRecord)> {
        let requests = self.received::<ExportLogsServiceRequest>(LOGS).into_iter();
        requests
            .flat_map(|request| request.resource_logs)
            .flat_map(|resource| resource.scope_logs)
            .flat_map(|scope| {
                let target = scope.scope.unwrap_or_default().name;
                scope
                    .log_records
                    .into_iter()
                    .map(move |record| (target.clone(), record))
            })
            .collect()
    }

    fn received<M: prost::Message + Default>(&self, path: &str) -> Vec<M> {
        let calls = self.0.calls().into_iter();
        calls
            .filter_map(|call| {
                let (kind, prefix) = match call.path.as_str() {
                    own if own == path => ("application/x-protobuf", 0),
                    // Each message has a prefix of one byte for compression and four for its length.
                    own if own == method(path) => ("application/grpc", 5),
                    _ => return None,
                };
                assert_eq!(call.headers["content-type"], kind);
                // One that was cut off on its way is none: a collector takes whole messages.
                let is_whole = prefix == 0
                    || call.body.len() > prefix
                        && call.body[1..prefix] == u32::try_from(call.body.len() - prefix).unwrap().to_be_bytes();
                if !is_whole {
                    return None;
                }
                Some(M::decode(call.body.slice(prefix..)).unwrap())
            })
            .collect()
    }

    /// Resources and scopes of what came, each with its schema URL: of spans, of log records, of metrics.
    pub(crate) fn sources(&self) -> [Vec<Source>; 3] {
        let spans = self.received::<ExportTraceServiceRequest>(TRACES).into_iter();
        let logs = self.received::<ExportLogsServiceRequest>(LOGS).into_iter();
        let metrics = self.received::<ExportMetricsServiceRequest>(METRICS).into_iter();
        [
            spans
                .flat_map(|request| request.resource_spans)
                .map(|of| Source {
                    resource: of.resource.unwrap().attributes,
                    schema: of.schema_url,
                    scopes: of.scope_spans.into_iter().map(|scope| scope.schema_url).collect(),
                })
                .collect(),
            logs.flat_map(|request| request.resource_logs)
                .map(|of| Source {
                    resource: of.resource.unwrap().attributes,
                    schema: of.schema_url,
                    scopes: of.scope_logs.into_iter().map(|scope| scope.schema_url).collect(),
                })
                .collect(),
            metrics
                .flat_map(|request| request.resource_metrics)
                .map(|of| Source {
                    resource: of.resource.unwrap().attributes,
                    schema: of.schema_url,
                    scopes: of.scope_metrics.into_iter().map(|scope| scope.schema_url).collect(),
                })
                .collect(),
        ]
    }

    /// The spans of one trace.
    pub(crate) fn trace(&self, trace_id: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| hex(&span.trace_id) == trace_id);
        spans
    }
}

/// Who sent something.
pub(crate) struct Source {
    pub(crate) resource: Vec<KeyValue>,
    pub(crate) schema: String,
    pub(crate) scopes: Vec<String>,
}

/// An attribute of a span as text.
pub(crate) fn attribute(span: &Span, name: &str) -> Option<String> {
    value(&span.attributes, name)
}

/// An attribute as text.
pub(crate) fn value(attributes: &[KeyValue], name: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == name)?;
    Some(text(attribute.value.as_ref()?))
}

/// Any value as text.
pub(crate) fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .concat()
}
