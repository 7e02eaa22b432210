//! That a caller may have a token, and why.

use super::Denied;
use super::assignment::AllowedScopes;
use crate::authenticate::Caller;
use base::ids::ObjectId;
use telemetry::metrics::labels::Authorization;

/// A caller covered by an assignment. Made only by [`Authorizer::authorize`](super::Authorizer::authorize);
/// an exchange accepts nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    caller: Caller,
    assignment: MatchedAssignment,
    allowed_scopes: Option<AllowedScopes>,
    would_refuse: Option<Denied>,
}

/// The assignment that covers a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum MatchedAssignment {
    /// The user's own assignment.
    User,
    /// The assignment of a group that the token lists, or of which Microsoft Graph says that the user is a member.
    Group(ObjectId),
    /// The assignment of the whole tenant.
    Tenant,
    /// A group could cover the caller, the token does not list the caller's groups, and ACS is to decide.
    #[strum(serialize = "acs")]
    AcsAlone,
}

impl MatchedAssignment {
    /// Its name in logs and spans.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What is counted.
    #[must_use]
    pub fn counted(self) -> Authorization {
        match self {
            Self::User => Authorization::User,
            Self::Group(_) => Authorization::Group,
            Self::Tenant => Authorization::Tenant,
            Self::AcsAlone => Authorization::Acs,
        }
    }
}

impl Permit {
    pub(super) fn new(caller: Caller, assignment: MatchedAssignment) -> Self {
        Self {
            caller,
            assignment,
            allowed_scopes: None,
            would_refuse: None,
        }
    }

    /// For a caller whom no assignment covers, where assignments are not enforced: ACS alone permits them.
    pub(super) fn unenforced(caller: Caller, denied: Denied) -> Self {
        Self {
            would_refuse: Some(denied),
            ..Self::new(caller, MatchedAssignment::AcsAlone)
        }
    }

    /// The same with what its assignments narrow tokens to.
    pub(super) fn narrowed(self, allowed_scopes: Option<AllowedScopes>) -> Self {
        Self { allowed_scopes, ..self }
    }

    /// Who may have a token.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The assignment that covers the caller.
    #[must_use]
    pub fn assignment(&self) -> MatchedAssignment {
        self.assignment
    }

    /// Why the caller would be refused, if assignments were enforced.
    #[must_use]
    pub fn would_refuse(&self) -> Option<&Denied> {
        self.would_refuse.as_ref()
    }

    /// What is counted.
    #[must_use]
    pub fn counted(&self) -> Authorization {
        match &self.would_refuse {
            Some(Denied::NoAssignment) => Authorization::WouldRefuseNoAssignment,
            Some(_) => Authorization::WouldRefuseGroupsUnknown,
            None => self.assignment.counted(),
        }
    }

    /// The scopes that the assignments covering the caller allow, where tokens have scopes by our choice
    /// (identity mode). `None` is no narrowing.
    #[must_use]
    pub fn allowed_scopes(&self) -> Option<AllowedScopes> {
        self.allowed_scopes
    }
}
