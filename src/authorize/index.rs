//! All assignments, arranged so that one look-up answers whether one of them covers a caller.

use std::collections::{HashMap, HashSet};

use super::assignment::{Assignment, PrincipalType};
use crate::ids::{ClientAppId, ObjectId, TenantId};

/// An immutable index over one set of assignments. Each look-up is O(1) in their number.
#[derive(Debug, Default)]
pub struct AssignmentIndex {
    users: HashSet<(TenantId, ObjectId, ClientAppId)>,
    groups: HashSet<(TenantId, ObjectId, ClientAppId)>,
    tenants: HashSet<(TenantId, ClientAppId)>,
    // The same by tenant and client app: whether unknown groups matter at all, and which to ask for.
    groups_of: HashMap<(TenantId, ClientAppId), Vec<ObjectId>>,
    assignments: usize,
    named_tenants: HashSet<TenantId>,
}

impl AssignmentIndex {
    /// Indexes `assignments`.
    #[must_use]
    pub fn new(assignments: &[Assignment]) -> Self {
        let mut index = Self {
            assignments: assignments.len(),
            ..Self::default()
        };
        for assignment in assignments {
            let (tenant, object) = (assignment.tenant_id, assignment.object_id);
            index.named_tenants.insert(tenant);
            for &client in &assignment.client_ids {
                match assignment.principal_type {
                    PrincipalType::User => {
                        index.users.insert((tenant, object, client));
                    }
                    PrincipalType::Group => {
                        if index.groups.insert((tenant, object, client)) {
                            index.groups_of.entry((tenant, client)).or_default().push(object);
                        }
                    }
                    PrincipalType::Tenant => {
                        index.tenants.insert((tenant, client));
                    }
                }
            }
        }
        index
    }

    /// Whether the user himself is assigned.
    #[must_use]
    pub fn user(&self, tenant: TenantId, user: ObjectId, client: ClientAppId) -> bool {
        self.users.contains(&(tenant, user, client))
    }

    /// Whether the group is assigned.
    #[must_use]
    pub fn group(&self, tenant: TenantId, group: ObjectId, client: ClientAppId) -> bool {
        self.groups.contains(&(tenant, group, client))
    }

    /// Whether the whole tenant is assigned.
    #[must_use]
    pub fn tenant(&self, tenant: TenantId, client: ClientAppId) -> bool {
        self.tenants.contains(&(tenant, client))
    }

    /// The groups of the tenant that are assigned for the client app.
    #[must_use]
    pub fn groups_of(&self, tenant: TenantId, client: ClientAppId) -> &[ObjectId] {
        self.groups_of.get(&(tenant, client)).map_or(&[], Vec::as_slice)
    }

    /// How many assignments there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.assignments
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.assignments == 0
    }

    /// The tenants that assignments name.
    pub fn tenant_ids(&self) -> impl Iterator<Item = TenantId> {
        self.named_tenants.iter().copied()
    }
}
