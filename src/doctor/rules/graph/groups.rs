//! Groups that are assigned, and the license that their assignment needs.

use azure::graph_admin::Sku;
use base::ids::ObjectId;

use super::super::super::check::{Check, CheckId, Who};
use super::super::super::needs::ACS_CLIENTS;
use super::{APPLICATIONS, DIRECTORY, LICENSES, TenantGraph, missed};

/// `graph.group_exists`
pub(super) fn group_exists(group: ObjectId, tenant: &TenantGraph) -> Check {
    let id = CheckId::GraphGroupExists;
    match tenant.groups.get(&group) {
        Some(Ok(Some(_))) => Check::pass(id, "the tenant has the group"),
        Some(Ok(None)) => Check::fail(
            id,
            Who::Operator,
            format!("tenant {} has no group {group}", tenant.tenant),
            "ask the administrator of the users' tenant for the group's object id, and mend the assignment's objectId or tenantId",
        ),
        Some(Err(error)) => missed(id, error, DIRECTORY),
        None => Check::skip(id, "Graph was not asked"),
    }
}

/// `graph.group_assigned`
pub(super) fn group_assigned(group: ObjectId, tenant: &TenantGraph) -> Check {
    let id = CheckId::GraphGroupAssigned;
    let fix = "Enterprise applications, Azure Communication Services Clients, Users and groups: add the group (Entra ID P1 or P2)";
    match &tenant.acs_clients {
        Err(error) => return missed(id, error, APPLICATIONS),
        Ok(None) => {
            return Check::fail(
                id,
                Who::UserTenantAdmin,
                "the group cannot be assigned: the tenant has no service principal of Azure Communication Services Clients",
                format!("create the service principal (az ad sp create --id {ACS_CLIENTS}), then: {fix}"),
            );
        }
        Ok(Some(_)) => {}
    }
    match (&tenant.assigned, tenant.nested.get(&group)) {
        (Err(error), _) => missed(id, error, APPLICATIONS),
        (Ok(assigned), _) if !assigned.iter().any(|each| each.principal_id == group) => Check::fail(
            id,
            Who::UserTenantAdmin,
            "the group is not assigned to Azure Communication Services Clients: Entra gives its members no token",
            fix,
        )
        .with_command(format!("acs-token-broker setup plan --tenant {}", tenant.tenant)),
        (Ok(_), Some(Ok(true))) => Check::warn(
            id,
            "the group is assigned; groups are members of it, and the members of those are not covered by the assignment",
            "assign the inner groups to Azure Communication Services Clients too",
        )
        .by(Who::UserTenantAdmin),
        (Ok(_), _) => Check::pass(id, "the group is assigned to Azure Communication Services Clients"),
    }
}

/// `graph.license`
pub(super) fn license(tenant: &TenantGraph) -> Check {
    let id = CheckId::GraphLicense;
    match &tenant.skus {
        Ok(skus) if skus.iter().any(Sku::has_entra_premium) => Check::pass(id, "the tenant has Entra ID P1 or P2"),
        Ok(_) => Check::fail(
            id,
            Who::UserTenantAdmin,
            "the tenant has neither Entra ID P1 nor P2, which the assignment of groups to applications needs",
            "get licenses, or assign users or the tenant at ACS in place of groups",
        ),
        Err(error) => missed(id, error, LICENSES),
    }
}
