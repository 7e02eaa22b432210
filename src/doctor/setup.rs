//! The steps that are missing, from what was looked at. Nothing is taken away by any of them. Consent is an administrator's of
//! the users' tenant to give: for that there is an address, and a text to send.

use std::collections::BTreeMap;

use azure::acs_assignments::EntraAssignment;
use azure::graph_admin::{
    DEFAULT_ROLE, ServicePrincipal, assignment_body, required_permissions_body, service_principal_body,
};
use base::ids::{ClientAppId, ObjectId, TenantId};
use config::Config;
use serde::Serialize;
use serde_json::{Value, json};

use super::check::Who;
use super::needs::{ACS_CLIENTS, AppNeed, Needs, acs_clients};
use super::rules::acs::{ResourceLook, is_covered, wanted_at_acs};
use super::rules::config::graph_endpoint;
use super::rules::entra::consent_url;
use super::rules::graph::{Consent, TenantGraph, asked_for, consent_of, permission_ids};

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
    /// Makes the service principal of ACS Clients.
    CreatePrincipal(TenantId),
    /// Adds permissions of ACS Clients to an application.
    AddPermissions(TenantId, ClientAppId),
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
    if needs.acs_clients() {
        steps.extend(tenants.iter().filter_map(|tenant| create_principal(tenant, &graph)));
    }
    for (app, need) in needs.apps.iter().filter(|(_, need)| !need.scopes.is_empty()) {
        steps.extend(
            tenants
                .iter()
                .filter_map(|home| add_permissions(*app, need, home, &graph)),
        );
    }
    for (index, resource) in resources.iter().enumerate() {
        steps.extend(assign(index, resource));
    }
    for (group, tenant) in &needs.groups {
        let tenant = tenants.iter().find(|each| each.tenant == *tenant);
        steps.extend(tenant.and_then(|tenant| assign_group(*group, tenant, &graph)));
    }
    for (app, need) in needs.apps.iter().filter(|(_, need)| !need.scopes.is_empty()) {
        let of_users = tenants.iter().filter(|tenant| need.tenants.contains(&tenant.tenant));
        steps.extend(of_users.filter_map(|tenant| consent(config, needs, *app, need, tenant)));
    }
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

fn create_principal(tenant: &TenantGraph, graph: &str) -> Option<Step> {
    if !matches!(tenant.acs_clients, Ok(None)) {
        return None;
    }
    let who = if tenant.is_home() {
        Who::AppTenantAdmin
    } else {
        Who::UserTenantAdmin
    };
    let step = Step::new(
        "graph.acs_clients_principal",
        tenant.tenant,
        who,
        Action::CreatePrincipal(tenant.tenant),
        format!(
            "create the service principal of Azure Communication Services Clients in tenant {}",
            tenant.tenant
        ),
    );
    let request = Request {
        method: "POST",
        url: format!("{graph}/v1.0/servicePrincipals"),
        body: service_principal_body(acs_clients()),
    };
    Some(step.with(format!("az ad sp create --id {ACS_CLIENTS}"), request))
}

fn add_permissions(app: ClientAppId, need: &AppNeed, home: &TenantGraph, graph: &str) -> Option<Step> {
    let Some(Ok(Some(registration))) = home.registrations.get(&app) else {
        return None;
    };
    let names = need.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let (ids, body) = match &home.acs_clients {
        Ok(Some(principal)) => {
            let ids = permission_ids(principal, need);
            let asked = asked_for(&registration.required_resource_access, ACS_CLIENTS);
            if ids.is_empty()
                || ids
                    .iter()
                    .any(|id| asked.iter().any(|asked| asked.eq_ignore_ascii_case(id)))
            {
                return None;
            }
            let all = extended(&registration.required_resource_access, ACS_CLIENTS, &ids)?;
            (ids, required_permissions_body(&all))
        }
        // Its permissions have ids once the service principal is there.
        Ok(None) if asked_for(&registration.required_resource_access, ACS_CLIENTS).is_empty() => {
            let body = json!({ "requiredResourceAccess": ["{what is there}", { "resourceAppId": ACS_CLIENTS, "resourceAccess": [{ "id": format!("{{id of {names}}}"), "type": "Scope" }] }] });
            (vec![format!("{{id of {names}}}")], body)
        }
        Ok(None) | Err(_) => return None,
    };
    let step = Step::new(
        "graph.app_permissions",
        app,
        Who::AppTenantAdmin,
        Action::AddPermissions(home.tenant, app),
        format!("add {names} of Azure Communication Services Clients to the permissions of app {app}"),
    );
    let arguments: Vec<String> = ids.iter().map(|id| format!("{id}=Scope")).collect();
    let request = Request {
        method: "PATCH",
        url: format!("{graph}/v1.0/applications/{}", registration.id),
        body,
    };
    Some(step.with(
        format!(
            "az ad app permission add --id {app} --api {ACS_CLIENTS} --api-permissions {}",
            arguments.join(" ")
        ),
        request,
    ))
}

/// The permissions that an application asks for with these of `api` added; `None` if all are there.
#[must_use]
pub fn extended(required: &[Value], api: &str, ids: &[String]) -> Option<Vec<Value>> {
    let asked = asked_for(required, api);
    let missing: Vec<Value> = ids
        .iter()
        .filter(|id| !asked.iter().any(|asked| asked.eq_ignore_ascii_case(id)))
        .map(|id| json!({ "id": id, "type": "Scope" }))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let mut all = required.to_vec();
    let of_api = all.iter_mut().find_map(|entry| {
        let id = entry.get("resourceAppId").and_then(Value::as_str)?;
        if id.eq_ignore_ascii_case(api) {
            entry.get_mut("resourceAccess")?.as_array_mut()
        } else {
            None
        }
    });
    match of_api {
        Some(access) => access.extend(missing),
        None => all.push(json!({ "resourceAppId": api, "resourceAccess": missing })),
    }
    Some(all)
}

/// What is added to an application, by what Graph says at the moment of writing; `None` if nothing is missing.
#[must_use]
pub fn permissions_to_write(required: &[Value], principal: &ServicePrincipal, need: &AppNeed) -> Option<Vec<Value>> {
    extended(required, ACS_CLIENTS, &permission_ids(principal, need))
}

fn assign_group(group: ObjectId, tenant: &TenantGraph, graph: &str) -> Option<Step> {
    let principal = match (&tenant.acs_clients, &tenant.assigned) {
        (Ok(Some(principal)), Ok(assigned)) if !assigned.iter().any(|each| each.principal_id == group) => {
            Some(principal.id)
        }
        (Ok(None), _) => None,
        _ => return None,
    };
    let missing_group = matches!(tenant.groups.get(&group), Some(Ok(None)));
    if missing_group {
        return None;
    }
    let step = Step::new(
        "graph.group_assigned",
        group,
        Who::UserTenantAdmin,
        Action::AssignGroup(tenant.tenant, group),
        format!(
            "assign group {group} to Azure Communication Services Clients in tenant {}",
            tenant.tenant
        ),
    );
    let (shown, body) = if let Some(principal) = principal {
        (principal.to_string(), assignment_body(principal, group))
    } else {
        let unknown = "{id of the service principal}";
        let body = json!({ "principalId": group, "resourceId": unknown, "appRoleId": DEFAULT_ROLE });
        (unknown.to_owned(), body)
    };
    let url = format!("{graph}/v1.0/servicePrincipals/{shown}/appRoleAssignedTo");
    let az = format!("az rest --method POST --url {url} --body '{body}'");
    Some(step.with(
        az,
        Request {
            method: "POST",
            url,
            body,
        },
    ))
}

fn assign(index: usize, look: &ResourceLook<'_>) -> Vec<Step> {
    let is_identity = matches!(look.config.exchange.mode, config::ExchangeMode::Identity(_));
    let (Some(Ok(listed)), Some(Ok(file)), false) = (&look.listed, &look.file, is_identity) else {
        return Vec::new();
    };
    // Several entries of the file may be about one object, which has one assignment at ACS.
    let mut wanted: BTreeMap<ObjectId, EntraAssignment> = BTreeMap::new();
    for assignment in file {
        let one = wanted_at_acs(look.config, assignment);
        if is_covered(listed, &one) {
            continue;
        }
        let merged = wanted.entry(one.object_id).or_insert_with(|| EntraAssignment {
            client_ids: Vec::new(),
            ..one.clone()
        });
        for client in one.client_ids {
            if !merged.client_ids.contains(&client) {
                merged.client_ids.push(client);
            }
        }
    }
    wanted
        .into_values()
        .map(|wanted| assign_one(index, look, listed, &wanted))
        .collect()
}

fn assign_one(index: usize, look: &ResourceLook<'_>, listed: &[EntraAssignment], wanted: &EntraAssignment) -> Step {
    let object = wanted.object_id;
    let kind = wanted.principal_type.as_ref();
    let there = listed.iter().find(|other| other.object_id == object);
    let assignment = match there {
        Some(other) if other.tenant_id == wanted.tenant_id && other.principal_type == wanted.principal_type => {
            added(other, wanted)
        }
        Some(_) => {
            return Step::new(
                "acs.assignments",
                object,
                Who::Operator,
                Action::None,
                format!(
                    "{object} is assigned at ACS in another tenant or as another type than in the file: decide which is right; nothing is replaced"
                ),
            );
        }
        None => wanted.clone(),
    };
    let clients: Vec<String> = wanted.client_ids.iter().map(ToString::to_string).collect();
    let step = Step::new(
        "acs.assignments",
        object,
        Who::Operator,
        Action::Assign(index, assignment.clone()),
        format!(
            "assign {kind} {object} of tenant {} at ACS with {}",
            wanted.tenant_id,
            clients.join(", ")
        ),
    );
    let endpoint = look.config.exchange.endpoint.origin().ascii_serialization();
    let url = format!(
        "{endpoint}/access/entra/assignments/{object}?api-version={}",
        look.config.exchange.api_version
    );
    let body = json!({ "tenantId": assignment.tenant_id, "principalType": assignment.principal_type, "clientIds": assignment.client_ids });
    let az = format!("az rest --method PUT --resource https://communication.azure.com --url '{url}' --body '{body}'");
    step.with(
        az,
        Request {
            method: "PUT",
            url,
            body,
        },
    )
}

/// What is there with what is wanted added.
#[must_use]
pub fn added(there: &EntraAssignment, wanted: &EntraAssignment) -> EntraAssignment {
    let mut all = there.clone();
    let missing = wanted
        .client_ids
        .iter()
        .filter(|client| !there.client_ids.contains(client));
    all.client_ids.extend(missing);
    all
}

fn consent(config: &Config, needs: &Needs, app: ClientAppId, need: &AppNeed, tenant: &TenantGraph) -> Option<Step> {
    let known = consent_of(app, need, tenant);
    let seen = match known {
        Ok(Consent::Everyone) => return None,
        Ok(Consent::SomeUsers) => "only single users consented so far",
        Ok(Consent::Missing) => "there is none so far",
        Err(_) => "whether it is done could not be looked up",
    };
    let url = consent_url(config, tenant.tenant, app);
    let groups: Vec<String> = needs
        .groups
        .iter()
        .filter(|(group, of)| **of == tenant.tenant && !is_assigned(**group, tenant))
        .map(|(group, _)| group.to_string())
        .collect();
    let mut step = Step::new(
        "graph.consent",
        tenant.tenant,
        Who::UserTenantAdmin,
        Action::None,
        format!(
            "an administrator of tenant {} consents to app {app} ({seen})",
            tenant.tenant
        ),
    );
    step.message = Some(message(app, tenant.tenant, need, url.as_str(), &groups));
    step.url = Some(url.into());
    Some(step)
}

fn is_assigned(group: ObjectId, tenant: &TenantGraph) -> bool {
    matches!(&tenant.assigned, Ok(assigned) if assigned.iter().any(|each| each.principal_id == group))
}

/// A text for the administrator of the other company, ready to be sent.
fn message(app: ClientAppId, tenant: TenantId, need: &AppNeed, url: &str, groups: &[String]) -> String {
    let scopes = need.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "Hello,\n\nfor your users to make calls with our application, an administrator of your Microsoft Entra tenant\n\
         {tenant} (Global, Application or Cloud Application Administrator) has to consent to it once:\n\n  {url}\n\n\
         The application's id is {app}. It asks for these delegated permissions of \"Azure Communication Services\n\
         Clients\": {scopes}. They let it make calls in the name of a user who has signed in, and nothing else.\n"
    );
    if !groups.is_empty() {
        text.push_str(
            "\nThen, in the Entra admin center (https://entra.microsoft.com), under Enterprise applications, \"Azure\n\
             Communication Services Clients\", Users and groups, please add (this needs Entra ID P1 or P2):\n\n",
        );
        for group in groups {
            text.push_str("  group ");
            text.push_str(group);
            text.push('\n');
        }
    }
    text.push_str("\nThank you.");
    text
}

#[cfg(test)]
mod tests {
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
        let need = AppNeed {
            scopes: ["VoIP".to_owned()].into(),
            ..AppNeed::default()
        };
        let id = |number: u32| format!("{number:08x}-0000-4000-8000-000000000000");
        let text = message(
            id(1).parse().unwrap(),
            id(2).parse().unwrap(),
            &need,
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
