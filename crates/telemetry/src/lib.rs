//! Logs to standard output; logs, traces and metrics to an OpenTelemetry collector; and metrics for scrapers.
//!
//! Call [`init`] once, early; keep the [`TelemetryGuard`] to the end and let it flush. What is logged and traced
//! where is bounded by `filter`, so that no setting can make other crates write tokens.

mod correlate;
mod environment;
mod export;
mod filter;
mod ids;
mod json;
mod lines;
mod log_level;
pub mod metrics;
mod otlp;
mod otlp_logs;
mod pretty;
pub mod propagation;
mod queue;
mod sampler;
mod sampling_layer;
mod sending;
#[cfg(test)]
mod tests;
mod time;
pub mod trace;
mod users;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use opentelemetry::InstrumentationScope;
use opentelemetry::logs::LoggerProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use self::correlate::WholeSubscriber;
use self::environment::Settings;
use self::export::{Background, Exports};
use self::filter::LogFilter;
use self::json::JsonLayer;
use self::lines::AllLines;
use self::metrics::{Metrics, Pushing};
use self::otlp_logs::OtlpLogs;
use self::pretty::PrettyLine;
use self::sampling_layer::SamplingLayer;
use base::build_info;
use base::clock::SharedClock;
use config::LogFormat;

pub use self::environment::Environment;
pub use self::filter::AUDIT_TARGET;
pub use self::log_level::LogLevel;
pub use self::users::{NoRandomness, UserName, UserNames};

/// The version of OpenTelemetry's semantic conventions that the names of attributes and metrics are from.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// How long a guard that is merely dropped may take to flush.
const DROP_LIMIT: Duration = Duration::from_secs(2);

/// The time that the last lines have even where a collector used up all that there was.
const LINES_LIMIT: Duration = Duration::from_millis(200);

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct TelemetryOptions {
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Filter in tracing-subscriber's syntax; empty means `info`. Other crates never log below INFO.
    pub log_level: String,
    /// Whether a caller's sampled flag is obeyed.
    pub trust_incoming_sampling: bool,
    /// A request that takes as long leaves a span though it was not sampled. Zero is off.
    pub slow_request: Duration,
    /// The time of log lines.
    pub clock: SharedClock,
}

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log_level` is not a filter.
    #[error("the log level is not a valid filter")]
    LogLevel(#[source] tracing_subscriber::filter::ParseError),
    /// A gRPC endpoint cannot be used.
    #[error("the OTLP exporter's connection cannot be set up")]
    Channel(#[source] tonic::transport::Error),
    /// The exporter's client cannot be made: its trust anchors or its proxy cannot be used.
    #[error("the OTLP exporter's client cannot be made")]
    Client(#[source] reqwest::Error),
    /// No thread for the exporter.
    #[error("the OTLP exporter's runtime cannot be started")]
    Runtime(#[source] std::io::Error),
    /// The process has a subscriber already.
    #[error("telemetry is already set up")]
    AlreadySet,
}

/// What of the `OTEL_*` variables this version cannot serve, and what counts instead, one line for each. [`init`] logs
/// the same: the specification wants a warning where a value is not understood, and no end.
#[must_use]
pub fn warnings(environment: Environment<'_>) -> Vec<String> {
    Settings::read(environment).1.into_lines()
}

/// Sets the process's subscriber: logs to standard output; logs, traces and metrics to where the `OTEL_*` variables say.
///
/// `environment` looks up a variable. Records of the `log` crate are not taken over: rustls and reqwest would write through it.
pub fn init(options: &TelemetryOptions, environment: Environment<'_>) -> Result<TelemetryGuard, TelemetryError> {
    let (writer, lines) = AllLines::to(std::io::stdout);
    let (dispatch, mut guard) = assemble(options, environment, writer)?;
    lines.count_in(&guard.metrics.metrics);
    guard.lines = Some(lines);
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| TelemetryError::AlreadySet)?;
    opentelemetry::global::set_tracer_provider(guard.exports.tracer_provider.clone());
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    for warning in &guard.warnings {
        tracing::warn!("{warning}");
    }
    Ok(guard)
}

/// Everything but the process's globals.
fn assemble<W>(
    options: &TelemetryOptions,
    environment: Environment<'_>,
    writer: W,
) -> Result<(Dispatch, TelemetryGuard), TelemetryError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let level = LogLevel::new(&options.log_level)?;
    let filter = LogFilter::new(level.clone(), Arc::clone(&options.clock));
    let (settings, warnings) = Settings::read(environment);
    let mut background = Background::new();
    let metrics = Pushing::start(&settings, &mut background, &options.clock)?;
    let exports = Exports::start(
        settings,
        options.trust_incoming_sampling,
        &metrics.metrics,
        &mut background,
        &options.clock,
    )?;
    let scope = scope();
    let sampling = SamplingLayer {
        sampler: exports.sampler.clone(),
        spans: exports.spans.clone(),
        scope: scope.clone(),
        slow_request: options.slow_request,
    };
    let traces = tracing_opentelemetry::layer()
        .with_tracer(exports.tracer_provider.tracer_with_scope(scope))
        // Noise on every span, and a new line number with every release.
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        // OpenTelemetry's current context is not used; spans are asked for theirs.
        .with_context_activation(false)
        // Span status is set explicitly, not by what happens to be recorded.
        .with_error_records_to_exceptions(false)
        .with_error_fields_to_exceptions(false)
        .with_filter(FilterFn::new(filter::is_traced).with_max_level_hint(LevelFilter::INFO));

    let whole = WholeSubscriber::default();
    let logs = match options.log_format {
        LogFormat::Json => JsonLayer::new(writer, Arc::clone(&options.clock), Arc::clone(&whole)).boxed(),
        LogFormat::Pretty => tracing_subscriber::fmt::layer()
            .event_format(PrettyLine {
                clock: Arc::clone(&options.clock),
            })
            .with_ansi(std::io::stdout().is_terminal())
            .with_writer(writer)
            .boxed(),
    };
    // Both ways under one filter: what is written here and what is sent is the same.
    let logs = match &exports.logger_provider {
        Some(provider) => logs
            .and_then(OtlpLogs {
                logger: provider.logger_with_scope(self::scope()),
                clock: Arc::clone(&options.clock),
                whole: Arc::clone(&whole),
            })
            .boxed(),
        None => logs,
    };
    let dispatch = Dispatch::new(
        tracing_subscriber::registry()
            .with(traces)
            .with(logs.with_filter(filter))
            // Last, so that it is asked first.
            .with(sampling),
    );
    // `Layer::on_register_dispatch` would be the place, but filtered layers do not get the call.
    let _ = whole.set(dispatch.downgrade());
    let guard = TelemetryGuard {
        exports,
        metrics,
        background,
        warnings: warnings.into_lines(),
        level,
        lines: None,
    };
    Ok((dispatch, guard))
}

/// The scope of all that is sent: this package, with the version of the conventions that its names are from.
fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(build_info::NAME)
        .with_version(build_info::VERSION)
        .with_schema_url(SCHEMA_URL)
        .build()
}

/// For tests of what is logged: log lines as JSON to `writer`, at every level, and exports as the variables say.
/// The subscriber is returned, not installed.
pub fn for_test<W>(
    environment: Environment<'_>,
    clock: SharedClock,
    writer: W,
) -> Result<(Dispatch, TelemetryGuard), TelemetryError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let options = TelemetryOptions {
        log_format: LogFormat::Json,
        log_level: "trace".to_owned(),
        trust_incoming_sampling: false,
        slow_request: Duration::ZERO,
        clock,
    };
    assemble(&options, environment, writer)
}

/// The time as OpenTelemetry takes it; times before 1970 as 1970.
fn system_time(time: Timestamp) -> SystemTime {
    let since = Duration::try_from(time.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default();
    SystemTime::UNIX_EPOCH + since
}

/// Flushes traces, logs and metrics at the end. Dropping it does so too, within two seconds.
#[derive(Debug)]
#[must_use = "dropping it ends telemetry"]
pub struct TelemetryGuard {
    exports: Exports,
    metrics: Pushing,
    background: Background,
    warnings: Vec<String>,
    level: LogLevel,
    // `None` once ended, and where lines do not go to standard output.
    lines: Option<AllLines>,
}

impl TelemetryGuard {
    /// The log's level, to change it.
    #[must_use]
    pub fn log_level(&self) -> LogLevel {
        self.level.clone()
    }

    /// The process's metrics, to be handed to the parts that need them.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.metrics.clone()
    }

    /// Sends what is still queued and the metrics as they stand, and writes the last lines; gives up after `timeout`,
    /// whatever the collector and the reader of standard output do.
    ///
    /// Blocks its thread: meant for the very end, when nothing else is left to do.
    pub fn shutdown(mut self, timeout: Duration) {
        self.stop(timeout);
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "bounds real waiting, whatever a test's clock says"
    )]
    fn stop(&mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let remaining = || deadline.saturating_duration_since(Instant::now());
        // All at once: they share the limit, and a collector that hangs hangs for all.
        self.exports.close();
        self.background.begin_end(timeout);
        let last = self.metrics.stop();
        self.exports.wait(remaining);
        last.wait(remaining());
        self.background.stop();
        // Last, as the others may still have something to say.
        if let Some(lines) = self.lines.take() {
            lines.end(remaining().max(LINES_LIMIT));
        }
    }
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        self.stop(DROP_LIMIT);
    }
}
