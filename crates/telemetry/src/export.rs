//! The OpenTelemetry SDK: a provider for each signal, with a queue and a way out if an exporter is configured.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::time::Instant;

use super::TelemetryError;
use super::environment::{ExporterSettings, Settings};
use super::ids::Ids;
use super::metrics::Metrics;
use super::metrics::labels::Signal;
use super::otlp::{Client, Item};
use super::queue::{Batching, LogQueue, Queue, SpanQueue};
use super::sampler::RequestSampler;
use super::sending::{End, Sending};
use base::clock::SharedClock;

/// The threads that speak to collectors, and their end.
#[derive(Debug)]
pub(super) struct Background {
    // Made where something is sent at all. Not the caller's: at the end the thread that waits for the last export may
    // be the only one that could drive it.
    runtime: Option<Runtime>,
    end: watch::Sender<Option<Instant>>,
}

impl Background {
    pub(super) fn new() -> Self {
        Self {
            runtime: None,
            end: watch::Sender::new(None),
        }
    }

    /// Where to run what sends.
    pub(super) fn runtime(&mut self) -> Result<Handle, TelemetryError> {
        let runtime = match &self.runtime {
            Some(runtime) => runtime,
            None => self.runtime.insert(
                tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .thread_name("otlp")
                    .enable_all()
                    .build()
                    .map_err(TelemetryError::Runtime)?,
            ),
        };
        Ok(runtime.handle().clone())
    }

    /// When the end comes, for the tasks that send.
    pub(super) fn end(&self) -> End {
        self.end.subscribe()
    }

    /// Begins the end: who sends has so much time left.
    pub(super) fn begin_end(&self, limit: Duration) {
        self.end.send_replace(Some(Instant::now() + limit));
    }

    /// Breaks off what is still under way.
    pub(super) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping it instead would panic within another runtime and wait for a hanging export.
            runtime.shutdown_background();
        }
    }
}

/// The running SDK.
#[derive(Debug)]
pub(super) struct Exports {
    pub(super) tracer_provider: SdkTracerProvider,
    pub(super) sampler: RequestSampler,
    /// Where spans go, if they are exported.
    pub(super) spans: Option<Arc<Queue<SpanData>>>,
    /// `None` if logs are not exported.
    pub(super) logger_provider: Option<SdkLoggerProvider>,
    // Each hangs up when one signal has nothing left to send.
    sent: Vec<mpsc::Receiver<()>>,
}

impl Exports {
    pub(super) fn start(
        settings: Settings,
        trust_callers: bool,
        metrics: &Metrics,
        background: &mut Background,
        clock: &SharedClock,
    ) -> Result<Self, TelemetryError> {
        let resource = settings.resource;
        let mut sent = Vec::new();
        let mut out = Out {
            resource: &resource,
            metrics,
            background,
            clock,
            sent: &mut sent,
        };
        let spans = match &settings.traces {
            Some(traces) => Some(out.queue(traces, settings.spans, Signal::Traces)?),
            None => None,
        };
        let logs = match &settings.logs {
            Some(logs) => Some(LogQueue {
                lines: out.queue(logs, settings.records, Signal::Logs)?,
                audit: out.queue(logs, settings.records, Signal::Audit)?,
            }),
            None => None,
        };
        let logger_provider = logs.map(|queues| {
            SdkLoggerProvider::builder()
                .with_log_processor(queues)
                .with_resource(resource.clone())
                .build()
        });
        // Without an exporter nothing is recorded, and what spans there are belong to no request.
        let sampler = if spans.is_some() {
            settings.sampler.sampler(trust_callers)
        } else {
            RequestSampler::off()
        };
        let mut builder = SdkTracerProvider::builder()
            .with_sampler(sampler.clone())
            .with_id_generator(Ids)
            .with_resource(resource.clone());
        if let Some(spans) = &spans {
            builder = builder.with_span_processor(SpanQueue(Arc::clone(spans)));
        }
        Ok(Self {
            tracer_provider: builder.build(),
            sampler,
            spans,
            logger_provider,
            sent,
        })
    }

    /// Takes nothing more. What is queued is sent once [`Background::begin_end`] was called.
    pub(super) fn close(&self) {
        // An error means that this is the second time.
        let _ = self.tracer_provider.shutdown();
        if let Some(logs) = &self.logger_provider {
            let _ = logs.shutdown();
        }
    }

    /// Waits until all that was queued is sent or given up, for so long.
    pub(super) fn wait(&mut self, until: impl Fn() -> Duration) {
        for sent in self.sent.drain(..) {
            // Nothing is ever said: it hangs up.
            let _ = sent.recv_timeout(until());
        }
    }
}

/// What all signals have in common.
struct Out<'o> {
    resource: &'o Resource,
    metrics: &'o Metrics,
    background: &'o mut Background,
    clock: &'o SharedClock,
    sent: &'o mut Vec<mpsc::Receiver<()>>,
}

impl Out<'_> {
    /// A queue, and a task that empties it.
    fn queue<T: Item>(
        &mut self,
        exporter: &ExporterSettings,
        batching: Batching,
        signal: Signal,
    ) -> Result<Arc<Queue<T>>, TelemetryError> {
        let queue = Queue::new(batching, signal, self.metrics.clone());
        let sending = Sending {
            queue: Arc::clone(&queue),
            client: Client::new(exporter, Arc::clone(self.clock))?,
            resource: ResourceAttributesWithSchema::from(self.resource),
            end: self.background.end(),
        };
        let (done, sent) = mpsc::channel();
        self.sent.push(sent);
        self.background.runtime()?.spawn(async move {
            sending.run().await;
            drop(done);
        });
        Ok(queue)
    }
}
