//! One entry of an assignment set: as ACS defines it, with what the broker's own file may add.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use azure::acs_assignments::EntraAssignment;
use base::ids::{ClientAppId, ObjectId, TenantId};
use config::IdentityScope;

pub use azure::acs_assignments::PrincipalType;

/// Lets a principal obtain tokens through certain client applications and no others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Assignment {
    /// The user's object id, the group's object id, or the tenant's id, which then is the tenantId too.
    pub object_id: ObjectId,
    /// The tenant that the principal belongs to.
    pub tenant_id: TenantId,
    /// What the objectId stands for.
    pub principal_type: PrincipalType,
    /// The client applications; at least one.
    #[schemars(length(min = 1))]
    pub client_ids: Vec<ClientAppId>,
    /// In identity mode: which of exchange.identity.scopes those covered may get; all of them if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AllowedScopes")]
    pub allowed_scopes: Option<AllowedScopes>,
}

impl From<EntraAssignment> for Assignment {
    fn from(assignment: EntraAssignment) -> Self {
        Self {
            object_id: assignment.object_id,
            tenant_id: assignment.tenant_id,
            principal_type: assignment.principal_type,
            client_ids: assignment.client_ids,
            allowed_scopes: None,
        }
    }
}

impl From<Assignment> for EntraAssignment {
    fn from(assignment: Assignment) -> Self {
        Self {
            object_id: assignment.object_id,
            tenant_id: assignment.tenant_id,
            principal_type: assignment.principal_type,
            client_ids: assignment.client_ids,
        }
    }
}

/// A set of scopes of ACS identities (`allowedScopes`). One byte, as there can be one for each assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AllowedScopes(u8);

impl AllowedScopes {
    /// The set that allows nothing.
    pub const NOTHING: Self = Self(0);

    /// Whether `scope` is in the set.
    #[must_use]
    pub fn contains(self, scope: IdentityScope) -> bool {
        self.0 & bit(scope) != 0
    }

    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::NOTHING
    }

    /// What either set holds.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The scopes, in the order of [`IdentityScope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = IdentityScope> {
        IdentityScope::ALL
            .iter()
            .copied()
            .filter(move |scope| self.contains(*scope))
    }
}

fn bit(scope: IdentityScope) -> u8 {
    match scope {
        IdentityScope::Chat => 1,
        IdentityScope::ChatJoin => 1 << 1,
        IdentityScope::ChatJoinLimited => 1 << 2,
        IdentityScope::Voip => 1 << 3,
        IdentityScope::VoipJoin => 1 << 4,
    }
}

impl FromIterator<IdentityScope> for AllowedScopes {
    fn from_iter<I: IntoIterator<Item = IdentityScope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | bit(scope)))
    }
}

impl Serialize for AllowedScopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(IdentityScope::name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_has_a_place_of_its_own() {
        for &scope in IdentityScope::ALL {
            let only: AllowedScopes = [scope].into_iter().collect();
            assert_eq!(only.iter().collect::<Vec<_>>(), [scope]);
            assert!(!AllowedScopes::NOTHING.contains(scope));
        }
        let all: AllowedScopes = IdentityScope::ALL.iter().copied().collect();
        assert_eq!(all.iter().count(), 5);
        let chat: AllowedScopes = [IdentityScope::Chat].into_iter().collect();
        let voip: AllowedScopes = [IdentityScope::Voip].into_iter().collect();
        assert_eq!(
            chat.union(voip).iter().map(IdentityScope::name).collect::<Vec<_>>(),
            ["chat", "voip"]
        );
        assert!(AllowedScopes::NOTHING.is_empty() && !chat.is_empty());
    }
}
