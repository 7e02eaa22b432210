//! What is shown of upstreams: the budgets of ACS endpoints, and circuits.

use std::sync::Arc;

use crate::authorize::membership::Memberships;
use azure::breaker;
use azure::endpoint::Endpoint;
use azure::entra::EntraClient;
use telemetry::metrics::{BudgetState, CircuitOf, CircuitState};

/// The upstreams of a broker.
#[derive(Clone)]
pub struct Upstreams {
    /// The ACS endpoint of each resource, with the resource's name where there are several.
    pub endpoints: Vec<(Option<Arc<str>>, Arc<Endpoint>)>,
    /// Who asks Graph, if anybody.
    pub memberships: Option<Arc<Memberships>>,
    /// Who asks Entra for tokens.
    pub entra: Arc<EntraClient>,
}

impl Upstreams {
    /// The budgets of the endpoints that have one.
    #[must_use]
    pub fn budgets(&self) -> Vec<BudgetState> {
        let endpoints = self.endpoints.iter();
        let budgets = endpoints.filter_map(|(resource, endpoint)| {
            let status = endpoint.budget.as_ref()?.status();
            Some(BudgetState {
                resource: resource.as_deref().map(str::to_owned),
                free: status.free,
                limit: status.limit,
                waiting: status.waiting,
            })
        });
        budgets.collect()
    }

    /// The circuits: of each ACS endpoint, of Graph if it is asked, and of the tenants at Entra that were asked for
    /// tokens.
    #[must_use]
    pub fn circuits(&self) -> Vec<CircuitState> {
        let acs = self.endpoints.iter().map(|(resource, endpoint)| {
            let resource = resource.as_deref().map(str::to_owned);
            (CircuitOf::Acs(resource), endpoint.breaker.state())
        });
        let graph = self
            .memberships
            .iter()
            .map(|memberships| (CircuitOf::Graph, memberships.circuit()));
        let entra = self.entra.circuits().into_iter();
        let entra = entra.map(|(tenant, state)| (CircuitOf::EntraToken(tenant.to_string()), state));
        let circuits = acs.chain(graph).chain(entra).map(|(of, state)| CircuitState {
            of,
            state: match state {
                breaker::CircuitState::Closed => 0,
                breaker::CircuitState::HalfOpen => 1,
                breaker::CircuitState::Open => 2,
            },
        });
        circuits.collect()
    }

    /// What is not as it should be.
    pub(super) fn degraded(&self) -> Vec<String> {
        let troubled = self.circuits().into_iter().filter(|circuit| circuit.state > 0);
        let texts = troubled.map(|circuit| match circuit.of {
            CircuitOf::Acs(resource) => super::named(resource.as_deref(), "acs circuit open".to_owned()),
            CircuitOf::Graph => "graph circuit open".to_owned(),
            CircuitOf::EntraToken(tenant) => format!("entra circuit open of tenant {tenant}"),
        });
        texts.collect()
    }
}
