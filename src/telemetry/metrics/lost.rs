//! What export loses, counted. The SDK tells nobody: its batch processor drops what its queue cannot hold and only logs
//! that, and its exporters report to it alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};

use super::Metrics;
use super::labels::Signal;

/// The spans that are on their way, of so many that may be.
#[derive(Debug, Clone)]
pub(in crate::telemetry) struct Pending {
    spans: Arc<AtomicUsize>,
    limit: usize,
    metrics: Metrics,
}

impl Pending {
    pub(in crate::telemetry) fn new(limit: usize, metrics: Metrics) -> Self {
        Self {
            spans: Arc::default(),
            limit,
            metrics,
        }
    }
}

/// Drops spans, and counts them, before a batch processor's queue of the same length would.
#[derive(Debug)]
pub(in crate::telemetry) struct CountedSpans<P> {
    pub(in crate::telemetry) inner: P,
    pub(in crate::telemetry) pending: Pending,
}

impl<P: SpanProcessor> SpanProcessor for CountedSpans<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.pending.spans.fetch_add(1, Ordering::Relaxed) < self.pending.limit {
            self.inner.on_end(span);
        } else {
            self.pending.spans.fetch_sub(1, Ordering::Relaxed);
            self.pending.metrics.dropped(Signal::Traces, 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts what could not be delivered.
#[derive(Debug)]
pub(in crate::telemetry) struct CountedExporter<E> {
    pub(in crate::telemetry) inner: E,
    pub(in crate::telemetry) pending: Pending,
}

impl<E: SpanExporter> SpanExporter for CountedExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.pending.spans.fetch_sub(count, Ordering::Relaxed);
        let outcome = self.inner.export(batch).await;
        if outcome.is_err() {
            self.pending.metrics.dropped(Signal::Traces, count as u64);
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts exports of metrics that could not be delivered. Nothing but time is lost: the next one tells the same totals.
pub(super) struct CountedPush<E> {
    pub(super) inner: E,
    pub(super) counts: Arc<super::Counts>,
}

impl<E: PushMetricExporter> PushMetricExporter for CountedPush<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let outcome = self.inner.export(metrics).await;
        if outcome.is_err() {
            self.counts.dropped(Signal::Metrics).add(1);
        }
        outcome
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}
