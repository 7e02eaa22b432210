//! Pushing metrics over OTLP, from a thread of its own: requests record, and never wait for a collector.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::Metrics;
use super::counts::Counts;
use super::labels::Signal;
use crate::TelemetryError;
use crate::environment::{MetricSettings, Settings};
use crate::export::Background;
use crate::otlp::{Backoff, Client};
use crate::sending::{Attempts, End, send_with_retry};
use base::clock::SharedClock;

/// The process's metrics, with an exporter if one is configured.
#[derive(Debug)]
pub(crate) struct Pushing {
    pub(crate) metrics: Metrics,
    stopped: bool,
}

impl Pushing {
    pub(crate) fn start(
        settings: &Settings,
        background: &mut Background,
        clock: &SharedClock,
    ) -> Result<Self, TelemetryError> {
        let counts = Arc::new(Counts::new());
        let mut builder = SdkMeterProvider::builder().with_resource(settings.resource.clone());
        let MetricSettings {
            exporter,
            interval,
            temporality,
        } = &settings.metrics;
        if let Some(exporter) = exporter {
            let push = Push {
                client: Client::new(exporter, Arc::clone(clock))?,
                runtime: background.runtime()?,
                end: background.end(),
                attempts: Arc::new(Mutex::new(Attempts::new(
                    Signal::Metrics.into_str(),
                    Backoff::new(*interval),
                ))),
                temporality: *temporality,
                interval: *interval,
                counts: Arc::clone(&counts),
            };
            let reader = PeriodicReader::builder(push).with_interval(*interval);
            builder = builder.with_reader(reader.build());
        }
        Ok(Self {
            metrics: Metrics::scraped(builder, counts),
            stopped: false,
        })
    }

    /// Begins the last export; it is over, or given up, when what is returned is waited for. Not a second time.
    pub(crate) fn stop(&mut self) -> LastExport {
        let (done, over) = mpsc::channel();
        if !std::mem::replace(&mut self.stopped, true) {
            let provider = self.metrics.0.provider.clone();
            // The SDK takes no limit here, so it gets a thread that can be left behind. Without one nothing is sent.
            let _ = std::thread::Builder::new()
                .name("otlp-metrics-end".to_owned())
                .spawn(move || {
                    // An error means that the last export failed, which is logged.
                    let _ = provider.shutdown();
                    let _ = done.send(());
                });
        }
        LastExport { over }
    }
}

/// The last export, under way.
#[must_use = "it is given up unless waited for"]
pub(crate) struct LastExport {
    over: mpsc::Receiver<()>,
}

impl LastExport {
    pub(crate) fn wait(self, limit: Duration) {
        let _ = self.over.recv_timeout(limit);
    }
}

/// Sends what was collected. While it tries, nothing is collected.
struct Push {
    client: Client,
    runtime: Handle,
    end: End,
    attempts: Arc<Mutex<Attempts>>,
    temporality: Temporality,
    interval: Duration,
    counts: Arc<Counts>,
}

impl PushMetricExporter for Push {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let message = ExportMetricsServiceRequest::from(metrics);
        let (client, attempts, end) = (self.client.clone(), Arc::clone(&self.attempts), self.end.clone());
        // Totals are sent again at the next time, and later is better. What has been added since the last time is sent
        // once, however long that takes, and what is added meanwhile is in the next.
        let retry_for = (self.temporality == Temporality::Cumulative).then_some(self.interval);
        let sending = self.runtime.spawn(async move {
            let mut attempts = attempts.lock().await;
            send_with_retry(&client, message, &mut attempts, retry_for, &end).await
        });
        if sending.await.unwrap_or(false) {
            return Ok(());
        }
        self.counts.dropped(Signal::Metrics).add(1);
        Err(OTelSdkError::InternalFailure("metrics were not taken".to_owned()))
    }

    fn force_flush(&self) -> OTelSdkResult {
        // Nothing is held back.
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        self.temporality
    }
}
