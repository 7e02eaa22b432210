//! The steps that are missing, from what was looked at. Nothing is taken away by any of them. Consent is an administrator's of
//! the users' tenant to give: for that there is an address, and a text to send.

mod at_acs;
mod at_graph;
mod consent;

use azure::acs_assignments::EntraAssignment;
use base::ids::{ClientAppId, ObjectId, TenantId};
use config::Config;
use serde::Serialize;
use serde_json::Value;

pub use self::at_acs::added;
use self::at_acs::assign;
use self::at_graph::{add_permissions, assign_group, create_principal};
pub use self::at_graph::{extended, permissions_to_write};
use self::consent::{consent, own_api_consents};
use super::check::Who;
use super::needs::{AcsApi, Needs};
use super::rules::acs::ResourceLook;
use super::rules::config::graph_endpoint;
use super::rules::graph::TenantGraph;

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It can be done here, and is not.
    Planned,
    /// It was done now.
    Done,
    /// It was tried, and refused.
    Refused,
    /// Another person has to do it.
    Manual,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Makes the service principal of an API of ACS's.
    CreatePrincipal(TenantId, AcsApi),
    /// Adds permissions of an API of ACS's to an application.
    AddPermissions(TenantId, ClientAppId, AcsApi),
    /// Assigns a group to ACS Clients.
    AssignGroup(TenantId, ObjectId),
    /// Sets an assignment at ACS, of the resource at this place in the configuration.
    Assign(usize, EntraAssignment),
    /// Nothing that could be done here.
    None,
}

/// A request to Graph or ACS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Its method.
    pub method: &'static str,
    /// Its address. What is not known yet stands in braces.
    pub url: String,
    /// Its body.
    pub body: Value,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The check that it mends.
    pub id: &'static str,
    /// The tenant, the resource, or the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How it stands.
    pub status: State,
    /// What it does, in one sentence.
    pub summary: String,
    /// Who does it.
    pub who: Who,
    /// The command of the Azure CLI that does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub az: Option<String>,
    /// The request that does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// The address to open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A text to send to who does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it does, for `apply`.
    #[serde(skip)]
    pub action: Action,
}

/// Every step that is missing as far as that is known, in the order in which they can be done.
#[must_use]
pub fn plan(config: &Config, needs: &Needs, tenants: &[TenantGraph], resources: &[ResourceLook<'_>]) -> Vec<Step> {
    let graph = graph_endpoint(config).map_or_else(String::new, |url| url.origin().ascii_serialization());
    let mut steps = Vec::new();
    // Each app with each API that it is a client of.
    let clients = || {
        let apps = needs.apps.iter();
        apps.flat_map(|(app, need)| AcsApi::ALL.map(|api| (*app, need, api)))
            .filter(|(_, need, api)| !need.of(*api).is_empty())
    };
    for api in AcsApi::ALL.into_iter().filter(|api| needs.uses(*api)) {
        steps.extend(
            tenants
                .iter()
                .filter_map(|tenant| create_principal(api, tenant, &graph)),
        );
    }
    for (app, need, api) in clients() {
        let homes = tenants.iter();
        steps.extend(homes.filter_map(|home| add_permissions(app, need.of(api), api, home, &graph)));
    }
    for (index, resource) in resources.iter().enumerate() {
        steps.extend(assign(index, resource));
    }
    for (group, tenant) in &needs.groups {
        let tenant = tenants.iter().find(|each| each.tenant == *tenant);
        steps.extend(tenant.and_then(|tenant| assign_group(*group, tenant, &graph)));
    }
    for (app, need, api) in clients() {
        let of_users = tenants.iter().filter(|tenant| need.tenants.contains(&tenant.tenant));
        steps.extend(of_users.filter_map(|tenant| consent(config, needs, app, (api, need.of(api)), tenant)));
    }
    steps.extend(own_api_consents(config, needs, tenants));
    steps
}

impl Step {
    #[expect(clippy::needless_pass_by_value, reason = "ids are copied")]
    fn new(id: &'static str, subject: impl ToString, who: Who, action: Action, summary: String) -> Self {
        Self {
            id,
            subject: Some(subject.to_string()),
            status: if action == Action::None {
                State::Manual
            } else {
                State::Planned
            },
            summary,
            who,
            az: None,
            request: None,
            url: None,
            message: None,
            error: None,
            action,
        }
    }

    fn with(self, az: String, request: Request) -> Self {
        Self {
            az: Some(az),
            request: Some(request),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::needs::ACS_CLIENTS;
    use super::consent::message;
    use super::*;

    #[test]
    fn permissions_are_added_and_nothing_is_taken_away() {
        let graph = json!({"resourceAppId": "00000003-0000-0000-c000-000000000000", "resourceAccess": [{"id": "a", "type": "Scope"}], "unknown": 1});
        let ids = ["v".to_owned(), "j".to_owned()];
        let all = extended(std::slice::from_ref(&graph), ACS_CLIENTS, &ids).unwrap();
        assert_eq!(all[0], graph);
        assert_eq!(
            all[1]["resourceAccess"],
            json!([{"id": "v", "type": "Scope"}, {"id": "j", "type": "Scope"}])
        );
        assert_eq!(extended(&all, ACS_CLIENTS, &ids), None);
        // An app permission of the same id is another thing; what is there of the API stays.
        let some = json!({"resourceAppId": ACS_CLIENTS.to_uppercase(), "resourceAccess": [{"id": "V", "type": "Scope"}, {"id": "j", "type": "Role"}]});
        let all = extended(&[graph, some], ACS_CLIENTS, &ids).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(
            all[1]["resourceAccess"],
            json!([{"id": "V", "type": "Scope"}, {"id": "j", "type": "Role"}, {"id": "j", "type": "Scope"}])
        );
    }

    #[test]
    fn clients_are_added_to_an_assignment() {
        let id = |number: u32| format!("{number:08x}-0000-4000-8000-000000000000");
        let assignment = |clients: &[u32]| EntraAssignment {
            object_id: id(1).parse().unwrap(),
            tenant_id: id(2).parse().unwrap(),
            principal_type: azure::acs_assignments::PrincipalType::Group,
            client_ids: clients.iter().map(|client| id(*client).parse().unwrap()).collect(),
        };
        assert_eq!(
            added(&assignment(&[3, 4]), &assignment(&[4, 5])),
            assignment(&[3, 4, 5])
        );
    }

    #[test]
    fn the_text_names_everything_that_is_to_be_done() {
        let id = |number: u32| format!("{number:08x}-0000-4000-8000-000000000000");
        let text = message(
            id(1).parse().unwrap(),
            id(2).parse().unwrap(),
            "It asks for VoIP.",
            "https://login.example/x",
            &[id(3)],
        );
        for part in [
            id(1),
            id(2),
            id(3),
            "https://login.example/x".to_owned(),
            "VoIP".to_owned(),
        ] {
            assert!(text.contains(&part), "{part}: {text}");
        }
    }
}
