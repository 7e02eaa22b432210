//! What the standard `OTEL_*` variables say.
//!
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/> and
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>. An empty value counts as unset there, and one that is
//! not understood is a warning and otherwise ignored: a service that only moved here must start. What is nearest to a
//! value counts where there is such a thing; never what would send more, or less guarded, than was asked for.
//!
//! `OTEL_SPAN_{ATTRIBUTE,EVENT,LINK}_COUNT_LIMIT` are read by the SDK itself, from the process's environment.

mod exporter;
mod reader;
mod resource;
mod sampler;
#[cfg(test)]
mod tests;
mod unserved;

use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::Temporality;

pub(super) use self::exporter::{ExporterSettings, Protocol};
use self::exporter::{LOGS, METRICS, TRACES, exporter};
use self::reader::Reader;
pub(super) use self::reader::Warnings;
pub(super) use self::sampler::SamplerSettings;
use super::queue::Batching;

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

const TEMPORALITY: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
const METRIC_INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";
const METRIC_TIMEOUT: &str = "OTEL_METRIC_EXPORT_TIMEOUT";

/// The specification's default.
const DEFAULT_METRIC_INTERVAL: Duration = Duration::from_secs(60);

/// How much of a signal may wait if nothing is said: the specification's default.
const QUEUE: u64 = 2048;
/// More would be a way to fill the memory.
const LARGEST_QUEUE: u64 = 1 << 20;
/// How much is sent at once: the specification's default.
const BATCH: u64 = 512;

/// All of it.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) traces: Option<ExporterSettings>,
    pub(super) logs: Option<ExporterSettings>,
    pub(super) metrics: MetricSettings,
    pub(super) sampler: SamplerSettings,
    pub(super) spans: Batching,
    pub(super) records: Batching,
    pub(super) resource: Resource,
}

/// What is said of metrics alone.
#[derive(Debug)]
pub(super) struct MetricSettings {
    pub(super) exporter: Option<ExporterSettings>,
    pub(super) interval: Duration,
    pub(super) temporality: Temporality,
}

impl Settings {
    /// What counts, and what is to be said of what does not.
    pub(super) fn read(environment: Environment<'_>) -> (Self, Warnings) {
        let reader = Reader::new(environment);
        let settings = Self {
            traces: bounded(exporter(&TRACES, &reader), &reader, "OTEL_BSP_EXPORT_TIMEOUT"),
            logs: bounded(exporter(&LOGS, &reader), &reader, "OTEL_BLRP_EXPORT_TIMEOUT"),
            metrics: MetricSettings {
                exporter: bounded(exporter(&METRICS, &reader), &reader, METRIC_TIMEOUT),
                interval: reader.milliseconds(METRIC_INTERVAL).unwrap_or(DEFAULT_METRIC_INTERVAL),
                temporality: temporality(&reader),
            },
            sampler: SamplerSettings::read(&reader),
            spans: batching(
                &reader,
                [
                    "OTEL_BSP_MAX_QUEUE_SIZE",
                    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
                    "OTEL_BSP_SCHEDULE_DELAY",
                ],
                Duration::from_secs(5),
            ),
            records: batching(
                &reader,
                [
                    "OTEL_BLRP_MAX_QUEUE_SIZE",
                    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
                    "OTEL_BLRP_SCHEDULE_DELAY",
                ],
                Duration::from_secs(1),
            ),
            resource: resource::read(&reader),
        };
        unserved::warn(&reader);
        (settings, reader.into_warnings())
    }
}

/// The time for one export has two names; the shorter counts.
fn bounded(exporter: Option<ExporterSettings>, reader: &Reader<'_>, name: &'static str) -> Option<ExporterSettings> {
    let limit = reader.milliseconds(name);
    exporter.map(|exporter| ExporterSettings {
        timeout: limit.map_or(exporter.timeout, |limit| limit.min(exporter.timeout)),
        ..exporter
    })
}

fn batching(reader: &Reader<'_>, [queue, batch, delay]: [&'static str; 3], default_delay: Duration) -> Batching {
    let mut capacity = reader.number(queue).unwrap_or(QUEUE);
    if capacity > LARGEST_QUEUE {
        reader.warn(queue, "more than 1048576 may not wait; that many may");
        capacity = LARGEST_QUEUE;
    }
    let mut size = reader.number(batch);
    if size.is_some_and(|size| size > capacity) {
        reader.warn(batch, "more than may wait; as many as may wait are sent at once");
        size = Some(capacity);
    }
    let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Batching {
        capacity: whole(capacity),
        batch: whole(size.unwrap_or(BATCH).min(capacity)),
        delay: reader.milliseconds(delay).unwrap_or(default_delay),
    }
}

fn temporality(reader: &Reader<'_>) -> Temporality {
    let read = |text: &str| {
        Ok(match text.to_ascii_lowercase().as_str() {
            "cumulative" => Temporality::Cumulative,
            "delta" => Temporality::Delta,
            "lowmemory" => Temporality::LowMemory,
            _ => return Err("none of cumulative, delta, lowmemory; cumulative counts"),
        })
    };
    let found = reader.first(&[TEMPORALITY], read);
    found.map_or(Temporality::Cumulative, |(_, temporality)| temporality)
}
