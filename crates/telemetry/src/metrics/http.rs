//! The durations of HTTP requests, after OpenTelemetry's semantic conventions for HTTP metrics.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;
use url::Url;

use super::labels::Peer;

/// A request of the public listener that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// A known method, or `_OTHER`.
    pub method: &'static str,
    /// The route, if it is one of ours.
    pub route: Option<&'static str>,
    /// The status sent; none if the client was gone before.
    pub status: Option<i64>,
    /// `http` or `https`
    pub scheme: &'static str,
    /// `1.1` or `2`
    pub version: &'static str,
    /// Our error code, or why there was no answer.
    pub error: Option<&'static str>,
}

/// A call that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Called<'c> {
    /// Who was called.
    pub peer: Peer,
    /// Where; only host and port are shown.
    pub url: &'c Url,
    /// How.
    pub method: &'c str,
    /// The answer's status, if there was one.
    pub status: Option<u16>,
    /// What kept it from coming.
    pub failure: Option<&'static str>,
}

/// On every request's way: an array of constants, nothing allocated. The order is the sorted one, by which the SDK finds
/// a series at its first look.
pub(super) fn record_answer(durations: &Histogram<f64>, answered: &Answered, duration: Duration) {
    let seconds = duration.as_secs_f64();
    let method = KeyValue::new("http.request.method", answered.method);
    let status = |status| KeyValue::new("http.response.status_code", status);
    let version = KeyValue::new("network.protocol.version", answered.version);
    let scheme = KeyValue::new("url.scheme", answered.scheme);
    let route = |route| KeyValue::new("http.route", route);
    let error = |code| KeyValue::new("error.type", code);
    match (answered.status.map(status), answered.error, answered.route) {
        (Some(status), None, None) => durations.record(seconds, &[method, status, version, scheme]),
        (Some(status), None, Some(path)) => durations.record(seconds, &[method, status, route(path), version, scheme]),
        (Some(status), Some(code), None) => durations.record(seconds, &[error(code), method, status, version, scheme]),
        (Some(status), Some(code), Some(path)) => {
            durations.record(seconds, &[error(code), method, status, route(path), version, scheme]);
        }
        // Few leave before they are answered.
        (None, code, path) => {
            let labels = code.map(error).into_iter().chain([method]).chain(path.map(route));
            durations.record(seconds, &labels.chain([version, scheme]).collect::<Vec<_>>());
        }
    }
}

pub(super) fn record_call(durations: &Histogram<f64>, called: &Called<'_>, duration: Duration) {
    if called.peer == Peer::Healthcheck {
        return;
    }
    let mut labels = vec![
        KeyValue::new("acs_broker.upstream", called.peer.into_str()),
        KeyValue::new("http.request.method", called.method.to_owned()),
    ];
    if let Some(host) = called.url.host_str() {
        labels.push(KeyValue::new("server.address", host.to_owned()));
    }
    if let Some(port) = called.url.port_or_known_default() {
        labels.push(KeyValue::new("server.port", i64::from(port)));
    }
    if let Some(status) = called.status {
        labels.push(KeyValue::new("http.response.status_code", i64::from(status)));
    }
    let failed_status = called.status.filter(|status| *status >= 400);
    match (called.failure, failed_status) {
        (Some(failure), _) => labels.push(KeyValue::new("error.type", failure)),
        (None, Some(status)) => labels.push(KeyValue::new("error.type", status.to_string())),
        (None, None) => {}
    }
    durations.record(duration.as_secs_f64(), &labels);
}
