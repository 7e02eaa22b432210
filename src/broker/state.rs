//! What metrics show of a running broker's state.

use std::sync::{Arc, Weak};

use crate::management::Readiness;
use crate::pipeline::TokenPipeline;
use ::serve::OpenConnections;
use config::Config;
use telemetry::metrics::{AssignmentsState, Bounded, BrokerState, BudgetState, CacheState, CircuitState, KeysState};

/// The parts of a broker that are looked at.
pub(super) struct Watched {
    pipeline: Arc<TokenPipeline>,
    readiness: Readiness,
    open: OpenConnections,
    max_connections: u64,
    max_entries: u64,
    max_bytes: u64,
}

impl Watched {
    pub(super) fn new(
        pipeline: Arc<TokenPipeline>,
        readiness: Readiness,
        config: &Config,
        open: OpenConnections,
    ) -> Arc<Self> {
        Arc::new(Self {
            pipeline,
            readiness,
            open,
            max_connections: config.server.max_connections as u64,
            max_entries: config.cache.max_entries,
            max_bytes: config.cache.max_bytes,
        })
    }

    pub(super) fn as_weak(self: &Arc<Self>) -> Weak<dyn BrokerState> {
        Arc::downgrade(&(Arc::clone(self) as Arc<dyn BrokerState>))
    }
}

impl BrokerState for Watched {
    fn cache(&self) -> CacheState {
        let (entries, bytes) = self.pipeline.cache.fill();
        CacheState {
            entries: Bounded {
                used: entries,
                limit: self.max_entries,
            },
            bytes: Bounded {
                used: bytes,
                limit: self.max_bytes,
            },
        }
    }

    fn requests(&self) -> Bounded {
        Bounded {
            used: self.pipeline.admission.in_flight() as u64,
            limit: self.pipeline.admission.limit() as u64,
        }
    }

    fn connections(&self) -> Bounded {
        Bounded {
            used: self.open.count() as u64,
            limit: self.max_connections,
        }
    }

    fn connections_closed(&self) -> [(&'static str, u64); 2] {
        [("address", self.open.refused()), ("idle", self.open.evicted())]
    }

    fn is_ready(&self) -> bool {
        self.readiness.is_ready()
    }

    fn keys(&self) -> Vec<KeysState> {
        let keys = self.readiness.authenticator.key_status();
        keys.map(|status| KeysState {
            tenant: status.tenant.to_string(),
            age: status.age,
            usable: status.usable,
        })
        .collect()
    }

    fn budgets(&self) -> Vec<BudgetState> {
        self.readiness.upstreams.budgets()
    }

    fn circuits(&self) -> Vec<CircuitState> {
        self.readiness.upstreams.circuits()
    }

    fn assignments(&self) -> Vec<AssignmentsState> {
        let mut states = Vec::new();
        for assignments in &self.readiness.assignments {
            for status in assignments.watch.status() {
                states.push(AssignmentsState {
                    resource: assignments.resource.clone(),
                    source: status.kind.into(),
                    entries: status.entries.map(|entries| entries as u64),
                    age: status.age,
                    failing: status.failing_for.is_some(),
                });
            }
        }
        states
    }
}
