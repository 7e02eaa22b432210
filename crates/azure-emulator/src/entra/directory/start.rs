//! The directories as the scenario begins: every step done but those that it leaves out.

use jiff::Timestamp;
use uuid::Uuid;

use super::State;
use super::catalog::{ACS_APPS, KnownApp, derived_id, service_principal_id};
use super::objects::{
    Access, AccessKind, Application, Grant, PrincipalKind, RequiredResource, RoleAssignment, ServicePrincipal,
};
use crate::entra::apis::{ACS_CLIENTS_APP, Api, GRAPH_APP};
use crate::scenario::{PrincipalType, Scenario, Step, UserKind};

/// Where the client app's users are sent back to; the emulator itself takes any address on this machine.
const REDIRECT_URIS: [&str; 2] = ["http://localhost:3000", "http://localhost:3000/auth"];

/// Everything as it is at first.
pub(super) fn state(scenario: &Scenario, catalog: &[KnownApp], now: Timestamp) -> State {
    let mut state = State {
        applications: applications(scenario, catalog),
        ..State::default()
    };
    for tenant in scenario.tenants.iter().map(|tenant| tenant.id) {
        state.add_principal(GRAPH_APP, tenant);
        if scenario.begins_with(Step::AcsClientsPrincipal) {
            state.add_acs_principals(scenario, tenant);
        }
        let is_home = tenant == scenario.resource.tenant_id;
        if is_home || scenario.begins_with(Step::Consent) {
            state.add_principal(scenario.client_app.client_id, tenant);
        }
        if is_home || scenario.api_app.consented_by.contains(&tenant) {
            state.add_principal(scenario.api_app.client_id, tenant);
        }
        if tenant == scenario.managed_identity.tenant_id {
            state.add_identity(scenario, catalog, now);
        }
        if scenario.api_app.consented_by.contains(&tenant) {
            state.add_app_roles(scenario, catalog, tenant, now);
        }
        if !scenario.is_customer(tenant) || scenario.begins_with(Step::Consent) {
            state.add_consents(scenario, tenant);
        }
        state.add_user_assignments(scenario, tenant, now);
        if scenario.begins_with(Step::GroupAssignment) {
            state.add_group_assignments(scenario, tenant, now);
        }
    }
    if !scenario.begins_with(Step::Permissions) {
        state.take_acs_permissions();
    }
    state
}

/// What the registrations list when nothing is left out.
pub(super) fn applications(scenario: &Scenario, catalog: &[KnownApp]) -> Vec<Application> {
    let home = scenario.resource.tenant_id;
    let (client, api) = (scenario.client_app.client_id, scenario.api_app.client_id);
    let find = |app_id: Uuid| catalog.iter().find(|app| app.app_id == app_id);
    let scopes = |of: Api| -> Option<RequiredResource> {
        let app = find(of.app_id(scenario)?)?;
        let ids = of.consented_scopes(scenario).into_iter();
        let access = ids.filter_map(|name| app.scope_id(&name)).map(scope);
        Some(RequiredResource {
            app_id: app.app_id,
            access: access.collect(),
        })
    };
    let graph = |names: &[&str], roles: &[String]| -> Option<RequiredResource> {
        let app = find(GRAPH_APP)?;
        let scopes = names.iter().filter_map(|name| app.scope_id(name)).map(scope);
        let roles = roles.iter().filter_map(|name| app.role_id(name)).map(|id| Access {
            id,
            kind: AccessKind::Role,
        });
        Some(RequiredResource {
            app_id: GRAPH_APP,
            access: scopes.chain(roles).collect(),
        })
    };
    let application = |app_id: Uuid, required: Vec<Option<RequiredResource>>| Application {
        id: derived_id(&format!("application\n{app_id}")),
        tenant: home,
        app_id,
        sign_in_audience: "AzureADMultipleOrgs".to_owned(),
        required: required.into_iter().flatten().collect(),
        spa: Vec::new(),
        public_client: Vec::new(),
        web: Vec::new(),
    };
    let acs = || [scopes(Api::AcsClients), scopes(Api::TeamsExtension)];
    let mut of_client = application(
        client,
        acs()
            .into_iter()
            .chain([scopes(Api::Broker), graph(&["User.Read"], &[])])
            .collect(),
    );
    of_client.spa = REDIRECT_URIS.map(str::to_owned).to_vec();
    of_client.public_client = vec!["http://localhost".to_owned()];
    let of_api = application(
        api,
        acs()
            .into_iter()
            .chain([graph(&[], &scenario.api_app.graph_roles)])
            .collect(),
    );
    vec![of_client, of_api]
}

fn scope(id: Uuid) -> Access {
    Access {
        id,
        kind: AccessKind::Scope,
    }
}

impl State {
    pub(super) fn add_principal(&mut self, app_id: Uuid, tenant: Uuid) {
        let id = service_principal_id(app_id, tenant);
        self.principals.entry(id).or_insert(ServicePrincipal {
            id,
            tenant,
            app_id,
            assignment_required: false,
        });
    }

    /// Customers let only assigned users and groups use ACS Clients.
    pub(super) fn add_acs_principals(&mut self, scenario: &Scenario, tenant: Uuid) {
        for app_id in ACS_APPS {
            self.add_principal(app_id, tenant);
        }
        let id = service_principal_id(ACS_CLIENTS_APP, tenant);
        if let Some(principal) = self.principals.get_mut(&id) {
            principal.assignment_required = scenario.is_customer(tenant);
        }
    }

    fn add_identity(&mut self, scenario: &Scenario, catalog: &[KnownApp], now: Timestamp) {
        let identity = &scenario.managed_identity;
        self.principals.insert(
            identity.object_id,
            ServicePrincipal {
                id: identity.object_id,
                tenant: identity.tenant_id,
                app_id: identity.client_id,
                assignment_required: false,
            },
        );
        let graph = catalog.iter().find(|app| app.app_id == GRAPH_APP);
        for role in identity.graph_roles.iter().filter_map(|name| graph?.role_id(name)) {
            self.assign(
                identity.tenant_id,
                (identity.object_id, PrincipalKind::ServicePrincipal),
                service_principal_id(GRAPH_APP, identity.tenant_id),
                role,
                now,
            );
        }
    }

    /// The roles of the broker's app at Graph.
    pub(super) fn add_app_roles(&mut self, scenario: &Scenario, catalog: &[KnownApp], tenant: Uuid, now: Timestamp) {
        let app = &scenario.api_app;
        let graph = catalog.iter().find(|app| app.app_id == GRAPH_APP);
        for role in app.graph_roles.iter().filter_map(|name| graph?.role_id(name)) {
            self.assign(
                tenant,
                (
                    service_principal_id(app.client_id, tenant),
                    PrincipalKind::ServicePrincipal,
                ),
                service_principal_id(GRAPH_APP, tenant),
                role,
                now,
            );
        }
    }

    /// An administrator's consent to what both apps ask of other APIs on behalf of users.
    pub(super) fn add_consents(&mut self, scenario: &Scenario, tenant: Uuid) {
        let client = scenario.client_app.client_id;
        for api in [Api::AcsClients, Api::TeamsExtension, Api::Broker] {
            if let Some(app_id) = api.app_id(scenario) {
                self.consent(tenant, client, app_id, None, api.consented_scopes(scenario));
            }
        }
        let of_graph = ["User.Read", "openid", "profile", "offline_access"];
        self.consent(tenant, client, GRAPH_APP, None, of_graph.map(str::to_owned).to_vec());
        if scenario.api_app.consented_by.contains(&tenant) {
            self.add_broker_consents(scenario, tenant);
        }
    }

    /// The same for the broker's app alone.
    pub(super) fn add_broker_consents(&mut self, scenario: &Scenario, tenant: Uuid) {
        for api in [Api::AcsClients, Api::TeamsExtension] {
            if let Some(app_id) = api.app_id(scenario) {
                self.consent(
                    tenant,
                    scenario.api_app.client_id,
                    app_id,
                    None,
                    api.consented_scopes(scenario),
                );
            }
        }
    }

    /// Adds scopes to a consent, or begins one.
    pub(super) fn consent(&mut self, tenant: Uuid, client: Uuid, api: Uuid, user: Option<Uuid>, scopes: Vec<String>) {
        let (client, resource) = (service_principal_id(client, tenant), service_principal_id(api, tenant));
        let same = |grant: &&mut Grant| grant.client == client && grant.resource == resource && grant.user == user;
        if let Some(grant) = self.grants.iter_mut().find(same) {
            for scope in scopes {
                if !grant.scopes.contains(&scope) {
                    grant.scopes.push(scope);
                }
            }
            return;
        }
        self.grants.push(Grant {
            id: text_id(&format!("grant\n{client}\n{resource}\n{user:?}")),
            tenant,
            client,
            user,
            resource,
            scopes,
        });
    }

    /// Users who have access without the group that the ACS resource knows: each is assigned themselves.
    fn add_user_assignments(&mut self, scenario: &Scenario, tenant: Uuid, now: Timestamp) {
        if !scenario.is_customer(tenant) {
            return;
        }
        let groups = assigned_groups(scenario, tenant);
        for user in &scenario.users {
            let is_person = user.kind == UserKind::Person && user.tenant_id == tenant;
            if is_person && !user.groups.iter().any(|group| groups.contains(group)) {
                let resource = service_principal_id(ACS_CLIENTS_APP, tenant);
                self.assign(
                    tenant,
                    (user.object_id, PrincipalKind::User),
                    resource,
                    Uuid::nil(),
                    now,
                );
            }
        }
    }

    /// The groups that the ACS resource knows are assigned to ACS's APIs.
    pub(super) fn add_group_assignments(&mut self, scenario: &Scenario, tenant: Uuid, now: Timestamp) {
        for group in assigned_groups(scenario, tenant) {
            for app_id in ACS_APPS {
                let resource = service_principal_id(app_id, tenant);
                self.assign(tenant, (group, PrincipalKind::Group), resource, Uuid::nil(), now);
            }
        }
    }

    /// Assigns a role, once.
    pub(super) fn assign(
        &mut self,
        tenant: Uuid,
        (principal, kind): (Uuid, PrincipalKind),
        resource: Uuid,
        role: Uuid,
        now: Timestamp,
    ) {
        let same =
            |known: &RoleAssignment| known.principal == principal && known.resource == resource && known.role == role;
        if !self.roles.iter().any(same) {
            self.roles.push(RoleAssignment {
                id: text_id(&format!("role\n{principal}\n{resource}\n{role}")),
                tenant,
                principal,
                kind,
                resource,
                role,
                created: now,
            });
        }
    }

    /// Takes ACS's permissions out of every registration.
    pub(super) fn take_acs_permissions(&mut self) {
        for application in &mut self.applications {
            application
                .required
                .retain(|required| !ACS_APPS.contains(&required.app_id));
        }
    }
}

/// The groups of a tenant that the ACS resource has assignments of.
pub(super) fn assigned_groups(scenario: &Scenario, tenant: Uuid) -> Vec<Uuid> {
    let groups = scenario
        .assignments
        .iter()
        .filter(|found| found.principal_type == PrincipalType::Group && found.tenant_id == tenant);
    groups.map(|found| found.object_id).collect()
}

/// An id in the form of those of grants and assignments at Graph, which are no GUIDs.
fn text_id(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(crate::jwt::sha256(text.as_bytes()))
}
