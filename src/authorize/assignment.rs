//! One entry of an assignment set, as ACS defines it.

use crate::ids::{ClientAppId, ObjectId, TenantId};

/// Lets a principal obtain tokens through certain client applications and no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The user, the group, or the tenant itself.
    pub object_id: ObjectId,
    /// The tenant that the principal belongs to.
    pub tenant_id: TenantId,
    /// What `object_id` stands for.
    pub principal_type: PrincipalType,
    /// The client applications; at least one.
    pub client_ids: Vec<ClientAppId>,
}

/// `principalType`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalType {
    /// One user.
    User,
    /// The members of a group.
    Group,
    /// Everyone of the tenant.
    Tenant,
}

impl PrincipalType {
    /// The type by its name at ACS, which is lower-case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "user" => Some(Self::User),
            "group" => Some(Self::Group),
            "tenant" => Some(Self::Tenant),
            _ => None,
        }
    }
}
