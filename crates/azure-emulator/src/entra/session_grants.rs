//! The grants that end a sign-in or continue one: authorization code, refresh token, device code.
//!
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow>,
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code>

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::apis::TokenVersion;
use super::claims_request::requested_contexts;
use super::client_auth::Client;
use super::error::{EntraError, shortened};
use super::form::{Form, TokenCall};
use super::grant::{UserGrant, issue_to};
use super::issue::IssuedToken;
use super::password::unknown_user;
use super::policy::step_up_required;
use super::scope::RequestedScope;
use super::sessions::{DeviceState, Refresh, SignIn};
use super::state::Entra;
use crate::jwt::sha256;

/// The grant type of device codes (RFC 8628 3.4).
pub(super) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Its name before RFC 8628, which Entra takes too: msal-node 7.2 sends it.
pub(super) const DRAFT_DEVICE_CODE: &str = "device_code";

/// The tenant of the user who has signed in; `None` for a code that is not known, or not yet any user's.
pub(super) fn tenant_of(entra: &Entra, grant_type: &str, form: &Form) -> Option<Uuid> {
    let sign_in = match grant_type {
        "authorization_code" => entra.sessions.code(form.optional("code")?)?.sign_in,
        "refresh_token" => entra.sessions.refresh(form.optional("refresh_token")?)?.sign_in,
        _ => match entra.sessions.device(form.optional("device_code")?)?.state {
            DeviceState::SignedIn(sign_in) => sign_in,
            DeviceState::Pending | DeviceState::Declined => return None,
        },
    };
    Some(sign_in.tenant)
}

/// A code for tokens, once.
pub(super) fn authorization_code(call: &TokenCall<'_>) -> Result<IssuedToken, EntraError> {
    let (entra, form) = (call.entra, call.form);
    let client = Client::identify(call)?;
    let name = form.required("code")?;
    let code = entra.sessions.code(name).ok_or_else(malformed)?;
    is_for(call, &client, &code.sign_in)?;
    if code.redeemed {
        let text = "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an \
                    existing refresh token.";
        return Err(EntraError::bad_request("invalid_grant", 54005, text));
    }
    if entra.site.now() >= code.ends {
        let text = "The provided authorization code or refresh token has expired due to inactivity. Send a new \
                    interactive authorization request for this user and resource.";
        return Err(EntraError::bad_request("invalid_grant", 70008, text));
    }
    let redirect_uri = form.required("redirect_uri")?;
    if redirect_uri != code.redirect_uri {
        let text = format!(
            "The reply address '{}' does not match the reply address '{}' provided when requesting Authorization code.",
            shortened(redirect_uri),
            shortened(&code.redirect_uri)
        );
        return Err(EntraError::bad_request("invalid_grant", 500_112, text));
    }
    match (&code.challenge, form.optional("code_verifier")) {
        (Some(challenge), Some(verifier)) if *challenge == URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes())) => {}
        (None, None) => {}
        (Some(_), None) => {
            let text = "Proof Key for Code Exchange is required: the request must contain the parameter \
                        'code_verifier'.";
            return Err(EntraError::bad_request("invalid_grant", 50148, text));
        }
        _ => {
            let text = "The Code_Verifier does not match the code_challenge supplied in the authorization request.";
            return Err(EntraError::bad_request("invalid_grant", 501_481, text));
        }
    }
    let scope = form.optional("scope").unwrap_or(&code.sign_in.scope);
    // What the sign-in asked for beside the API holds although the client names the API alone here.
    let mut requested = RequestedScope::parse(&entra.scenario, &call.tenant.name, scope)?;
    let asked = RequestedScope::parse(&entra.scenario, &call.tenant.name, &code.sign_in.scope)?;
    requested.openid = requested.openid.or(asked.openid);
    if !entra.sessions.redeem(name) {
        return Err(malformed());
    }
    finish(
        call,
        &client,
        &code.sign_in,
        scope,
        &requested,
        code.nonce.as_deref(),
        None,
    )
}

/// A refresh token for new tokens. It stays good until its end, as at Entra: "refresh tokens replace themselves with a
/// fresh token upon every use", and the old ones are not revoked.
/// <https://learn.microsoft.com/entra/identity-platform/refresh-tokens>
pub(super) fn refresh_token(call: &TokenCall<'_>) -> Result<IssuedToken, EntraError> {
    let (entra, form) = (call.entra, call.form);
    let client = Client::identify(call)?;
    let refresh = entra
        .sessions
        .refresh(form.required("refresh_token")?)
        .ok_or_else(malformed)?;
    is_for(call, &client, &refresh.sign_in)?;
    if entra.site.now() >= refresh.ends {
        let (code, text) = if refresh.of_page {
            (
                700_084,
                "The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited lifetime of \
                 1.00:00:00, which can't be extended. It is now expired and a new sign in request must be sent by the SPA \
                 to the sign in page.",
            )
        } else {
            (
                700_082,
                "The refresh token has expired due to inactivity. The token was inactive for 90.00:00:00.",
            )
        };
        return Err(EntraError::bad_request("invalid_grant", code, text));
    }
    let scope = form.optional("scope").unwrap_or(&refresh.sign_in.scope);
    let mut requested = RequestedScope::parse(&entra.scenario, &call.tenant.name, scope)?;
    // A refresh token is replaced whether or not the client asks for that again.
    requested.openid.offline_access = true;
    let mut sign_in = refresh.sign_in.clone();
    satisfy(call, &mut sign_in, &requested)?;
    finish(call, &client, &sign_in, scope, &requested, None, Some(&refresh))
}

/// Contexts that are asked for without a page: granted to users of whom conditional access demands nothing.
fn satisfy(call: &TokenCall<'_>, sign_in: &mut SignIn, requested: &RequestedScope) -> Result<(), EntraError> {
    let user = call.entra.scenario.person(sign_in.tenant, sign_in.object_id);
    let user = user.ok_or_else(|| unknown_user(call))?;
    for context in requested_contexts(call.form.optional("claims"))? {
        if sign_in.acrs.contains(&context) {
            continue;
        }
        if call.entra.policies.step_up(user).is_some() {
            let resource = requested.api.audience(&call.entra.scenario, TokenVersion::V2);
            return Err(step_up_required(&context, &resource));
        }
        sign_in.acrs.push(context);
    }
    Ok(())
}

/// A device that asks whether its user has signed in.
pub(super) fn device_code(call: &TokenCall<'_>) -> Result<IssuedToken, EntraError> {
    let entra = call.entra;
    let client = Client::identify(call)?;
    let name = call.form.required("device_code")?;
    let refuse = |error: &'static str, code: u32, text: &str| {
        let text = format!("OAuth 2.0 device flow error. {text}");
        EntraError::bad_request(error, code, text)
    };
    let unknown = || refuse("bad_verification_code", 70018, "The device code is not recognized.");
    let device = entra
        .sessions
        .device(name)
        .filter(|device| device.client == client.id)
        .ok_or_else(unknown)?;
    let sign_in = match device.state {
        DeviceState::SignedIn(sign_in) => sign_in,
        DeviceState::Declined => {
            return Err(refuse(
                "authorization_declined",
                70017,
                "The user declined the sign-in.",
            ));
        }
        DeviceState::Pending if entra.site.now() >= device.ends => {
            return Err(refuse("expired_token", 70019, "The device code has expired."));
        }
        DeviceState::Pending => {
            return Err(refuse(
                "authorization_pending",
                70016,
                "Authorization is pending. Continue polling.",
            ));
        }
    };
    is_for(call, &client, &sign_in)?;
    let requested = RequestedScope::parse(&entra.scenario, &call.tenant.name, &sign_in.scope)?;
    let issued = finish(call, &client, &sign_in, &sign_in.scope, &requested, None, None)?;
    // Two polls at once: one of them gets the tokens.
    if entra.sessions.remove_device(name) {
        Ok(issued)
    } else {
        Err(unknown())
    }
}

/// A sign-in is good for the client that it was made to, in the user's tenant.
fn is_for(call: &TokenCall<'_>, client: &Client, sign_in: &SignIn) -> Result<(), EntraError> {
    if sign_in.client == client.id && sign_in.tenant == call.tenant.id {
        return Ok(());
    }
    let text = "The provided grant was issued for another client id or for another tenant.";
    Err(EntraError::bad_request("invalid_grant", 700_005, text))
}

fn finish(
    call: &TokenCall<'_>,
    client: &Client,
    sign_in: &SignIn,
    scope: &str,
    requested: &RequestedScope,
    nonce: Option<&str>,
    replaces: Option<&Refresh>,
) -> Result<IssuedToken, EntraError> {
    let user = call.entra.scenario.person(sign_in.tenant, sign_in.object_id);
    issue_to(
        call,
        &UserGrant {
            acrs: sign_in.acrs.clone(),
            nonce,
            replaces,
            ..UserGrant::new(client, user.ok_or_else(|| unknown_user(call))?, scope, requested)
        },
    )
}

/// No code or token that was issued here, or one that is forgotten.
fn malformed() -> EntraError {
    EntraError::bad_request(
        "invalid_grant",
        9_002_313,
        "Invalid request. Request is malformed or invalid.",
    )
}
