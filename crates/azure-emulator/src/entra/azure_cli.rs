//! What the Azure CLI's tokens for Microsoft Graph say: `az account get-access-token --resource-type ms-graph`.

use uuid::{Uuid, uuid};

use crate::scenario::User;

/// What stands for Microsoft Graph in a request for a token.
pub(super) const GRAPH: &str = "graph";
/// The Azure CLI's client id.
pub(super) const CLIENT: Uuid = uuid!("04b07795-8ddb-461a-bbee-02f9e1bf7b46");
/// The template of the role Global Administrator, as the claim `wids` names it.
/// <https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference>
pub(super) const GLOBAL_ADMINISTRATOR: Uuid = uuid!("62e90394-69f5-4237-9190-012177145e10");

const OF_ADMINISTRATORS: &str = "Application.ReadWrite.All AppRoleAssignment.ReadWrite.All AuditLog.Read.All \
                                 DelegatedPermissionGrant.ReadWrite.All Directory.AccessAsUser.All email \
                                 Group.ReadWrite.All openid profile User.ReadWrite.All";
const OF_USERS: &str = "email openid profile User.Read";

/// The scopes that it has for a user.
pub(super) fn scopes(user: &User) -> Vec<String> {
    let scopes = if user.administrator {
        OF_ADMINISTRATORS
    } else {
        OF_USERS
    };
    scopes.split(' ').map(str::to_owned).collect()
}
