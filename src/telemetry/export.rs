//! The OpenTelemetry SDK: one tracer provider, with an exporter if one is configured.

use std::time::Duration;

use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{Protocol as OtlpProtocol, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tokio::runtime::Runtime;

use super::TelemetryError;
use super::environment::{ExporterSettings, Protocol, TraceSettings};
use super::metrics::{CountedExporter, CountedSpans, Metrics, Pending};

/// The running SDK.
///
/// Without an exporter it still makes spans: the caller's trace id then reaches the logs and the upstreams.
#[derive(Debug)]
pub(super) struct Tracing {
    pub(super) provider: SdkTracerProvider,
    // Drives the gRPC channel. `None` without one, and once shut down.
    runtime: Option<Runtime>,
}

impl Tracing {
    pub(super) fn start(settings: TraceSettings, metrics: &Metrics) -> Result<Self, TelemetryError> {
        let resource = Resource::builder_empty().with_attributes(settings.resource).build();
        let mut builder = SdkTracerProvider::builder()
            .with_sampler(settings.sampler)
            .with_resource(resource);
        let mut runtime = None;
        if let Some(exporter) = &settings.exporter {
            let exporter = match exporter.protocol {
                Protocol::HttpProtobuf => http(exporter)?,
                Protocol::Grpc => grpc(exporter, runtime.insert(own_runtime()?))?,
            };
            // A thread of its own with a bounded queue: a dead collector costs spans, neither memory nor latency.
            let pending = Pending::new(settings.queue, metrics.clone());
            let inner = CountedExporter {
                inner: exporter,
                pending: pending.clone(),
            };
            let config = BatchConfigBuilder::default()
                .with_max_queue_size(settings.queue)
                .build();
            let inner = BatchSpanProcessor::builder(inner).with_batch_config(config).build();
            builder = builder.with_span_processor(CountedSpans { inner, pending });
        }
        Ok(Self {
            provider: builder.build(),
            runtime,
        })
    }

    /// Sends what is queued, within `limit`. Does nothing the second time.
    pub(super) fn stop(&mut self, limit: Duration) {
        // An error means that spans were lost, which the SDK has logged; or that this is the second time.
        let _ = self.provider.shutdown_with_timeout(limit);
        if let Some(runtime) = self.runtime.take() {
            // Dropping it instead would panic within another runtime and wait for a hanging export.
            runtime.shutdown_background();
        }
    }
}

/// The exporter's blocking client runs on the batch thread. reqwest panics where such a client is made within
/// a tokio runtime; opentelemetry-otlp makes it on a thread of its own.
fn http(settings: &ExporterSettings) -> Result<SpanExporter, TelemetryError> {
    SpanExporter::builder()
        .with_http()
        .with_protocol(OtlpProtocol::HttpBinary)
        .with_endpoint(&settings.endpoint)
        .build()
        .map_err(TelemetryError::Exporter)
}

/// tonic spawns its connection onto the runtime it is made in. The caller's would not do: at shutdown the thread
/// that waits for the last export may be the only one that could drive it.
fn grpc(settings: &ExporterSettings, runtime: &Runtime) -> Result<SpanExporter, TelemetryError> {
    let _context = runtime.enter();
    let mut builder = SpanExporter::builder().with_tonic().with_endpoint(&settings.endpoint);
    if !settings.endpoint.starts_with("http://") {
        // Without this tonic trusts nobody.
        builder = builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
    }
    builder.build().map_err(TelemetryError::Exporter)
}

pub(super) fn own_runtime() -> Result<Runtime, TelemetryError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otlp-grpc")
        .enable_all()
        .build()
        .map_err(TelemetryError::Runtime)
}
