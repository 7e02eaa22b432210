//! The three services of OTLP, and what the SDK's data become in their messages.

use opentelemetry::InstrumentationScope;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::logs::{LogBatch, SdkLogRecord};
use opentelemetry_sdk::trace::SpanData;
use prost::Message;

/// A request of one of the services.
pub(crate) trait Export: Message + Default + 'static {
    /// The method's path in gRPC.
    const METHOD: &'static str;
    /// What is answered.
    type Answer: Message + Default + 'static;

    /// How many items the collector did not take though it took the request (`partial_success`).
    fn rejected(answer: &Self::Answer) -> u64;
}

macro_rules! service {
    ($request:ty, $answer:ty, $method:literal, $rejected:ident) => {
        impl Export for $request {
            const METHOD: &'static str = $method;
            type Answer = $answer;

            fn rejected(answer: &Self::Answer) -> u64 {
                let partial = answer.partial_success.as_ref();
                partial.map_or(0, |partial| u64::try_from(partial.$rejected).unwrap_or_default())
            }
        }
    };
}

service!(
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    rejected_spans
);
service!(
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    rejected_log_records
);
service!(
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    rejected_data_points
);

/// What is queued one by one and sent in batches.
pub(crate) trait Item: Sized + Send + 'static {
    type Request: Export;

    /// The request that sends `batch`, which is kept: it may have to be sent again.
    fn request(batch: &[Self], resource: &ResourceAttributesWithSchema) -> Self::Request;
}

impl Item for SpanData {
    type Request = ExportTraceServiceRequest;

    fn request(batch: &[Self], resource: &ResourceAttributesWithSchema) -> Self::Request {
        ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch.to_vec(), resource),
        }
    }
}

impl Item for (SdkLogRecord, InstrumentationScope) {
    type Request = ExportLogsServiceRequest;

    fn request(batch: &[Self], resource: &ResourceAttributesWithSchema) -> Self::Request {
        let batch: Vec<_> = batch.iter().map(|(record, scope)| (record, scope)).collect();
        ExportLogsServiceRequest {
            resource_logs: group_logs_by_resource_and_scope(&LogBatch::new(&batch), resource),
        }
    }
}
