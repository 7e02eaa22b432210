//! What waits for the collector: bounded, and what is lost is counted.
//!
//! The SDK's batch processors have bounded queues too, but keep what they drop to themselves. These stand before and
//! behind them: what is let in is never more than theirs can take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{BatchLogProcessor, LogBatch, LogExporter, LogProcessor, SdkLogRecord};
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};

use super::metrics::Metrics;
use super::metrics::labels::Signal;

/// What waits of one signal.
#[derive(Debug)]
pub(super) struct Waiting {
    items: AtomicUsize,
    capacity: usize,
    signal: Signal,
    metrics: Metrics,
}

impl Waiting {
    pub(super) fn new(capacity: usize, signal: Signal, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            items: AtomicUsize::new(0),
            capacity,
            signal,
            metrics,
        })
    }

    /// Whether there is room for one more.
    fn enter(&self) -> bool {
        let entered = self.items.fetch_add(1, Ordering::Relaxed) < self.capacity;
        if !entered {
            self.items.fetch_sub(1, Ordering::Relaxed);
            self.metrics.dropped(self.signal, 1);
        }
        entered
    }

    fn leave(&self, items: usize) {
        self.items.fetch_sub(items, Ordering::Relaxed);
    }

    fn told(&self, items: usize, result: &OTelSdkResult) {
        if result.is_err() {
            self.metrics.dropped(self.signal, items as u64);
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
    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::error::OTelSdkError;
    use opentelemetry_sdk::trace::{BatchConfigBuilder, SdkTracerProvider};

    use super::*;

    /// Takes no batch.
    #[derive(Debug)]
    struct Refusing;

    impl SpanExporter for Refusing {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            Err(OTelSdkError::InternalFailure("refused".to_owned()))
        }
    }

    #[test]
    fn each_span_that_goes_nowhere_is_counted() {
        let metrics = Metrics::local();
        let waiting = Waiting::new(8, Signal::Traces, metrics.clone());
        let counted = Counted {
            exporter: Refusing,
            waiting: Arc::clone(&waiting),
        };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(8)
            .with_scheduled_delay(Duration::from_secs(3600))
            .with_max_export_batch_size(8)
            .build();
        let processor = BatchSpanProcessor::new(counted, config);
        let queue = Arc::new(SpanQueue { processor, waiting });
        let provider = SdkTracerProvider::builder()
            .with_span_processor(SharedSpanQueue(queue))
            .build();
        let tracer = provider.tracer("test");
        for _ in 0..1000 {
            drop(tracer.start("span"));
        }
        let _ = provider.shutdown();
        let text = metrics.scrape().unwrap();
        let line = "acs_broker_telemetry_dropped_total{acs_broker_signal=\"traces\"} 1000";
        assert!(text.lines().any(|told| told == line), "{text}");
    }

    #[test]
    fn what_finds_no_room_or_is_not_taken_is_counted() {
        let metrics = Metrics::local();
        let lost = |signal: &str| {
            let name = format!("acs_broker_telemetry_dropped_total{{acs_broker_signal=\"{signal}\"}} ");
            let text = metrics.scrape().unwrap();
            let value = text.lines().find_map(|line| line.strip_prefix(name.as_str()));
            value.unwrap().parse::<u64>().unwrap()
        };
        let waiting = Waiting::new(2, Signal::Logs, metrics.clone());
        assert_eq!([waiting.enter(), waiting.enter(), waiting.enter()], [true, true, false]);
        assert_eq!((lost("traces"), lost("logs")), (0, 1));
        waiting.leave(2);
        waiting.told(2, &Ok(()));
        assert!(waiting.enter());
        waiting.told(2, &Err(OTelSdkError::AlreadyShutdown));
        assert_eq!(lost("logs"), 3);
    }
}
