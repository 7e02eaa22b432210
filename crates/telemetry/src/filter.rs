//! What may be logged and what may be traced.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata};
use tracing_subscriber::layer::{Context, Filter};

use super::log_level::LogLevel;
use base::clock::SharedClock;

/// The targets of everything in this workspace, modules as `acs_token_broker::…`. A filter such as
/// `acs_token_broker=debug` is for all of them, since a filter's target is the beginning of an event's.
const OWN_TARGETS: [&str; 9] = [
    "acs_token_broker",
    "acs_token_broker_azure",
    "acs_token_broker_azure_emulator",
    "acs_token_broker_base",
    "acs_token_broker_certificates",
    "acs_token_broker_config",
    "acs_token_broker_serve",
    "acs_token_broker_shared_cache",
    "acs_token_broker_telemetry",
];

/// Target of the audit events.
pub const AUDIT_TARGET: &str = "acs_token_broker::audit";

/// Target of the lines that report another level.
pub(super) const LEVEL_TARGET: &str = "acs_token_broker::telemetry::log_level";

/// Begins the targets of the OpenTelemetry crates.
const EXPORTER_TARGETS: &str = "opentelemetry";

/// Target of our own lines about exporting: seldom heard and not sent, as those of the OpenTelemetry crates.
pub(super) const OTLP_TARGET: &str = "opentelemetry::otlp";

/// One line from each place in the OpenTelemetry crates in this time: a dead collector fails every few seconds.
const EXPORTER_SILENCE: Duration = Duration::from_mins(1);

/// Whether `target` is this workspace's.
pub(super) fn is_own(target: &str) -> bool {
    let package = target.split_once("::").map_or(target, |(package, _)| package);
    OWN_TARGETS.contains(&package)
}

/// Whether events of `target` come from the OpenTelemetry crates.
pub(super) fn is_exporter(target: &str) -> bool {
    target.starts_with(EXPORTER_TARGETS)
}

/// Whether spans and events like this one become part of traces: our own spans from INFO up.
///
/// Spans of hyper, h2 or reqwest could hold headers, hence tokens. Events stay out, because log lines carry the
/// trace's id already. With the exporter's own HTTP client excluded, exporting can never cause more to export.
pub(super) fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= tracing::Level::INFO && is_own(metadata.target())
}

/// The log's filter: the configured levels, capped for everything that is not ours.
///
/// **The cap is a security boundary.** At DEBUG and TRACE the HTTP and TLS crates write what passes through them:
/// header fields with bearer tokens, frames, bodies. Whatever `log_level` says, even `trace` or `h2=trace`, other
/// crates log at INFO at most, and the OpenTelemetry crates at WARN.
///
/// The filter applies to events. Our spans pass always, since events take their trace ids from them; and so do audit
/// events, which have a setting of their own: who turns the log down must not lose them unawares. So do the lines that
/// report another level, or the log would not show when it was turned down.
#[derive(Debug)]
pub(super) struct LogFilter {
    levels: LogLevel,
    clock: SharedClock,
    // When each place in the OpenTelemetry crates was last heard.
    heard: Mutex<HashMap<Identifier, Duration>>,
}

impl LogFilter {
    pub(super) fn new(levels: LogLevel, clock: SharedClock) -> Self {
        Self {
            levels,
            clock,
            heard: Mutex::default(),
        }
    }
}

/// The most verbose level at which `target` may log.
fn cap(target: &str) -> LevelFilter {
    if is_own(target) {
        LevelFilter::TRACE
    } else if is_exporter(target) {
        LevelFilter::WARN
    } else {
        LevelFilter::INFO
    }
}

fn passes_always(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
        && [AUDIT_TARGET, LEVEL_TARGET].contains(&metadata.target())
        && *metadata.level() <= tracing::Level::INFO
}

fn is_capped(metadata: &Metadata<'_>) -> bool {
    *metadata.level() > cap(metadata.target())
}

impl<S> Filter<S> for LogFilter {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        if metadata.is_span() {
            is_own(metadata.target())
        } else {
            passes_always(metadata)
                || !is_capped(metadata) && Filter::enabled(&*self.levels.filter(), metadata, context)
        }
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Asked for spans too: the configured filter may name some, and registers them here.
        let interest = Filter::<S>::callsite_enabled(&*self.levels.filter(), metadata);
        if metadata.is_span() {
            if is_own(metadata.target()) {
                Interest::always()
            } else {
                Interest::never()
            }
        } else if passes_always(metadata) {
            Interest::always()
        } else if is_capped(metadata) {
            Interest::never()
        } else {
            interest
        }
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        if !is_exporter(event.metadata().target()) {
            return true;
        }
        let now = self.clock.monotonic();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.get(&event.metadata().callsite()) {
            Some(last) if now.saturating_sub(*last) < EXPORTER_SILENCE => false,
            _ => {
                heard.insert(event.metadata().callsite(), now);
                true
            }
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // With `log_level = "warn"` spans must go on, for trace ids and the exporter, and so must audit events.
        Filter::<S>::max_level_hint(&*self.levels.filter()).map(|level| level.max(LevelFilter::INFO))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        Filter::on_new_span(&*self.levels.filter(), attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        Filter::on_record(&*self.levels.filter(), id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        Filter::on_enter(&*self.levels.filter(), id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        Filter::on_exit(&*self.levels.filter(), id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        Filter::on_close(&*self.levels.filter(), id, context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_crates_are_capped_and_ours_are_not() {
        for (target, level) in [
            ("acs_token_broker", LevelFilter::TRACE),
            ("acs_token_broker::api", LevelFilter::TRACE),
            ("acs_token_broker_serve", LevelFilter::TRACE),
            ("acs_token_broker_azure::retry", LevelFilter::TRACE),
            ("acs_token_broker_lookalike", LevelFilter::INFO),
            ("h2::codec", LevelFilter::INFO),
            ("hyper_util::client", LevelFilter::INFO),
            ("opentelemetry_sdk", LevelFilter::WARN),
            ("opentelemetry-otlp", LevelFilter::WARN),
        ] {
            assert_eq!(cap(target), level, "{target}");
        }
    }
}
