//! What every grant for a user ends in.

use serde_json::json;

use super::apis::TokenVersion;
use super::client_auth::Client;
use super::consent::granted;
use super::error::EntraError;
use super::form::TokenCall;
use super::identity::{client_info, id_token};
use super::issue::{IssuedToken, TokenRequest, issue};
use super::policy::blocked;
use super::scope::{RequestedScope, consent_required};
use super::sessions::{Refresh, SignIn};
use crate::scenario::User;

/// A user to whose tokens a client has a right.
pub(super) struct UserGrant<'a> {
    pub(super) client: &'a Client,
    pub(super) user: &'a User,
    /// The `scope` parameter, and what it asks for.
    pub(super) scope: &'a str,
    pub(super) requested: &'a RequestedScope,
    /// The authentication contexts that the sign-in satisfied.
    pub(super) acrs: Vec<String>,
    /// Of the authorization request.
    pub(super) nonce: Option<&'a str>,
    /// The refresh token that a new one takes the place of.
    pub(super) replaces: Option<&'a Refresh>,
}

impl<'a> UserGrant<'a> {
    /// Without an authorization request or a refresh token before it.
    pub(super) fn new(client: &'a Client, user: &'a User, scope: &'a str, requested: &'a RequestedScope) -> Self {
        Self {
            client,
            user,
            scope,
            requested,
            acrs: Vec::new(),
            nonce: None,
            replaces: None,
        }
    }
}

/// The scopes, if the user's tenant and the user have consented to them.
pub(super) fn consented(
    call: &TokenCall<'_>,
    client: &Client,
    user: &User,
    requested: &RequestedScope,
) -> Result<Vec<String>, EntraError> {
    let granted = granted(call.entra, client.id, user, requested);
    let scopes = granted.map_err(|gap| gap.error(call.entra, (client.id, &client.name), user, requested.api))?;
    if call.entra.policies.lacks_consent(user) {
        return Err(consent_required(&client.id.to_string(), &client.name));
    }
    Ok(scopes)
}

/// Issues a token for the user, to the client, for the API; and, where asked for, what says who the user is and a
/// refresh token.
pub(super) fn issue_to(call: &TokenCall<'_>, grant: &UserGrant<'_>) -> Result<IssuedToken, EntraError> {
    let (entra, client, user, requested) = (call.entra, grant.client, grant.user, grant.requested);
    if entra.policies.is_blocked(user) {
        return Err(blocked("invalid_grant"));
    }
    let request = TokenRequest {
        client_id: Some(client.id.to_string()),
        audience: Some(requested.api.audience(&entra.scenario, TokenVersion::V2)),
        scopes: Some(consented(call, client, user, requested)?),
        lifetime: entra.settings.get().token_lifetime,
        acrs: (!grant.acrs.is_empty()).then(|| grant.acrs.clone()),
        claims: [("azpacr".to_owned(), json!(client.proof.acr()))].into_iter().collect(),
        ..TokenRequest::default()
    };
    let mut issued = issue(entra, user, &request)
        .ok()
        .flatten()
        .ok_or_else(EntraError::transient)?;
    if requested.only_openid {
        issued.scope = Some(requested.names.join(" "));
    }
    if requested.openid.openid {
        let token =
            id_token(entra, user, client.id, requested.openid, grant.nonce).map_err(|_| EntraError::transient())?;
        issued.id_token = Some(token.ok_or_else(EntraError::transient)?);
    }
    if requested.openid.offline_access {
        let now = entra.site.now();
        let sign_in = SignIn {
            tenant: user.tenant_id,
            object_id: user.object_id,
            client: client.id,
            scope: grant.scope.to_owned(),
            acrs: grant.acrs.clone(),
        };
        let (token, ends) = entra.sessions.add_refresh(sign_in, call.from_page, grant.replaces, now);
        issued.refresh_token = Some(token);
        let of_page = grant.replaces.map_or(call.from_page, |old| old.of_page);
        issued.refresh_token_expires_in = of_page.then(|| ends.as_second().saturating_sub(now.as_second()));
    }
    if call.form.optional("client_info") == Some("1") {
        issued.client_info = Some(client_info(user));
    }
    Ok(issued)
}
