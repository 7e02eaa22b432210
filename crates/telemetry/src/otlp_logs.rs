//! Events as OpenTelemetry log records.
//!
//! A layer of our own rather than opentelemetry-appender-tracing, which takes the trace from OpenTelemetry's current
//! context: there is none here, as most requests make no spans. Fields are named and bounded as in the JSON lines.

use opentelemetry::Key;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, Severity};
use opentelemetry_sdk::logs::SdkLogger;
use serde_json::Value;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::correlate::{self, WholeSubscriber};
use super::filter::is_own;
use super::json::Fields;
use super::system_time;
use base::clock::SharedClock;

/// Sends every event of this package to the logger; those of other crates, the exporter's above all, are never sent:
/// exporting must not cause more to export.
pub(super) struct OtlpLogs {
    pub(super) logger: SdkLogger,
    pub(super) clock: SharedClock,
    pub(super) whole: WholeSubscriber,
}

impl<S> Layer<S> for OtlpLogs
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if !is_own(metadata.target()) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let now = system_time(self.clock.now());
        let mut record = self.logger.create_log_record();
        record.set_timestamp(now);
        record.set_observed_timestamp(now);
        record.set_target(metadata.target());
        record.set_severity_text(metadata.level().as_str());
        record.set_severity_number(severity(*metadata.level()));
        if let Some(trace) = correlate::trace_of(event, &context, &self.whole) {
            record.set_trace_context(trace.trace_id(), trace.span_id(), Some(trace.trace_flags()));
        }
        for (name, value) in fields.0 {
            let value = any(value);
            if name == "message" {
                record.set_body(value);
            } else {
                record.add_attribute(Key::from(name), value);
            }
        }
        self.logger.emit(record);
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warn,
        Level::INFO => Severity::Info,
        Level::DEBUG => Severity::Debug,
        Level::TRACE => Severity::Trace,
    }
}

fn any(value: Value) -> AnyValue {
    match value {
        Value::String(text) => AnyValue::from(text),
        Value::Bool(flag) => AnyValue::from(flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => AnyValue::from(number),
            (None, Some(number)) => AnyValue::from(number),
            (None, None) => AnyValue::from(number.to_string()),
        },
        other => AnyValue::from(other.to_string()),
    }
}
