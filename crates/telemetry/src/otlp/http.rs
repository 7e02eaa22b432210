//! OTLP over http, binary protobuf.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use url::Url;

use super::answer::Outcome;
use super::message::Export;
use crate::TelemetryError;
use crate::environment::ExporterSettings;
use base::clock::SharedClock;
use config::units::is_loopback;

/// How this program names itself to a collector.
pub(super) const USER_AGENT: &str = concat!("acs-token-broker/", env!("CARGO_PKG_VERSION"));

/// As much of an answer is looked at. It says little.
const MAX_ANSWER: usize = 64 * 1024;

/// A client of one collector. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    inner: reqwest::Client,
    endpoint: String,
    headers: HeaderMap,
    gzip: bool,
    clock: SharedClock,
}

impl Client {
    #[expect(
        clippy::disallowed_methods,
        reason = "a collector is no upstream: other trust, other proxy rule"
    )]
    pub(super) fn new(settings: &ExporterSettings, clock: SharedClock) -> Result<Self, TelemetryError> {
        let near = Url::parse(&settings.endpoint).is_ok_and(|url| is_loopback(&url));
        let builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            // A redirect would take the headers of `OTEL_EXPORTER_OTLP_HEADERS`, which hold keys, to whatever host it
            // names.
            .redirect(Policy::none())
            .referer(false)
            // A request that gets no answer in time then closes its connection; over HTTP/2 others would go on using it.
            .http1_only()
            .timeout(settings.timeout);
        // Without this the standard variables count.
        let builder = if near { builder.no_proxy() } else { builder };
        let inner = settings.tls.for_http(builder).build().map_err(TelemetryError::Client)?;
        Ok(Self {
            inner,
            endpoint: settings.endpoint.clone(),
            headers: settings.headers.clone(),
            gzip: settings.gzip,
            clock,
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "exporting is neither traced nor counted: it would cause more to export"
    )]
    pub(super) async fn send<M: Export>(&self, message: &M) -> Outcome {
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let mut body = message.encode_to_vec();
        if self.gzip
            && let Ok(smaller) = gzip(&body)
        {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            body = smaller;
        }
        let request = self.inner.post(&self.endpoint).headers(headers).body(body);
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_builder() => {
                return Outcome::Refused {
                    reason: "no request can be made".to_owned(),
                };
            }
            Err(error) if error.is_timeout() => return Outcome::unanswered("no answer in time"),
            Err(error) if error.is_connect() => return Outcome::unanswered("no connection"),
            Err(_) => return Outcome::unanswered("the connection was lost"),
        };
        if !response.status().is_success() {
            let retry_after = response.headers().get(RETRY_AFTER).and_then(|text| text.to_str().ok());
            return Outcome::from_http_status(response.status(), retry_after, self.clock.now());
        }
        // It was taken, whatever becomes of the rest of the answer.
        let mut answer = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            answer.extend_from_slice(&chunk);
            if answer.len() > MAX_ANSWER {
                return Outcome::Taken { rejected: 0 };
            }
        }
        let answer: Result<M::Answer, _> = prost::Message::decode(&answer[..]);
        Outcome::Taken {
            rejected: answer.map_or(0, |answer| M::rejected(&answer)),
        }
    }
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::default());
    encoder.write_all(body)?;
    encoder.finish()
}
