//! The resource owner password grant, for demo users.

use super::apis::TokenVersion;
use super::claims_request::requested_contexts;
use super::client_auth::Client;
use super::error::EntraError;
use super::form::TokenCall;
use super::grant::{UserGrant, issue_to};
use super::issue::IssuedToken;
use super::policy::step_up_required;
use super::scope::RequestedScope;
use crate::scenario::{Scenario, User, UserKind};

/// Checks what Entra checks, and issues.
pub(super) fn grant(call: &TokenCall<'_>) -> Result<IssuedToken, EntraError> {
    let scenario = &call.entra.scenario;
    let client = Client::identify(call)?;
    let scope = call.form.required("scope")?;
    let requested = RequestedScope::parse(scenario, &call.tenant.name, scope)?;
    let login = call.form.required("username")?;
    let password = call.form.required("password")?;
    let user = person_by_login(scenario, login)
        .filter(|user| user.tenant_id == call.tenant.id)
        .ok_or_else(|| unknown_user(call))?;
    if password != scenario.password {
        return Err(EntraError::bad_request(
            "invalid_grant",
            50126,
            "Error validating credentials due to invalid username or password.",
        ));
    }
    let acrs = requested_contexts(call.form.optional("claims"))?;
    if let (Some(context), Some(_)) = (acrs.first(), call.entra.policies.step_up(user)) {
        let resource = requested.api.audience(scenario, TokenVersion::V2);
        return Err(step_up_required(context, &resource));
    }
    issue_to(
        call,
        &UserGrant {
            acrs,
            ..UserGrant::new(&client, user, scope, &requested)
        },
    )
}

/// The person with this user principal name, in any tenant.
pub(super) fn person_by_login<'a>(scenario: &'a Scenario, login: &str) -> Option<&'a User> {
    scenario
        .users
        .iter()
        .filter(|user| user.kind == UserKind::Person)
        .find(|user| scenario.user_principal_name(user).eq_ignore_ascii_case(login))
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
