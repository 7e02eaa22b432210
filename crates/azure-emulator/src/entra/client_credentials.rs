//! The client credentials grant: a token for the app itself (RFC 6749 4.4).
//!
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>

use super::apis::{Api, GRAPH_APP};
use super::app_token::{AppPrincipal, issue};
use super::client_auth::Client;
use super::error::{EntraError, shortened};
use super::form::TokenCall;
use super::issue::IssuedToken;
use super::scope::RequestedScope;

/// Checks what Entra checks, and issues.
pub(super) fn grant(call: &TokenCall<'_>) -> Result<IssuedToken, EntraError> {
    let client = Client::authenticate(call)?;
    let scope = call.form.required("scope")?;
    let requested = RequestedScope::parse(&call.entra.scenario, &call.tenant.name, scope)?;
    if !requested.default || !requested.names.is_empty() {
        let text = format!(
            "The provided value for scope {} is not valid. Client credential flows must have a scope value with \
             /.default suffixed to the resource identifier (application ID URI).",
            shortened(scope)
        );
        return Err(EntraError::bad_request("invalid_scope", 1_002_012, text));
    }
    // Without consent there is a token all the same, but without roles.
    let roles = if requested.api == Api::Graph {
        call.entra.directory.app_roles(client.id, GRAPH_APP, call.tenant.id)
    } else {
        Vec::new()
    };
    let principal = AppPrincipal::for_app(client.id, &client.name, call.tenant.id, client.proof.acr());
    issue(call.entra, &principal, requested.api, &roles)
        .ok()
        .flatten()
        .ok_or_else(EntraError::transient)
}
