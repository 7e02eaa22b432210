//! Counts that each request adds to: plain atomics beside their labels, read by the SDK when it collects.
//!
//! An SDK counter hashes its labels under a lock at each addition, once for each reader; these cost one addition. They
//! are there from the start with zero, so that the first failure shows as an increase.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use opentelemetry::metrics::AsyncInstrument;
use opentelemetry::{KeyValue, StringValue};
use strum::VariantArray as _;

use super::labels::{self, Authentication, Authorization, CacheRequest, Limit, Signal};
use crate::lines::LostLines;

/// The methods with a count of their own, the usual one first.
const METHODS: [&str; 10] = [
    "POST", "GET", "OPTIONS", "HEAD", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE", "_OTHER",
];
const SCHEMES: [&str; 2] = ["http", "https"];
/// The name of the only resource.
const DEFAULT_RESOURCE: &str = "default";
/// The name where no resource serves the caller.
const NO_RESOURCE: &str = "none";

/// A count with its labels.
#[derive(Debug)]
pub(super) struct Cell<A> {
    labels: Vec<KeyValue>,
    value: A,
}

impl<A: Default> Cell<A> {
    fn new(labels: impl Into<Vec<KeyValue>>) -> Self {
        Self {
            labels: labels.into(),
            value: A::default(),
        }
    }
}

impl Cell<AtomicU64> {
    pub(super) fn add(&self, count: u64) {
        self.value.fetch_add(count, Ordering::Relaxed);
    }

    fn observe(&self, observer: &dyn AsyncInstrument<u64>) {
        observer.observe(self.value.load(Ordering::Relaxed), &self.labels);
    }
}

/// What is counted of the broker as a whole.
#[derive(Debug)]
pub(super) struct Counts {
    authentication: Box<[Cell<AtomicU64>]>,
    unrouted: Cell<AtomicU64>,
    resources: Mutex<Vec<Arc<ResourceCounts>>>,
    limits: Box<[Cell<AtomicU64>]>,
    active: Box<[Cell<AtomicI64>]>,
    dropped: Box<[Cell<AtomicU64>]>,
    lost_lines: OnceLock<LostLines>,
    lost_audit: OnceLock<LostLines>,
}

impl Counts {
    pub(super) fn new() -> Self {
        let authentication = Authentication::VARIANTS
            .iter()
            .map(|of| Cell::new([labels::outcome(of.outcome()), labels::reason(of.into_str())]));
        let limits = Limit::VARIANTS
            .iter()
            .map(|limit| Cell::new([KeyValue::new("acs_broker.limit", limit.into_str())]));
        let active = METHODS.iter().flat_map(|method| {
            SCHEMES.map(|scheme| {
                Cell::new([
                    KeyValue::new("http.request.method", *method),
                    KeyValue::new("url.scheme", scheme),
                ])
            })
        });
        let dropped = Signal::VARIANTS
            .iter()
            .map(|signal| Cell::new([KeyValue::new("acs_broker.signal", signal.into_str())]));
        Self {
            authentication: authentication.collect(),
            unrouted: authorization(Authorization::NoAssignment, &NO_RESOURCE.into()),
            resources: Mutex::default(),
            limits: limits.collect(),
            active: active.collect(),
            dropped: dropped.collect(),
            lost_lines: OnceLock::new(),
            lost_audit: OnceLock::new(),
        }
    }

    pub(super) fn authentication(&self, of: Authentication) -> &Cell<AtomicU64> {
        &self.authentication[of as usize]
    }

    pub(super) fn unrouted(&self) -> &Cell<AtomicU64> {
        &self.unrouted
    }

    pub(super) fn limit(&self, limit: Limit) -> &Cell<AtomicU64> {
        &self.limits[limit as usize]
    }

    pub(super) fn dropped(&self, signal: Signal) -> &Cell<AtomicU64> {
        &self.dropped[signal as usize]
    }

    pub(super) fn count_lost_lines(&self, lines: LostLines, audit: LostLines) {
        // There is one standard output.
        let _ = self.lost_lines.set(lines);
        let _ = self.lost_audit.set(audit);
    }

    /// The counts of a resource, from now on among those that are shown.
    pub(super) fn resource(&self, name: Option<&str>) -> Arc<ResourceCounts> {
        let name: StringValue = Arc::<str>::from(name.unwrap_or(DEFAULT_RESOURCE)).into();
        let counts = Arc::new(ResourceCounts {
            authorization: Authorization::VARIANTS
                .iter()
                .map(|of| authorization(*of, &name))
                .collect(),
            cache: CacheRequest::VARIANTS
                .iter()
                .map(|of| {
                    Cell::new([
                        KeyValue::new("acs_broker.cache.outcome", of.into_str()),
                        resource_name(&name),
                    ])
                })
                .collect(),
            name: resource_name(&name),
        });
        self.resources().push(Arc::clone(&counts));
        counts
    }

    fn resources(&self) -> std::sync::MutexGuard<'_, Vec<Arc<ResourceCounts>>> {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more request, until what is given is dropped.
    pub(super) fn active(self: &Arc<Self>, method: &str, scheme: &str) -> ActiveRequest {
        let method = METHODS.iter().position(|known| *known == method);
        let scheme = SCHEMES.iter().position(|known| *known == scheme).unwrap_or_default();
        let cell = method.unwrap_or(METHODS.len() - 1) * SCHEMES.len() + scheme;
        self.active[cell].value.fetch_add(1, Ordering::Relaxed);
        ActiveRequest {
            counts: Arc::clone(self),
            cell,
        }
    }

    pub(super) fn observe_authentication(&self, observer: &dyn AsyncInstrument<u64>) {
        self.authentication.iter().for_each(|cell| cell.observe(observer));
    }

    pub(super) fn observe_authorization(&self, observer: &dyn AsyncInstrument<u64>) {
        for resource in self.resources().iter() {
            resource.authorization.iter().for_each(|cell| cell.observe(observer));
        }
        // Cannot happen where there is one resource.
        if self.unrouted.value.load(Ordering::Relaxed) > 0 {
            self.unrouted.observe(observer);
        }
    }

    pub(super) fn observe_limits(&self, observer: &dyn AsyncInstrument<u64>) {
        self.limits.iter().for_each(|cell| cell.observe(observer));
    }

    pub(super) fn observe_cache(&self, observer: &dyn AsyncInstrument<u64>) {
        for resource in self.resources().iter() {
            resource.cache.iter().for_each(|cell| cell.observe(observer));
        }
    }

    pub(super) fn observe_active(&self, observer: &dyn AsyncInstrument<i64>) {
        for cell in &self.active {
            observer.observe(cell.value.load(Ordering::Relaxed), &cell.labels);
        }
    }

    pub(super) fn observe_dropped(&self, observer: &dyn AsyncInstrument<u64>) {
        for (signal, cell) in Signal::VARIANTS.iter().zip(&self.dropped) {
            let lines = match signal {
                Signal::Logs => self.lost_lines.get(),
                Signal::Audit => self.lost_audit.get(),
                Signal::Traces | Signal::Metrics => None,
            };
            let lines = lines.map_or(0, LostLines::count);
            observer.observe(cell.value.load(Ordering::Relaxed) + lines, &cell.labels);
        }
    }
}

/// What is counted of one resource.
#[derive(Debug)]
pub(super) struct ResourceCounts {
    authorization: Box<[Cell<AtomicU64>]>,
    cache: Box<[Cell<AtomicU64>]>,
    name: KeyValue,
}

impl ResourceCounts {
    pub(super) fn authorization(&self, of: Authorization) -> &Cell<AtomicU64> {
        &self.authorization[of as usize]
    }

    pub(super) fn cache(&self, of: CacheRequest) -> &Cell<AtomicU64> {
        &self.cache[of as usize]
    }

    /// The label that names the resource.
    pub(super) fn name(&self) -> KeyValue {
        self.name.clone()
    }
}

/// A request that is not answered yet; one that is given up counts no longer either.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub struct ActiveRequest {
    counts: Arc<Counts>,
    cell: usize,
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.counts.active[self.cell].value.fetch_sub(1, Ordering::Relaxed);
    }
}

fn authorization(of: Authorization, resource: &StringValue) -> Cell<AtomicU64> {
    let [outcome, kind, reason] = of.labels();
    Cell::new([
        labels::outcome(outcome),
        KeyValue::new("acs_broker.assignment.kind", kind),
        labels::reason(reason),
        resource_name(resource),
    ])
}

pub(super) fn resource_name(name: &StringValue) -> KeyValue {
    KeyValue::new("acs_broker.resource.name", name.clone())
}

/// The name under which a resource is shown.
pub(super) fn shown(resource: Option<&str>) -> StringValue {
    resource.unwrap_or(DEFAULT_RESOURCE).to_owned().into()
}
