//! What the assignments say of a caller, as a gate: for operators, asking nobody.

use super::assignment::AllowedScopes;
use super::{Authorizer, Decision, Denied, MatchedAssignment, allowed_scopes, decide};
use crate::authenticate::Principal;
use crate::authenticate::gates::{Gate, id};

impl Authorizer {
    /// Whether an assignment covers `principal`, by those in force now. What only Microsoft Graph or ACS could say is
    /// undecided. `grants` says whether what the assignments allow leaves any scope.
    #[must_use]
    pub fn gate(&self, principal: &Principal, grants: impl FnOnce(Option<AllowedScopes>) -> bool) -> Gate {
        let Some(set) = self.assignments.current() else {
            return not_loaded();
        };
        if self.scopes_matter && !set.narrowing_known {
            return not_loaded();
        }
        let denied = match decide(&set.index, principal, self.rules()) {
            Ok(Decision::Covered(MatchedAssignment::AcsAlone)) => {
                return Gate::undecided(
                    id::ASSIGNMENT,
                    "only a group assignment could cover this user, the token does not list groups, and ACS is to decide \
                     (assignments.unknown_groups = \"acs\")",
                );
            }
            Ok(Decision::Covered(matched)) => {
                let allowed = allowed_scopes(&set.index, principal, matched, principal.groups.listed());
                return if grants(allowed) {
                    Gate::pass(id::ASSIGNMENT, covered_by(matched, principal))
                } else {
                    let by = covered_by(matched, principal);
                    Gate::fail(id::ASSIGNMENT, format!("{by}, whose allowedScopes leave no scope"))
                };
            }
            Ok(Decision::IfMember { groups, .. }) if self.memberships.is_some() => {
                return Gate::undecided(
                    id::ASSIGNMENT,
                    format!(
                        "the token does not list groups; Microsoft Graph is asked whether the user is a member of one of \
                         the {} that are assigned",
                        groups.len()
                    ),
                );
            }
            Ok(Decision::IfMember { .. }) => Denied::GroupsUnknown,
            Err(denied) => denied,
        };
        if !set.complete {
            return not_loaded();
        }
        if !self.enforced {
            return Gate::undecided(
                id::ASSIGNMENT,
                format!("{denied}; assignments are not enforced (assignments.mode = \"audit\"), and ACS is to decide"),
            );
        }
        let Principal {
            tenant,
            object_id,
            client_app,
            ..
        } = principal;
        Gate::fail(
            id::ASSIGNMENT,
            format!("{denied}: user {object_id} of tenant {tenant}, client app {client_app}"),
        )
    }
}

fn not_loaded() -> Gate {
    Gate::undecided(id::ASSIGNMENT, Denied::NotLoaded.to_string())
}

fn covered_by(matched: MatchedAssignment, principal: &Principal) -> String {
    let app = principal.client_app;
    match matched {
        MatchedAssignment::User => format!("covered by the user's own assignment with client app {app}"),
        MatchedAssignment::Group(group) => format!("covered by the assignment of group {group} with client app {app}"),
        MatchedAssignment::Tenant => {
            format!(
                "covered by the assignment of tenant {} with client app {app}",
                principal.tenant
            )
        }
        MatchedAssignment::AcsAlone => "ACS decides".to_owned(),
    }
}
