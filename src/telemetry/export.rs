//! The OpenTelemetry SDK: a provider for each signal, with an exporter if one is configured.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    LogExporter, Protocol as OtlpProtocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{self, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::trace::{self, BatchSpanProcessor, SdkTracerProvider, SpanProcessor as _};
use tokio::runtime::Runtime;

use super::TelemetryError;
use super::client;
use super::environment::{Protocol, Settings};
use super::ids::Ids;
use super::metrics::Metrics;
use super::metrics::labels::Signal;
use super::queue::{Counted, LogQueue, SharedSpanQueue, SpanQueue, Waiting};
use super::sampler::RequestSampler;

/// The running SDK.
#[derive(Debug)]
pub(super) struct Exports {
    pub(super) tracer_provider: SdkTracerProvider,
    pub(super) sampler: RequestSampler,
    /// Where spans go, if they are exported.
    pub(super) spans: Option<Arc<SpanQueue>>,
    /// `None` if logs are not exported.
    pub(super) logger_provider: Option<SdkLoggerProvider>,
    // Drives the gRPC channels. `None` without one, and once shut down.
    runtime: Option<Runtime>,
}

/// Builds the exporter of a signal for the protocol that its settings say. opentelemetry-otlp has a builder of its own
/// for each.
macro_rules! exporter {
    ($exporter:ty, $settings:expr, $runtime:expr) => {
        match $settings.protocol {
            // The blocking client runs on the batch thread.
            Protocol::HttpProtobuf => <$exporter>::builder()
                .with_http()
                .with_http_client(client::http($settings)?)
                .with_protocol(OtlpProtocol::HttpBinary)
                .with_endpoint(&$settings.endpoint)
                .with_timeout($settings.timeout)
                .build(),
            Protocol::Grpc => {
                // tonic spawns its connection onto the runtime it is made in. The caller's would not do: at shutdown
                // the thread that waits for the last export may be the only one that could drive it.
                let runtime = match $runtime {
                    Some(runtime) => runtime,
                    None => $runtime.insert(own_runtime()?),
                };
                let _context = runtime.enter();
                let mut builder = <$exporter>::builder()
                    .with_tonic()
                    .with_endpoint(&$settings.endpoint)
                    .with_timeout($settings.timeout);
                if !$settings.endpoint.starts_with("http://") {
                    // Without this tonic trusts nobody.
                    builder = builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
                }
                builder.build()
            }
        }
        .map_err(TelemetryError::Exporter)?
    };
}

impl Exports {
    pub(super) fn start(settings: Settings, trust_callers: bool, metrics: &Metrics) -> Result<Self, TelemetryError> {
        let resource = Resource::builder_empty().with_attributes(settings.resource).build();
        let mut runtime: Option<Runtime> = None;
        // Each batch processor has a thread of its own and a bounded queue: a dead collector costs spans and lines,
        // neither memory nor latency.
        let spans = match &settings.traces {
            None => None,
            Some(traces) => {
                let exporter = exporter!(SpanExporter, traces, &mut runtime);
                let waiting = Waiting::new(settings.span_queue, Signal::Traces, metrics.clone());
                let config = trace::BatchConfigBuilder::default()
                    .with_max_queue_size(settings.span_queue)
                    .build();
                let counted = Counted {
                    exporter,
                    waiting: Arc::clone(&waiting),
                };
                let mut processor = BatchSpanProcessor::new(counted, config);
                processor.set_resource(&resource);
                Some(Arc::new(SpanQueue { processor, waiting }))
            }
        };
        let logger_provider = match &settings.logs {
            None => None,
            Some(logs) => {
                let exporter = exporter!(LogExporter, logs, &mut runtime);
                let waiting = Waiting::new(settings.log_queue, Signal::Logs, metrics.clone());
                let config = logs::BatchConfigBuilder::default()
                    .with_max_queue_size(settings.log_queue)
                    .build();
                let counted = Counted {
                    exporter,
                    waiting: Arc::clone(&waiting),
                };
                let processor = BatchLogProcessor::builder(counted).with_batch_config(config).build();
                let queue = LogQueue { processor, waiting };
                Some(
                    SdkLoggerProvider::builder()
                        .with_log_processor(queue)
                        .with_resource(resource.clone())
                        .build(),
                )
            }
        };
        // Without an exporter nothing is recorded, and what spans there are belong to no request.
        let sampler = if spans.is_some() {
            settings.sampler.sampler(trust_callers)
        } else {
            RequestSampler::off()
        };
        let mut builder = SdkTracerProvider::builder()
            .with_sampler(sampler.clone())
            .with_id_generator(Ids)
            .with_resource(resource);
        if let Some(spans) = &spans {
            builder = builder.with_span_processor(SharedSpanQueue(Arc::clone(spans)));
        }
        Ok(Self {
            tracer_provider: builder.build(),
            sampler,
            spans,
            logger_provider,
            runtime,
        })
    }

    /// Sends what is queued, within `limit`. Does nothing the second time.
    pub(super) fn stop(&mut self, limit: Duration) {
        // An error means that something was lost, which the SDK has logged; or that this is the second time.
        std::thread::scope(|scope| {
            if let Some(logs) = &self.logger_provider {
                scope.spawn(move || {
                    let _ = logs.shutdown_with_timeout(limit);
                });
            }
            let _ = self.tracer_provider.shutdown_with_timeout(limit);
        });
        if let Some(runtime) = self.runtime.take() {
            // Dropping it instead would panic within another runtime and wait for a hanging export.
            runtime.shutdown_background();
        }
    }
}

pub(super) fn own_runtime() -> Result<Runtime, TelemetryError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otlp-grpc")
        .enable_all()
        .build()
        .map_err(TelemetryError::Runtime)
}
