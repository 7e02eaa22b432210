//! Suppresses the spans of requests that are not sampled, and records one afterwards if such a request failed or was slow.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::filter::is_own;
use super::queue::Queue;
use super::sampler::RequestSampler;
use super::system_time;
use super::trace::{self, LateSpan};

/// Decides which requests are sampled, and disables all spans while one runs that is not.
#[derive(Debug)]
pub(super) struct SamplingLayer {
    pub(super) sampler: RequestSampler,
    /// Where spans go. `None` without an exporter: nothing is recorded then.
    pub(super) spans: Option<Arc<Queue<SpanData>>>,
    pub(super) scope: InstrumentationScope,
    /// Zero is off.
    pub(super) slow_request: Duration,
}

impl SamplingLayer {
    /// Whether the request with this trace id, and perhaps a caller's span, is recorded.
    pub(super) fn is_sampled(&self, caller: &SpanContext, trace_id: TraceId) -> bool {
        self.spans.is_some() && self.sampler.samples(caller, trace_id)
    }

    /// Records a span for a server fault or a slow request. A refusal gets none: anyone who reaches the listener can cause
    /// any number of them, and the access line has it.
    pub(super) fn record_late_span(
        &self,
        context: &SpanContext,
        parent: SpanId,
        failed: bool,
        duration: Duration,
        describe: impl FnOnce() -> LateSpan,
    ) {
        let slow = !self.slow_request.is_zero() && duration >= self.slow_request;
        let Some(spans) = self.spans.as_ref().filter(|_| failed || slow) else {
            return;
        };
        let late = describe();
        let end = system_time(late.end);
        let mut attributes = late.attributes;
        // Rates that are estimated from sampled spans must leave these out.
        attributes.push(KeyValue::new(
            "acs_broker.trace.late",
            if failed { "error" } else { "slow" },
        ));
        spans.add(SpanData {
            span_context: SpanContext::new(
                context.trace_id(),
                context.span_id(),
                TraceFlags::SAMPLED,
                false,
                context.trace_state().clone(),
            ),
            parent_span_id: parent,
            parent_span_is_remote: parent != SpanId::INVALID,
            span_kind: SpanKind::Server,
            name: late.name.into(),
            start_time: end.checked_sub(duration).unwrap_or(end),
            end_time: end,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: self.scope.clone(),
        });
    }
}

impl<S: Subscriber> Layer<S> for SamplingLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_span() && is_own(metadata.target()) {
            Interest::sometimes()
        } else {
            Interest::always()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        !(metadata.is_span() && trace::is_unsampled())
    }
}
