//! The resource owner password grant, for demo users.

use super::client_auth::Client;
use super::error::EntraError;
use super::form::TokenCall;
use super::grant::issue_to;
use super::issue::IssuedToken;
use super::scope::{RequestedScope, consent_required};
use crate::scenario::UserKind;

/// Checks what Entra checks, and issues.
pub(super) fn grant(call: &TokenCall<'_>) -> Result<IssuedToken, EntraError> {
    let scenario = &call.entra.scenario;
    let client = Client::identify(call)?;
    let requested = RequestedScope::parse(scenario, call.tenant, call.form.required("scope")?)?;
    let scopes = requested
        .granted(scenario)
        .filter(|_| client.has_consent(call, requested.api))
        .ok_or_else(|| consent_required(&client.id.to_string(), &client.name))?;
    let login = call.form.required("username")?;
    let password = call.form.required("password")?;
    let user = scenario
        .users
        .iter()
        .filter(|user| user.tenant_id == call.tenant.id && user.kind == UserKind::Person)
        .find(|user| scenario.user_principal_name(user).eq_ignore_ascii_case(login))
        .ok_or_else(|| unknown_user(call))?;
    if password != scenario.password {
        return Err(EntraError::bad_request(
            "invalid_grant",
            50126,
            "Error validating credentials due to invalid username or password.",
        ));
    }
    issue_to(call, &client, user, requested.api, scopes)
}

/// The directory does not have the user.
pub(super) fn unknown_user(call: &TokenCall<'_>) -> EntraError {
    let text = format!(
        "The user account {{EUII Hidden}} does not exist in the {} directory. To sign into this application, the \
         account must be added to the directory.",
        call.tenant.id
    );
    EntraError::bad_request("invalid_grant", 50034, text)
}
