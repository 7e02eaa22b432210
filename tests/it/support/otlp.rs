//! An OTLP collector (http/protobuf) that keeps what it is sent.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::fake::{Fake, Reply};

const TRACES: &str = "/v1/traces";
const METRICS: &str = "/v1/metrics";

/// A running collector.
pub(crate) struct Collector(Fake);

impl Collector {
    pub(crate) async fn start() -> Self {
        let fake = Fake::start().await;
        let empty = Reply::status(200).header("content-type", "application/x-protobuf");
        fake.on(TRACES, empty.clone());
        fake.on(METRICS, empty);
        Self(fake)
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
        let calls = self.0.calls();
        let requests = calls.iter().filter(|call| call.path == TRACES).map(|call| {
            assert_eq!(call.headers["content-type"], "application/x-protobuf");
            ExportTraceServiceRequest::decode(call.body.clone()).unwrap()
        });
        requests
            .flat_map(|request| request.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }

    /// What each export of metrics told, the last one last.
    pub(crate) fn metrics(&self) -> Vec<Vec<Metric>> {
        let calls = self.0.calls();
        let exports = calls.iter().filter(|call| call.path == METRICS).map(|call| {
            assert_eq!(call.headers["content-type"], "application/x-protobuf");
            let request = ExportMetricsServiceRequest::decode(call.body.clone()).unwrap();
            let scopes = request
                .resource_metrics
                .into_iter()
                .flat_map(|resource| resource.scope_metrics);
            scopes.flat_map(|scope| scope.metrics).collect()
        });
        exports.collect()
    }

    /// The spans of one trace.
    pub(crate) fn trace(&self, trace_id: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| hex(&span.trace_id) == trace_id);
        spans
    }
}

/// An attribute as text.
pub(crate) fn attribute(span: &Span, name: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        Any::IntValue(number) => Some(number.to_string()),
        Any::BoolValue(flag) => Some(flag.to_string()),
        other => Some(format!("{other:?}")),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .concat()
}
