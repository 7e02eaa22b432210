//! Standard variables whose values cannot be served, or only some of them.

use super::reader::Reader;

/// Why a value is not served; nothing if it is.
type Judge = fn(&str) -> Option<&'static str>;

fn is_one_of(text: &str, known: &[&str]) -> bool {
    known.iter().any(|name| text.eq_ignore_ascii_case(name))
}

const NO_LIMIT: Judge = |_| Some("not served; attributes have the bounds of this version");
const NO_FILE: Judge =
    |_| Some("there is no declarative configuration of OpenTelemetry here; the other variables count");
const NO_EXPORTER: Judge = |_| Some("there is no such exporter here; ignored");

const RULES: &[(&str, Judge)] = &[
    ("OTEL_PROPAGATORS", |text| {
        let all = text
            .split(',')
            .all(|name| name.trim().eq_ignore_ascii_case("tracecontext"));
        (!all).then_some("tracecontext is read and passed on, and nothing else: no baggage either")
    }),
    ("OTEL_LOG_LEVEL", |_| Some("not served; telemetry.log_level counts")),
    ("OTEL_METRICS_EXEMPLAR_FILTER", |text| {
        (!is_one_of(text, &["always_off"])).then_some("there are no exemplars")
    }),
    ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", |text| {
        (!is_one_of(text, &["explicit_bucket_histogram"])).then_some("explicit_bucket_histogram counts")
    }),
    ("OTEL_EXPORTER_PROMETHEUS_HOST", |_| {
        Some("not served; /metrics is at management.listen")
    }),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", |_| {
        Some("not served; /metrics is at management.listen")
    }),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", count),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", count),
    ("OTEL_SPAN_LINK_COUNT_LIMIT", count),
    ("OTEL_ATTRIBUTE_COUNT_LIMIT", NO_LIMIT),
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", NO_LIMIT),
    ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", NO_LIMIT),
    ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", NO_LIMIT),
    ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", NO_LIMIT),
    ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", NO_LIMIT),
    ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", NO_LIMIT),
    ("OTEL_CONFIG_FILE", NO_FILE),
    ("OTEL_EXPERIMENTAL_CONFIG_FILE", NO_FILE),
    ("OTEL_EXPORTER_ZIPKIN_ENDPOINT", NO_EXPORTER),
    ("OTEL_EXPORTER_JAEGER_ENDPOINT", NO_EXPORTER),
    ("OTEL_EXPORTER_JAEGER_AGENT_HOST", NO_EXPORTER),
];

/// The SDK reads these itself and passes over what is none.
fn count(text: &str) -> Option<&'static str> {
    text.parse::<u32>()
        .is_err()
        .then_some("not a whole number up to 4294967295; ignored")
}

pub(super) fn warn(reader: &Reader<'_>) {
    for (name, judge) in RULES {
        if let Some(reason) = reader.get(name).and_then(|text| judge(&text)) {
            reader.warn(name, reason);
        }
    }
}
