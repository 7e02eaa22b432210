//! Requests that the broker makes in its own name at an ACS resource: signed with the resource's access key (as the
//! SDKs' communication-common does it), or with an Entra token of the broker's own.

use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use super::credential::ReloadingSecret;
use super::entra::EntraGrant;
use super::retry::Attempted;
use super::{Response, SendError, Upstream, operation_url};
use base::clock::SharedClock;
use base::secret::BearerToken;
use telemetry::metrics::labels::Peer;

/// The access key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessKeyError {
    /// It cannot be read.
    #[error("the access key cannot be read: {0}")]
    Unreadable(String),
    /// It is not what Azure shows as a key.
    #[error("the access key is not base64, as Azure shows it")]
    NotBase64,
}

/// Entra tokens of the broker's own, for a service that it calls in its own name.
pub trait ServiceTokens: Send + Sync {
    /// A token that is good for now.
    fn token(&self, deadline: Instant) -> BoxFuture<'_, Result<EntraGrant, ServiceTokenError>>;

    /// The service refused `token`: if it is the one that is kept, the next is a new one.
    fn discard(&self, token: &BearerToken);
}

/// There is no token of the broker's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceTokenError {
    /// The broker's credential cannot be read, or Entra refused it.
    #[error("the broker's own credential: {0}")]
    Refused(String),
    /// The issuer of the token failed, or broke its contract.
    #[error("no token for the broker itself: {0}")]
    Failed(String),
    /// It was not there in time.
    #[error("no token for the broker itself in time")]
    Timeout,
}

/// How the broker shows ACS who asks.
#[derive(Clone)]
pub enum AcsAuth {
    /// With the resource's access key, as Azure shows it, in base64. It is read at each use: a changed key is in use at once.
    AccessKey(Arc<ReloadingSecret>),
    /// With an Entra token of its own.
    ServiceToken(Arc<dyn ServiceTokens>),
}

/// A call that brought no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedSendError {
    /// The access key cannot be used.
    #[error(transparent)]
    AccessKey(#[from] AccessKeyError),
    /// There is no service token.
    #[error(transparent)]
    ServiceToken(#[from] ServiceTokenError),
    /// The call failed.
    #[error(transparent)]
    Send(#[from] SendError),
}

impl Attempted for SignedSendError {
    fn send_error(&self) -> Option<&SendError> {
        match self {
            Self::Send(error) => Some(error),
            Self::AccessKey(_) | Self::ServiceToken(_) => None,
        }
    }
}

/// What becomes of a token of the broker's own that ACS refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The next request has a new one.
    Discard,
    /// It is kept: it is new itself.
    Keep,
}

/// A request before it is signed. Its body may hold a token.
#[derive(Clone)]
pub(super) struct Unsigned {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Bytes,
}

/// Sends requests in the broker's own name.
#[derive(Clone)]
pub struct SignedAcs {
    upstream: Upstream,
    auth: AcsAuth,
    clock: SharedClock,
}

impl SignedAcs {
    /// A sender whose requests go through `upstream`, are authorized by `auth` and dated by `clock`.
    #[must_use]
    pub fn new(upstream: Upstream, auth: AcsAuth, clock: SharedClock) -> Self {
        Self { upstream, auth, clock }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Sends one request. A service token that is refused is asked for anew, once.
    pub(super) async fn send(&self, request: Unsigned, deadline: Instant) -> Result<Response, SignedSendError> {
        let is_refused = |response: &Response| response.status == StatusCode::UNAUTHORIZED;
        let response = self.send_once(&request, deadline, is_refused).await?;
        if self.can_renew() && is_refused(&response) {
            self.send_once(&request, deadline, |_| false).await
        } else {
            Ok(response)
        }
    }

    /// Whether it is a service token that shows who asks.
    pub(super) fn can_renew(&self) -> bool {
        matches!(self.auth, AcsAuth::ServiceToken(_))
    }

    /// Sends one request, and no other. `is_to_be_discarded` says from the answer whether the next request needs another
    /// service token.
    pub(super) async fn send_once(
        &self,
        request: &Unsigned,
        deadline: Instant,
        is_to_be_discarded: impl Fn(&Response) -> bool,
    ) -> Result<Response, SignedSendError> {
        match &self.auth {
            AcsAuth::AccessKey(source) => {
                let key = source.latest().await;
                let key = key.map_err(|error| AccessKeyError::Unreadable(error.to_string()))?;
                let key = decode(&key)?;
                let signature = sign(
                    &key,
                    &request.method,
                    &request.url,
                    &http_date(self.clock.now()),
                    &request.body,
                );
                let builder = self
                    .builder(request)
                    .header("x-ms-date", signature.date)
                    .header("x-ms-content-sha256", signature.content_hash)
                    .header(header::AUTHORIZATION, secret_header(&signature.authorization));
                Ok(self.upstream.send(Peer::Acs, builder, deadline).await?)
            }
            AcsAuth::ServiceToken(tokens) => {
                let token = tokens.token(deadline).await?.access_token;
                let builder = self.builder(request).bearer_auth(token.expose());
                let response = self.upstream.send(Peer::Acs, builder, deadline).await?;
                if is_to_be_discarded(&response) {
                    tokens.discard(&token);
                }
                Ok(response)
            }
        }
    }

    fn builder(&self, request: &Unsigned) -> reqwest::RequestBuilder {
        let mut builder = self
            .upstream
            .request(request.method.clone(), request.url.clone())
            .header(header::ACCEPT, "application/json");
        if let Some(content_type) = request.content_type {
            builder = builder.header(header::CONTENT_TYPE, content_type);
        }
        builder.body(request.body.clone())
    }
}

/// One operation in the broker's own name: a `POST` of JSON at one URL.
pub(super) struct SignedPost {
    acs: SignedAcs,
    url: Url,
}

impl SignedPost {
    /// The operation at `path` of `endpoint`, an origin.
    pub(super) fn new(acs: SignedAcs, endpoint: &Url, path: &str, api_version: &str) -> Self {
        Self {
            acs,
            url: operation_url(endpoint, path, api_version),
        }
    }

    /// Sends one request. `refused` says what becomes of a token of the broker's own that ACS refuses, which `is_refused` sees.
    pub(super) async fn send<B: Serialize + Sync>(
        &self,
        body: &B,
        refused: Refused,
        is_refused: fn(&Response) -> bool,
        deadline: Instant,
    ) -> Result<Response, SignedSendError> {
        let request = Unsigned {
            method: Method::POST,
            url: self.url.clone(),
            content_type: Some("application/json"),
            // Structures of texts and numbers are always JSON.
            body: serde_json::to_vec(body).unwrap_or_default().into(),
        };
        let is_to_be_discarded = |response: &Response| refused == Refused::Discard && is_refused(response);
        self.acs.send_once(&request, deadline, is_to_be_discarded).await
    }

    /// Whether the broker shows a token of its own, which can be asked for anew.
    pub(super) fn can_renew(&self) -> bool {
        self.acs.can_renew()
    }
}

/// What signing adds to a request.
struct Signature {
    date: String,
    content_hash: String,
    authorization: String,
}

fn sign(key: &[u8], method: &Method, url: &Url, date: &str, body: &[u8]) -> Signature {
    let content_hash = STANDARD.encode(digest::digest(&digest::SHA256, body));
    let text = string_to_sign(method, url, date, &content_hash);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    Signature {
        authorization: format!(
            "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={}",
            STANDARD.encode(tag)
        ),
        date: date.to_owned(),
        content_hash,
    }
}

/// `{VERB}\n{pathAndQuery}\n{x-ms-date};{host[:port]};{contentHash}`, the host as the `Host` header has it.
fn string_to_sign(method: &Method, url: &Url, date: &str, content_hash: &str) -> String {
    let host = url.host_str().unwrap_or_default();
    // The URL keeps no port that its scheme has anyway, and neither does the header.
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{method}\n{}{query}\n{date};{host}{port};{content_hash}", url.path())
}

/// As RFC 1123 writes it, always GMT.
fn http_date(now: Timestamp) -> String {
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A key is decoded at each use: 64 bytes are nothing beside a call.
fn decode(key: &SecretString) -> Result<Zeroizing<Vec<u8>>, AccessKeyError> {
    let key = STANDARD
        .decode(key.expose_secret().trim())
        .map(Zeroizing::new)
        .map_err(|_| AccessKeyError::NotBase64)?;
    if key.is_empty() {
        return Err(AccessKeyError::NotBase64);
    }
    Ok(key)
}

/// Whether requests could be signed with `key`.
pub fn check_access_key(key: &SecretString) -> Result<(), AccessKeyError> {
    decode(key).map(drop)
}

/// Keeps the value out of debug output. Base64 and ASCII are always a header's value.
fn secret_header(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Computed with Python's hmac and hashlib, not with this code.
    #[test]
    fn a_known_answer() {
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let date = http_date(now);
        assert_eq!(date, "Tue, 24 Nov 2026 12:00:00 GMT");
        for (method, url, body, wanted) in [
            (
                Method::POST,
                "https://contoso.communication.azure.com/identities?api-version=2025-03-02-preview",
                "{}",
                (
                    "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=",
                    "eI6y4KrCaoObIYhMM9Za14af5gYcsp74H8QsFYnVkds=",
                ),
            ),
            (
                Method::GET,
                "http://127.0.0.1:8090/access/entra/assignments?api-version=2025-03-02-preview&skip=a%2Fb",
                "",
                (
                    "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
                    "Kj2yaSzeE7wZBc/NICHBK7/XQ5oRY19wCBI2zjVe/4w=",
                ),
            ),
        ] {
            let signature = sign(b"a key", &method, &url.parse().unwrap(), &date, body.as_bytes());
            assert_eq!(signature.content_hash, wanted.0);
            assert_eq!(
                signature.authorization,
                format!(
                    "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={}",
                    wanted.1
                )
            );
        }
    }

    #[test]
    fn the_host_is_signed_as_the_header_has_it() {
        for (url, host) in [
            (
                "https://contoso.communication.azure.com:443/x",
                "contoso.communication.azure.com",
            ),
            ("http://localhost:80/x", "localhost"),
            ("http://127.0.0.1:8090/x", "127.0.0.1:8090"),
            ("http://[::1]:8090/x", "[::1]:8090"),
        ] {
            let text = string_to_sign(&Method::GET, &url.parse().unwrap(), "date", "hash");
            assert_eq!(text, format!("GET\n/x\ndate;{host};hash"));
        }
    }

    #[test]
    fn keys_that_are_none() {
        for key in ["", "  ", "not base64!", "endpoint=https://x/;accesskey=AAAA"] {
            assert_eq!(
                check_access_key(&SecretString::from(key)),
                Err(AccessKeyError::NotBase64),
                "{key}"
            );
        }
        assert_eq!(check_access_key(&SecretString::from(" a2V5 \n")), Ok(()));
    }

    proptest! {
        #[test]
        fn whatever_changes_changes_the_signature(
            key in proptest::collection::vec(any::<u8>(), 1..80),
            body in proptest::collection::vec(any::<u8>(), 0..200),
            path in "/[a-z/]{0,20}",
            query in "[a-z0-9=&%-]{0,20}",
        ) {
            let url = |path: &str| Url::parse(&format!("https://acs.example{path}?{query}")).unwrap();
            let date = "Tue, 24 Nov 2026 12:00:00 GMT";
            let signed = |key: &[u8], method: Method, path: &str, date: &str, body: &[u8]| {
                sign(key, &method, &url(path), date, body).authorization
            };
            let one = signed(&key, Method::GET, &path, date, &body);
            prop_assert_eq!(&one, &signed(&key, Method::GET, &path, date, &body));
            let other_path = format!("{path}x");
            let longer = [&body[..], b"x"].concat();
            for other in [
                signed(&[&key[..], b"x"].concat(), Method::GET, &path, date, &body),
                signed(&key, Method::PUT, &path, date, &body),
                signed(&key, Method::GET, &other_path, date, &body),
                signed(&key, Method::GET, &path, "Tue, 24 Nov 2026 12:00:01 GMT", &body),
                signed(&key, Method::GET, &path, date, &longer),
            ] {
                prop_assert_ne!(&one, &other);
            }
            prop_assert!(secret_header(&one).is_sensitive() && !secret_header(&one).is_empty());
        }
    }
}
