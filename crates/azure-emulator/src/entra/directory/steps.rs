//! Doing and undoing an administrator's step as a whole, in the directories.

use jiff::Timestamp;
use uuid::Uuid;

use super::catalog::{ACS_APPS, service_principal_id};
use super::objects::PrincipalKind;
use super::start::{applications, assigned_groups};
use super::{Directory, State};
use crate::entra::apis::{ACS_CLIENTS_APP, Api};
use crate::lock::lock;
use crate::scenario::{Scenario, Step};

impl Directory {
    /// Does a step or undoes it. The ACS resource's own step is none of these.
    pub(crate) fn set_step(&self, step: Step, done: bool, now: Timestamp) {
        let (scenario, mut state) = (&*self.scenario, lock(&self.state));
        match (step, done) {
            (Step::AcsAssignment, _) => {}
            (Step::AcsClientsPrincipal, true) => {
                for tenant in &scenario.tenants {
                    if state.principal(ACS_CLIENTS_APP, tenant.id).is_none() {
                        state.add_acs_principals(scenario, tenant.id);
                    }
                }
            }
            (Step::AcsClientsPrincipal, false) => state.principals.retain(|_, found| !ACS_APPS.contains(&found.app_id)),
            (Step::Permissions, true) => {
                for whole in applications(scenario, &self.catalog) {
                    let Some(found) = state.applications.iter_mut().find(|found| found.app_id == whole.app_id) else {
                        continue;
                    };
                    found.required.retain(|required| !ACS_APPS.contains(&required.app_id));
                    let of_acs = whole
                        .required
                        .into_iter()
                        .filter(|required| ACS_APPS.contains(&required.app_id));
                    found.required.extend(of_acs);
                }
            }
            (Step::Permissions, false) => state.take_acs_permissions(),
            (Step::Consent, true) => {
                for tenant in customers(scenario) {
                    state.add_principal(scenario.client_app.client_id, tenant);
                    state.add_consents(scenario, tenant);
                }
            }
            (Step::Consent, false) => {
                for tenant in customers(scenario) {
                    state.take_consents(scenario, tenant);
                }
            }
            (Step::GroupAssignment, true) => {
                for tenant in customers(scenario) {
                    state.add_group_assignments(scenario, tenant, now);
                }
            }
            (Step::GroupAssignment, false) => state.roles.retain(|role| {
                let groups = assigned_groups(scenario, role.tenant);
                role.kind != PrincipalKind::Group || !groups.contains(&role.principal)
            }),
        }
    }

    /// Whether a step is done now, by whichever way. `None` for the ACS resource's own step.
    pub(crate) fn is_done(&self, step: Step) -> Option<bool> {
        let (scenario, state) = (&*self.scenario, lock(&self.state));
        Some(match step {
            Step::AcsAssignment => return None,
            Step::AcsClientsPrincipal => scenario
                .tenants
                .iter()
                .all(|tenant| state.principal(ACS_CLIENTS_APP, tenant.id).is_some()),
            Step::Permissions => state.applications.iter().all(|found| {
                let required = found.required.iter();
                required.clone().any(|required| required.app_id == ACS_CLIENTS_APP)
            }),
            Step::Consent => customers(scenario).all(|tenant| {
                let wanted = Api::AcsClients.consented_scopes(scenario);
                let has = |client: Uuid| {
                    let scopes = state.scopes(client, ACS_CLIENTS_APP, tenant, None);
                    // Without the API there is nothing that a consent could be seen on.
                    state.principal(ACS_CLIENTS_APP, tenant).is_none() && state.remembers(client, tenant)
                        || wanted.iter().all(|scope| scopes.contains(scope))
                };
                has(scenario.client_app.client_id)
            }),
            Step::GroupAssignment => customers(scenario).all(|tenant| {
                let resource = service_principal_id(ACS_CLIENTS_APP, tenant);
                let groups = assigned_groups(scenario, tenant);
                groups.iter().all(|group| state.is_assigned(*group, resource))
            }),
        })
    }

    /// Gives or takes a tenant's whole consent to the broker's app: its delegated permissions and its own roles.
    pub(crate) fn set_broker_consent(&self, tenant: Uuid, given: bool, now: Timestamp) {
        let (scenario, mut state) = (&*self.scenario, lock(&self.state));
        let app_id = scenario.api_app.client_id;
        if given {
            state.add_principal(app_id, tenant);
            state.add_app_roles(scenario, &self.catalog, tenant, now);
            state.add_broker_consents(scenario, tenant);
        } else {
            let principal = service_principal_id(app_id, tenant);
            state.grants.retain(|grant| grant.client != principal);
            state.roles.retain(|role| role.principal != principal);
        }
    }
}

/// The tenants whose administrators consent and assign groups.
fn customers(scenario: &Scenario) -> impl Iterator<Item = Uuid> {
    let tenants = scenario.tenants.iter().map(|tenant| tenant.id);
    tenants.filter(|tenant| scenario.is_customer(*tenant))
}

impl State {
    /// Whether a client has a consent for ACS, in sight or not.
    fn remembers(&self, client: Uuid, tenant: Uuid) -> bool {
        let (client, api) = (
            service_principal_id(client, tenant),
            service_principal_id(ACS_CLIENTS_APP, tenant),
        );
        let mut grants = self.grants.iter();
        grants.any(|grant| grant.client == client && grant.resource == api && grant.user.is_none())
    }

    /// Without the consent of an administrator the client app has no service principal in a customer's tenant. The
    /// broker's app keeps its own roles, which another consent gave it.
    fn take_consents(&mut self, scenario: &Scenario, tenant: Uuid) {
        let client = service_principal_id(scenario.client_app.client_id, tenant);
        let broker = service_principal_id(scenario.api_app.client_id, tenant);
        let of_acs = ACS_APPS.map(|app_id| service_principal_id(app_id, tenant));
        self.grants
            .retain(|grant| grant.client != client && !(grant.client == broker && of_acs.contains(&grant.resource)));
        if tenant != scenario.resource.tenant_id {
            self.principals.remove(&client);
        }
    }
}
