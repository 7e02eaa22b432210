//! What the standard `OTEL_*` variables say about metrics.
//!
//! Read here: whether to push, where, how and how long, and how often. Read by opentelemetry-otlp itself from the process
//! environment: `OTEL_EXPORTER_OTLP[_METRICS]_{HEADERS,COMPRESSION,INSECURE}` and the temporality.

use std::time::Duration;

use opentelemetry::KeyValue;

use crate::telemetry::TelemetryError;
use crate::telemetry::environment::{Environment, ExporterSettings, Signal, exporter, invalid, number, set};

const METRIC_INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";
const METRIC_TEMPORALITY: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";

const METRICS: Signal = Signal {
    exporter: "OTEL_METRICS_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    protocol: "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    timeout: "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    path: "v1/metrics",
    // Scraping is always possible.
    not_pushed: &["none", "prometheus"],
};

/// The specification's default.
const DEFAULT_METRIC_INTERVAL: Duration = Duration::from_secs(60);

/// All that is said of metrics.
#[derive(Debug)]
pub(in crate::telemetry) struct MetricSettings {
    pub(in crate::telemetry) exporter: Option<ExporterSettings>,
    pub(in crate::telemetry) interval: Duration,
    pub(in crate::telemetry) resource: Vec<KeyValue>,
}

impl MetricSettings {
    /// `resource` is that of the traces: what both tell of is one process.
    pub(in crate::telemetry) fn read(
        environment: Environment<'_>,
        resource: Vec<KeyValue>,
    ) -> Result<Self, TelemetryError> {
        let get = |name| set(environment, name);
        temporality(&get)?;
        Ok(Self {
            exporter: exporter(&METRICS, &get)?,
            interval: number(METRIC_INTERVAL, &get)?.map_or(DEFAULT_METRIC_INTERVAL, Duration::from_millis),
            resource,
        })
    }

    /// Everything that is not supported of what metrics have.
    pub(in crate::telemetry) fn problems(environment: Environment<'_>) -> Vec<TelemetryError> {
        let get = |name| set(environment, name);
        let found = [
            exporter(&METRICS, &get).err(),
            number(METRIC_INTERVAL, &get).err(),
            temporality(&get).err(),
        ];
        found.into_iter().flatten().collect()
    }
}

/// Read by the exporter itself, which would only warn.
fn temporality(get: &dyn Fn(&'static str) -> Option<String>) -> Result<(), TelemetryError> {
    match get(METRIC_TEMPORALITY) {
        Some(value) if !["cumulative", "delta", "lowmemory"].contains(&value.to_ascii_lowercase().as_str()) => {
            Err(invalid(METRIC_TEMPORALITY, "none of cumulative, delta, lowmemory"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

    fn read_metrics(variables: &[(&str, &str)]) -> Result<MetricSettings, TelemetryError> {
        let get = |name: &str| {
            let found = variables.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        MetricSettings::read(&get, Vec::new())
    }

    #[test]
    fn metrics_have_variables_of_their_own() {
        let base = (ENDPOINT, "http://c:4318");
        let endpoint = |variables: &[(&str, &str)]| {
            let exporter = read_metrics(variables).unwrap().exporter;
            exporter.map(|exporter| exporter.endpoint)
        };
        assert_eq!(endpoint(&[base]).unwrap(), "http://c:4318/v1/metrics");
        assert_eq!(
            endpoint(&[base, (METRICS.endpoint, "http://m/in")]).unwrap(),
            "http://m/in"
        );
        assert_eq!(
            endpoint(&[base, (TRACES_ENDPOINT, "http://t/in")]).unwrap(),
            "http://c:4318/v1/metrics"
        );
        for none in ["none", "prometheus"] {
            assert_eq!(endpoint(&[base, (METRICS.exporter, none)]), None);
        }
        assert_eq!(read_metrics(&[]).unwrap().interval, Duration::from_secs(60));
        let interval = read_metrics(&[(METRIC_INTERVAL, "1500")]).unwrap().interval;
        assert_eq!(interval, Duration::from_millis(1500));
        for (name, value) in [
            (METRIC_INTERVAL, "0"),
            (METRIC_INTERVAL, "1s"),
            (METRICS.exporter, "statsd"),
            (METRICS.protocol, "http/json"),
            (METRIC_TEMPORALITY, "deltoid"),
        ] {
            match read_metrics(&[base, (name, value)]) {
                Err(TelemetryError::Variable { name: told, .. }) => assert_eq!(told, name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
