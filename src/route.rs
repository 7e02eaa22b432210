//! Which ACS resource serves a caller: the first, in the operator's order, that matches the caller's tenant and client
//! app. It comes between authentication and authorization, since each resource has assignments of its own.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::authenticate::gates::{Gate, id};
use crate::authenticate::{Acceptance, Caller, TokenContext};
use crate::authorize::Authorizer;
use crate::cache::shared::SharedTier;
use crate::exchange::{ExchangeKey, Exchanger, IssuedToken, Operation};
use base::ids::{ClientAppId, TenantId};
use telemetry::metrics::ResourceMetrics;

/// Which callers a resource serves. An empty set matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// Of these tenants.
    pub tenants: HashSet<TenantId>,
    /// Through these client apps.
    pub client_ids: HashSet<ClientAppId>,
}

impl Selector {
    /// Whether it matches a caller of `tenant` through `client_app`. A caller without a client app matches none of
    /// those that are listed.
    #[must_use]
    pub fn matches(&self, tenant: TenantId, client_app: Option<ClientAppId>) -> bool {
        (self.tenants.is_empty() || self.tenants.contains(&tenant))
            && (self.client_ids.is_empty() || client_app.is_some_and(|app| self.client_ids.contains(&app)))
    }
}

/// A resource's name; `None` where there is only one.
pub type ResourceName = Option<Arc<str>>;

/// One ACS resource with the stages that are its own.
pub struct Resource {
    /// Its name, unique among the resources.
    pub name: ResourceName,
    /// Which callers it serves.
    pub selector: Selector,
    /// Who may have a token there.
    pub authorizer: Authorizer,
    /// How a caller gets one.
    pub exchanger: Arc<Exchanger>,
    /// What replicas share of its tokens, if they share anything.
    pub shared: Option<Arc<dyn SharedTier<ExchangeKey, IssuedToken>>>,
    /// Age at which a cached token that ACS alone permitted is exchanged anew.
    pub unknown_groups_max_age: Duration,
    /// What is recorded of it.
    pub metrics: ResourceMetrics,
}

/// All resources, in the operator's order.
pub struct Routes(Vec<Resource>);

impl Routes {
    /// Routes to `resources`, the first match first.
    #[must_use]
    pub fn new(resources: Vec<Resource>) -> Self {
        Self(resources)
    }

    /// The resource that serves `caller`; `None` if no resource covers them.
    #[must_use]
    pub fn resource_for(&self, caller: &Caller) -> Option<&Resource> {
        self.find(caller.tenant(), Some(caller.client_app()))
    }

    /// What may be done with a token that comes by ACS's path for `requested`, or by a path of the broker's own: what the
    /// resource that serves its user says. Without such a resource any token may come; the user is refused for that reason.
    #[must_use]
    pub fn acceptance(&self, requested: Option<Operation>) -> impl Acceptance + '_ {
        AcceptedByRoute {
            routes: self,
            requested,
            to_the_end: false,
        }
    }

    /// The same for `POST /token`, to the end of the stages: what only the exchange would refuse is refused too.
    #[must_use]
    pub fn acceptance_to_the_end(&self) -> impl Acceptance + '_ {
        AcceptedByRoute {
            routes: self,
            requested: None,
            to_the_end: true,
        }
    }

    /// The resource that would serve a token of which that much is known.
    #[must_use]
    pub fn resource_of(&self, context: TokenContext) -> Option<&Resource> {
        self.find(context.tenant, context.client_app)
    }

    fn find(&self, tenant: TenantId, client_app: Option<ClientAppId>) -> Option<&Resource> {
        self.0
            .iter()
            .find(|resource| resource.selector.matches(tenant, client_app))
    }
}

struct AcceptedByRoute<'r> {
    routes: &'r Routes,
    requested: Option<Operation>,
    to_the_end: bool,
}

impl Acceptance for AcceptedByRoute<'_> {
    fn takes(&self, context: TokenContext) -> bool {
        let resource = self.routes.resource_of(context);
        resource.is_none_or(|resource| {
            let exchanger = &resource.exchanger;
            exchanger.accepts(self.requested, context.addressee)
                && (!self.to_the_end || exchanger.takes(context.addressee))
        })
    }

    fn counts(&self, context: TokenContext, scope: &str) -> bool {
        let resource = self.routes.resource_of(context);
        resource.is_none_or(|resource| resource.exchanger.counts(self.requested, context.addressee, scope))
    }
}

/// Whether a resource serves the caller, as a gate. `resource` is the name of the one that does.
#[must_use]
pub fn gate(context: TokenContext, resource: Option<&ResourceName>) -> Gate {
    match resource {
        Some(Some(name)) => Gate::pass(id::ROUTE, format!("resource {name} serves this tenant and client app")),
        Some(None) => Gate::pass(id::ROUTE, "the only resource serves every caller"),
        None => {
            let app = context.client_app.map(|app| format!("client app {app}"));
            let app = app.unwrap_or_else(|| "no client app".to_owned());
            Gate::fail(
                id::ROUTE,
                format!("no resource serves tenant {} with {app}", context.tenant),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_set_matches_all() {
        let id = |number: u32| format!("{number:08x}-0000-4000-8000-000000000000");
        let tenant = |number| id(number).parse::<TenantId>().unwrap();
        let client = |number| id(number).parse::<ClientAppId>().unwrap();
        for (tenants, clients, matches, misses) in [
            (&[][..], &[][..], &[(1, 10), (2, 11)][..], &[][..]),
            (&[1], &[], &[(1, 10), (1, 11)], &[(2, 10)]),
            (&[], &[10], &[(1, 10), (2, 10)], &[(1, 11)]),
            (&[1, 2], &[10], &[(1, 10), (2, 10)], &[(3, 10), (1, 11)]),
        ] {
            let selector = Selector {
                tenants: tenants.iter().map(|number| tenant(*number)).collect(),
                client_ids: clients.iter().map(|number| client(*number)).collect(),
            };
            for (of, by) in matches {
                assert!(
                    selector.matches(tenant(*of), Some(client(*by))),
                    "{of} {by} {selector:?}"
                );
            }
            let without = tenants.is_empty() && clients.is_empty();
            assert_eq!(selector.matches(tenant(9), None), without, "{selector:?}");
            for (of, by) in misses {
                assert!(
                    !selector.matches(tenant(*of), Some(client(*by))),
                    "{of} {by} {selector:?}"
                );
            }
        }
    }
}
