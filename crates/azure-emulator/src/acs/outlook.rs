//! What will happen to a user who asks for an ACS token, in a sentence for the sign-in page.

use std::sync::Arc;

use uuid::Uuid;

use super::assignments::covering;
use super::state::Acs;
use crate::entra::apis::ACS_CLIENTS_APP;
use crate::entra::sign_in::Outlook;
use crate::lock::lock;
use crate::scenario::{PrincipalType, User};

/// A token lists no more groups than this.
const GROUPS_IN_A_TOKEN: usize = 200;

/// Says it by the resource's assignments as they stand.
#[derive(Debug)]
pub(crate) struct AssignmentOutlook(pub(crate) Arc<Acs>);

impl Outlook for AssignmentOutlook {
    fn line(&self, user: &User) -> String {
        let scenario = &self.0.scenario;
        let groups = scenario.groups_of(user);
        let assignments = lock(&self.0.assignments);
        let client = scenario.client_app.client_id;
        let name = |id: Uuid| {
            let mut known = scenario.groups.iter().filter(|group| group.id == id);
            known.next().map_or_else(|| id.to_string(), |group| group.name.clone())
        };
        match covering(assignments.values(), user.tenant_id, user.object_id, &groups, client) {
            Some(found) if found.principal_type == PrincipalType::User => {
                "Gets a token: has an assignment of their own.".to_owned()
            }
            Some(found) if found.principal_type == PrincipalType::Tenant => {
                "Gets a token: the whole tenant is assigned.".to_owned()
            }
            Some(found)
                if !self
                    .0
                    .directory
                    .knows_group(ACS_CLIENTS_APP, user.tenant_id, found.object_id) =>
            {
                format!(
                    "Is refused: the group {} is not assigned to Azure Communication Services Clients.",
                    name(found.object_id)
                )
            }
            Some(found) => {
                let group = name(found.object_id);
                if groups.len() > GROUPS_IN_A_TOKEN {
                    format!("Gets a token through the group {group}, one of more groups than a token can list.")
                } else if user.groups.contains(&found.object_id) {
                    format!("Gets a token: is in the assigned group {group}.")
                } else {
                    let through = user.groups.first().map(|id| name(*id)).unwrap_or_default();
                    format!("Gets a token: is in {through}, which is a member of the assigned group {group}.")
                }
            }
            None => match user.groups.first() {
                Some(group) => format!(
                    "Is refused (403 NotAssigned): the group {} is not assigned.",
                    name(*group)
                ),
                None => "Is refused (403 NotAssigned): no assignment covers this user.".to_owned(),
            },
        }
    }
}
