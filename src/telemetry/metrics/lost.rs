//! Exports of metrics that fail, counted. What is lost of spans and log records is counted in `telemetry/queue.rs`.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;

use super::labels::Signal;

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
