//! What the configuration and the assignments make necessary at Entra: which apps, in which tenants, which groups.

use std::collections::{BTreeMap, BTreeSet};

use azure::acs_assignments::EntraAssignment;
use base::ids::{ClientAppId, ObjectId, TenantId};
use config::{Addressee, Config, EntraConfig, ExchangeMode, ResourceConfig};

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

impl AppNeed {
    /// The delegated permissions of `api`, one of which the app must have. Empty: it is no client of that API.
    #[must_use]
    pub fn of(&self, api: AcsApi) -> &BTreeSet<String> {
        match api {
            AcsApi::Clients => &self.scopes,
            AcsApi::Teams => &self.teams_scopes,
        }
    }

    /// Whether the app is a client of an API of ACS's.
    #[must_use]
    pub fn is_client(&self) -> bool {
        AcsApi::ALL.into_iter().any(|api| !self.of(api).is_empty())
    }

    /// It gets tokens for this API of the broker's own.
    fn add_api(&mut self, api: ClientAppId, entra: &EntraConfig) {
        let scopes = entra
            .required_scopes
            .iter()
            .filter(|scope| Addressee::OwnApi.has_scope(scope));
        self.apis.entry(api).or_default().extend(scopes.cloned());
    }
}

impl Needs {
    /// Adds what a resource with these assignments needs. In identity mode Entra's ACS Clients has no part.
    pub fn add(&mut self, config: &Config, resource: &ResourceConfig, assignments: &[EntraAssignment]) {
        let own_app = match &resource.exchange.mode {
            ExchangeMode::Passthrough => None,
            ExchangeMode::OnBehalfOf(settings) => Some(settings.app.client_id),
            ExchangeMode::Identity(_) => return self.add_clients_of_own_api(&config.entra, assignments),
            ExchangeMode::TeamsUser(_) => return self.add_teams_users(&config.entra, assignments),
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

    fn add_sign_in(&mut self, assignments: &[EntraAssignment]) {
        for assignment in assignments {
            for client in &assignment.client_ids {
                let need = self.apps.entry(*client).or_default();
                need.tenants.insert(assignment.tenant_id);
                need.signs_in = true;
            }
        }
    }

    fn add_clients_of_own_api(&mut self, entra: &EntraConfig, assignments: &[EntraAssignment]) {
        self.add_sign_in(assignments);
        let Some(api) = own_api(&entra.audiences) else { return };
        for assignment in assignments {
            for client in assignment.client_ids.iter().filter(|client| **client != api) {
                self.apps.entry(*client).or_default().add_api(api, entra);
                self.apps.entry(api).or_default().tenants.insert(assignment.tenant_id);
            }
        }
    }

    /// Groups are no matter of ACS's there: none is assigned to its API.
    fn add_teams_users(&mut self, entra: &EntraConfig, assignments: &[EntraAssignment]) {
        self.add_sign_in(assignments);
        let required = entra.required_scopes.iter();
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
    use config::load::{Environment, load};

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

    /// Front ends of Teams users get tokens for ACS alone, whatever other resources take.
    #[test]
    fn each_app_needs_the_api_of_its_own_resource() {
        let id = |number: u32| format!("{number:08x}-0000-4000-8000-000000000000");
        let (tenant, api, chat, teams) = (id(1), id(2), id(3), id(4));
        let text = format!(
            "entra.audiences = ['{api}', '{ACS_TEAMS}']\nentra.required_scopes = ['access', 'Teams.ManageCalls']\n\
             entra.tenants = [{{ id = '{tenant}' }}]\n\
             resources = [{{ name = 'chat', client_ids = ['{chat}'], exchange = {{ endpoint = 'https://one.example', mode = \
             'identity', identity = {{ access_key_file = '/proc/version' }} }} }}, {{ name = 'teams', exchange = {{ endpoint = \
             'https://two.example', mode = 'teams_user', teams_user = {{ access_key_file = '/proc/version' }} }} }}]\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("broker.toml");
        std::fs::write(&file, text).unwrap();
        let config = load(Some(&file), &Environment::default()).unwrap().config;
        let assignment = |client: &str| EntraAssignment {
            object_id: id(9).parse().unwrap(),
            tenant_id: tenant.parse().unwrap(),
            principal_type: azure::acs_assignments::PrincipalType::User,
            client_ids: vec![client.parse().unwrap()],
        };
        let mut needs = Needs::default();
        needs.add(&config, &config.resources[0], &[assignment(&chat)]);
        needs.add(&config, &config.resources[1], &[assignment(&teams)]);
        let need = |app: &str| needs.apps[&app.parse().unwrap()].clone();
        let tenants = BTreeSet::from([tenant.parse().unwrap()]);
        let scopes = |name: &str| BTreeSet::from([name.to_owned()]);
        assert_eq!(
            need(&chat),
            AppNeed {
                tenants: tenants.clone(),
                signs_in: true,
                apis: [(api.parse().unwrap(), scopes("access"))].into(),
                ..AppNeed::default()
            }
        );
        assert_eq!(
            need(&teams),
            AppNeed {
                tenants: tenants.clone(),
                teams_scopes: scopes("Teams.ManageCalls"),
                signs_in: true,
                ..AppNeed::default()
            }
        );
        assert_eq!(
            need(&api),
            AppNeed {
                tenants,
                ..AppNeed::default()
            }
        );
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
