//! The one way out: every call to Entra and ACS goes through [`Upstream::send`], which bounds it in time and
//! size, follows no redirect, puts it into the trace, and passes `traceparent` on.

pub mod acs;
pub mod acs_assignments;
pub mod acs_identities;
pub mod acs_signing;
pub mod acs_teams_users;
pub mod azure_error;
pub mod breaker;
pub mod budget;
pub mod credential;
mod ended;
pub mod endpoint;
pub mod entra;
mod failure;
pub mod graph;
pub mod graph_admin;
pub mod pause;
mod pools;
mod proxy;
mod redact;
pub mod retry;
pub mod retry_after;
mod tls;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::Instrument as _;
use tracing::field::Empty;
use url::Url;
use zeroize::Zeroizing;

use self::ended::{Ended, causes};
pub use self::failure::UpstreamFailure;
use self::pools::Pools;
use base::build_info;
use certificates::{FileError, TrustError};
use config::UpstreamConfig;
use telemetry::metrics::labels::Peer;
use telemetry::metrics::{Called, Metrics};
use telemetry::{propagation, trace};

/// How long an idle pooled connection is kept. Azure's front doors close theirs after a few minutes.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often an HTTP/2 connection is pinged, idle or not.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// A connection whose ping is not answered within this is closed.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// An HTTP client for upstream services, with the limits of `[upstream]`.
#[derive(Clone)]
pub struct Upstream {
    pools: Arc<Pools>,
    max_response_bytes: usize,
    metrics: Metrics,
}

/// The client could not be made from the configuration.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamSetupError {
    /// `upstream.ca_file` cannot be used.
    #[error("upstream.ca_file: {0}")]
    CaFile(FileError),
    /// TLS cannot be set up; most likely the system has no trust anchors.
    #[error("upstream: TLS cannot be set up: {0}")]
    Tls(rustls::Error),
    /// The HTTP client cannot be made.
    #[error("upstream: {0}")]
    Client(String),
}

impl From<TrustError> for UpstreamSetupError {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::File(error) => Self::CaFile(error),
            TrustError::Tls(error) => Self::Tls(error),
        }
    }
}

/// A call that brought no complete response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No connection could be made: nothing was sent.
    #[error("connection failed: {0}")]
    NotConnected(String),
    /// A connection was lost before the response was complete.
    #[error("connection failed: {0}")]
    Connection(String),
    /// The deadline passed.
    #[error("no complete response in time")]
    Timeout,
    /// The body exceeds `upstream.max_response_bytes`.
    #[error("response body over {0} bytes")]
    TooLarge(usize),
}

/// A complete response, of whatever status. Its body can hold a token: `Debug` shows the status alone.
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl Response {
    /// Whether the content type is JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse::<mime::Mime>().ok())
            .is_some_and(|mime| mime.essence_str() == mime::APPLICATION_JSON.essence_str())
    }

    /// The body as the JSON that a contract says. The fault quotes nothing of it.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, UpstreamFailure> {
        if !self.is_json() {
            return Err(UpstreamFailure::invalid("content type is not application/json"));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            let fault = json_fault(&error);
            UpstreamFailure::invalid(format!("body is not the JSON that the contract says: {fault}"))
        })
    }

    /// How long the response asks to wait; shortly if it does not say.
    #[must_use]
    pub fn asks_to_wait(&self, now: Timestamp) -> Duration {
        retry_after::read(&self.headers, now).unwrap_or(retry_after::SHORTEST)
    }
}

/// The URL of an operation of ACS's at `endpoint`, an origin.
fn operation_url(endpoint: &Url, path: &str, api_version: &str) -> Url {
    let mut url = endpoint.clone();
    url.set_path(path);
    url.query_pairs_mut().clear().append_pair("api-version", api_version);
    url
}

/// What is wrong with JSON. `serde_json` quotes values in some messages; only the kind and place of the fault are kept.
fn json_fault(error: &serde_json::Error) -> String {
    format!(
        "{:?} fault at line {} column {}",
        error.classify(),
        error.line(),
        error.column()
    )
}

impl Upstream {
    /// A client for `config`; `connect_timeout` bounds DNS, TCP and TLS together.
    pub fn new(config: &UpstreamConfig, connect_timeout: Duration) -> Result<Self, UpstreamSetupError> {
        let tls = tls::with_trust_anchors(config.ca_file.as_deref())?;
        Self::build(tls, Some(config), connect_timeout, config.max_response_bytes)
    }

    /// A client for plain http alone, which needs no trust anchors: an image FROM scratch has none.
    pub fn plain(timeout: Duration, max_response_bytes: u64) -> Result<Self, UpstreamSetupError> {
        Self::build(tls::without_trust_anchors()?, None, timeout, max_response_bytes)
    }

    fn build(
        tls: rustls::ClientConfig,
        proxied: Option<&UpstreamConfig>,
        connect_timeout: Duration,
        max_response_bytes: u64,
    ) -> Result<Self, UpstreamSetupError> {
        let proxied = proxied.cloned().map(Arc::new);
        let make = move || {
            let mut builder = builder(connect_timeout).tls_backend_preconfigured(tls.clone());
            if let Some(config) = proxied.clone() {
                builder = builder.proxy(reqwest::Proxy::custom(move |target| {
                    proxy::for_target(&config, target).cloned()
                }));
            }
            builder
                .build()
                .map_err(|error| UpstreamSetupError::Client(causes(&error)))
        };
        Ok(Self {
            pools: Pools::new(Box::new(make))?,
            max_response_bytes: usize::try_from(max_response_bytes).unwrap_or(usize::MAX),
            metrics: Metrics::noop(),
        })
    }

    /// The same, whose calls are recorded in `metrics`.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// A request to be given to [`send`](Self::send).
    pub fn request(&self, method: http::Method, url: Url) -> reqwest::RequestBuilder {
        self.pools.blank().request(method, url)
    }

    /// Sends a request to `peer` and reads the whole response before `deadline`.
    pub async fn send(
        &self,
        peer: Peer,
        request: reqwest::RequestBuilder,
        deadline: Instant,
    ) -> Result<Response, SendError> {
        let mut request = request.build().map_err(|error| Ended::from_reqwest(&error).error)?;
        let span = client_span(peer, &request);
        propagation::inject(&span, request.headers_mut());
        let (method, url) = (request.method().clone(), request.url().clone());
        let began = Instant::now();
        let lease = self.pools.lease(&url, deadline);
        let exchange = self.exchange(lease.client(), request).instrument(span.clone());
        let ended = tokio::time::timeout_at(deadline, exchange)
            .await
            .unwrap_or(Err(Ended::TIMED_OUT));
        lease.end(ended.as_ref().err().and_then(|ended| ended.lost));
        let outcome = ended.map_err(|ended| ended.error);
        match &outcome {
            Ok(response) => {
                let status = response.status;
                span.record("http.response.status_code", i64::from(status.as_u16()));
                if status.is_client_error() || status.is_server_error() {
                    span.record("error.type", status.as_str());
                    span.record("otel.status_code", "ERROR");
                }
            }
            Err(error) => {
                trace::record_error(&span, error_type(error), || error.to_string());
            }
        }
        let called = Called {
            peer,
            url: &url,
            method: method.as_str(),
            status: outcome.as_ref().ok().map(|response| response.status.as_u16()),
            failure: outcome.as_ref().err().map(error_type),
        };
        self.metrics.called(&called, began.elapsed());
        outcome
    }

    async fn exchange(&self, client: &reqwest::Client, request: reqwest::Request) -> Result<Response, Ended> {
        let mut response = client
            .execute(request)
            .await
            .map_err(|error| Ended::from_reqwest(&error))?;
        let announced = response.content_length();
        let too_large = || Ended {
            error: SendError::TooLarge(self.max_response_bytes),
            lost: None,
        };
        if announced.is_some_and(|length| length > self.max_response_bytes as u64) {
            return Err(too_large());
        }
        // Where it says how much comes, the body never moves.
        let announced = announced.and_then(|length| usize::try_from(length).ok());
        let mut body = Body::with_capacity(announced.unwrap_or_default());
        while let Some(chunk) = response.chunk().await.map_err(|error| Ended::from_reqwest(&error))? {
            if body.0.len() + chunk.len() > self.max_response_bytes {
                return Err(too_large());
            }
            body.push(&chunk);
        }
        Ok(Response {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: body.into_bytes(),
        })
    }
}

/// A response's body, which can hold tokens: wiped when its last reader drops it, and when it moves to have more room.
struct Body(Zeroizing<Vec<u8>>);

impl Body {
    fn with_capacity(bytes: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(bytes)))
    }

    fn push(&mut self, chunk: &[u8]) {
        let length = self.0.len() + chunk.len();
        if length > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(length.max(2 * self.0.capacity())));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(chunk);
    }

    fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self.0)
    }
}

/// What holds for every call. Redirects are answers here, never instructions; nothing is retried behind our back.
#[expect(clippy::disallowed_methods, reason = "this is the permitted place")]
fn builder(connect_timeout: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .user_agent(format!("acs-token-broker/{}", build_info::VERSION))
}

/// Client span after the OpenTelemetry HTTP semantic conventions. `url.full` holds what is no secret and nobody's id.
fn client_span(peer: Peer, request: &reqwest::Request) -> tracing::Span {
    let url = request.url();
    tracing::info_span!(
        "http_client",
        otel.name = request.method().as_str(),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = request.method().as_str(),
        http.request.resend_count = retry::resends(),
        http.response.status_code = Empty,
        acs_broker.upstream = peer.into_str(),
        url.full = redacted(url).as_str(),
        server.address = url.host_str(),
        server.port = url.port_or_known_default().map(i64::from),
        error.type = Empty,
    )
}

/// The URL without credentials, fragment, any query parameter but `api-version`, and the user in a Graph request.
fn redacted(url: &Url) -> Url {
    let mut shown = url.clone();
    let segments: Vec<&str> = url.path_segments().into_iter().flatten().collect();
    if let [version, "users", _, operation] = segments[..] {
        shown.set_path(&format!("/{version}/users/REDACTED/{operation}"));
    }
    // Both fail only for URLs without a host, which the configuration refuses.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_fragment(None);
    let version = url
        .query_pairs()
        .find_map(|(name, value)| (name == "api-version").then(|| value.into_owned()));
    shown.set_query(None);
    if let Some(version) = version {
        shown.query_pairs_mut().append_pair("api-version", &version);
    }
    shown
}

fn error_type(error: &SendError) -> &'static str {
    match error {
        SendError::NotConnected(_) | SendError::Connection(_) => "connection",
        SendError::Timeout => "timeout",
        SendError::TooLarge(_) => "response_too_large",
    }
}
