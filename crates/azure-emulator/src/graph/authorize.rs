//! Which directory a caller may read or change with its token.

use http::StatusCode;
use uuid::Uuid;

use super::error::GraphError;
use super::state::Graph;
use crate::entra::apis::{Api, GRAPH_URI};
use crate::entra::signed::{InvalidToken, Lifetime, SignedToken};

/// The delegated permission with which a client does what its user may do.
const AS_USER: &str = "Directory.AccessAsUser.All";

/// What an operation demands: one permission of each list. The names are the same for delegated permissions and for an
/// app's own; each operation's page has them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    all_of: &'static [&'static [&'static str]],
    /// Users must be administrators, whatever their client may do.
    changes: bool,
}

impl Need {
    const fn read(all_of: &'static [&'static [&'static str]]) -> Self {
        Self { all_of, changes: false }
    }

    const fn change(all_of: &'static [&'static [&'static str]]) -> Self {
        Self { all_of, changes: true }
    }
}

const GROUP_MEMBERS: &[&str] = &[
    "GroupMember.Read.All",
    "Group.Read.All",
    "Group.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
];
const USERS: &[&str] = &[
    "User.Read.All",
    "User.ReadBasic.All",
    "User.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
];
const APPLICATIONS: &[&str] = &[
    "Application.Read.All",
    "Application.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
];

/// <https://learn.microsoft.com/graph/api/directoryobject-checkmembergroups>
pub(super) const CHECK_MEMBERSHIP: Need = Need::read(&[GROUP_MEMBERS, USERS]);
/// <https://learn.microsoft.com/graph/api/user-get>
pub(super) const READ_USERS: Need = Need::read(&[USERS]);
/// <https://learn.microsoft.com/graph/api/group-get>, <https://learn.microsoft.com/graph/api/group-list-members>
pub(super) const READ_GROUPS: Need = Need::read(&[GROUP_MEMBERS]);
/// <https://learn.microsoft.com/graph/api/serviceprincipal-list>, <https://learn.microsoft.com/graph/api/application-list>
pub(super) const READ_APPLICATIONS: Need = Need::read(&[APPLICATIONS]);
/// <https://learn.microsoft.com/graph/api/serviceprincipal-post-serviceprincipals>,
/// <https://learn.microsoft.com/graph/api/application-update>
pub(super) const CHANGE_APPLICATIONS: Need = Need::change(&[&["Application.ReadWrite.All", "Directory.ReadWrite.All"]]);
/// <https://learn.microsoft.com/graph/api/serviceprincipal-post-approleassignedto>
pub(super) const ASSIGN_ROLES: Need = Need::change(&[&["AppRoleAssignment.ReadWrite.All"], APPLICATIONS]);
/// <https://learn.microsoft.com/graph/api/oauth2permissiongrant-list>
pub(super) const READ_GRANTS: Need = Need::read(&[&[
    "Directory.Read.All",
    "Directory.ReadWrite.All",
    "DelegatedPermissionGrant.Read.All",
    "DelegatedPermissionGrant.ReadWrite.All",
]]);
/// <https://learn.microsoft.com/graph/api/subscribedsku-list>
pub(super) const READ_SKUS: Need = Need::read(&[&[
    "LicenseAssignment.Read.All",
    "Organization.Read.All",
    "Organization.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
]]);
/// <https://learn.microsoft.com/graph/api/user-list-licensedetails>
pub(super) const READ_LICENSES: Need = Need::read(&[&[
    "LicenseAssignment.Read.All",
    "User.Read.All",
    "User.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
]]);
/// <https://learn.microsoft.com/graph/api/organization-list>
pub(super) const READ_ORGANIZATION: Need = Need::read(&[&[
    "Organization.Read.All",
    "Organization.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
    "User.Read",
]]);

/// A caller whose token counts at Graph.
pub(super) struct Caller {
    /// The tenant whose directory the token is for.
    pub(super) tenant: Uuid,
    token: SignedToken,
}

/// The caller, if the token is one for Graph and holds now.
pub(super) fn authenticate(graph: &Graph, token: Option<&str>) -> Result<Caller, GraphError> {
    let text = token
        .filter(|text| !text.is_empty())
        .ok_or_else(|| GraphError::bad_token("Access token is empty."))?;
    let token = graph.tokens.read(text, None).map_err(|fault| {
        GraphError::bad_token(match fault {
            InvalidToken::Malformed => "IDX14100: JWT is not well formed, there are no dots (.).",
            InvalidToken::InvalidSignature => "Access token validation failure. Signature is invalid.",
            InvalidToken::InvalidIssuer => "Access token validation failure. Invalid issuer.",
            _ => "Access token validation failure.",
        })
    })?;
    if !token.is_for(Api::Graph.app_id(&graph.scenario), GRAPH_URI) {
        return Err(GraphError::bad_token(
            "Access token validation failure. Invalid audience.",
        ));
    }
    if !matches!(token.lifetime(graph.site.now()), Lifetime::Current(_)) {
        let message = "Lifetime validation failed, the token is expired.";
        return Err(GraphError::bad_token(message));
    }
    Ok(Caller {
        tenant: token.tenant,
        token,
    })
}

impl Caller {
    /// Whether the caller may do what demands this.
    pub(super) fn may(&self, graph: &Graph, need: Need) -> Result<(), GraphError> {
        let permitted = if self.token.is_delegated() {
            let scopes: Vec<&str> = self.token.text("scp").unwrap_or_default().split_whitespace().collect();
            let user = self
                .token
                .guid("oid")
                .and_then(|oid| graph.scenario.person(self.tenant, oid));
            let is_administrator = user.is_some_and(|user| user.administrator);
            (holds(&scopes, need) || scopes.contains(&AS_USER)) && (is_administrator || !need.changes)
        } else {
            holds(&self.token.list("roles"), need)
        };
        permitted.then_some(()).ok_or_else(|| {
            let message = "Insufficient privileges to complete the operation.";
            GraphError::new(StatusCode::FORBIDDEN, "Authorization_RequestDenied", message)
        })
    }
}

fn holds(permissions: &[&str], need: Need) -> bool {
    let any = |list: &[&str]| list.iter().any(|one| permissions.contains(one));
    need.all_of.iter().all(|list| any(list))
}
