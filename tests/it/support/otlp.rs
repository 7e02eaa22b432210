//! An OTLP collector (http/protobuf) that keeps what it is sent.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::fake::{Fake, Reply};

/// A running collector.
pub(crate) struct Collector(Fake);

impl Collector {
    pub(crate) async fn start() -> Self {
        let fake = Fake::start().await;
        let empty = Reply::status(200).header("content-type", "application/x-protobuf");
        fake.on("/v1/traces", empty);
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
        let requests = calls.iter().map(|call| {
            assert_eq!(call.headers["content-type"], "application/x-protobuf");
            ExportTraceServiceRequest::decode(call.body.clone()).unwrap()
        });
        requests
            .flat_map(|request| request.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
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
