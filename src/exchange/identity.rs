//! Bring your own identity: an ACS identity that stands for the user, for what the Entra exchange does not grant.
//!
//! ACS checks nothing about the caller here. Authentication and authorization are this broker's alone.

use crate::authorize::assignment::AllowedScopes;
use base::ids::{ObjectId, TenantId};
use config::IdentityScope;

/// What may be granted: what the operator allows anyone, narrowed by the assignment that covers the caller.
pub(super) fn granted(most: &[IdentityScope], allowed: Option<AllowedScopes>) -> Vec<IdentityScope> {
    most.iter()
        .copied()
        .filter(|scope| allowed.is_none_or(|allowed| allowed.contains(*scope)))
        .collect()
}

/// The `customId` of a user's identity: the same from every replica and in whatever letter case the ids come, and
/// never that of another user or tenant.
pub(super) fn custom_id(tenant: TenantId, user: ObjectId) -> String {
    // GUIDs print in lower case.
    format!("{tenant}:{user}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_narrow_and_never_widen() {
        use IdentityScope::{Chat, ChatJoin, Voip};
        for (most, allowed, expected) in [
            (&[Chat, Voip][..], None, &[Chat, Voip][..]),
            (&[Chat, Voip], Some(&[Chat][..]), &[Chat]),
            (&[Chat], Some(&[Chat, Voip]), &[Chat]),
            (&[Chat], Some(&[ChatJoin]), &[]),
            (&[Chat], Some(&[]), &[]),
        ] {
            let allowed = allowed.map(|scopes: &[IdentityScope]| scopes.iter().copied().collect());
            assert_eq!(granted(most, allowed), expected);
        }
    }

    #[test]
    fn a_custom_id_does_not_depend_on_letter_case_and_fits() {
        let lower = custom_id(
            "0a1b2c3d-0000-4000-8000-00000000abcd".parse().unwrap(),
            "fab00000-0000-4000-8000-0000000000ad".parse().unwrap(),
        );
        let upper = custom_id(
            "0A1B2C3D-0000-4000-8000-00000000ABCD".parse().unwrap(),
            "FAB00000-0000-4000-8000-0000000000AD".parse().unwrap(),
        );
        assert_eq!(lower, upper);
        assert_eq!(
            lower,
            "0a1b2c3d-0000-4000-8000-00000000abcd:fab00000-0000-4000-8000-0000000000ad"
        );
        assert!(lower.len() <= 256);
    }
}
