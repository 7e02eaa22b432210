//! Which client sends a token request, and how it authenticates.

use uuid::Uuid;

use super::apps::SecretCheck;
use super::client_assertion;
use super::error::EntraError;
use super::form::TokenCall;

/// The client app of a token request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) proof: Proof,
}

/// How a client has authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Not at all: a public client.
    None,
    Secret,
    Assertion,
}

impl Proof {
    /// The claim `azpacr` or `appidacr`.
    pub(super) fn acr(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::Secret => "1",
            Self::Assertion => "2",
        }
    }
}

impl Client {
    /// The client, public or not. A public client must not send a credential, any other must.
    pub(super) fn identify(call: &TokenCall<'_>) -> Result<Self, EntraError> {
        let sent = call.form.required("client_id")?;
        let (scenario, id) = (&call.entra.scenario, Uuid::try_parse(sent).ok());
        if id == Some(scenario.api_app.client_id) {
            let (id, name) = (scenario.api_app.client_id, scenario.api_app.name.clone());
            return prove(call, id).map(|proof| Self { id, name, proof });
        }
        if id == Some(scenario.client_app.client_id) {
            let secretly = ["client_secret", "client_assertion"].map(|name| call.form.optional(name));
            if secretly.iter().any(Option::is_some) {
                let text = "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.";
                return Err(EntraError::invalid_client(700_025, text));
            }
            return Ok(Self {
                id: scenario.client_app.client_id,
                name: scenario.client_app.name.clone(),
                proof: Proof::None,
            });
        }
        Err(EntraError::unknown_client(sent, &call.tenant.name))
    }

    /// The client of a grant that only confidential clients have.
    pub(super) fn authenticate(call: &TokenCall<'_>) -> Result<Self, EntraError> {
        match Self::identify(call)? {
            client if client.proof == Proof::None => Err(credential_missing()),
            client => Ok(client),
        }
    }
}

fn credential_missing() -> EntraError {
    let text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
    EntraError::invalid_client(7_000_218, text)
}

fn prove(call: &TokenCall<'_>, client: Uuid) -> Result<Proof, EntraError> {
    if let Some(assertion) = call.form.optional("client_assertion") {
        client_assertion::verify(call, client, assertion)?;
        return Ok(Proof::Assertion);
    }
    let secret = call.form.optional("client_secret").ok_or_else(credential_missing)?;
    match call.entra.registration.check_secret(secret, call.entra.site.now()) {
        SecretCheck::Good => Ok(Proof::Secret),
        SecretCheck::Unknown => {
            let text = format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret \
                 value, not the client secret ID, for a secret added to app '{client}'."
            );
            Err(EntraError::invalid_client(7_000_215, text))
        }
        SecretCheck::Expired => {
            let text = format!(
                "The provided client secret keys for app '{client}' are expired. Visit the Azure portal to create new \
                 keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added \
                 security: https://aka.ms/certCreds."
            );
            Err(EntraError::invalid_client(7_000_222, text))
        }
    }
}
