//! What Graph and the consent pages change in a directory.

use jiff::Timestamp;
use uuid::Uuid;

use super::Directory;
use super::catalog::{KnownApp, service_principal_id};
use super::objects::{AccessKind, Application, PrincipalKind, RoleAssignment, ServicePrincipal};
use crate::entra::apis::ACS_CLIENTS_APP;
use crate::lock::lock;
use crate::scenario::User;

/// Why a service principal is not created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CreateError {
    /// There is one.
    Exists,
    /// No app has this id.
    NoApp,
}

/// Why a role is not assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AssignError {
    NoResource,
    NoPrincipal,
    NoRole,
    Exists,
}

impl Directory {
    /// Makes an app's service principal in a tenant.
    pub(crate) fn create_principal(&self, app_id: Uuid, tenant: Uuid) -> Result<ServicePrincipal, CreateError> {
        self.app(app_id)
            .filter(|app| !app.is_managed_identity)
            .ok_or(CreateError::NoApp)?;
        let mut state = lock(&self.state);
        if state.principal(app_id, tenant).is_some() {
            return Err(CreateError::Exists);
        }
        state.add_principal(app_id, tenant);
        // The tenant's administrator goes on with what held before.
        let required = app_id == ACS_CLIENTS_APP && self.scenario.is_customer(tenant);
        let created = state.principals.get_mut(&service_principal_id(app_id, tenant));
        let created = created.ok_or(CreateError::NoApp)?;
        created.assignment_required = required;
        Ok(created.clone())
    }

    /// Changes a service principal of a tenant; whether there is one.
    pub(crate) fn change_principal(&self, tenant: Uuid, id: Uuid, change: impl FnOnce(&mut ServicePrincipal)) -> bool {
        let mut state = lock(&self.state);
        let found = state.principals.get_mut(&id).filter(|found| found.tenant == tenant);
        found.map(change).is_some()
    }

    /// Changes a registration of a tenant; whether there is one.
    pub(crate) fn change_application(&self, tenant: Uuid, id: Uuid, change: impl FnOnce(&mut Application)) -> bool {
        let mut state = lock(&self.state);
        let mut all = state.applications.iter_mut();
        let found = all.find(|found| found.tenant == tenant && found.id == id);
        found.map(change).is_some()
    }

    /// What kind of object of a tenant has this id.
    pub(crate) fn kind_of(&self, tenant: Uuid, id: Uuid) -> Option<PrincipalKind> {
        let scenario = &self.scenario;
        if scenario
            .groups
            .iter()
            .any(|group| group.id == id && group.tenant_id == tenant)
        {
            Some(PrincipalKind::Group)
        } else if scenario.person(tenant, id).is_some() {
            Some(PrincipalKind::User)
        } else {
            let principals = self.principals(tenant);
            let is_app = principals.iter().any(|found| found.id == id);
            is_app.then_some(PrincipalKind::ServicePrincipal)
        }
    }

    /// Assigns a role at an API to a user, a group or an app.
    pub(crate) fn assign(
        &self,
        tenant: Uuid,
        principal: Uuid,
        resource: Uuid,
        role: Uuid,
        now: Timestamp,
    ) -> Result<RoleAssignment, AssignError> {
        let kind = self.kind_of(tenant, principal).ok_or(AssignError::NoPrincipal)?;
        let api = self.principals(tenant).into_iter().find(|found| found.id == resource);
        let api = api.ok_or(AssignError::NoResource)?;
        let app = self.app(api.app_id).ok_or(AssignError::NoResource)?;
        let has_role = app.roles.iter().any(|known| known.id == role) || (role.is_nil() && app.roles.is_empty());
        if !has_role {
            return Err(AssignError::NoRole);
        }
        let mut state = lock(&self.state);
        let before = state.roles.len();
        state.assign(tenant, (principal, kind), resource, role, now);
        match state.roles.last() {
            Some(added) if state.roles.len() > before => Ok(added.clone()),
            _ => Err(AssignError::Exists),
        }
    }

    /// A user's own consent to scopes of an API.
    pub(crate) fn consent_of_user(&self, user: &User, client: Uuid, api: Uuid, scopes: Vec<String>) {
        let mut state = lock(&self.state);
        // The first consent in a tenant brings the app there.
        state.add_principal(client, user.tenant_id);
        state.consent(user.tenant_id, client, api, Some(user.object_id), scopes);
    }

    /// What a registration lists: each API with the scopes and the roles.
    pub(crate) fn listed(&self, client: Uuid) -> Vec<Listed<'_>> {
        let state = lock(&self.state);
        let found = state.applications.iter().find(|found| found.app_id == client);
        let required = found.into_iter().flat_map(|found| &found.required);
        let of_kind = |known: &[super::catalog::Permission], access: &[super::objects::Access], kind: AccessKind| {
            let ids: Vec<Uuid> = access.iter().filter(|one| one.kind == kind).map(|one| one.id).collect();
            let named = known.iter().filter(|known| ids.contains(&known.id));
            named.map(|known| known.value.clone()).collect()
        };
        required
            .filter_map(|required| {
                let app = self.app(required.app_id)?;
                Some(Listed {
                    app,
                    scopes: of_kind(&app.scopes, &required.access, AccessKind::Scope),
                    roles: of_kind(&app.roles, &required.access, AccessKind::Role),
                })
            })
            .collect()
    }

    /// An administrator's consent for everybody in a tenant, to what the app's registration lists.
    pub(crate) fn consent_for_all(&self, client: Uuid, tenant: Uuid, now: Timestamp) {
        let listed = self.listed(client);
        let mut state = lock(&self.state);
        state.add_principal(client, tenant);
        for Listed { app, scopes, roles } in listed {
            if !scopes.is_empty() {
                state.consent(tenant, client, app.app_id, None, scopes);
            }
            let resource = service_principal_id(app.app_id, tenant);
            for role in roles.iter().filter_map(|name| app.role_id(name)) {
                let principal = (service_principal_id(client, tenant), PrincipalKind::ServicePrincipal);
                state.assign(tenant, principal, resource, role, now);
            }
        }
    }
}

/// What a registration lists of one API.
#[derive(Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) app: &'a KnownApp,
    pub(crate) scopes: Vec<String>,
    pub(crate) roles: Vec<String>,
}
