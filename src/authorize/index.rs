//! All assignments, arranged so that one look-up answers whether one of them covers a caller.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::assignment::{AllowedScopes, Assignment, PrincipalType};
use base::ids::{ClientAppId, ObjectId, TenantId};

/// How many assignments there are for one tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TenantAssignments {
    /// Of users.
    pub users: usize,
    /// Of groups.
    pub groups: usize,
    /// Of the tenant as a whole.
    pub whole: usize,
}

/// An immutable index over one set of assignments. Each look-up is O(1) in their number.
#[derive(Debug, Default)]
pub struct AssignmentIndex {
    users: HashSet<(TenantId, ObjectId, ClientAppId)>,
    groups: HashSet<(TenantId, ObjectId, ClientAppId)>,
    tenants: HashSet<(TenantId, ClientAppId)>,
    // The same by tenant and client app: whether unknown groups matter at all, and which to ask for.
    groups_of: HashMap<(TenantId, ClientAppId), Vec<ObjectId>>,
    // Most assignments allow all: only the others take a place here.
    narrowed: HashMap<(PrincipalType, TenantId, ObjectId, ClientAppId), AllowedScopes>,
    // Where membership in a group can mean less than the tenant's assignment does.
    with_narrowed_groups: HashSet<(TenantId, ClientAppId)>,
    by_tenant: BTreeMap<TenantId, TenantAssignments>,
}

impl AssignmentIndex {
    /// Indexes `assignments`.
    #[must_use]
    pub fn new(assignments: &[Assignment]) -> Self {
        let mut index = Self::default();
        for assignment in assignments {
            let (tenant, object) = (assignment.tenant_id, assignment.object_id);
            let counts = index.by_tenant.entry(tenant).or_default();
            match assignment.principal_type {
                PrincipalType::User => counts.users += 1,
                PrincipalType::Group => counts.groups += 1,
                PrincipalType::Tenant => counts.whole += 1,
            }
            for &client in &assignment.client_ids {
                if let Some(allowed) = assignment.allowed_scopes {
                    let key = (assignment.principal_type, tenant, object, client);
                    index.narrowed.insert(key, allowed);
                    if assignment.principal_type == PrincipalType::Group {
                        index.with_narrowed_groups.insert((tenant, client));
                    }
                }
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

    /// How many assignments there are, by tenant.
    #[must_use]
    pub fn by_tenant(&self) -> &BTreeMap<TenantId, TenantAssignments> {
        &self.by_tenant
    }

    /// Whether the user is assigned directly.
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

    /// Whether the assignment of any of those groups narrows its members' tokens.
    #[must_use]
    pub fn narrows_a_group(&self, tenant: TenantId, client: ClientAppId) -> bool {
        self.with_narrowed_groups.contains(&(tenant, client))
    }

    /// What the user's own assignment narrows their tokens to; `None` if it does not.
    #[must_use]
    pub fn scopes_of_user(&self, tenant: TenantId, user: ObjectId, client: ClientAppId) -> Option<AllowedScopes> {
        self.narrowed.get(&(PrincipalType::User, tenant, user, client)).copied()
    }

    /// What the assigned ones among `groups` narrow a member's tokens to: what any of them allows. `None` if one of
    /// them does not narrow; nothing is allowed where none of them is assigned.
    #[must_use]
    pub fn scopes_of_groups(
        &self,
        tenant: TenantId,
        groups: &[ObjectId],
        client: ClientAppId,
    ) -> Option<AllowedScopes> {
        groups
            .iter()
            .filter(|group| self.group(tenant, **group, client))
            .try_fold(AllowedScopes::NOTHING, |allowed, group| {
                let own = self.narrowed.get(&(PrincipalType::Group, tenant, *group, client))?;
                Some(allowed.union(*own))
            })
    }

    /// What the whole tenant's assignment narrows tokens to; `None` if it does not.
    #[must_use]
    pub fn scopes_of_tenant(&self, tenant: TenantId, client: ClientAppId) -> Option<AllowedScopes> {
        let key = (PrincipalType::Tenant, tenant, tenant.as_object_id(), client);
        self.narrowed.get(&key).copied()
    }
}
