//! Which trace an event belongs to.

use std::sync::{Arc, OnceLock};

use opentelemetry::trace::{SpanContext, TraceContextExt};
use tracing::dispatcher::WeakDispatch;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::filter::is_exporter;
use super::trace;

/// The subscriber as a whole, which knows the trace of each span. Set once it is complete.
pub(super) type WholeSubscriber = Arc<OnceLock<WeakDispatch>>;

/// The trace of the request around `event`, if that makes no spans; else the context of the innermost span that is
/// part of a trace.
pub(super) fn trace_of<S>(event: &Event<'_>, context: &Context<'_, S>, whole: &WholeSubscriber) -> Option<SpanContext>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    // The SDK may speak while a span is being started, when asking for its context would wait for itself.
    if is_exporter(event.metadata().target()) {
        return None;
    }
    if let Some(unsampled) = trace::unsampled_context() {
        return Some(unsampled);
    }
    let whole = whole.get()?.upgrade()?;
    context.event_scope(event)?.find_map(|span| {
        let context = tracing_opentelemetry::get_otel_context(&span.id(), &whole)?;
        let span = context.span();
        let trace = span.span_context();
        trace.is_valid().then(|| trace.clone())
    })
}
