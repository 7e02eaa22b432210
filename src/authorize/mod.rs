//! Stage two: may this caller have a token? From a [`Caller`] to a [`Permit`], or [`Denied`].
//!
//! Assignments have ACS's meaning: the principal may obtain tokens through the client apps listed, and no others.

pub mod assignment;
mod explain;
mod index;
pub mod membership;
mod permit;
pub mod source;

use std::sync::Arc;

use tokio::time::Instant;

use self::assignment::AllowedScopes;
pub use self::index::{AssignmentIndex, TenantAssignments};
use self::membership::{MembershipError, Memberships};
pub use self::permit::{MatchedAssignment, Permit};
use self::source::AssignmentWatch;
use crate::authenticate::{Caller, Groups, Principal};
use crate::limits::Limit;
use base::ids::ObjectId;
use config::UnknownGroups;
use telemetry::metrics::labels::Authorization;

/// Decides by the assignments in force at the moment of asking.
pub struct Authorizer {
    assignments: AssignmentWatch,
    unknown_groups: UnknownGroups,
    memberships: Option<Arc<Memberships>>,
    scopes_matter: bool,
    enforced: bool,
}

/// Why a caller may not have a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(test, derive(strum::EnumCount))]
pub enum Denied {
    /// Not all assignments are loaded, or not any more, and what is loaded does not cover the caller: nothing can be
    /// decided.
    #[error("not all assignments are loaded")]
    NotLoaded,
    /// No assignment covers this user with this client app.
    #[error("no assignment covers this user with this client app")]
    NoAssignment,
    /// Only a group's assignment could, and the token does not list the user's groups.
    #[error("only a group assignment could cover this user, and the token does not list groups")]
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

    /// The limit that refused the caller, if one did.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Self::MembershipUnknown(MembershipError::Exceeded(exceeded)) => Some(exceeded.limit),
            _ => None,
        }
    }

    /// Whether it is decided that no assignment covers the caller, by the operator's rules.
    fn is_final(&self) -> bool {
        match self {
            Self::NoAssignment | Self::GroupsUnknown => true,
            Self::NotLoaded | Self::MembershipUnknown(_) => false,
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
enum Decision<'i> {
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
            enforced: true,
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

    /// The same where assignments are not enforced (`assignments.mode = "audit"`): whom none covers, ACS decides about,
    /// and the permit says so. What is undecided stays so.
    #[must_use]
    pub fn not_enforced(self) -> Self {
        Self {
            enforced: false,
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
        let covered = match decide(&set.index, caller.principal(), self.rules()) {
            Ok(Decision::Covered(matched)) => Ok((matched, None)),
            Ok(Decision::IfMember { groups, otherwise }) => {
                // On the heap, as it is rare.
                match Box::pin(self.member_of(&caller, groups, deadline)).await {
                    Err(Denied::NoAssignment) => otherwise.map(|matched| (matched, None)).ok_or(Denied::NoAssignment),
                    outcome => outcome,
                }
            }
            Err(denied) => Err(denied),
        };
        let (matched, groups) = match covered {
            // What is not loaded might cover the caller.
            Err(_) if !set.complete => return Err(Denied::NotLoaded),
            Err(denied) if !self.enforced && denied.is_final() => return Ok(Permit::unenforced(caller, denied)),
            outcome => outcome?,
        };
        let groups = groups.as_deref().unwrap_or(caller.groups().listed());
        let allowed = allowed_scopes(&set.index, caller.principal(), matched, groups);
        Ok(Permit::new(caller, matched).narrowed(allowed))
    }

    fn rules(&self) -> Rules {
        Rules {
            unknown_groups: self.unknown_groups,
            scopes_matter: self.scopes_matter,
        }
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
    caller: &Principal,
    matched: MatchedAssignment,
    groups: &[ObjectId],
) -> Option<AllowedScopes> {
    let (tenant, client) = (caller.tenant, caller.client_app);
    match matched {
        MatchedAssignment::User => index.scopes_of_user(tenant, caller.object_id, client),
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
fn decide<'i>(index: &'i AssignmentIndex, caller: &Principal, rules: Rules) -> Result<Decision<'i>, Denied> {
    let (tenant, client) = (caller.tenant, caller.client_app);
    if index.user(tenant, caller.object_id, client) {
        return Ok(Decision::Covered(MatchedAssignment::User));
    }
    let listed = caller.groups.listed().iter();
    if let Some(&group) = listed
        .copied()
        .find(|group| index.group(tenant, *group, client))
        .as_ref()
    {
        return Ok(Decision::Covered(MatchedAssignment::Group(group)));
    }
    let groups = index.groups_of(tenant, client);
    let untold = matches!(caller.groups, Groups::Unknown { .. }) && !groups.is_empty();
    let by_tenant = index.tenant(tenant, client).then_some(MatchedAssignment::Tenant);
    // A caller who leaves groups out must not get more than the group's assignment lets them have.
    let hidden = untold || caller.groups_by_name;
    let may_be_narrowed = rules.scopes_matter && hidden && index.narrows_a_group(tenant, client);
    match by_tenant {
        Some(matched) if !may_be_narrowed => return Ok(Decision::Covered(matched)),
        None if !untold => return Err(Denied::NoAssignment),
        Some(_) | None => {}
    }
    match rules.unknown_groups {
        UnknownGroups::Acs => Ok(Decision::Covered(MatchedAssignment::AcsAlone)),
        UnknownGroups::Refuse => Err(Denied::GroupsUnknown),
        UnknownGroups::Graph => Ok(Decision::IfMember {
            groups,
            otherwise: by_tenant,
        }),
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
