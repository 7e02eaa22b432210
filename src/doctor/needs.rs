//! What the configuration and the assignments make necessary at Entra: which apps, in which tenants, which groups.

use std::collections::{BTreeMap, BTreeSet};

use azure::acs_assignments::EntraAssignment;
use base::ids::{ClientAppId, ObjectId, TenantId};
use config::{Config, ExchangeMode, ResourceConfig};

use crate::authorize::assignment::PrincipalType;

/// "Azure Communication Services Clients", as the quickstart names it.
pub const ACS_CLIENTS: &str = "2a04943b-b6a7-4f65-8786-2bb6131b59f6";
/// "Azure Communication Services", as the quickstart for Teams users names it.
pub const ACS_TEAMS: &str = "1fd5118e-2576-4263-8130-9503064c837a";

/// An API of ACS's of which apps have permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcsApi {
    /// For Entra users.
    Clients,
    /// For Teams users.
    Teams,
}

impl AcsApi {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Clients, Self::Teams];

    /// Its application id, as text.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Clients => ACS_CLIENTS,
            Self::Teams => ACS_TEAMS,
        }
    }

    /// Its application id.
    #[must_use]
    pub fn app_id(self) -> ClientAppId {
        self.id().parse().unwrap_or_else(|_| unreachable!("a GUID"))
    }

    /// Its name in Entra's pages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clients => "Azure Communication Services Clients",
            Self::Teams => "Azure Communication Services",
        }
    }
}

/// What one application must be able to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppNeed {
    /// The tenants whose users it serves.
    pub tenants: BTreeSet<TenantId>,
    /// The delegated permissions of ACS Clients, one of which it must have. Empty: it is no client of ACS.
    pub scopes: BTreeSet<String>,
    /// The same of the API for Teams users.
    pub teams_scopes: BTreeSet<String>,
    /// Whether users sign in to it.
    pub signs_in: bool,
}

/// What is necessary at Entra.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Each application.
    pub apps: BTreeMap<ClientAppId, AppNeed>,
    /// Each group that has to be assigned to ACS Clients, with its tenant.
    pub groups: BTreeMap<ObjectId, TenantId>,
}

impl AppNeed {
    /// The delegated permissions of `api`, one of which the app must have. Empty: it is no client of that API.
    #[must_use]
    pub fn of(&self, api: AcsApi) -> &BTreeSet<String> {
        match api {
            AcsApi::Clients => &self.scopes,
            AcsApi::Teams => &self.teams_scopes,
        }
    }

    fn is_client(&self) -> bool {
        AcsApi::ALL.into_iter().any(|api| !self.of(api).is_empty())
    }
}

impl Needs {
    /// Adds what a resource with these assignments needs. In identity mode Entra's ACS Clients has no part.
    pub fn add(&mut self, config: &Config, resource: &ResourceConfig, assignments: &[EntraAssignment]) {
        let own_app = match &resource.exchange.mode {
            ExchangeMode::Passthrough => None,
            ExchangeMode::OnBehalfOf(settings) => Some(settings.app.client_id),
            ExchangeMode::Identity(_) => return self.add_sign_in(assignments),
            ExchangeMode::TeamsUser(_) => return self.add_teams_users(config, assignments),
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
                if own_app.is_none() {
                    need.scopes.extend(scopes.iter().cloned());
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

    fn add_sign_in(&mut self, assignments: &[EntraAssignment]) {
        for assignment in assignments {
            for client in &assignment.client_ids {
                let need = self.apps.entry(*client).or_default();
                need.tenants.insert(assignment.tenant_id);
                need.signs_in = true;
            }
        }
    }

    /// Groups are no matter of ACS's there: none is assigned to its API.
    fn add_teams_users(&mut self, config: &Config, assignments: &[EntraAssignment]) {
        self.add_sign_in(assignments);
        let required = config.entra.required_scopes.iter();
        let scopes: BTreeSet<String> = required.filter(|scope| scope.starts_with("Teams.")).cloned().collect();
        for client in assignments.iter().flat_map(|assignment| &assignment.client_ids) {
            if let Some(need) = self.apps.get_mut(client) {
                need.teams_scopes.extend(scopes.iter().cloned());
            }
        }
    }

    /// Whether any application is a client of `api`.
    #[must_use]
    pub fn uses(&self, api: AcsApi) -> bool {
        self.apps.values().any(|need| !need.of(api).is_empty())
    }

    /// The tenants whose users are served through applications that are clients of ACS.
    #[must_use]
    pub fn tenants_of_users(&self) -> BTreeSet<TenantId> {
        let clients = self.apps.values().filter(|need| need.is_client());
        clients.flat_map(|need| need.tenants.iter().copied()).collect()
    }
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
        for api in AcsApi::ALL {
            assert_eq!(api.app_id().to_string(), api.id());
        }
    }
}
