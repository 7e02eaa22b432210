//! Metrics: every instrument of the broker, recorded where the decisions fall.
//!
//! [`Metrics`] is made once and handed to the parts that need it. It is always there: scraped as Prometheus text at the
//! management listener, and pushed over OTLP where an endpoint is configured. `catalogue` lists the instruments, `labels`
//! what their labels can say: closed sets, configured names, and no user, token or free text. What each request adds to
//! is counted without locks (`counts`); ages and fill levels are read when metrics are collected (`state`).
//!
//! There are no exemplars: neither the Rust SDK (0.33) nor the text format that is written here has any.

pub mod catalogue;
mod counts;
mod export;
mod http;
pub mod labels;
mod state;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::{MeterProviderBuilder, SdkMeterProvider};
use prometheus::{Registry, TextEncoder};
use strum::VariantArray as _;

use self::catalogue as all;
use self::catalogue::Definition;
pub use self::counts::ActiveRequest;
use self::counts::{Counts, ResourceCounts};
pub(super) use self::export::Pushing;
pub use self::http::{Answered, Called};
use self::labels::{Authentication, Authorization, CacheRequest, KeyFetch, Refusal, Signal};
use self::state::Watched;
pub use self::state::{
    AssignmentsState, Bounded, BrokerState, BudgetState, CacheState, CircuitOf, CircuitState, KeysState,
};
use super::lines::LostLines;

/// Buckets of the conventions for HTTP durations, in seconds.
const HTTP_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Buckets for a store in the same network, in seconds.
const STORE_BUCKETS: [f64; 12] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
];

/// Most series of one instrument; what is beyond is added to one that says so (`otel.metric.overflow`). The closed sets
/// stay well below.
const MOST_SERIES: usize = 2_000;
/// The same where each listed tenant has its own.
const MOST_TENANT_SERIES: usize = 20_000;

/// Content type of [`Metrics::scrape`]: Prometheus's text format.
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All instruments. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    counts: Arc<Counts>,
    watched: Watched,
    answered: Histogram<f64>,
    called: Histogram<f64>,
    exchanges: Histogram<f64>,
    store_operations: Counter<u64>,
    store_durations: Histogram<f64>,
    memberships: Counter<u64>,
    key_fetches: Counter<u64>,
    refusals: Counter<u64>,
    registry: Registry,
    provider: SdkMeterProvider,
}

/// The text cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be written as text")]
pub struct ScrapeError(#[source] prometheus::Error);

impl Metrics {
    /// Metrics that are neither scraped nor pushed.
    #[must_use]
    pub fn noop() -> Self {
        let provider = SdkMeterProvider::builder().build();
        // The SDK complains of each observed instrument that no reader will ask, so there are none.
        Self::new(provider, Registry::new(), Arc::new(Counts::new()), |_, _, _| ())
    }

    /// Metrics that can be scraped, and are pushed nowhere.
    #[must_use]
    pub fn local() -> Self {
        Self::scraped(SdkMeterProvider::builder(), Arc::new(Counts::new()))
    }

    /// Those of `builder` that can be scraped too.
    fn scraped(builder: MeterProviderBuilder, counts: Arc<Counts>) -> Self {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            // One scope, ours: its name and version on each series would add nothing.
            .scope_info_enabled(false)
            .build();
        match reader {
            Ok(reader) => Self::read(builder.with_reader(reader), registry, counts),
            // A new registry refuses nothing.
            Err(error) => {
                tracing::error!(%error, "metrics cannot be scraped");
                Self::read(builder, registry, counts)
            }
        }
    }

    fn read(builder: MeterProviderBuilder, registry: Registry, counts: Arc<Counts>) -> Self {
        Self::new(builder.with_view(limited).build(), registry, counts, observe)
    }

    fn new(
        provider: SdkMeterProvider,
        registry: Registry,
        counts: Arc<Counts>,
        observe: impl FnOnce(&Meter, &Arc<Counts>, &Watched),
    ) -> Self {
        let meter = provider.meter_with_scope(super::scope());
        let watched = Watched::default();
        observe(&meter, &counts, &watched);
        let refusals = counter(&meter, &all::REFUSALS);
        for refusal in Refusal::ALL {
            refusals.add(0, &[labels::reason(refusal.into_str())]);
        }
        Self(Arc::new(Inner {
            answered: histogram(&meter, &all::SERVER_DURATION),
            called: histogram(&meter, &all::CLIENT_DURATION),
            exchanges: histogram(&meter, &all::EXCHANGE_DURATION),
            store_operations: counter(&meter, &all::STORE_OPERATIONS),
            store_durations: histogram_of(&meter, &all::STORE_DURATION, STORE_BUCKETS.to_vec()),
            memberships: counter(&meter, &all::MEMBERSHIP_REQUESTS),
            key_fetches: counter(&meter, &all::JWKS_REFRESHES),
            refusals,
            counts,
            watched,
            registry,
            provider,
        }))
    }

    /// Prometheus text of all there is, in [`TEXT_FORMAT`].
    pub fn scrape(&self) -> Result<String, ScrapeError> {
        TextEncoder::new()
            .encode_to_string(&self.0.registry.gather())
            .map_err(ScrapeError)
    }

    /// Looks at `state` from now on, as long as it lives.
    pub fn watch(&self, state: Weak<dyn BrokerState>) {
        self.0.watched.set(state);
    }

    /// A request at the public listener has come; it counts until what is given is dropped.
    pub fn request_began(&self, method: &str, scheme: &str) -> ActiveRequest {
        self.0.counts.active(method, scheme)
    }

    /// It was answered, or has ended without an answer.
    pub fn answered(&self, answered: &Answered, duration: Duration) {
        http::record_answer(&self.0.answered, answered, duration);
    }

    /// A request was refused.
    pub fn refused(&self, refusal: Refusal) {
        self.0.refusals.add(1, &[labels::reason(refusal.into_str())]);
    }

    /// One call to another service has ended.
    pub fn called(&self, called: &Called<'_>, duration: Duration) {
        http::record_call(&self.0.called, called, duration);
    }

    /// Something was decided about a presented token.
    pub fn authenticated(&self, of: Authentication) {
        self.0.counts.authentication(of).add(1);
    }

    /// An authenticated caller that no resource serves.
    pub fn unrouted(&self) {
        self.0.counts.unrouted().add(1);
    }

    /// A request was refused by `limit`.
    pub fn limited(&self, limit: labels::Limit) {
        self.0.counts.limit(limit).add(1);
    }

    /// A caller's group memberships were known, asked for, or could not be learnt; `outcome` is one of few.
    pub fn membership(&self, outcome: &'static str) {
        self.0.memberships.add(1, &[labels::outcome(outcome)]);
    }

    /// The same outcomes are there from the start with zero, so that the first failure shows as an increase.
    pub fn memberships(&self, outcomes: &[&'static str]) {
        for outcome in outcomes {
            self.0.memberships.add(0, &[labels::outcome(outcome)]);
        }
    }

    /// Spans or the like were lost.
    pub fn dropped(&self, signal: Signal, count: u64) {
        self.0.counts.dropped(signal).add(count);
    }

    /// Counts what this writer of log lines loses.
    pub(super) fn count_lost_lines(&self, lines: LostLines, audit: LostLines) {
        self.0.counts.count_lost_lines(lines, audit);
    }

    /// Where a resource's decisions are recorded; without a name it is the only one. Once for each resource.
    #[must_use]
    pub fn resource(&self, name: Option<&str>) -> ResourceMetrics {
        ResourceMetrics {
            counts: self.0.counts.resource(name),
            exchanges: self.0.exchanges.clone(),
        }
    }

    /// Where operations at the store that replicas share are recorded. `outcomes` are all that there are: they are there from the
    /// start with zero, so that the first failure shows as an increase.
    #[must_use]
    pub fn store(&self, outcomes: impl IntoIterator<Item = &'static str>) -> StoreMetrics {
        for outcome in outcomes {
            self.0.store_operations.add(0, &[labels::outcome(outcome)]);
        }
        StoreMetrics {
            operations: self.0.store_operations.clone(),
            durations: self.0.store_durations.clone(),
        }
    }

    /// Where the fetches of a listed tenant's keys are recorded.
    #[must_use]
    pub fn tenant_keys(&self, tenant: &str) -> KeyMetrics {
        let metrics = KeyMetrics {
            fetches: self.0.key_fetches.clone(),
            tenant: state::tenant(Arc::<str>::from(tenant)),
        };
        for cause in KeyFetch::VARIANTS {
            metrics.add(0, *cause, true);
            metrics.add(0, *cause, false);
        }
        metrics
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::noop()
    }
}

/// Registers what is read when metrics are collected.
fn observe(meter: &Meter, counts: &Arc<Counts>, watched: &Watched) {
    count_by(meter, &all::AUTHENTICATION, counts, Counts::observe_authentication);
    count_by(meter, &all::AUTHORIZATION, counts, Counts::observe_authorization);
    count_by(meter, &all::CACHE_REQUESTS, counts, Counts::observe_cache);
    count_by(meter, &all::LIMITS_REFUSED, counts, Counts::observe_limits);
    count_by(meter, &all::TELEMETRY_DROPPED, counts, Counts::observe_dropped);
    let active = Arc::clone(counts);
    meter
        .i64_observable_up_down_counter(all::ACTIVE_REQUESTS.name)
        .with_unit(all::ACTIVE_REQUESTS.unit)
        .with_description(all::ACTIVE_REQUESTS.description)
        .with_callback(move |observer| active.observe_active(observer))
        .build();
    state::register(meter, watched);
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// What is recorded of one ACS resource. Cheap to clone.
#[derive(Clone)]
pub struct ResourceMetrics {
    counts: Arc<ResourceCounts>,
    exchanges: Histogram<f64>,
}

impl ResourceMetrics {
    /// The assignments were asked about a caller.
    pub fn authorized(&self, of: Authorization) {
        self.counts.authorization(of).add(1);
    }

    /// A permitted caller got a token, or not.
    pub fn cache(&self, of: CacheRequest) {
        self.counts.cache(of).add(1);
    }

    /// An exchange has ended; `ahead` if no caller waited for it. `mode` and `outcome` are one of few.
    pub fn exchanged(&self, mode: &'static str, outcome: &'static str, ahead: bool, duration: Duration) {
        self.exchanges.record(
            duration.as_secs_f64(),
            &[
                KeyValue::new("acs_broker.exchange.ahead", ahead),
                KeyValue::new("acs_broker.exchange.mode", mode),
                labels::outcome(outcome),
                self.counts.name(),
            ],
        );
    }
}

/// What is recorded of the store that replicas share.
#[derive(Clone)]
pub struct StoreMetrics {
    operations: Counter<u64>,
    durations: Histogram<f64>,
}

impl StoreMetrics {
    /// An operation has ended, or was not made; `outcome` is one of few.
    pub fn ended(&self, outcome: &'static str) {
        self.operations.add(1, &[labels::outcome(outcome)]);
    }

    /// The store has answered, or was given up; `operation` is one of few.
    pub fn took(&self, operation: &'static str, duration: Duration) {
        let operation = KeyValue::new("acs_broker.shared_cache.operation", operation);
        self.durations.record(duration.as_secs_f64(), &[operation]);
    }
}

/// What is recorded of one tenant's signing keys.
#[derive(Clone)]
pub struct KeyMetrics {
    fetches: Counter<u64>,
    tenant: KeyValue,
}

impl KeyMetrics {
    /// A fetch has ended.
    pub fn fetched(&self, cause: KeyFetch, good: bool) {
        self.add(1, cause, good);
    }

    fn add(&self, count: u64, cause: KeyFetch, good: bool) {
        let labels = [
            KeyValue::new("acs_broker.jwks.cause", cause.into_str()),
            labels::outcome(if good { "good" } else { "failed" }),
            self.tenant.clone(),
        ];
        self.fetches.add(count, &labels);
    }
}

/// The view of every instrument: its bound on series.
fn limited(instrument: &opentelemetry_sdk::metrics::Instrument) -> Option<opentelemetry_sdk::metrics::Stream> {
    let of_tenants = instrument.name().starts_with("acs_broker.jwks.");
    let limit = if of_tenants { MOST_TENANT_SERIES } else { MOST_SERIES };
    opentelemetry_sdk::metrics::Stream::builder()
        .with_cardinality_limit(limit)
        .build()
        .ok()
}

fn histogram(meter: &Meter, of: &Definition) -> Histogram<f64> {
    histogram_of(meter, of, HTTP_BUCKETS.to_vec())
}

fn histogram_of(meter: &Meter, of: &Definition, buckets: Vec<f64>) -> Histogram<f64> {
    meter
        .f64_histogram(of.name)
        .with_unit(of.unit)
        .with_description(of.description)
        .with_boundaries(buckets)
        .build()
}

fn counter(meter: &Meter, of: &Definition) -> Counter<u64> {
    meter
        .u64_counter(of.name)
        .with_unit(of.unit)
        .with_description(of.description)
        .build()
}

/// A counter whose numbers are kept in `counts`.
fn count_by(
    meter: &Meter,
    of: &Definition,
    counts: &Arc<Counts>,
    observe: fn(&Counts, &dyn opentelemetry::metrics::AsyncInstrument<u64>),
) {
    let counts = Arc::clone(counts);
    meter
        .u64_observable_counter(of.name)
        .with_unit(of.unit)
        .with_description(of.description)
        .with_callback(move |observer| observe(&counts, observer))
        .build();
}
