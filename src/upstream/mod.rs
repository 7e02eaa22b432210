//! The one way out: every call to Entra and ACS goes through [`Upstream::send`], which bounds it in time and
//! size, follows no redirect, puts it into the trace, and passes `traceparent` on.

pub mod acs;
pub mod acs_assignments;
pub mod acs_identities;
pub mod acs_signing;
pub mod azure_error;
pub mod entra;
pub mod graph;
pub mod pause;
mod redact;
pub mod retry;
pub mod retry_after;

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::Instrument as _;
use tracing::field::Empty;
use url::Url;

use crate::build_info;
use crate::config::{UpstreamConfig, units};
use crate::telemetry::metrics::labels::Peer;
use crate::telemetry::metrics::{Called, Metrics};
use crate::telemetry::{propagation, trace};

/// How long an idle pooled connection is kept. Azure's front doors close theirs after a few minutes.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// An HTTP client for upstream services, with the limits of `[upstream]`.
#[derive(Clone)]
pub struct Upstream {
    http: reqwest::Client,
    max_response_bytes: usize,
    metrics: Metrics,
}

/// The client could not be made from the configuration.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamSetupError {
    /// `upstream.ca_file` cannot be read.
    #[error("upstream.ca_file: {0}")]
    CaFile(#[source] std::io::Error),
    /// `upstream.ca_file` holds something that is no certificate.
    #[error("upstream.ca_file: {0}")]
    Certificates(#[source] reqwest::Error),
    /// `upstream.ca_file` holds no certificate at all.
    #[error("upstream.ca_file: holds no PEM certificate")]
    NoCertificate,
    /// The TLS set-up failed.
    #[error("upstream: {0}")]
    Client(#[source] reqwest::Error),
}

/// A call that brought no complete response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No connection, or one that was lost before the response was complete.
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

    /// How long the response asks to wait; shortly if it does not say.
    #[must_use]
    pub fn asks_to_wait(&self, now: Timestamp) -> Duration {
        retry_after::read(&self.headers, now).unwrap_or(retry_after::SHORTEST)
    }
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
        let mut builder = builder(connect_timeout);
        if let Some(file) = &config.ca_file {
            let pem = std::fs::read(file).map_err(UpstreamSetupError::CaFile)?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(UpstreamSetupError::Certificates)?;
            if certificates.is_empty() {
                return Err(UpstreamSetupError::NoCertificate);
            }
            builder = builder.tls_certs_merge(certificates);
        }
        for proxy in proxies(config) {
            builder = builder.proxy(proxy);
        }
        Self::build(builder, config.max_response_bytes)
    }

    /// A client for plain http alone, which needs no trust anchors: an image FROM scratch has none.
    pub fn plain(timeout: Duration, max_response_bytes: u64) -> Result<Self, UpstreamSetupError> {
        Self::build(builder(timeout).tls_certs_only([]), max_response_bytes)
    }

    fn build(builder: reqwest::ClientBuilder, max_response_bytes: u64) -> Result<Self, UpstreamSetupError> {
        Ok(Self {
            http: builder.build().map_err(UpstreamSetupError::Client)?,
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
        self.http.request(method, url)
    }

    /// Sends a request to `peer` and reads the whole response before `deadline`.
    pub async fn send(
        &self,
        peer: Peer,
        request: reqwest::RequestBuilder,
        deadline: Instant,
    ) -> Result<Response, SendError> {
        let mut request = request.build().map_err(|error| describe(&error))?;
        let span = client_span(peer, &request);
        propagation::inject(&span, request.headers_mut());
        let (method, url) = (request.method().clone(), request.url().clone());
        let began = Instant::now();
        let outcome = tokio::time::timeout_at(deadline, self.exchange(request).instrument(span.clone()))
            .await
            .unwrap_or(Err(SendError::Timeout));
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

    async fn exchange(&self, request: reqwest::Request) -> Result<Response, SendError> {
        let mut response = self.http.execute(request).await.map_err(|error| describe(&error))?;
        let too_large = SendError::TooLarge(self.max_response_bytes);
        if response
            .content_length()
            .is_some_and(|length| length > self.max_response_bytes as u64)
        {
            return Err(too_large);
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| describe(&error))? {
            if body.len() + chunk.len() > self.max_response_bytes {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: body.freeze(),
        })
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
        acs_broker.upstream = peer.name(),
        url.full = redacted(url).as_str(),
        server.address = url.host_str(),
        server.port = url.port_or_known_default().map(i64::from),
        error.type = Empty,
    )
}

/// The URL without credentials, fragment, any query parameter but `api-version`, and the user whom Graph is asked about.
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
        SendError::Connection(_) => "connection",
        SendError::Timeout => "timeout",
        SendError::TooLarge(_) => "response_too_large",
    }
}

/// The cause chain of a reqwest error without its URL. Only transport words are in it, never headers or bodies.
fn describe(error: &reqwest::Error) -> SendError {
    if error.is_timeout() {
        return SendError::Timeout;
    }
    let mut text = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    SendError::Connection(text)
}

/// Whether no proxy can reach `url` for this machine: loopback, and link-local addresses, at which platforms serve
/// metadata and managed identities (RFC 3927 section 2.7).
fn is_on_this_link(url: &Url) -> bool {
    let link_local = matches!(url.host(), Some(url::Host::Ipv4(address)) if address.is_link_local());
    link_local || units::is_loopback(url)
}

/// Loopback is never proxied; the standard variable's proxy is for https only.
fn proxies(config: &UpstreamConfig) -> Vec<reqwest::Proxy> {
    let mut proxies = Vec::new();
    if let Some(url) = config.proxy.clone() {
        proxies.push(reqwest::Proxy::custom(move |target| {
            (!is_on_this_link(target)).then(|| url.clone())
        }));
    } else if let Some(environment) = config.environment_proxy.clone() {
        let exceptions = environment
            .exceptions
            .as_deref()
            .and_then(reqwest::NoProxy::from_string);
        proxies.push(
            reqwest::Proxy::custom(move |target| {
                (target.scheme() == "https" && !is_on_this_link(target)).then(|| environment.url.clone())
            })
            .no_proxy(exceptions),
        );
    }
    proxies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_itself_and_its_link_are_not_proxied() {
        for (url, near) in [
            ("http://127.0.0.1:41901/msi/token", true),
            ("http://[::1]/", true),
            ("http://169.254.169.254/metadata/identity/oauth2/token", true),
            ("http://169.254.129.3:8081/msi/token", true),
            ("http://10.0.0.1/", false),
            ("https://login.microsoftonline.com/", false),
        ] {
            assert_eq!(is_on_this_link(&Url::parse(url).unwrap()), near, "{url}");
        }
    }

    #[test]
    fn spans_show_no_query_but_the_api_version() {
        let url = Url::parse("https://u:p@acs.example/access/x?token=secret&api-version=2025-03-02-preview#f").unwrap();
        assert_eq!(
            redacted(&url).as_str(),
            "https://acs.example/access/x?api-version=2025-03-02-preview"
        );
        assert_eq!(
            redacted(&Url::parse("https://a.example/x?y=z").unwrap()).as_str(),
            "https://a.example/x"
        );
        let graph = "https://graph.example/v1.0/users/0a1b2c3d-0000-4000-8000-00000000abcd/checkMemberGroups";
        assert_eq!(
            redacted(&Url::parse(graph).unwrap()).as_str(),
            "https://graph.example/v1.0/users/REDACTED/checkMemberGroups"
        );
    }
}
