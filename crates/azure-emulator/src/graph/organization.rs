//! The organization, its groups and its licenses.
//!
//! <https://learn.microsoft.com/graph/api/resources/group>, <https://learn.microsoft.com/graph/api/resources/subscribedsku>

use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use super::error::{GraphError, not_found};
use super::query::Listing;
use super::state::Graph;
use crate::scenario::{Group, User, UserKind};

pub(super) const GROUPS: Listing = Listing {
    context: "groups",
    of: "group",
    filters: &["displayName", "id", "securityEnabled"],
};
pub(super) const MEMBERS: Listing = Listing {
    context: "directoryObjects",
    of: "directoryObject",
    filters: &["displayName", "id"],
};
pub(super) const SKUS: Listing = Listing {
    context: "subscribedSkus",
    of: "subscribedSku",
    filters: &[],
};
pub(super) const LICENSES: Listing = Listing {
    context: "licenseDetails",
    of: "licenseDetails",
    filters: &[],
};
pub(super) const ORGANIZATIONS: Listing = Listing {
    context: "organization",
    of: "organization",
    filters: &["id"],
};

/// A license, with what of Entra ID is in it.
/// <https://learn.microsoft.com/entra/identity/users/licensing-service-plan-reference>
struct Sku {
    id: Uuid,
    name: &'static str,
    plan: (Uuid, &'static str),
}

/// Microsoft 365 E5, which has Entra ID P2.
const E5: Sku = Sku {
    id: uuid!("06ebc4ee-1bb5-47dd-8120-11324bc54e06"),
    name: "SPE_E5",
    plan: (uuid!("eec0eb4f-6444-4f95-aba0-50c24d67f998"), "AAD_PREMIUM_P2"),
};
/// Microsoft 365 Business Basic, which has neither P1 nor P2.
const BASIC: Sku = Sku {
    id: uuid!("3b555118-da6a-4418-894f-7df1e2096870"),
    name: "O365_BUSINESS_ESSENTIALS",
    plan: (uuid!("9aaf7827-d63c-4b61-89c3-182f06f82e5c"), "EXCHANGE_S_STANDARD"),
};

fn sku(graph: &Graph, tenant: Uuid) -> &'static Sku {
    let mut tenants = graph.scenario.tenants.iter();
    let is_premium = tenants.any(|found| found.id == tenant && found.premium);
    if is_premium { &E5 } else { &BASIC }
}

fn plan(sku: &Sku) -> Value {
    json!({
        "servicePlanId": sku.plan.0.to_string(),
        "servicePlanName": sku.plan.1,
        "provisioningStatus": "Success",
        "appliesTo": "User",
    })
}

/// `GET /subscribedSkus`.
pub(super) fn skus(graph: &Graph, tenant: Uuid) -> Vec<Value> {
    let sku = sku(graph, tenant);
    let users = graph
        .scenario
        .users
        .iter()
        .filter(|user| user.tenant_id == tenant)
        .count();
    vec![json!({
        "id": format!("{tenant}_{}", sku.id),
        "skuId": sku.id.to_string(),
        "skuPartNumber": sku.name,
        "accountId": tenant.to_string(),
        "appliesTo": "User",
        "capabilityStatus": "Enabled",
        "consumedUnits": users,
        "prepaidUnits": {"enabled": 25, "suspended": 0, "warning": 0, "lockedOut": 0},
        "servicePlans": [plan(sku)],
        "subscriptionIds": [],
    })]
}

/// `GET /users/{id}/licenseDetails`.
pub(super) fn licenses(graph: &Graph, tenant: Uuid, user: &str) -> Result<Vec<Value>, GraphError> {
    person(graph, tenant, user).ok_or_else(|| not_found(user))?;
    let sku = sku(graph, tenant);
    Ok(vec![json!({
        "id": sku.id.simple().to_string(),
        "skuId": sku.id.to_string(),
        "skuPartNumber": sku.name,
        "servicePlans": [plan(sku)],
    })])
}

/// `GET /organization`.
pub(super) fn organizations(graph: &Graph, tenant: Uuid) -> Vec<Value> {
    let sku = sku(graph, tenant);
    let found = graph.scenario.tenants.iter().filter(|found| found.id == tenant);
    let described = found.map(|tenant| {
        json!({
            "id": tenant.id.to_string(),
            "displayName": tenant.name,
            "tenantType": "AAD",
            "verifiedDomains": [{
                "name": tenant.domain,
                "isDefault": true,
                "isInitial": false,
                "type": "Managed",
                "capabilities": "Email",
            }],
            "assignedPlans": [{
                "capabilityStatus": "Enabled",
                "service": "AADPremiumService",
                "servicePlanId": sku.plan.0.to_string(),
            }],
        })
    });
    described.collect()
}

/// The person with this object id or user principal name in a tenant's directory.
pub(super) fn person<'a>(graph: &'a Graph, tenant: Uuid, text: &str) -> Option<&'a User> {
    if let Ok(id) = Uuid::try_parse(text) {
        return graph.scenario.person(tenant, id);
    }
    graph
        .scenario
        .users
        .iter()
        .filter(|user| user.tenant_id == tenant && user.kind == UserKind::Person)
        .find(|user| graph.scenario.user_principal_name(user).eq_ignore_ascii_case(text))
}

/// `GET /groups`.
pub(super) fn groups(graph: &Graph, tenant: Uuid) -> Vec<Value> {
    let found = graph.scenario.groups.iter().filter(|group| group.tenant_id == tenant);
    found.map(group_json).collect()
}

/// The group with this object id in a tenant's directory.
pub(super) fn group<'a>(graph: &'a Graph, tenant: Uuid, text: &str) -> Result<&'a Group, GraphError> {
    let id = Uuid::try_parse(text).map_err(|_| not_found(text))?;
    let mut groups = graph.scenario.groups.iter();
    groups
        .find(|group| group.id == id && group.tenant_id == tenant)
        .ok_or_else(|| not_found(text))
}

pub(super) fn group_json(group: &Group) -> Value {
    json!({
        "id": group.id.to_string(),
        "deletedDateTime": null,
        "displayName": group.name,
        "description": null,
        "groupTypes": [],
        "mailEnabled": false,
        "mailNickname": group.name.replace(' ', ""),
        "securityEnabled": true,
        "isAssignableToRole": null,
    })
}

/// `GET /groups/{id}/members`, direct ones alone, or `transitiveMembers`; of one type, if the path names it.
pub(super) fn members(
    graph: &Graph,
    group: &Group,
    transitive: bool,
    cast: Option<&str>,
) -> Result<Vec<Value>, GraphError> {
    let (users, groups) = match cast {
        None => (true, true),
        Some("microsoft.graph.user") => (true, false),
        Some("microsoft.graph.group") => (false, true),
        Some(other) => return Err(GraphError::no_segment(other)),
    };
    let scenario = &graph.scenario;
    let is_in = |user: &User| {
        if transitive {
            scenario.groups_of(user).contains(&group.id)
        } else {
            user.groups.contains(&group.id)
        }
    };
    let mut found = Vec::new();
    if groups {
        let within = scenario.groups.iter().filter(|other| {
            other.tenant_id == group.tenant_id
                && if transitive {
                    reaches(graph, other, group.id)
                } else {
                    other.member_of.contains(&group.id)
                }
        });
        found.extend(within.map(|other| typed("group", group_json(other))));
    }
    if users {
        let here = scenario
            .users
            .iter()
            .filter(|user| user.tenant_id == group.tenant_id && is_in(user));
        found.extend(here.map(|user| typed("user", user_json(graph, user))));
    }
    Ok(found)
}

/// Whether a group is within another, through however many. Groups may be nested in a circle.
fn reaches(graph: &Graph, from: &Group, to: Uuid) -> bool {
    let (mut seen, mut next) = (vec![from.id], from.member_of.clone());
    while let Some(id) = next.pop() {
        if id == to {
            return from.id != to;
        }
        if !seen.contains(&id) {
            seen.push(id);
            let parents = graph.scenario.groups.iter().filter(|group| group.id == id);
            next.extend(parents.flat_map(|group| group.member_of.iter().copied()));
        }
    }
    false
}

fn typed(name: &str, mut object: Value) -> Value {
    object["@odata.type"] = json!(format!("#microsoft.graph.{name}"));
    object
}

/// A user as Graph shows it.
pub(super) fn user_json(graph: &Graph, user: &User) -> Value {
    json!({
        "id": user.object_id.to_string(),
        "displayName": user.display_name,
        "userPrincipalName": graph.scenario.user_principal_name(user),
        "mail": null,
    })
}
