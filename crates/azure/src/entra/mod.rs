//! The wire contract of Entra's token endpoint: on-behalf-of and client credentials.
//!
//! "Microsoft identity platform and OAuth 2.0 On-Behalf-Of flow" and "… and the OAuth 2.0 client credentials flow";
//! client assertions: RFC 7523. Microsoft's `azure_identity` has no on-behalf-of at all, and its client credentials
//! go to https authorities only, past the tenant's discovery document. So both are spoken here.

mod codes;
mod error;
mod error_response;

use std::sync::Arc;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

pub use self::codes::Refusal;
pub use self::error::{Advice, EntraError, EntraErrorResponse};
use super::breaker::{Breakers, CircuitState};
use super::pause::Pauses;
use super::retry::{self, CallError, Guards};
use super::{Response, Upstream, UpstreamFailure};
use base::clock::SharedClock;
use base::ids::{ClientAppId, TenantId};
use base::secret::BearerToken;
use config::BreakerConfig;
use telemetry::metrics::labels::Peer;

/// `client_assertion_type` of RFC 7523 section 2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// `grant_type` of RFC 7523 section 2.1, which Entra's on-behalf-of uses.
const ON_BEHALF_OF: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// What of a request nobody may read.
const SECRETS: [&str; 3] = ["client_secret", "client_assertion", "assertion"];

/// Where tenants' tokens are asked for.
pub trait TokenEndpoints: Send + Sync {
    /// The token endpoint of `tenant`, if its discovery document names one at the authority.
    fn token_endpoint(&self, tenant: TenantId) -> Option<Url>;
}

/// How an app shows who it is, in one request.
#[derive(Clone, Debug)]
pub enum ClientAuthentication {
    /// `client_secret`
    Secret(Arc<SecretString>),
    /// `client_assertion`: a JWT that the app signed, or one of an issuer that Entra trusts to speak for it.
    Assertion(SecretString),
}

/// An access token from Entra.
#[derive(Debug, Clone)]
pub struct EntraGrant {
    /// `access_token`
    pub access_token: BearerToken,
    /// When it ends: `expires_in` from when it was asked for.
    pub expires_on: Timestamp,
    /// `scope`, if Entra says it.
    pub scope: Option<Box<str>>,
}

/// Asks the token endpoints of tenants.
pub struct EntraClient {
    upstream: Upstream,
    endpoints: Arc<dyn TokenEndpoints>,
    // A limit on what users cause must not stop what the broker asks for itself.
    pauses: Pauses<(TenantId, Flow)>,
    // Of the tenants' token endpoints.
    breakers: Breakers<TenantId>,
    clock: SharedClock,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Flow {
    OnBehalfOf,
    ClientCredentials,
}

impl EntraClient {
    /// A client that asks where `endpoints` say, with circuit breakers if `breaker` says how.
    #[must_use]
    pub fn new(
        upstream: Upstream,
        endpoints: Arc<dyn TokenEndpoints>,
        breaker: Option<BreakerConfig>,
        clock: SharedClock,
    ) -> Self {
        Self {
            upstream,
            endpoints,
            pauses: Pauses::new(Arc::clone(&clock)),
            breakers: Breakers::new(breaker, Peer::EntraToken.into_str(), Arc::clone(&clock)),
            clock,
        }
    }

    /// The circuits of the tenants whose token endpoints were asked.
    #[must_use]
    pub fn circuits(&self) -> Vec<(TenantId, CircuitState)> {
        self.breakers.states()
    }

    /// The token endpoint of `tenant`, which is also what a client assertion for it is addressed to.
    pub fn token_endpoint(&self, tenant: TenantId) -> Result<Url, EntraError> {
        self.endpoints.token_endpoint(tenant).ok_or(EntraError::NoTokenEndpoint)
    }

    /// Asks for a token of `scope` for the user whose token for the app `client_id` is `assertion`.
    pub async fn on_behalf_of(
        &self,
        tenant: TenantId,
        client_id: ClientAppId,
        authentication: &ClientAuthentication,
        assertion: &BearerToken,
        scope: &str,
        deadline: Instant,
    ) -> Result<EntraGrant, EntraError> {
        let grant = [
            ("grant_type", ON_BEHALF_OF),
            ("requested_token_use", "on_behalf_of"),
            ("assertion", assertion.expose()),
            ("scope", scope),
        ];
        self.ask(Flow::OnBehalfOf, tenant, client_id, authentication, &grant, deadline)
            .await
    }

    /// Asks for a token of `scope` (a resource and `/.default`) for the app `client_id` itself.
    pub async fn client_credentials(
        &self,
        tenant: TenantId,
        client_id: ClientAppId,
        authentication: &ClientAuthentication,
        scope: &str,
        deadline: Instant,
    ) -> Result<EntraGrant, EntraError> {
        let grant = [("grant_type", "client_credentials"), ("scope", scope)];
        self.ask(
            Flow::ClientCredentials,
            tenant,
            client_id,
            authentication,
            &grant,
            deadline,
        )
        .await
    }

    async fn ask(
        &self,
        flow: Flow,
        tenant: TenantId,
        client_id: ClientAppId,
        authentication: &ClientAuthentication,
        grant: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<EntraGrant, EntraError> {
        let url = self.token_endpoint(tenant)?;
        let client_id = client_id.to_string();
        let mut form = vec![("client_id", client_id.as_str())];
        match authentication {
            ClientAuthentication::Secret(secret) => form.push(("client_secret", secret.expose_secret())),
            ClientAuthentication::Assertion(assertion) => form.extend([
                ("client_assertion_type", JWT_BEARER),
                ("client_assertion", assertion.expose_secret()),
            ]),
        }
        form.extend_from_slice(grant);
        let asked_at = self.clock.now();
        let attempt = || {
            let request = self
                .upstream
                .request(http::Method::POST, url.clone())
                .header(http::header::ACCEPT, "application/json")
                .form(&form);
            self.upstream.send(Peer::EntraToken, request, deadline)
        };
        let (pause, breaker) = (self.pauses.get((tenant, flow)), self.breakers.get(tenant));
        let guards = Guards {
            pause: &pause,
            breaker: Some(&breaker),
            budget: None,
        };
        let called = retry::call(guards, None, &*self.clock, deadline, attempt).await;
        let secrets = form.iter().filter(|(name, _)| SECRETS.contains(name));
        let secrets: Vec<&str> = secrets.map(|(_, value)| *value).collect();
        let outcome = classify(called, &secrets, asked_at, self.clock.now());
        match flow {
            Flow::OnBehalfOf => outcome,
            Flow::ClientCredentials => outcome.map_err(EntraError::without_user),
        }
    }
}

/// What Entra's answer means.
fn classify(
    called: Result<Response, CallError>,
    secrets: &[&str],
    asked_at: Timestamp,
    now: Timestamp,
) -> Result<EntraGrant, EntraError> {
    let response = called.map_err(|error| EntraError::Upstream(error.into()))?;
    Err(EntraError::Upstream(match response.status {
        StatusCode::OK => return read_grant(&response, asked_at).map_err(EntraError::Upstream),
        StatusCode::TOO_MANY_REQUESTS => UpstreamFailure::limited(&response, now),
        // A 504 too: only the broker's own clock says that Entra took too long.
        status if status.is_server_error() => UpstreamFailure::unavailable(&response, now),
        status if status.is_client_error() => return Err(error_response::read(&response, secrets, now)),
        status => UpstreamFailure::invalid(format!("status {}", status.as_u16())),
    }))
}

/// What an answer means, for the fuzz targets.
#[cfg(fuzzing)]
pub fn read_answer(response: Response, secrets: &[&str], now: Timestamp) -> Result<EntraGrant, EntraError> {
    classify(Ok(response), secrets, now, now)
}

/// Reads the body of a 200 (RFC 6749 section 5.1).
fn read_grant(response: &Response, asked_at: Timestamp) -> Result<EntraGrant, UpstreamFailure> {
    #[derive(Deserialize)]
    struct Body {
        access_token: String,
        token_type: String,
        expires_in: Seconds,
        scope: Option<Box<str>>,
    }
    // v1 endpoints write numbers as text.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(i64),
        Text(Box<str>),
    }
    let body: Body = response.json()?;
    // What cannot stand in a header could not be used either.
    if body.access_token.is_empty() || http::HeaderValue::from_str(&body.access_token).is_err() {
        return Err(UpstreamFailure::invalid("access_token is empty, or no token"));
    }
    if !body.token_type.eq_ignore_ascii_case("Bearer") {
        return Err(UpstreamFailure::invalid("token_type is not Bearer"));
    }
    let seconds = match body.expires_in {
        Seconds::Number(seconds) => Some(seconds),
        Seconds::Text(text) => text.parse().ok(),
    };
    let expires_on = seconds
        .filter(|seconds| *seconds > 0)
        .and_then(|seconds| asked_at.checked_add(SignedDuration::from_secs(seconds)).ok())
        .ok_or_else(|| UpstreamFailure::invalid("expires_in is no lifetime"))?;
    Ok(EntraGrant {
        access_token: BearerToken::new(body.access_token),
        expires_on,
        scope: body.scope,
    })
}

#[cfg(test)]
mod tests;
