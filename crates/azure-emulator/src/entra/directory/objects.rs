//! What a tenant's directory has of apps and of what they may do.
//!
//! <https://learn.microsoft.com/entra/identity-platform/app-objects-and-service-principals>

use jiff::Timestamp;
use uuid::Uuid;

/// An app in a tenant.
#[derive(Debug, Clone)]
pub(crate) struct ServicePrincipal {
    pub(crate) id: Uuid,
    pub(crate) tenant: Uuid,
    pub(crate) app_id: Uuid,
    /// `appRoleAssignmentRequired`: only who is assigned gets tokens for it.
    pub(crate) assignment_required: bool,
}

/// An app's registration, in its home tenant alone.
#[derive(Debug, Clone)]
pub(crate) struct Application {
    pub(crate) id: Uuid,
    pub(crate) tenant: Uuid,
    pub(crate) app_id: Uuid,
    pub(crate) sign_in_audience: String,
    pub(crate) required: Vec<RequiredResource>,
    pub(crate) spa: Vec<String>,
    pub(crate) public_client: Vec<String>,
    pub(crate) web: Vec<String>,
}

/// An API that a registration lists, with permissions of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequiredResource {
    pub(crate) app_id: Uuid,
    pub(crate) access: Vec<Access>,
}

/// A permission that a registration lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) id: Uuid,
    pub(crate) kind: AccessKind,
}

/// Delegated, or the app's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
pub(crate) enum AccessKind {
    Scope,
    Role,
}

/// Delegated permissions of a client at an API (`oauth2PermissionGrant`).
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) id: String,
    pub(crate) tenant: Uuid,
    /// The client's service principal.
    pub(crate) client: Uuid,
    /// The user who consented; an administrator did for all without.
    pub(crate) user: Option<Uuid>,
    /// The API's service principal.
    pub(crate) resource: Uuid,
    pub(crate) scopes: Vec<String>,
}

/// A user, a group or an app with a role at an API (`appRoleAssignment`).
#[derive(Debug, Clone)]
pub(crate) struct RoleAssignment {
    pub(crate) id: String,
    pub(crate) tenant: Uuid,
    pub(crate) principal: Uuid,
    pub(crate) kind: PrincipalKind,
    /// The API's service principal.
    pub(crate) resource: Uuid,
    /// Nil for access without a role.
    pub(crate) role: Uuid,
    pub(crate) created: Timestamp,
}

/// Who has a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
pub(crate) enum PrincipalKind {
    User,
    Group,
    ServicePrincipal,
}
