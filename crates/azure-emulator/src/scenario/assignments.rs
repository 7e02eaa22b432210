//! Who may obtain ACS tokens for the resource.

use strum::{EnumString, IntoStaticStr};
use uuid::Uuid;

/// A principal that may obtain tokens for the resource through certain client apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The user, the group, or the tenant itself.
    pub object_id: Uuid,
    /// The tenant of the principal.
    pub tenant_id: Uuid,
    /// What the object id names.
    pub principal_type: PrincipalType,
    /// The client apps; at least one.
    pub client_ids: Vec<Uuid>,
}

/// What an assignment's object id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "camelCase")]
pub enum PrincipalType {
    /// One user.
    User,
    /// The members of a group.
    Group,
    /// Everyone in a tenant.
    Tenant,
}

impl PrincipalType {
    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A principal that may obtain tokens for the resource through Teams Phone extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamsAssignment {
    /// The user or the resource account.
    pub object_id: Uuid,
    /// The tenant of the principal.
    pub tenant_id: Uuid,
    /// What the object id names.
    pub principal_type: TeamsPrincipalType,
    /// The client apps; none means any.
    pub client_ids: Vec<Uuid>,
}

/// What a Teams Phone extension assignment's object id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "camelCase")]
pub enum TeamsPrincipalType {
    /// A user.
    User,
    /// A Teams resource account.
    ResourceAccount,
}

impl TeamsPrincipalType {
    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}
