//! Whether a request is traced, decided before a span is made; and the trace of one that is not.
//!
//! Making a span is what tracing costs, so a request that is not sampled makes none: `gate` switches them off
//! while it runs. Its trace goes on all the same: log lines tell its ids, and upstreams get its trace id with the
//! sampled flag off. That is kept here, in a task-local, and carried to work that goes on elsewhere by [`Trace`].

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::gate::Gate;
use super::{ids, propagation};

tokio::task_local! {
    // The trace of work that makes no spans; none for work that does.
    static QUIET: Option<Arc<Quiet>>;
}

/// The trace of a request that makes no spans.
#[derive(Debug)]
struct Quiet {
    // What stands for the server span: a span of this id is made only if the request fails or is slow.
    context: SpanContext,
    parent: SpanId,
}

/// The context of the work that runs here, if it makes no spans.
pub(super) fn quiet() -> Option<SpanContext> {
    QUIET
        .try_with(|quiet| quiet.as_ref().map(|quiet| quiet.context.clone()))
        .ok()
        .flatten()
}

/// Whether the work that runs here makes no spans.
pub(super) fn is_quiet() -> bool {
    QUIET.try_with(Option::is_some).unwrap_or(false)
}

/// The trace of one request at the public listener.
#[derive(Debug)]
pub struct RequestTrace(Kind);

#[derive(Debug)]
enum Kind {
    Recorded { parent: Context, trace_id: TraceId },
    Quiet(Arc<Quiet>),
}

/// A span made when all is over: what it says.
#[derive(Debug)]
pub struct LateSpan {
    /// Its name.
    pub name: String,
    /// When the request was over.
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
        let recorded = with_gate(|gate| gate.records(&caller, trace_id)).unwrap_or(false);
        Self(if recorded {
            Kind::Recorded { parent, trace_id }
        } else {
            Kind::Quiet(Arc::new(Quiet {
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

    /// The server span, if the request is recorded. `make` is asked only then.
    pub fn span(&self, make: impl FnOnce() -> Span) -> Span {
        match &self.0 {
            Kind::Recorded { parent, trace_id } => {
                let span = make();
                propagation::set_remote_parent(&span, parent.clone());
                // A trace that begins here has the id by which it was sampled. Asking for the context starts the span.
                ids::next_trace_id(*trace_id, || span.context());
                span
            }
            Kind::Quiet(_) => Span::none(),
        }
    }

    /// Lets `work` run in this trace.
    pub async fn carry<F: Future>(&self, work: F) -> F::Output {
        QUIET.scope(self.quiet(), work).await
    }

    /// The same for what does not wait.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        QUIET.sync_scope(self.quiet(), work)
    }

    /// Leaves one span of a request that made none, if it failed or took long: a server span without children.
    pub fn leave(&self, failed: bool, duration: Duration, describe: impl FnOnce() -> LateSpan) {
        if let Kind::Quiet(quiet) = &self.0 {
            with_gate(|gate| gate.leave(&quiet.context, quiet.parent, failed, duration, describe));
        }
    }

    fn quiet(&self) -> Option<Arc<Quiet>> {
        match &self.0 {
            Kind::Recorded { .. } => None,
            Kind::Quiet(quiet) => Some(Arc::clone(quiet)),
        }
    }
}

/// The subscriber's gate. Found by way of the subscriber, so that what a test sets up for itself counts.
fn with_gate<T>(work: impl FnOnce(&Gate) -> T) -> Option<T> {
    let mut work = Some(work);
    tracing::dispatcher::get_default(|dispatch| {
        let gate = dispatch.downcast_ref::<Gate>()?;
        work.take().map(|work| work(gate))
    })
}

/// The trace that work belongs to, for handing it to work that goes on elsewhere.
#[derive(Debug, Clone)]
pub struct Trace {
    span: Span,
    quiet: Option<Arc<Quiet>>,
}

impl Trace {
    /// That of the work that runs here.
    #[must_use]
    pub fn current() -> Self {
        let quiet = QUIET.try_with(Clone::clone).ok().flatten();
        Self {
            span: if quiet.is_some() { Span::none() } else { Span::current() },
            quiet,
        }
    }

    /// That of none: work which nobody asked for begins a trace of its own.
    #[must_use]
    pub fn none() -> Self {
        Self {
            span: Span::none(),
            quiet: None,
        }
    }

    /// A span, made by `make` without a parent, that follows this trace's as its child but does not hold it open: for
    /// work that goes on when what caused it has ended.
    pub fn follow(&self, make: impl FnOnce() -> Span) -> Span {
        QUIET.sync_scope(self.quiet.clone(), || {
            let span = make();
            if !self.span.is_disabled() {
                propagation::set_remote_parent(&span, self.span.context());
            }
            span
        })
    }

    /// Lets `work` run in this trace.
    pub fn carry<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        QUIET.scope(self.quiet.clone(), work)
    }
}

/// A span that another may point to, if it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanReference(TraceId, SpanId);

impl SpanReference {
    /// That of `span`.
    #[must_use]
    pub fn of(span: &Span) -> Option<Self> {
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

    /// Lets the span of one who waited link to the work that another began. One's own is in one's own trace.
    pub fn link(self, span: &Span) {
        if span.is_disabled() || span.context().span().span_context().trace_id() == self.0 {
            return;
        }
        let context = SpanContext::new(self.0, self.1, TraceFlags::SAMPLED, false, TraceState::default());
        span.add_link(context);
    }
}

/// Tells `span` of an error: its kind, that it failed, and what it says as an event. `message` is asked only if the
/// span is recorded.
pub fn record_error(span: &Span, kind: &'static str, message: impl FnOnce() -> String) {
    record(span, kind, || Some(KeyValue::new("exception.message", message())));
}

/// The same without what it says: for errors that may hold what spans must not.
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
