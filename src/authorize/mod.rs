//! Stage two: may this caller have a token? From a [`Caller`] to a [`Permit`], or [`Denied`].
//!
//! Assignments have ACS's meaning: the principal may obtain tokens through the client apps listed, and no others.

pub mod assignment;
mod index;
pub mod membership;
mod permit;
pub mod source;

use std::sync::Arc;

use tokio::time::Instant;

use self::assignment::AllowedScopes;
pub use self::index::AssignmentIndex;
use self::membership::{MembershipError, Memberships};
pub use self::permit::{MatchedAssignment, Permit};
use self::source::AssignmentWatch;
use crate::authenticate::{Caller, Groups};
use base::ids::ObjectId;
use config::UnknownGroups;
use telemetry::metrics::labels::Authorization;

/// Decides by the assignments in force at the moment of asking.
pub struct Authorizer {
    assignments: AssignmentWatch,
    unknown_groups: UnknownGroups,
    memberships: Option<Arc<Memberships>>,
    scopes_matter: bool,
}

/// Why a caller may not have a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not all assignments are loaded, or not any more, and what is loaded does not cover the caller: nothing can be
    /// decided.
    #[error("not all assignments are loaded")]
    NotLoaded,
    /// No assignment covers this user with this client app.
    #[error("no assignment covers this user with this client app")]
    NoAssignment,
    /// Only a group's assignment could, and the token does not list the user's groups.
    #[error("only a group assignment could cover this user, and the token does not tell groups")]
    GroupsUnknown,
    /// Only a group's assignment could, and whether the user is a member cannot be learnt now.
    #[error("only a group assignment could cover this user: {0}")]
    MembershipUnknown(#[from] MembershipError),
}

impl Denied {
    /// Its name in spans: of low cardinality.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotLoaded | Self::NoAssignment | Self::GroupsUnknown => "not_assigned",
            Self::MembershipUnknown(error) => error.name(),
        }
    }

    /// What is counted.
    #[must_use]
    pub fn counted(&self) -> Authorization {
        match self {
            Self::NotLoaded => Authorization::NotLoaded,
            Self::NoAssignment => Authorization::NoAssignment,
            Self::GroupsUnknown => Authorization::GroupsUnknown,
            Self::MembershipUnknown(_) => Authorization::MembershipUnknown,
        }
    }
}

/// What the assignments say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ruling<'i> {
    /// The caller is covered.
    Covered(MatchedAssignment),
    /// Covered if a member of one of these groups; if of none, what else covers the caller, if anything.
    IfMember {
        groups: &'i [ObjectId],
        otherwise: Option<MatchedAssignment>,
    },
}

impl Authorizer {
    /// An authorizer over `assignments`.
    #[must_use]
    pub fn new(assignments: AssignmentWatch, unknown_groups: UnknownGroups) -> Self {
        Self {
            assignments,
            unknown_groups,
            scopes_matter: false,
            memberships: None,
        }
    }

    /// The same where tokens have the scopes that assignments allow (identity mode). Nobody is permitted before that
    /// is known: a caller who is listed elsewhere too could get more than they may.
    #[must_use]
    pub fn with_scopes(self) -> Self {
        Self {
            scopes_matter: true,
            ..self
        }
    }

    /// The same, asking `memberships` where [`UnknownGroups::Graph`] says so; without them nobody is asked and no
    /// unknown group counts.
    #[must_use]
    pub fn with_memberships(self, memberships: Arc<Memberships>) -> Self {
        Self {
            memberships: Some(memberships),
            ..self
        }
    }

    /// Checks `caller` against the assignments in force now. Waits only where a group decides that the token does not
    /// list, until `deadline` at most.
    pub async fn authorize(&self, caller: Caller, deadline: Instant) -> Result<Permit, Denied> {
        let set = self.assignments.current().ok_or(Denied::NotLoaded)?;
        if self.scopes_matter && !set.narrowing_known {
            return Err(Denied::NotLoaded);
        }
        let rules = Rules {
            unknown_groups: self.unknown_groups,
            scopes_matter: self.scopes_matter,
        };
        let covered = match decide(&set.index, &caller, rules) {
            Ok(Ruling::Covered(matched)) => Ok((matched, None)),
            Ok(Ruling::IfMember { groups, otherwise }) => match self.member_of(&caller, groups, deadline).await {
                Err(Denied::NoAssignment) => otherwise.map(|matched| (matched, None)).ok_or(Denied::NoAssignment),
                outcome => outcome,
            },
            Err(denied) => Err(denied),
        };
        let (matched, groups) = match covered {
            // What is not loaded might cover the caller.
            Err(_) if !set.complete => return Err(Denied::NotLoaded),
            outcome => outcome?,
        };
        let groups = groups.as_deref().unwrap_or(caller.groups().listed());
        let allowed = allowed_scopes(&set.index, &caller, matched, groups);
        Ok(Permit::new(caller, matched).narrowed(allowed))
    }

    /// That the caller is a member of one of `groups`, and of which of them.
    async fn member_of(
        &self,
        caller: &Caller,
        groups: &[ObjectId],
        deadline: Instant,
    ) -> Result<(MatchedAssignment, Option<Vec<ObjectId>>), Denied> {
        let memberships = self.memberships.as_ref().ok_or(Denied::GroupsUnknown)?;
        let (tenant, user) = (caller.tenant(), caller.object_id());
        let members = memberships.resolve(tenant, user, groups, deadline).await?;
        let member_of: Vec<ObjectId> = groups.iter().copied().filter(|group| members.contains(group)).collect();
        let first = *member_of.first().ok_or(Denied::NoAssignment)?;
        Ok((MatchedAssignment::Group(first), Some(member_of)))
    }
}

/// What the assignments of the kind that `matched` is narrow tokens to. Several groups, of the `groups` that the caller is a member
/// of, allow together what any of them allows.
fn allowed_scopes(
    index: &AssignmentIndex,
    caller: &Caller,
    matched: MatchedAssignment,
    groups: &[ObjectId],
) -> Option<AllowedScopes> {
    let (tenant, client) = (caller.tenant(), caller.client_app());
    match matched {
        MatchedAssignment::User => index.scopes_of_user(tenant, caller.object_id(), client),
        MatchedAssignment::Group(_) => index.scopes_of_groups(tenant, groups, client),
        MatchedAssignment::Tenant => index.scopes_of_tenant(tenant, client),
        MatchedAssignment::AcsAlone => None,
    }
}

/// The operator's part in the rule.
#[derive(Debug, Clone, Copy)]
struct Rules {
    unknown_groups: UnknownGroups,
    // Whether it counts what covers a caller, and not only that something does.
    scopes_matter: bool,
}

/// The rule: the user's own assignment, then a group that the token lists, then the tenant's. What the token does
/// not say counts only where a group is assigned at all.
fn decide<'i>(index: &'i AssignmentIndex, caller: &Caller, rules: Rules) -> Result<Ruling<'i>, Denied> {
    let (tenant, client) = (caller.tenant(), caller.client_app());
    if index.user(tenant, caller.object_id(), client) {
        return Ok(Ruling::Covered(MatchedAssignment::User));
    }
    let listed = caller.groups().listed().iter();
    if let Some(&group) = listed
        .copied()
        .find(|group| index.group(tenant, *group, client))
        .as_ref()
    {
        return Ok(Ruling::Covered(MatchedAssignment::Group(group)));
    }
    let groups = index.groups_of(tenant, client);
    let untold = matches!(caller.groups(), Groups::Unknown { .. }) && !groups.is_empty();
    let by_tenant = index.tenant(tenant, client).then_some(MatchedAssignment::Tenant);
    // A caller who leaves groups out must not get more than the group's assignment lets them have.
    let hidden = untold || caller.groups_by_name();
    let may_be_narrowed = rules.scopes_matter && hidden && index.narrows_a_group(tenant, client);
    match by_tenant {
        Some(matched) if !may_be_narrowed => return Ok(Ruling::Covered(matched)),
        None if !untold => return Err(Denied::NoAssignment),
        Some(_) | None => {}
    }
    match rules.unknown_groups {
        UnknownGroups::Acs => Ok(Ruling::Covered(MatchedAssignment::AcsAlone)),
        UnknownGroups::Refuse => Err(Denied::GroupsUnknown),
        UnknownGroups::Graph => Ok(Ruling::IfMember {
            groups,
            otherwise: by_tenant,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::assignment::{Assignment, PrincipalType};
    use super::*;
    use base::ids::{ClientAppId, TenantId};

    fn id<T: std::str::FromStr<Err = base::ids::NotAGuid>>(number: u32) -> T {
        format!("{number:08x}-0000-4000-8000-000000000000").parse().unwrap()
    }

    fn assignment(principal_type: PrincipalType, tenant: u32, object: u32, client: u32) -> Assignment {
        Assignment {
            object_id: id(object),
            tenant_id: id(tenant),
            principal_type,
            client_ids: vec![id(client)],
            allowed_scopes: None,
        }
    }

    fn rules(unknown_groups: UnknownGroups) -> Rules {
        Rules {
            unknown_groups,
            scopes_matter: false,
        }
    }

    #[test]
    fn who_leaves_his_groups_out_does_not_escape_what_narrows_them() {
        const TENANT: u32 = 1;
        const APP: u32 = 10;
        let group = |allowed: Option<AllowedScopes>| Assignment {
            allowed_scopes: allowed,
            ..assignment(PrincipalType::Group, TENANT, 30, APP)
        };
        let narrowed = Some(std::iter::once(config::IdentityScope::Chat).collect());
        let tenant = assignment(PrincipalType::Tenant, TENANT, TENANT, APP);
        let untold = Groups::Unknown { listed: Vec::new() };
        let in_none = Groups::Known(Vec::new());
        let groups = [id(30)];
        let (by_tenant, refused) = (
            Ok(Ruling::Covered(MatchedAssignment::Tenant)),
            Err(Denied::GroupsUnknown),
        );
        let asked = Ok(Ruling::IfMember {
            groups: &groups,
            otherwise: Some(MatchedAssignment::Tenant),
        });
        // the group's scopes, what the token says, whether scopes matter, under "refuse", under "graph"
        for (allowed, told, scopes_matter, refuse, graph) in [
            (narrowed, &untold, true, &refused, &asked),
            (narrowed, &untold, false, &by_tenant, &by_tenant),
            (narrowed, &in_none, true, &by_tenant, &by_tenant),
            (None, &untold, true, &by_tenant, &by_tenant),
        ] {
            let index = AssignmentIndex::new(&[group(allowed), tenant.clone()]);
            let caller = Caller::for_test(id(TENANT), id(20), id(APP), told.clone());
            for (unknown_groups, wanted) in [(UnknownGroups::Refuse, refuse), (UnknownGroups::Graph, graph)] {
                let rules = Rules {
                    unknown_groups,
                    scopes_matter,
                };
                assert_eq!(
                    &decide(&index, &caller, rules),
                    wanted,
                    "{allowed:?} {told:?} {rules:?}"
                );
            }
        }
    }

    #[test]
    fn each_kind_covers_what_it_names_and_nothing_else() {
        use MatchedAssignment::{AcsAlone, Group, Tenant, User};
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
        let group = || Ok(Group(id(GROUP)));
        let (none, untold) = (|| Err(Denied::NoAssignment), || Err(Denied::GroupsUnknown));
        // tenant, user, client, groups, outcome under "refuse", outcome under "acs"
        let cases = [
            (FABRIKAM, USER, APP, known(&[]), Ok(User), Ok(User)),
            (FABRIKAM, USER, APP, unknown(&[]), Ok(User), Ok(User)),
            (FABRIKAM, USER, 11, known(&[]), none(), none()),
            (FABRIKAM, USER, 11, unknown(&[]), none(), none()),
            (FABRIKAM, 21, APP, known(&[]), none(), none()),
            (FABRIKAM, 21, APP, known(&[31]), none(), none()),
            (FABRIKAM, 21, APP, known(&[31, GROUP]), group(), group()),
            (FABRIKAM, 21, APP, unknown(&[GROUP]), group(), group()),
            (FABRIKAM, 21, APP, unknown(&[31]), untold(), Ok(AcsAlone)),
            (FABRIKAM, 21, APP, unknown(&[]), untold(), Ok(AcsAlone)),
            (FABRIKAM, 21, 11, unknown(&[GROUP]), none(), none()),
            (CONTOSO, 21, APP, known(&[]), Ok(Tenant), Ok(Tenant)),
            (CONTOSO, 21, APP, unknown(&[]), Ok(Tenant), Ok(Tenant)),
            (CONTOSO, 21, 11, unknown(&[]), none(), none()),
            // A user's and a group's id mean nothing in another tenant.
            (OTHER, USER, APP, unknown(&[GROUP]), none(), none()),
            // A user whose id is an assigned group's is not that group.
            (FABRIKAM, GROUP, APP, known(&[]), none(), none()),
        ];
        for (tenant, user, client, groups, refuse, acs) in cases {
            let caller = Caller::for_test(
                id::<TenantId>(tenant),
                id::<ObjectId>(user),
                id::<ClientAppId>(client),
                groups,
            );
            let covered = |matched: Result<MatchedAssignment, Denied>| matched.map(Ruling::Covered);
            // Graph is asked exactly where ACS alone would decide.
            let graph = match acs {
                Ok(AcsAlone) => Ok(Ruling::IfMember {
                    groups: index.groups_of(id(tenant), id(client)),
                    otherwise: None,
                }),
                ref other => covered(other.clone()),
            };
            assert_eq!(
                decide(&index, &caller, rules(UnknownGroups::Graph)),
                graph,
                "{caller:?}"
            );
            assert_eq!(
                decide(&index, &caller, rules(UnknownGroups::Refuse)),
                covered(refuse),
                "{caller:?}"
            );
            assert_eq!(
                decide(&index, &caller, rules(UnknownGroups::Acs)),
                covered(acs),
                "{caller:?}"
            );
        }
    }

    #[test]
    fn scopes_are_those_of_what_covers() {
        use config::IdentityScope::{Chat, ChatJoin, Voip};
        const TENANT: u32 = 1;
        const APP: u32 = 10;
        const USER: u32 = 20;
        let narrowed = |kind, object, scopes: &[config::IdentityScope]| Assignment {
            allowed_scopes: Some(scopes.iter().copied().collect()),
            ..assignment(kind, TENANT, object, APP)
        };
        let index = AssignmentIndex::new(&[
            narrowed(PrincipalType::User, USER, &[Chat]),
            assignment(PrincipalType::User, TENANT, 21, APP),
            narrowed(PrincipalType::Group, 30, &[Voip]),
            narrowed(PrincipalType::Group, 31, &[Chat, ChatJoin]),
            assignment(PrincipalType::Group, TENANT, 32, APP),
            narrowed(PrincipalType::Tenant, TENANT, &[ChatJoin]),
        ]);
        // user, groups, what is allowed
        for (user, groups, wanted) in [
            // The most specific kind alone, though others allow more.
            (USER, &[30, 32][..], Some(&[Chat][..])),
            (21, &[30], None),
            (22, &[30], Some(&[Voip])),
            (22, &[30, 31], Some(&[Chat, ChatJoin, Voip])),
            (22, &[31, 32, 30], None),
            (22, &[33, 30], Some(&[Voip])),
            (22, &[33], Some(&[ChatJoin])),
            (22, &[], Some(&[ChatJoin])),
        ] {
            let groups = Groups::Known(groups.iter().map(|group| id(*group)).collect());
            let caller = Caller::for_test(id(TENANT), id(user), id(APP), groups);
            let Ok(Ruling::Covered(matched)) = decide(&index, &caller, rules(UnknownGroups::Refuse)) else {
                panic!("{caller:?}");
            };
            let allowed = allowed_scopes(&index, &caller, matched, caller.groups().listed());
            assert_eq!(
                allowed,
                wanted.map(|scopes| scopes.iter().copied().collect()),
                "{caller:?}"
            );
        }
        // Who is in no assigned group is not allowed anything by groups.
        let none = index.scopes_of_groups(id(TENANT), &[id(33)], id(APP));
        assert_eq!(none, Some(AllowedScopes::NOTHING));
    }
}
