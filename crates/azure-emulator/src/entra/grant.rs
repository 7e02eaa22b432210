//! What every grant for a user ends in.

use serde_json::json;

use super::apis::{Api, TokenVersion};
use super::client_auth::Client;
use super::error::EntraError;
use super::form::TokenCall;
use super::issue::{IssuedToken, TokenRequest, issue};
use crate::scenario::User;

/// What a grant ends in: a token for the user, to the client, for the API.
pub(super) fn issue_to(
    call: &TokenCall<'_>,
    client: &Client,
    user: &User,
    api: Api,
    scopes: Vec<String>,
) -> Result<IssuedToken, EntraError> {
    let entra = call.entra;
    let request = TokenRequest {
        client_id: Some(client.id.to_string()),
        audience: Some(api.audience(&entra.scenario, TokenVersion::V2)),
        scopes: Some(scopes),
        lifetime: entra.settings.get().token_lifetime,
        claims: [("azpacr".to_owned(), json!(client.proof.acr()))].into_iter().collect(),
        ..TokenRequest::default()
    };
    issue(entra, user, &request)
        .ok()
        .flatten()
        .ok_or_else(EntraError::transient)
}
