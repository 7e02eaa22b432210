//! Whether a client gets an API's scopes for a user: what the user's tenant says of the API and of the client.

use uuid::Uuid;

use super::apis::Api;
use super::error::EntraError;
use super::scope::{RequestedScope, consent_required};
use super::state::Entra;
use crate::scenario::User;

/// Why a client does not get them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    /// The tenant has no service principal of the API.
    NoPrincipal,
    /// The API takes only who is assigned to it.
    NotAssigned,
    /// Neither an administrator nor the user has consented.
    NoConsent,
    /// The registration does not list the API, so that there is nothing `.default` could ask consent for.
    NotListed,
    /// No such permission can be had.
    NoScope,
}

/// The scopes, if everything that is requested can be had.
pub(super) fn granted(
    entra: &Entra,
    client: Uuid,
    user: &User,
    requested: &RequestedScope,
) -> Result<Vec<String>, Gap> {
    let wanted = requested.granted(&entra.scenario).ok_or(Gap::NoScope)?;
    let app_id = requested.api.app_id(&entra.scenario);
    let Some(app_id) = app_id.filter(|id| *id != client && !requested.only_openid) else {
        return Ok(wanted);
    };
    if matches!(requested.api, Api::AcsClients | Api::TeamsExtension) {
        if entra.directory.principal_of(app_id, user.tenant_id).is_none() {
            return Err(Gap::NoPrincipal);
        }
        if entra.directory.blocks(app_id, user) {
            return Err(Gap::NotAssigned);
        }
    }
    let consented = entra.directory.granted(client, app_id, user);
    let holds: Vec<String> = wanted
        .iter()
        .filter(|scope| consented.contains(scope))
        .cloned()
        .collect();
    if requested.default && !holds.is_empty() {
        return Ok(holds);
    }
    if holds.len() == wanted.len() {
        return Ok(holds);
    }
    let is_listed = entra
        .directory
        .listed(client)
        .iter()
        .any(|listed| listed.app.app_id == app_id);
    if requested.default && !is_listed {
        return Err(Gap::NotListed);
    }
    Err(Gap::NoConsent)
}

impl Gap {
    /// As the token endpoint says it.
    pub(super) fn error(self, entra: &Entra, client: (Uuid, &str), user: &User, api: Api) -> EntraError {
        self.error_in(entra, client, user.tenant_id, api)
    }

    /// The same in a tenant, whoever asks.
    pub(super) fn error_in(self, entra: &Entra, client: (Uuid, &str), tenant: Uuid, api: Api) -> EntraError {
        let scenario = &entra.scenario;
        let app_id = api.app_id(scenario).map(|id| id.to_string()).unwrap_or_default();
        let known = api.app_id(scenario).and_then(|id| entra.directory.app(id));
        let name = known.map(|app| app.name.as_str()).unwrap_or_default();
        match self {
            // Seen in microsoft/GraphNotificationBroker#5.
            Self::NoPrincipal => EntraError::bad_request(
                "invalid_client",
                650_052,
                format!(
                    "The app is trying to access a service '{app_id}'({name}) that your organization '{tenant}' lacks a \
                     service principal for. Contact your IT Admin to review the configuration of your service \
                     subscriptions or consent to the application in order to create the required service principal."
                ),
            ),
            // Seen in nextauthjs/next-auth#5455.
            Self::NotAssigned => EntraError::bad_request(
                "invalid_grant",
                50105,
                format!(
                    "Your administrator has configured the application {name} ('{app_id}') to block users unless they \
                     are specifically granted ('assigned') access to the application. The signed in user \
                     '{{EmailHidden}}' is blocked because they are not a direct member of a group with access, nor had \
                     access directly assigned by an administrator. Please contact your administrator to assign access \
                     to this application."
                ),
            ),
            Self::NotListed => EntraError::bad_request(
                "invalid_client",
                650_057,
                format!(
                    "Invalid resource. The client has requested access to a resource which is not listed in the \
                     requested permissions in the client's application registration. Client app ID: {}({}). Resource \
                     value from request: {}. Resource app ID: {app_id}.",
                    client.0,
                    client.1,
                    api.uri(scenario)
                ),
            ),
            Self::NoConsent | Self::NoScope => consent_required(&client.0.to_string(), client.1),
        }
    }
}
