//! The on-behalf-of grant: a user's token for the middle tier in, one for the API behind it out.
//!
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow>

use super::apis::TokenVersion;
use super::client_auth::Client;
use super::error::{EntraError, shortened};
use super::form::TokenCall;
use super::grant::{UserGrant, consented, issue_to};
use super::issue::IssuedToken;
use super::password::unknown_user;
use super::policy::step_up_required;
use super::scope::RequestedScope;
use super::signed::{InvalidToken, Lifetime, SignedToken};
use jiff::Timestamp;

/// Checks what Entra checks, and issues.
pub(super) fn grant(call: &TokenCall<'_>) -> Result<IssuedToken, EntraError> {
    let scenario = &call.entra.scenario;
    let client = Client::authenticate(call)?;
    let assertion = call.form.required("assertion")?;
    let token_use = call.form.required("requested_token_use")?;
    if token_use != "on_behalf_of" {
        let text = format!(
            "Unsupported 'requested_token_use' value '{}'. Supported value is 'on_behalf_of'.",
            shortened(token_use)
        );
        return Err(EntraError::bad_request("invalid_request", 90023, text));
    }
    let scope = call.form.required("scope")?;
    let requested = RequestedScope::parse(scenario, &call.tenant.name, scope)?;
    let token = verified(call, &client, assertion)?;
    let user = token
        .guid("oid")
        .and_then(|oid| scenario.person(call.tenant.id, oid))
        .ok_or_else(|| unknown_user(call))?;
    consented(call, &client, user, &requested)?;
    // Conditional access: where an authentication context is required of a user, the user must have signed in with it.
    if let Some(context) = call.entra.policies.step_up(user)
        && !token.list("acrs").contains(&context.as_str())
    {
        let resource = requested.api.audience(scenario, TokenVersion::V2);
        return Err(step_up_required(&context, &resource));
    }
    issue_to(call, &UserGrant::new(&client, user, scope, &requested))
}

/// The assertion, if it is a token of this tenant for this client, within its time, and a user's.
fn verified(call: &TokenCall<'_>, client: &Client, assertion: &str) -> Result<SignedToken, EntraError> {
    let entra = call.entra;
    let token = entra.tokens.read(assertion, Some(client.id)).map_err(|fault| {
        let reason = match fault {
            InvalidToken::Malformed | InvalidToken::MissingClaim => {
                let text = "JWT token is invalid or malformed.";
                return EntraError::bad_request("invalid_request", 50027, text);
            }
            InvalidToken::UnknownKey | InvalidToken::UnsupportedAlgorithm => "The key was not found.",
            InvalidToken::InvalidSignature => {
                "The provided signature value did not match the expected signature value."
            }
            InvalidToken::InvalidIssuer => "The token issuer does not match the API version.",
        };
        invalid_assertion(&format!("Assertion failed signature validation. [Reason - {reason}]"))
    })?;
    if token.tenant != call.tenant.id {
        return Err(invalid_assertion(
            "Assertion failed signature validation. [Reason - The token was issued by another tenant.]",
        ));
    }
    let app = &entra.scenario.api_app;
    if !token.is_for(Some(app.client_id), &app.app_id_uri) {
        let text = format!(
            "Assertion audience does not match the Client app presenting the assertion. The audience in the assertion \
             was '{}' and the expected audience is '{}' or one of the Application Uris of this application with App ID \
             '{}'({}). The downstream client must request a token for the expected audience (the application that made \
             the OBO request) and this application should use that token as the assertion.",
            shortened(token.text("aud").unwrap_or_default()),
            app.app_id_uri,
            client.id,
            client.name
        );
        return Err(EntraError::bad_request("invalid_grant", 500_131, text));
    }
    let now = entra.site.now();
    match token.lifetime(now) {
        // Entra grants no grace here: an assertion was refused 38 ms after its end.
        // <https://github.com/microsoftgraph/msgraph-sdk-dotnet/issues/2551>
        Lifetime::Current(end) if now < end => {}
        Lifetime::Missing => return Err(invalid_assertion("Assertion is malformed: it has no expiry time.")),
        Lifetime::Current(_) | Lifetime::Expired | Lifetime::NotYetValid => {
            let end = token.number("exp").and_then(|at| Timestamp::from_second(at).ok());
            let text = format!(
                "Assertion is not within its valid time range. Ensure that the access token is not expired before using \
                 it for user assertion, or request a new token. Current time: {now:.7}, expiry time of assertion {:.7}.",
                end.unwrap_or_default()
            );
            return Err(EntraError::bad_request("invalid_grant", 500_133, text));
        }
    }
    if !token.is_delegated() {
        let caller = token.client().map(|id| id.to_string()).unwrap_or_default();
        let text = format!("Application '{caller}' is not allowed to make application on-behalf-of calls.");
        return Err(EntraError::bad_request("unauthorized_client", 7_000_114, text));
    }
    Ok(token)
}

fn invalid_assertion(text: &str) -> EntraError {
    EntraError::bad_request("invalid_grant", 50013, text)
}
