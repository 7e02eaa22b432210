//! Whether a request is traced, decided before a span is made; and the trace of one that is not.
//!
//! Making a span is what tracing costs, so a request that is not sampled makes none: `sampling_layer` switches them off
//! while it runs. Its trace goes on all the same: log lines have its ids, and upstreams get its trace id with the
//! sampled flag off. That is kept here, in a task-local, and carried to work that goes on elsewhere by [`Trace`].

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::sampling_layer::SamplingLayer;
use super::{ids, propagation};

tokio::task_local! {
    // The trace of work that makes no spans; none for work that does.
    static UNSAMPLED: Option<Arc<UnsampledTrace>>;
}

/// The trace of a request that makes no spans.
#[derive(Debug)]
struct UnsampledTrace {
    // What stands for the server span: a span of this id is made only if the request fails or is slow.
    context: SpanContext,
    parent: SpanId,
}

/// The context of the work that runs here, if it makes no spans.
pub(super) fn unsampled_context() -> Option<SpanContext> {
    UNSAMPLED
        .try_with(|unsampled| unsampled.as_ref().map(|unsampled| unsampled.context.clone()))
        .ok()
        .flatten()
}

/// Whether the work that runs here makes no spans.
pub(super) fn is_unsampled() -> bool {
    UNSAMPLED.try_with(Option::is_some).unwrap_or(false)
}

/// The trace of one request at the public listener.
#[derive(Debug)]
pub struct RequestTrace(Kind);

#[derive(Debug)]
enum Kind {
    Recorded { parent: Context, trace_id: TraceId },
    Unsampled(Arc<UnsampledTrace>),
}

/// What a span says that is made after its request has ended.
#[derive(Debug)]
pub struct LateSpan {
    /// Its name.
    pub name: String,
    /// When the request ended.
    pub end: Timestamp,
    /// What the span says.
    pub attributes: Vec<KeyValue>,
}

impl RequestTrace {
    /// Takes up the caller's trace, or begins one, and decides whether it is recorded. Without telemetry it is not.
    #[must_use]
    pub fn begin(headers: &HeaderMap) -> Self {
        let parent = propagation::extract(headers);
        let caller = parent.span().span_context().clone();
        let trace_id = if caller.is_valid() {
            caller.trace_id()
        } else {
            ids::trace_id()
        };
        let recorded = with_sampling_layer(|layer| layer.is_sampled(&caller, trace_id)).unwrap_or(false);
        Self(if recorded {
            Kind::Recorded { parent, trace_id }
        } else {
            Kind::Unsampled(Arc::new(UnsampledTrace {
                context: SpanContext::new(
                    trace_id,
                    ids::span_id(),
                    TraceFlags::NOT_SAMPLED,
                    false,
                    caller.trace_state().clone(),
                ),
                parent: caller.span_id(),
            }))
        })
    }

    /// The server span, if the request is recorded. `make` is called only then.
    pub fn span(&self, make: impl FnOnce() -> Span) -> Span {
        match &self.0 {
            Kind::Recorded { parent, trace_id } => {
                let span = make();
                propagation::set_remote_parent(&span, parent.clone());
                // A trace that begins here has the id by which it was sampled. Asking for the context starts the span.
                ids::next_trace_id(*trace_id, || span.context());
                span
            }
            Kind::Unsampled(_) => Span::none(),
        }
    }

    /// Runs `work` in this trace.
    pub async fn carry<F: Future>(&self, work: F) -> F::Output {
        UNSAMPLED.scope(self.unsampled(), work).await
    }

    /// The same for what does not wait.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        UNSAMPLED.sync_scope(self.unsampled(), work)
    }

    /// Records a span for a request that made none, if it failed or took long: a server span without children.
    pub fn record_late_span(&self, failed: bool, duration: Duration, describe: impl FnOnce() -> LateSpan) {
        if let Kind::Unsampled(unsampled) = &self.0 {
            with_sampling_layer(|layer| {
                layer.record_late_span(&unsampled.context, unsampled.parent, failed, duration, describe);
            });
        }
    }

    fn unsampled(&self) -> Option<Arc<UnsampledTrace>> {
        match &self.0 {
            Kind::Recorded { .. } => None,
            Kind::Unsampled(unsampled) => Some(Arc::clone(unsampled)),
        }
    }
}

/// Calls `work` with the subscriber's sampling layer. The layer is found by way of the subscriber, so that a test can set
/// up its own.
fn with_sampling_layer<T>(work: impl FnOnce(&SamplingLayer) -> T) -> Option<T> {
    let mut work = Some(work);
    tracing::dispatcher::get_default(|dispatch| {
        let layer = dispatch.downcast_ref::<SamplingLayer>()?;
        work.take().map(|work| work(layer))
    })
}

/// The trace that work belongs to, for handing it to work that goes on elsewhere.
#[derive(Debug, Clone)]
pub struct Trace {
    span: Span,
    unsampled: Option<Arc<UnsampledTrace>>,
}

impl Trace {
    /// The trace of the work that runs here.
    #[must_use]
    pub fn current() -> Self {
        let unsampled = UNSAMPLED.try_with(Clone::clone).ok().flatten();
        Self {
            span: if unsampled.is_some() {
                Span::none()
            } else {
                Span::current()
            },
            unsampled,
        }
    }

    /// No trace: work that no request asked for begins a trace of its own.
    #[must_use]
    pub fn none() -> Self {
        Self {
            span: Span::none(),
            unsampled: None,
        }
    }

    /// A span, made by `make` without a parent, that follows this trace's as its child but does not hold it open: for
    /// work that goes on when what caused it has ended.
    pub fn follow(&self, make: impl FnOnce() -> Span) -> Span {
        UNSAMPLED.sync_scope(self.unsampled.clone(), || {
            let span = make();
            if !self.span.is_disabled() {
                propagation::set_remote_parent(&span, self.span.context());
            }
            span
        })
    }

    /// Runs `work` in this trace.
    pub fn carry<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        UNSAMPLED.scope(self.unsampled.clone(), work)
    }
}

/// A span that another may point to, if it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanReference(TraceId, SpanId);

impl SpanReference {
    /// A reference to `span`, unless it is not recorded.
    #[must_use]
    pub fn from_span(span: &Span) -> Option<Self> {
        if span.is_disabled() {
            return None;
        }
        let context = span.context();
        let span = context.span();
        let context = span.span_context();
        context
            .is_sampled()
            .then(|| Self(context.trace_id(), context.span_id()))
    }

    /// Links the span of a waiting caller to the work that another request began. Work of its own trace needs no link.
    pub fn link(self, span: &Span) {
        if span.is_disabled() || span.context().span().span_context().trace_id() == self.0 {
            return;
        }
        let context = SpanContext::new(self.0, self.1, TraceFlags::SAMPLED, false, TraceState::default());
        span.add_link(context);
    }
}

/// Records an error on `span`: its kind, the status, and its message as an event. `message` is called only if the
/// span is recorded.
pub fn record_error(span: &Span, kind: &'static str, message: impl FnOnce() -> String) {
    record(span, kind, || Some(KeyValue::new("exception.message", message())));
}

/// The same without the message: for errors that may hold what spans must not.
pub fn record_error_kind(span: &Span, kind: &'static str) {
    record(span, kind, || None);
}

fn record(span: &Span, kind: &'static str, message: impl FnOnce() -> Option<KeyValue>) {
    if span.is_disabled() {
        return;
    }
    span.record("error.type", kind);
    span.record("otel.status_code", "ERROR");
    // OpenTelemetry semantic conventions, "Exceptions on spans".
    let attributes = [KeyValue::new("exception.type", kind)].into_iter().chain(message());
    span.add_event("exception", attributes.collect());
}
