//! Pushing metrics over OTLP, from a thread of its own: requests record, and never wait for a collector.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{MetricExporter, Protocol as OtlpProtocol, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use tokio::runtime::Runtime;

use super::counts::Counts;
use super::lost::CountedPush;
use super::{MetricSettings, Metrics, resource};
use crate::telemetry::environment::{ExporterSettings, Protocol};
use crate::telemetry::export::own_runtime;
use crate::telemetry::{TelemetryError, client};

/// The process's metrics, with an exporter if one is configured.
#[derive(Debug)]
pub(in crate::telemetry) struct Pushing {
    pub(in crate::telemetry) metrics: Metrics,
    // Drives the gRPC channel. `None` without one, and once shut down.
    runtime: Option<Runtime>,
    stopped: bool,
}

impl Pushing {
    pub(in crate::telemetry) fn start(settings: MetricSettings) -> Result<Self, TelemetryError> {
        let counts = Arc::new(Counts::new());
        let mut builder = SdkMeterProvider::builder().with_resource(resource(settings.resource));
        let mut runtime = None;
        if let Some(exporter) = &settings.exporter {
            let exporter = match exporter.protocol {
                Protocol::HttpProtobuf => http(exporter)?,
                Protocol::Grpc => grpc(exporter, runtime.insert(own_runtime()?))?,
            };
            let counted = CountedPush {
                inner: exporter,
                counts: Arc::clone(&counts),
            };
            let reader = PeriodicReader::builder(counted).with_interval(settings.interval);
            builder = builder.with_reader(reader.build());
        }
        Ok(Self {
            metrics: Metrics::scraped(builder, counts),
            runtime,
            stopped: false,
        })
    }

    /// Begins the last export; it is over, or given up, when what is returned is waited for. Not a second time.
    pub(in crate::telemetry) fn stop(&mut self) -> LastExport {
        let (done, over) = mpsc::channel();
        if !std::mem::replace(&mut self.stopped, true) {
            let provider = self.metrics.0.provider.clone();
            // The SDK takes no limit here, so it gets a thread that can be left behind. Without one nothing is sent.
            let _ = std::thread::Builder::new()
                .name("otlp-metrics-end".to_owned())
                .spawn(move || {
                    // An error means that the last export failed, which the SDK has logged.
                    let _ = provider.shutdown();
                    let _ = done.send(());
                });
        }
        LastExport {
            over,
            runtime: self.runtime.take(),
        }
    }
}

/// The last export, under way.
#[must_use = "it is given up unless waited for"]
pub(in crate::telemetry) struct LastExport {
    over: mpsc::Receiver<()>,
    runtime: Option<Runtime>,
}

impl LastExport {
    pub(in crate::telemetry) fn wait(self, limit: Duration) {
        let _ = self.over.recv_timeout(limit);
        if let Some(runtime) = self.runtime {
            runtime.shutdown_background();
        }
    }
}

fn http(settings: &ExporterSettings) -> Result<MetricExporter, TelemetryError> {
    MetricExporter::builder()
        .with_http()
        .with_http_client(client::http(settings)?)
        .with_protocol(OtlpProtocol::HttpBinary)
        .with_endpoint(&settings.endpoint)
        .with_timeout(settings.timeout)
        .build()
        .map_err(TelemetryError::Exporter)
}

/// As for traces: the channel lives on a runtime of its own.
fn grpc(settings: &ExporterSettings, runtime: &Runtime) -> Result<MetricExporter, TelemetryError> {
    let _context = runtime.enter();
    let mut builder = MetricExporter::builder()
        .with_tonic()
        .with_endpoint(&settings.endpoint)
        .with_timeout(settings.timeout);
    if !settings.endpoint.starts_with("http://") {
        builder = builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
    }
    builder.build().map_err(TelemetryError::Exporter)
}
