//! A broker as a process whose telemetry a collector takes.

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;

use super::otlp::Collector;
use super::process::{Ended, Served};

/// The span of the caller.
pub(crate) const PARENT: &str = "b7ad6b7169203331";

/// The id of the trace of the `n`th call.
pub(crate) fn trace(n: u32) -> String {
    format!("0af7651916cd43dd8448eb21{n:08x}")
}

/// What the caller sends, with the sampled flag set.
pub(crate) fn traceparent(n: u32) -> String {
    format!("00-{}-{PARENT}-01", trace(n))
}

/// Where telemetry goes.
pub(crate) fn exporting_to(collector: &Collector) -> Vec<(String, String)> {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.origin()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
        ("OTEL_SERVICE_NAME", "broker-under-test".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// A broker with a collector.
pub(crate) async fn exported() -> (Served, Collector) {
    exported_with(&[]).await
}

/// The same with more in its environment.
pub(crate) async fn exported_with(more: &[(&str, &str)]) -> (Served, Collector) {
    let collector = Collector::start().await;
    let mut environment = exporting_to(&collector);
    environment.extend(
        more.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    (Served::start_with(None, |_| environment).await, collector)
}

/// Ends the broker, which sends what it still has.
pub(crate) async fn flushed(served: Served) -> Ended {
    served.process.signal("TERM");
    let ended = served.process.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended
}

/// The one span of that name.
pub(crate) fn one<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(
        found.len(),
        1,
        "{name} in {:?}",
        spans.iter().map(|span| &span.name).collect::<Vec<_>>()
    );
    found[0]
}

/// Log lines, parsed.
pub(crate) fn lines(output: &str) -> impl Iterator<Item = Value> {
    output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
}

/// The user's object id in an Entra token.
pub(crate) fn user_of(token: &str) -> String {
    user_in(token).unwrap()
}

/// The same where it may be another kind of token.
pub(crate) fn user_in(token: &str) -> Option<String> {
    use base64::Engine as _;
    let payload = token.split('.').nth(1)?;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    claims["oid"].as_str().map(str::to_owned)
}
