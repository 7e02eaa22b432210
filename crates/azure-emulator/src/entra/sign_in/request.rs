//! The authorization request (RFC 6749 4.1.1, OpenID Connect Core 3.1.2.1), checked.

use uuid::Uuid;

use super::reply::{Reply, ResponseMode};
use super::steps::{Ask, Prompt};
use crate::entra::claims_request::requested_contexts;
use crate::entra::error::{EntraError, shortened};
use crate::entra::form::Form;
use crate::entra::scope::RequestedScope;
use crate::entra::state::Entra;
use crate::entra::token_endpoint::Directory;

/// The base64url form of a SHA-256 digest (RFC 7636 4.2).
const CHALLENGE_LENGTH: usize = 43;

/// A request that can be answered.
#[derive(Debug)]
pub(super) struct AuthorizeRequest {
    pub(super) reply: Reply,
    pub(super) ask: Ask,
    pub(super) nonce: Option<String>,
    pub(super) challenge: Option<String>,
    /// The client wants the account's ids beside the code.
    pub(super) client_info: bool,
}

/// Why a request cannot be answered.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nobody knows whose it is or where to send the user back to: the user is shown the error.
    Here(EntraError),
    /// The client gets the error.
    AtClient(Box<Reply>, EntraError),
}

/// A client app that users can sign in to.
pub(super) fn client(entra: &Entra, directory: Directory<'_>, sent: &str) -> Result<(Uuid, String, bool), EntraError> {
    let scenario = &entra.scenario;
    let id = Uuid::try_parse(sent).ok();
    if id == Some(scenario.client_app.client_id) {
        return Ok((scenario.client_app.client_id, scenario.client_app.name.clone(), true));
    }
    if id == Some(scenario.api_app.client_id) {
        return Ok((scenario.api_app.client_id, scenario.api_app.name.clone(), false));
    }
    Err(EntraError::unknown_client(sent, directory.name()))
}

impl AuthorizeRequest {
    pub(super) fn parse(entra: &Entra, tenant: &str, form: &Form) -> Result<Self, Refusal> {
        let directory = Directory::parse(&entra.scenario, tenant).map_err(Refusal::Here)?;
        if let Some(name) = form.duplicate() {
            let text = format!("The request is not properly formatted. The parameter '{name}' is duplicated.");
            return Err(Refusal::Here(EntraError::bad_request(
                "invalid_request",
                9_000_411,
                text,
            )));
        }
        let required = |name| form.required(name).map_err(Refusal::Here);
        let (client, client_name, is_public) =
            client(entra, directory, required("client_id")?).map_err(Refusal::Here)?;
        let redirect_uri = required("redirect_uri")?;
        let origin = entra.site.redirect_origin(redirect_uri).ok_or_else(|| {
            let text = format!(
                "The redirect URI '{}' specified in the request does not match the redirect URIs configured for the \
                 application '{client}'. The emulator takes those on this machine, such as http://localhost:3000/, and \
                 those of an origin that `dev --origin` names.",
                shortened(redirect_uri)
            );
            Refusal::Here(EntraError::bad_request("invalid_request", 50011, text))
        })?;
        let mut reply = Reply {
            redirect_uri: redirect_uri.to_owned(),
            origin,
            mode: ResponseMode::Query,
            state: form.optional("state").map(str::to_owned),
        };
        let mode = form.optional("response_mode");
        let Ok(mode) = mode.map_or(Ok(ResponseMode::Query), str::parse) else {
            let text = "The provided value for the input parameter 'response_mode' is not allowed. Expected values are \
                        'query', 'fragment', 'form_post'.";
            let error = EntraError::bad_request("invalid_request", 90023, text);
            return Err(Refusal::AtClient(Box::new(reply), error));
        };
        reply.mode = mode;
        match Self::rest(entra, directory, form, (client, client_name, is_public), &reply) {
            Ok((ask, challenge)) => Ok(Self {
                reply,
                ask,
                nonce: form.optional("nonce").map(str::to_owned),
                challenge,
                client_info: form.optional("client_info") == Some("1"),
            }),
            Err(error) => Err(Refusal::AtClient(Box::new(reply), error)),
        }
    }

    /// What the client can get.
    fn rest(
        entra: &Entra,
        directory: Directory<'_>,
        form: &Form,
        (client, client_name, is_public): (Uuid, String, bool),
        reply: &Reply,
    ) -> Result<(Ask, Option<String>), EntraError> {
        let response_type = form.required("response_type")?;
        if response_type != "code" {
            let text = format!(
                "The provided value for the input parameter 'response_type' is not allowed for this client. Expected \
                 value is 'code', not '{}'.",
                shortened(response_type)
            );
            return Err(EntraError::bad_request("unsupported_response_type", 700_054, text));
        }
        let challenge = challenge(form, is_public)?;
        let scope = form.required("scope")?;
        let requested = RequestedScope::parse(&entra.scenario, directory.name(), scope)?;
        let ask = Ask {
            tenant: directory.tenant(),
            client,
            client_name,
            scope: scope.to_owned(),
            requested,
            acrs: requested_contexts(form.optional("claims"))?,
            prompt: prompt(form)?,
            login_hint: form.optional("login_hint").map(str::to_owned),
            domain_hint: form.optional("domain_hint").map(str::to_owned),
            hidden: form
                .pairs()
                .filter(|(name, _)| !name.starts_with('_'))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            then: Some(reply.origin.clone()),
        };
        Ok((ask, challenge))
    }
}

fn prompt(form: &Form) -> Result<Prompt, EntraError> {
    form.optional("prompt").map_or(Ok(Prompt::Usual), |prompt| {
        prompt.parse().map_err(|_| {
            let text = format!(
                "Unsupported 'prompt' value '{}'. Supported values are 'none', 'login', 'select_account' and 'consent'.",
                shortened(prompt)
            );
            EntraError::bad_request("invalid_request", 90023, text)
        })
    })
}

/// The challenge by which a code is bound to who asked for it. A public client must have one (RFC 9700 2.1.1).
fn challenge(form: &Form, is_public: bool) -> Result<Option<String>, EntraError> {
    let method = form.optional("code_challenge_method");
    match form.optional("code_challenge") {
        Some(challenge) if method == Some("S256") => {
            let is_digest = challenge.len() == CHALLENGE_LENGTH
                && challenge
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            is_digest.then(|| Some(challenge.to_owned())).ok_or_else(|| {
                let text = "Invalid size of Code_Challenge parameter.";
                EntraError::bad_request("invalid_request", 501_491, text)
            })
        }
        Some(_) => {
            let text = "The code_challenge_method must be 'S256'.";
            Err(EntraError::bad_request("invalid_request", 501_491, text))
        }
        None if is_public => {
            let text = "Proof Key for Code Exchange is required for cross-origin authorization code redemption.";
            Err(EntraError::bad_request("invalid_request", 9_002_325, text))
        }
        None => Ok(None),
    }
}
