//! What is measured when the SDK collects: how full, how old, how ready.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use opentelemetry::metrics::Meter;
use opentelemetry::{KeyValue, StringValue};

use super::catalogue as all;
use super::catalogue::Definition;
use super::{counts, labels};
use base::build_info;

/// A broker that can be looked at. The composition root implements it, since it alone knows all parts.
pub trait BrokerState: Send + Sync {
    /// The cache of ACS tokens.
    fn cache(&self) -> CacheState;
    /// Requests being worked on.
    fn requests(&self) -> Bounded;
    /// Connections of the public listener.
    fn connections(&self) -> Bounded;
    /// How many of them were closed, by one of few reasons.
    fn connections_closed(&self) -> [(&'static str, u64); 2];
    /// Whether it should get traffic.
    fn is_ready(&self) -> bool;
    /// The signing keys of each listed tenant.
    fn keys(&self) -> Vec<KeysState>;
    /// Each source of assignments.
    fn assignments(&self) -> Vec<AssignmentsState>;
    /// The budget of each resource's ACS endpoint, if it has one.
    fn budgets(&self) -> Vec<BudgetState>;
    /// The circuits of upstreams.
    fn circuits(&self) -> Vec<CircuitState>;
}

/// How many there are of how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounded {
    /// There are.
    pub used: u64,
    /// There may be.
    pub limit: u64,
}

/// How full the cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheState {
    /// In number.
    pub entries: Bounded,
    /// In bytes.
    pub bytes: Bounded,
}

/// How old a tenant's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysState {
    /// Its id.
    pub tenant: String,
    /// Time since the last good fetch, if there was one.
    pub age: Option<Duration>,
    /// Whether they are young enough.
    pub usable: bool,
}

/// How a source of assignments fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignmentsState {
    /// The resource's name, where there are several.
    pub resource: Option<String>,
    /// The kind of source.
    pub source: &'static str,
    /// What it listed, once it did.
    pub entries: Option<u64>,
    /// Time since its last good look, if there was one.
    pub age: Option<Duration>,
    /// Whether the last look failed.
    pub failing: bool,
}

/// How full the budget of a resource's ACS endpoint is.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetState {
    /// The resource's name, where there are several.
    pub resource: Option<String>,
    /// Requests that could be sent now.
    pub free: u64,
    /// The budget in force.
    pub limit: f64,
    /// Callers who wait.
    pub waiting: u64,
}

impl BudgetState {
    fn labels(&self) -> [KeyValue; 1] {
        [counts::resource_name(&counts::shown(self.resource.as_deref()))]
    }
}

/// The circuit of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircuitState {
    /// Whose it is.
    pub of: CircuitOf,
    /// 0 closed, 1 half-open, 2 open.
    pub state: u8,
}

/// What a circuit leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CircuitOf {
    /// The ACS endpoint of a resource, by name where there are several.
    Acs(Option<String>),
    /// Microsoft Graph.
    Graph,
    /// Entra's token endpoint of a tenant.
    EntraToken(String),
}

impl CircuitState {
    fn labels(&self) -> Vec<KeyValue> {
        let (upstream, subject) = match &self.of {
            CircuitOf::Acs(resource) => {
                let name = counts::shown(resource.as_deref());
                (labels::Peer::Acs, Some(counts::resource_name(&name)))
            }
            CircuitOf::Graph => (labels::Peer::Graph, None),
            CircuitOf::EntraToken(id) => (labels::Peer::EntraToken, Some(tenant(id.clone()))),
        };
        let upstream = KeyValue::new("acs_broker.upstream", upstream.into_str());
        std::iter::once(upstream).chain(subject).collect()
    }
}

impl AssignmentsState {
    fn labels(&self) -> [KeyValue; 2] {
        [
            counts::resource_name(&counts::shown(self.resource.as_deref())),
            KeyValue::new("acs_broker.assignments.source", self.source),
        ]
    }
}

/// The broker that is looked at, as long as it runs.
#[derive(Clone, Default)]
pub(super) struct Watched(Arc<Mutex<Option<Weak<dyn BrokerState>>>>);

impl Watched {
    pub(super) fn set(&self, state: Weak<dyn BrokerState>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
    }

    fn get(&self) -> Option<Arc<dyn BrokerState>> {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.as_ref()?.upgrade()
    }
}

/// Registers everything that is measured when the SDK collects.
pub(super) fn register(meter: &Meter, watched: &Watched) {
    let gauges: [(&Definition, Look); 9] = [
        (&all::CACHE_ENTRIES, |broker| broker.cache().entries.used),
        (&all::CACHE_SIZE, |broker| broker.cache().bytes.used),
        (&all::CACHE_ENTRIES_LIMIT, |broker| broker.cache().entries.limit),
        (&all::CACHE_SIZE_LIMIT, |broker| broker.cache().bytes.limit),
        (&all::REQUESTS_IN_FLIGHT, |broker| broker.requests().used),
        (&all::REQUESTS_LIMIT, |broker| broker.requests().limit),
        (&all::CONNECTIONS_OPEN, |broker| broker.connections().used),
        (&all::CONNECTIONS_LIMIT, |broker| broker.connections().limit),
        (&all::READY, |broker| broker.is_ready().into()),
    ];
    for (of, look) in gauges {
        numbers(meter, of, watched, move |broker, observe| observe(look(broker), &[]));
    }
    let closed = watched.clone();
    meter
        .u64_observable_counter(all::CONNECTIONS_CLOSED.name)
        .with_unit(all::CONNECTIONS_CLOSED.unit)
        .with_description(all::CONNECTIONS_CLOSED.description)
        .with_callback(move |observer| {
            for (reason, count) in closed.get().iter().flat_map(|broker| broker.connections_closed()) {
                observer.observe(count, &[labels::reason(reason)]);
            }
        })
        .build();

    seconds(meter, &all::JWKS_AGE, watched, |broker, observe| {
        for keys in broker.keys() {
            if let Some(age) = keys.age {
                observe(age, &[tenant(keys.tenant)]);
            }
        }
    });
    numbers(meter, &all::JWKS_USABLE, watched, |broker, observe| {
        for keys in broker.keys() {
            observe(keys.usable.into(), &[tenant(keys.tenant)]);
        }
    });
    numbers(meter, &all::ASSIGNMENTS_ENTRIES, watched, |broker, observe| {
        for source in broker.assignments() {
            if let Some(entries) = source.entries {
                observe(entries, &source.labels());
            }
        }
    });
    seconds(meter, &all::ASSIGNMENTS_AGE, watched, |broker, observe| {
        for source in broker.assignments() {
            if let Some(age) = source.age {
                observe(age, &source.labels());
            }
        }
    });
    numbers(meter, &all::ASSIGNMENTS_FAILING, watched, |broker, observe| {
        for source in broker.assignments() {
            observe(source.failing.into(), &source.labels());
        }
    });
    numbers(meter, &all::EXCHANGE_BUDGET, watched, |broker, observe| {
        for budget in broker.budgets() {
            observe(budget.free, &budget.labels());
        }
    });
    fractions(meter, &all::EXCHANGE_BUDGET_LIMIT, watched, |broker, observe| {
        for budget in broker.budgets() {
            observe(budget.limit, &budget.labels());
        }
    });
    numbers(meter, &all::EXCHANGE_QUEUE, watched, |broker, observe| {
        for budget in broker.budgets() {
            observe(budget.waiting, &budget.labels());
        }
    });
    numbers(meter, &all::CIRCUIT_STATE, watched, |broker, observe| {
        for circuit in broker.circuits() {
            observe(circuit.state.into(), &circuit.labels());
        }
    });
    meter
        .u64_observable_gauge(all::BUILD_INFO.name)
        .with_description(all::BUILD_INFO.description)
        .with_callback(|observer| {
            let version = KeyValue::new("version", build_info::VERSION);
            observer.observe(1, &[version, KeyValue::new("commit", build_info::COMMIT)]);
        })
        .build();
}

pub(super) fn tenant(id: impl Into<StringValue>) -> KeyValue {
    KeyValue::new("acs_broker.tenant.id", id.into())
}

/// What a gauge without labels shows.
type Look = fn(&dyn BrokerState) -> u64;

/// Takes one value with its labels.
type Observe<'o, T> = &'o mut dyn FnMut(T, &[KeyValue]);

fn numbers<L>(meter: &Meter, of: &Definition, watched: &Watched, look: L)
where
    L: Fn(&dyn BrokerState, Observe<'_, u64>) + Send + Sync + 'static,
{
    let watched = watched.clone();
    meter
        .u64_observable_gauge(of.name)
        .with_unit(of.unit)
        .with_description(of.description)
        .with_callback(move |observer| {
            if let Some(broker) = watched.get() {
                look(&*broker, &mut |value, labels| observer.observe(value, labels));
            }
        })
        .build();
}

fn seconds(meter: &Meter, of: &Definition, watched: &Watched, look: fn(&dyn BrokerState, Observe<'_, Duration>)) {
    fractions(meter, of, watched, move |broker, observe| {
        look(broker, &mut |age, labels| observe(age.as_secs_f64(), labels));
    });
}

fn fractions<L>(meter: &Meter, of: &Definition, watched: &Watched, look: L)
where
    L: Fn(&dyn BrokerState, Observe<'_, f64>) + Send + Sync + 'static,
{
    let watched = watched.clone();
    meter
        .f64_observable_gauge(of.name)
        .with_unit(of.unit)
        .with_description(of.description)
        .with_callback(move |observer| {
            if let Some(broker) = watched.get() {
                look(&*broker, &mut |value, labels| observer.observe(value, labels));
            }
        })
        .build();
}
