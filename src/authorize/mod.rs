//! Stage two: may this caller have a token? From a [`Caller`] to a [`Permit`], or [`Denied`].
//!
//! Assignments have ACS's meaning: the principal may obtain tokens through the client apps listed, and no others.

pub mod assignment;
mod index;
mod permit;
pub mod source;

pub use self::index::AssignmentIndex;
pub use self::permit::{Basis, Permit};
use self::source::AssignmentWatch;
use crate::authenticate::{Caller, Groups};
use crate::config::UnknownGroups;

/// Decides by the assignments in force at the moment of asking.
pub struct Authorizer {
    assignments: AssignmentWatch,
    unknown_groups: UnknownGroups,
}

/// Why a caller may not have a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No assignments have been loaded yet, so nothing can be decided.
    #[error("no assignments are loaded")]
    NotLoaded,
    /// No assignment covers this user with this client app.
    #[error("no assignment covers this user with this client app")]
    NoAssignment,
    /// Only a group's assignment could, and the token does not tell the user's groups.
    #[error("only a group assignment could cover this user, and the token does not tell groups")]
    GroupsUnknown,
}

impl Authorizer {
    /// An authorizer over `assignments`.
    #[must_use]
    pub fn new(assignments: AssignmentWatch, unknown_groups: UnknownGroups) -> Self {
        Self {
            assignments,
            unknown_groups,
        }
    }

    /// Checks `caller` against the assignments in force now.
    pub fn authorize(&self, caller: Caller) -> Result<Permit, Denied> {
        let index = self.assignments.current().ok_or(Denied::NotLoaded)?;
        decide(&index, &caller, self.unknown_groups).map(|basis| Permit::new(caller, basis))
    }
}

/// The rule: the user's own assignment, then a group that the token lists, then the tenant's. What the token does
/// not tell counts only where a group is assigned at all.
fn decide(index: &AssignmentIndex, caller: &Caller, unknown_groups: UnknownGroups) -> Result<Basis, Denied> {
    let (tenant, client) = (caller.tenant(), caller.client_app());
    if index.user(tenant, caller.object_id(), client) {
        return Ok(Basis::User);
    }
    let listed = caller.groups().listed().iter();
    if let Some(&group) = listed
        .copied()
        .find(|group| index.group(tenant, *group, client))
        .as_ref()
    {
        return Ok(Basis::Group(group));
    }
    if index.tenant(tenant, client) {
        return Ok(Basis::Tenant);
    }
    match caller.groups() {
        Groups::Unknown { .. } if index.any_group(tenant, client) => match unknown_groups {
            UnknownGroups::Acs => Ok(Basis::AcsAlone),
            UnknownGroups::Refuse | UnknownGroups::Graph => Err(Denied::GroupsUnknown),
        },
        Groups::Unknown { .. } | Groups::Known(_) => Err(Denied::NoAssignment),
    }
}

#[cfg(test)]
mod tests {
    use super::assignment::{Assignment, PrincipalType};
    use super::*;
    use crate::ids::{ClientAppId, ObjectId, TenantId};

    fn id<T: std::str::FromStr<Err = crate::ids::NotAGuid>>(number: u32) -> T {
        format!("{number:08x}-0000-4000-8000-000000000000").parse().unwrap()
    }

    fn assignment(principal_type: PrincipalType, tenant: u32, object: u32, client: u32) -> Assignment {
        Assignment {
            object_id: id(object),
            tenant_id: id(tenant),
            principal_type,
            client_ids: vec![id(client)],
        }
    }

    #[test]
    fn each_kind_covers_what_it_names_and_nothing_else() {
        const FABRIKAM: u32 = 1;
        const CONTOSO: u32 = 2;
        const OTHER: u32 = 3;
        const APP: u32 = 10;
        const USER: u32 = 20;
        const GROUP: u32 = 30;
        let index = AssignmentIndex::new(&[
            assignment(PrincipalType::User, FABRIKAM, USER, APP),
            assignment(PrincipalType::Group, FABRIKAM, GROUP, APP),
            assignment(PrincipalType::Tenant, CONTOSO, CONTOSO, APP),
        ]);
        let known = |groups: &[u32]| Groups::Known(groups.iter().map(|group| id(*group)).collect());
        let unknown = |groups: &[u32]| Groups::Unknown {
            listed: groups.iter().map(|group| id(*group)).collect(),
        };
        let group = Ok(Basis::Group(id(GROUP)));
        let (none, untold) = (Err(Denied::NoAssignment), Err(Denied::GroupsUnknown));
        // tenant, user, client, groups, outcome under "refuse", outcome under "acs"
        let cases = [
            (FABRIKAM, USER, APP, known(&[]), Ok(Basis::User), Ok(Basis::User)),
            (FABRIKAM, USER, APP, unknown(&[]), Ok(Basis::User), Ok(Basis::User)),
            (FABRIKAM, USER, 11, known(&[]), none, none),
            (FABRIKAM, USER, 11, unknown(&[]), none, none),
            (FABRIKAM, 21, APP, known(&[]), none, none),
            (FABRIKAM, 21, APP, known(&[31]), none, none),
            (FABRIKAM, 21, APP, known(&[31, GROUP]), group, group),
            (FABRIKAM, 21, APP, unknown(&[GROUP]), group, group),
            (FABRIKAM, 21, APP, unknown(&[31]), untold, Ok(Basis::AcsAlone)),
            (FABRIKAM, 21, APP, unknown(&[]), untold, Ok(Basis::AcsAlone)),
            (FABRIKAM, 21, 11, unknown(&[GROUP]), none, none),
            (CONTOSO, 21, APP, known(&[]), Ok(Basis::Tenant), Ok(Basis::Tenant)),
            (CONTOSO, 21, APP, unknown(&[]), Ok(Basis::Tenant), Ok(Basis::Tenant)),
            (CONTOSO, 21, 11, unknown(&[]), none, none),
            // A user's and a group's id mean nothing in another tenant.
            (OTHER, USER, APP, unknown(&[GROUP]), none, none),
            // A user whose id is an assigned group's is not that group.
            (FABRIKAM, GROUP, APP, known(&[]), none, none),
        ];
        for (tenant, user, client, groups, refuse, acs) in cases {
            let caller = Caller::for_test(
                id::<TenantId>(tenant),
                id::<ObjectId>(user),
                id::<ClientAppId>(client),
                groups,
            );
            assert_eq!(decide(&index, &caller, UnknownGroups::Refuse), refuse, "{caller:?}");
            assert_eq!(decide(&index, &caller, UnknownGroups::Acs), acs, "{caller:?}");
        }
    }
}
