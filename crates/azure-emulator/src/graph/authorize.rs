//! Which directory an app may read with its token.

use http::StatusCode;
use uuid::Uuid;

use super::error::GraphError;
use super::state::Graph;
use crate::entra::apis::{Api, GRAPH_URI};
use crate::entra::signed::{InvalidToken, Lifetime};

/// Application permissions, any one of which suffices.
const PERMISSIONS: [&str; 4] = [
    "GroupMember.Read.All",
    "Group.Read.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
];
/// The permission to read other users, which goes with the first of them.
const USER_PERMISSIONS: [&str; 4] = [
    "User.Read.All",
    "User.ReadBasic.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
];

/// The tenant whose directory an app may read with this token.
pub(super) fn authorize(graph: &Graph, token: Option<&str>) -> Result<Uuid, GraphError> {
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
    let roles = token.list("roles");
    let has_any = |wanted: &[&str]| wanted.iter().any(|role| roles.contains(role));
    // Only application permissions exist here: no tenant consents to delegated ones.
    if token.is_delegated() || !has_any(&PERMISSIONS) || !has_any(&USER_PERMISSIONS) {
        let message = "Insufficient privileges to complete the operation.";
        return Err(GraphError::new(
            StatusCode::FORBIDDEN,
            "Authorization_RequestDenied",
            message,
        ));
    }
    Ok(token.tenant)
}
