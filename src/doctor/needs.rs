//! What the configuration and the assignments make necessary at Entra: which apps, in which tenants, which groups.

use std::collections::{BTreeMap, BTreeSet};

use azure::acs_assignments::EntraAssignment;
use base::ids::{ClientAppId, ObjectId, TenantId};
use config::{Addressee, Config, EntraConfig, ExchangeMode, ResourceConfig};

use crate::authorize::assignment::PrincipalType;

/// "Azure Communication Services Clients", as the quickstart names it.
pub const ACS_CLIENTS: &str = "2a04943b-b6a7-4f65-8786-2bb6131b59f6";

/// What one application must be able to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppNeed {
    /// The tenants whose users it serves.
    pub tenants: BTreeSet<TenantId>,
    /// The delegated permissions of ACS Clients, one of which it must have. Empty: it is no client of ACS.
    pub scopes: BTreeSet<String>,
    /// Whether users sign in to it.
    pub signs_in: bool,
    /// The broker's own APIs that it gets tokens for, by their application, and the scopes, one of which it must have.
    pub apis: BTreeMap<ClientAppId, BTreeSet<String>>,
}

/// What is necessary at Entra.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Each application.
    pub apps: BTreeMap<ClientAppId, AppNeed>,
    /// Each group that has to be assigned to ACS Clients, with its tenant.
    pub groups: BTreeMap<ObjectId, TenantId>,
}

/// The application id of ACS Clients.
#[must_use]
pub fn acs_clients() -> ClientAppId {
    ACS_CLIENTS.parse().unwrap_or_else(|_| unreachable!("a GUID"))
}

impl Needs {
    /// Adds what a resource with these assignments needs. In identity mode Entra's ACS Clients has no part.
    pub fn add(&mut self, config: &Config, resource: &ResourceConfig, assignments: &[EntraAssignment]) {
        let own_app = match &resource.exchange.mode {
            ExchangeMode::Passthrough => None,
            ExchangeMode::OnBehalfOf(settings) => Some(settings.app.client_id),
            ExchangeMode::Identity(_) => return self.add_sign_in(&config.entra, assignments),
        };
        let scopes = match &resource.exchange.mode {
            ExchangeMode::OnBehalfOf(settings) => short_names(&settings.scope),
            _ => config
                .entra
                .required_scopes
                .iter()
                .filter(|scope| is_of_acs_clients(scope))
                .cloned()
                .collect(),
        };
        for assignment in assignments {
            for client in &assignment.client_ids {
                let need = self.apps.entry(*client).or_default();
                need.tenants.insert(assignment.tenant_id);
                // At ACS the broker's app is listed too, to which no user signs in.
                need.signs_in |= own_app != Some(*client);
                match own_app {
                    None => need.scopes.extend(scopes.iter().cloned()),
                    Some(api) if api != *client => need.add_api(api, &config.entra),
                    Some(_) => {}
                }
            }
            if let Some(app) = own_app {
                let need = self.apps.entry(app).or_default();
                need.tenants.insert(assignment.tenant_id);
                need.scopes.extend(scopes.iter().cloned());
            }
            if assignment.principal_type == PrincipalType::Group {
                self.groups.insert(assignment.object_id, assignment.tenant_id);
            }
        }
    }

    fn add_sign_in(&mut self, entra: &EntraConfig, assignments: &[EntraAssignment]) {
        let api = own_api(&entra.audiences);
        for assignment in assignments {
            for client in &assignment.client_ids {
                let need = self.apps.entry(*client).or_default();
                need.tenants.insert(assignment.tenant_id);
                need.signs_in = true;
                if let Some(api) = api.filter(|api| api != client) {
                    need.add_api(api, entra);
                    self.apps.entry(api).or_default().tenants.insert(assignment.tenant_id);
                }
            }
        }
    }

    /// Whether any application is a client of ACS Clients.
    #[must_use]
    pub fn acs_clients(&self) -> bool {
        self.apps.values().any(|need| !need.scopes.is_empty())
    }

    /// The tenants whose users are served through applications that are clients of ACS.
    #[must_use]
    pub fn tenants_of_users(&self) -> BTreeSet<TenantId> {
        let clients = self.apps.values().filter(|need| !need.scopes.is_empty());
        clients.flat_map(|need| need.tenants.iter().copied()).collect()
    }
}

impl AppNeed {
    /// It gets tokens for this API of the broker's own.
    fn add_api(&mut self, api: ClientAppId, entra: &EntraConfig) {
        let scopes = entra
            .required_scopes
            .iter()
            .filter(|scope| Addressee::OwnApi.has_scope(scope));
        self.apis.entry(api).or_default().extend(scopes.cloned());
    }
}

/// The application of the broker's own API, where the audiences name one and no other: `{id}`, `api://{id}`.
fn own_api(audiences: &[String]) -> Option<ClientAppId> {
    let ids: BTreeSet<ClientAppId> = audiences
        .iter()
        .filter(|audience| !Addressee::from_audiences(&[audience]).is_acs())
        .filter_map(|audience| audience.strip_prefix("api://").unwrap_or(audience).parse().ok())
        .collect();
    let mut ids = ids.into_iter();
    ids.next().filter(|_| ids.next().is_none())
}

/// `https://communication.azure.com/clients/VoIP` is `VoIP`. With `.default` every permission that was consented to is
/// meant: one for calls is the least.
fn short_names(scope: &str) -> BTreeSet<String> {
    let names: BTreeSet<String> = scope
        .split(' ')
        .filter_map(|scope| scope.rsplit('/').next())
        .filter(|name| is_of_acs_clients(name))
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        ["VoIP", "VoIP.Join"].map(str::to_owned).into()
    } else {
        names
    }
}

/// Scopes of ACS Clients, among those that a token can have.
fn is_of_acs_clients(scope: &str) -> bool {
    matches!(scope.split('.').next(), Some("VoIP" | "Chat"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_those_that_tokens_have() {
        let names = |text| short_names(text).into_iter().collect::<Vec<_>>();
        assert_eq!(names("https://communication.azure.com/clients/VoIP"), ["VoIP"]);
        assert_eq!(
            names("https://communication.azure.com/clients/.default"),
            ["VoIP", "VoIP.Join"]
        );
        assert!(!is_of_acs_clients("access") && !is_of_acs_clients("TeamsExtension.ManageCalls"));
        assert_eq!(acs_clients().to_string(), ACS_CLIENTS);
    }

    #[test]
    fn the_own_api_is_the_one_that_the_audiences_name() {
        let (one, other) = (
            "11111111-0000-4000-8000-000000000001",
            "11111111-0000-4000-8000-000000000002",
        );
        let api = |audiences: &[&str]| {
            let audiences: Vec<String> = audiences.iter().map(|audience| (*audience).to_owned()).collect();
            own_api(&audiences).map(|api| api.to_string())
        };
        assert_eq!(api(&[one, &format!("api://{one}")]).as_deref(), Some(one));
        assert_eq!(api(&[ACS_CLIENTS, &format!("api://{one}")]).as_deref(), Some(one));
        assert_eq!(api(&["api://broker.contoso.com", one]).as_deref(), Some(one));
        for unclear in [&[one, other][..], &[ACS_CLIENTS], &["https://broker.contoso.com"], &[]] {
            assert_eq!(api(unclear), None, "{unclear:?}");
        }
    }
}
