//! Trace and span ids. Random, but not secret: no safety rests on them.

use std::cell::Cell;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::IdGenerator;

thread_local! {
    // What the next trace that begins on this thread is called, if that is settled.
    static SETTLED: Cell<Option<TraceId>> = const { Cell::new(None) };
}

pub(super) fn trace_id() -> TraceId {
    TraceId::from(fastrand::u128(1..))
}

pub(super) fn span_id() -> SpanId {
    SpanId::from(fastrand::u64(1..))
}

/// Lets a trace that `start` begins have this id.
pub(super) fn next_trace_id<T>(id: TraceId, start: impl FnOnce() -> T) -> T {
    SETTLED.set(Some(id));
    let started = start();
    SETTLED.set(None);
    started
}

/// Makes the SDK's ids.
#[derive(Debug)]
pub(super) struct Ids;

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        SETTLED.take().unwrap_or_else(trace_id)
    }

    fn new_span_id(&self) -> SpanId {
        span_id()
    }
}
