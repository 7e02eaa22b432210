//! The tenants' directories, as far as they decide who gets tokens: service principals, registrations, consents,
//! assignments. Entra reads them when it issues, Graph lists and changes them, the controls do and undo whole steps.
//!
//! What hangs on a service principal is out of sight while there is none, and comes back with it, as after the restoring
//! of a deleted one. So each step can be undone by itself.

pub(crate) mod catalog;
mod changes;
pub(crate) mod objects;
mod start;
mod steps;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use uuid::Uuid;

use self::catalog::{KnownApp, service_principal_id};
use self::objects::{Application, Grant, RoleAssignment, ServicePrincipal};
use crate::lock::lock;
use crate::scenario::{Scenario, User};

pub(crate) use self::changes::{AssignError, CreateError};

/// The directories of all tenants.
#[derive(Debug)]
pub(crate) struct Directory {
    scenario: Arc<Scenario>,
    catalog: Vec<KnownApp>,
    state: Mutex<State>,
}

/// What changes.
#[derive(Debug, Default)]
struct State {
    principals: BTreeMap<Uuid, ServicePrincipal>,
    applications: Vec<Application>,
    grants: Vec<Grant>,
    roles: Vec<RoleAssignment>,
}

impl State {
    fn principal(&self, app_id: Uuid, tenant: Uuid) -> Option<&ServicePrincipal> {
        self.principals.get(&service_principal_id(app_id, tenant))
    }

    /// The scopes of an API that a client has for a user, or for all users without one.
    fn scopes(&self, client: Uuid, api: Uuid, tenant: Uuid, user: Option<Uuid>) -> Vec<String> {
        let (Some(client), Some(resource)) = (self.principal(client, tenant), self.principal(api, tenant)) else {
            return Vec::new();
        };
        let mut scopes: Vec<String> = Vec::new();
        for grant in &self.grants {
            let counts = grant.client == client.id && grant.resource == resource.id;
            if counts && (grant.user.is_none() || grant.user == user) {
                scopes.extend(
                    grant
                        .scopes
                        .iter()
                        .filter(|scope| !scopes.contains(scope))
                        .cloned()
                        .collect::<Vec<_>>(),
                );
            }
        }
        scopes
    }

    fn is_assigned(&self, principal: Uuid, resource: Uuid) -> bool {
        self.roles
            .iter()
            .any(|role| role.principal == principal && role.resource == resource)
    }
}

impl Directory {
    /// The directories as the scenario begins.
    pub(crate) fn new(scenario: Arc<Scenario>, now: Timestamp) -> Self {
        let catalog = catalog::catalog(&scenario);
        let state = Mutex::new(start::state(&scenario, &catalog, now));
        Self {
            scenario,
            catalog,
            state,
        }
    }

    /// An app, whether or not it is in a tenant.
    pub(crate) fn app(&self, app_id: Uuid) -> Option<&KnownApp> {
        self.catalog.iter().find(|app| app.app_id == app_id)
    }

    /// The service principals of a tenant.
    pub(crate) fn principals(&self, tenant: Uuid) -> Vec<ServicePrincipal> {
        let state = lock(&self.state);
        state
            .principals
            .values()
            .filter(|found| found.tenant == tenant)
            .cloned()
            .collect()
    }

    /// An app's service principal in a tenant.
    pub(crate) fn principal_of(&self, app_id: Uuid, tenant: Uuid) -> Option<ServicePrincipal> {
        let principals = self.principals(tenant);
        principals.into_iter().find(|found| found.app_id == app_id)
    }

    /// The registrations in a tenant.
    pub(crate) fn applications(&self, tenant: Uuid) -> Vec<Application> {
        let state = lock(&self.state);
        state
            .applications
            .iter()
            .filter(|found| found.tenant == tenant)
            .cloned()
            .collect()
    }

    /// The consents in a tenant.
    pub(crate) fn grants(&self, tenant: Uuid) -> Vec<Grant> {
        let state = lock(&self.state);
        let there = |id: &Uuid| state.principals.contains_key(id);
        let of_tenant = state.grants.iter().filter(|grant| grant.tenant == tenant);
        of_tenant
            .filter(|grant| there(&grant.client) && there(&grant.resource))
            .cloned()
            .collect()
    }

    /// The assignments of roles in a tenant.
    pub(crate) fn roles(&self, tenant: Uuid) -> Vec<RoleAssignment> {
        let state = lock(&self.state);
        let there = |id: &Uuid| state.principals.contains_key(id);
        let of_tenant = state.roles.iter().filter(|role| role.tenant == tenant);
        of_tenant
            .filter(|role| {
                let is_app = role.kind == objects::PrincipalKind::ServicePrincipal;
                there(&role.resource) && (!is_app || there(&role.principal))
            })
            .cloned()
            .collect()
    }

    /// The scopes of an API that a client has for a user.
    pub(crate) fn granted(&self, client: Uuid, api: Uuid, user: &User) -> Vec<String> {
        lock(&self.state).scopes(client, api, user.tenant_id, Some(user.object_id))
    }

    /// The names of the app roles that an app has at an API.
    pub(crate) fn app_roles(&self, app_id: Uuid, api: Uuid, tenant: Uuid) -> Vec<String> {
        let (principal, resource) = (service_principal_id(app_id, tenant), service_principal_id(api, tenant));
        let known = self.app(api).map(|app| app.roles.as_slice()).unwrap_or_default();
        let roles = self.roles(tenant);
        let held = roles
            .iter()
            .filter(|role| role.principal == principal && role.resource == resource);
        held.filter_map(|role| known.iter().find(|known| known.id == role.role))
            .map(|known| known.value.clone())
            .collect()
    }

    /// Whether an API takes only who is assigned to it, and a user is not: neither themselves nor a group that they are
    /// directly in. Groups within groups do not count.
    /// <https://learn.microsoft.com/entra/identity/enterprise-apps/assign-user-or-group-access-portal>
    pub(crate) fn blocks(&self, api: Uuid, user: &User) -> bool {
        let state = lock(&self.state);
        let principal = state.principal(api, user.tenant_id);
        principal.is_some_and(|api| {
            api.assignment_required
                && !state.is_assigned(user.object_id, api.id)
                && !user.groups.iter().any(|group| state.is_assigned(*group, api.id))
        })
    }

    /// Whether an API learns of the members of a group: it does if the group is assigned to it. Groups that the
    /// scenario does not describe are taken for assigned.
    pub(crate) fn knows_group(&self, api: Uuid, tenant: Uuid, group: Uuid) -> bool {
        let known = self
            .scenario
            .groups
            .iter()
            .any(|known| known.id == group && known.tenant_id == tenant);
        !known || lock(&self.state).is_assigned(group, service_principal_id(api, tenant))
    }

    /// Whether an app has any permission in a tenant that an administrator consented to.
    pub(crate) fn has_consent(&self, app_id: Uuid, tenant: Uuid) -> bool {
        let principal = service_principal_id(app_id, tenant);
        let grants = self.grants(tenant);
        grants
            .iter()
            .any(|grant| grant.client == principal && grant.user.is_none())
            || self.roles(tenant).iter().any(|role| role.principal == principal)
    }
}
