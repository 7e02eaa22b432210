//! What waits for the collector: bounded, and what is lost is counted.
//!
//! The SDK's batch processors have bounded queues too, but keep what they drop to themselves. These stand before and
//! behind them: what is let in is never more than theirs can take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{BatchLogProcessor, LogBatch, LogExporter, LogProcessor, SdkLogRecord};
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};

/// How many spans and log records were lost, because the collector did not take them or not fast enough.
#[derive(Debug, Clone, Default)]
pub struct Dropped {
    pub(super) spans: Arc<AtomicU64>,
    pub(super) logs: Arc<AtomicU64>,
}

impl Dropped {
    /// Spans.
    #[must_use]
    pub fn spans(&self) -> u64 {
        self.spans.load(Ordering::Relaxed)
    }

    /// Log records on their way to a collector.
    #[must_use]
    pub fn logs(&self) -> u64 {
        self.logs.load(Ordering::Relaxed)
    }
}

/// What waits of one signal.
#[derive(Debug)]
pub(super) struct Waiting {
    items: AtomicUsize,
    capacity: usize,
    dropped: Arc<AtomicU64>,
}

impl Waiting {
    pub(super) fn new(capacity: usize, dropped: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self {
            items: AtomicUsize::new(0),
            capacity,
            dropped,
        })
    }

    /// Whether there is room for one more.
    fn enter(&self) -> bool {
        let entered = self.items.fetch_add(1, Ordering::Relaxed) < self.capacity;
        if !entered {
            self.items.fetch_sub(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        entered
    }

    fn leave(&self, items: usize) {
        self.items.fetch_sub(items, Ordering::Relaxed);
    }

    fn told(&self, items: usize, result: &OTelSdkResult) {
        if result.is_err() {
            self.dropped.fetch_add(items as u64, Ordering::Relaxed);
        }
    }
}

/// An exporter that tells what it takes and what it loses.
#[derive(Debug)]
pub(super) struct Counted<E> {
    pub(super) exporter: E,
    pub(super) waiting: Arc<Waiting>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len();
        self.waiting.leave(items);
        let result = self.exporter.export(batch).await;
        self.waiting.told(items, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Counted<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count();
        self.waiting.leave(items);
        let result = self.exporter.export(batch).await;
        self.waiting.told(items, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The way to the span exporter.
#[derive(Debug)]
pub(super) struct SpanQueue {
    pub(super) processor: BatchSpanProcessor,
    pub(super) waiting: Arc<Waiting>,
}

impl SpanQueue {
    pub(super) fn add(&self, span: SpanData) {
        if self.waiting.enter() {
            self.processor.on_end(span);
        }
    }
}

/// The same as the SDK knows it. Two hold it: spans that are made afterwards do not come by way of the SDK.
#[derive(Debug)]
pub(super) struct SharedSpanQueue(pub(super) Arc<SpanQueue>);

impl SpanProcessor for SharedSpanQueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.add(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.processor.shutdown_with_timeout(timeout)
    }
}

/// The way to the log exporter.
#[derive(Debug)]
pub(super) struct LogQueue {
    pub(super) processor: BatchLogProcessor,
    pub(super) waiting: Arc<Waiting>,
}

impl LogProcessor for LogQueue {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.waiting.enter() {
            self.processor.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_or_is_not_taken_is_counted() {
        let dropped = Dropped::default();
        let waiting = Waiting::new(2, Arc::clone(&dropped.spans));
        assert_eq!([waiting.enter(), waiting.enter(), waiting.enter()], [true, true, false]);
        assert_eq!((dropped.spans(), dropped.logs()), (1, 0));
        waiting.leave(2);
        waiting.told(2, &Ok(()));
        assert!(waiting.enter());
        waiting.told(2, &Err(opentelemetry_sdk::error::OTelSdkError::AlreadyShutdown));
        assert_eq!(dropped.spans(), 3);
    }
}
