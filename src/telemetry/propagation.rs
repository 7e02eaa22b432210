//! W3C Trace Context between callers, this broker and its upstreams.
//!
//! Only `traceparent` and `tracestate` (<https://www.w3.org/TR/trace-context/>). Baggage is neither read nor
//! passed on: it is the caller's to fill, and Entra and ACS have no use for it.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::trace;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// A longer `tracestate` is left out: section 3.3.1.5 of the recommendation asks to pass on 512 characters, and
/// more is only a way to make the broker's own requests too large for its upstreams.
const MAX_TRACESTATE: usize = 512;

/// The caller's trace context; an empty one if there is none or it is malformed.
#[must_use]
pub fn extract(headers: &HeaderMap) -> Context {
    if !headers.contains_key(TRACEPARENT) {
        return Context::new();
    }
    // Several fields are one list (section 3.3.1); several traceparents are malformed.
    let mut states = headers.get_all(TRACESTATE).iter().map(HeaderValue::to_str);
    let state = states
        .try_fold(String::new(), |mut all, state| {
            if !all.is_empty() {
                all.push(',');
            }
            all.push_str(state?);
            Ok::<_, http::header::ToStrError>(all)
        })
        .ok()
        .filter(|state| !state.is_empty() && state.len() <= MAX_TRACESTATE);
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let parent = match (parents.next(), parents.next()) {
        (Some(parent), None) => parent.to_str().ok(),
        _ => None,
    };
    let fields = Fields { parent, state };
    // An empty context rather than the current one: a request's parent is never what happens to run here.
    TraceContextPropagator::new().extract_with_context(&Context::new(), &fields)
}

/// Makes the caller's context the parent of `span`. To be called before the span is entered or logged in.
pub fn set_remote_parent(span: &tracing::Span, parent: Context) {
    // Fails for a span that is switched off, which then has no trace anyway.
    if let Err(error) = span.set_parent(parent) {
        tracing::debug!(%error, "trace context not taken");
    }
}

/// Writes the context of `span` into the headers of an outgoing request, in place of what may stand there; where no spans
/// are made, that of the request around.
pub fn inject(span: &tracing::Span, headers: &mut HeaderMap) {
    let context = match trace::quiet() {
        Some(quiet) => Context::new().with_remote_span_context(quiet),
        None => span.context(),
    };
    TraceContextPropagator::new().inject_context(&context, &mut Headers(headers));
}

struct Fields<'a> {
    parent: Option<&'a str>,
    state: Option<String>,
}

impl Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => self.parent,
            TRACESTATE => self.state.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = match key {
            TRACEPARENT => HeaderName::from_static(TRACEPARENT),
            TRACESTATE => HeaderName::from_static(TRACESTATE),
            _ => return,
        };
        match HeaderValue::from_str(&value) {
            // The propagator writes an empty tracestate where there is none.
            Ok(value) if !value.is_empty() => {
                self.0.insert(name, value);
            }
            _ => {
                self.0.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn trace_id(headers: &HeaderMap) -> String {
        extract(headers).span().span_context().trace_id().to_string()
    }

    #[test]
    fn a_malformed_parent_is_no_parent() {
        for fields in [
            &[][..],
            &[("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01")],
            &[("traceparent", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01")],
            &[("traceparent", PARENT), ("traceparent", PARENT)],
            &[("traceparent", "ünsinn")],
        ] {
            assert!(
                !extract(&headers(fields)).span().span_context().is_valid(),
                "{fields:?}"
            );
        }
        assert_eq!(
            trace_id(&headers(&[("traceparent", PARENT)])),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
    }

    #[test]
    fn state_is_one_list_of_bounded_length() {
        let state = |fields: &[(&'static str, &str)]| {
            let context = extract(&headers(fields));
            context.span().span_context().trace_state().header()
        };
        assert_eq!(
            state(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]),
            "a=1,b=2"
        );
        let long = format!("a={}", "x".repeat(600));
        assert_eq!(state(&[("traceparent", PARENT), ("tracestate", &long)]), "");
    }

    #[test]
    fn the_callers_trace_goes_on_whatever_the_sampler_says() {
        for (sampler, flags) in [(Sampler::AlwaysOn, "01"), (Sampler::AlwaysOff, "00")] {
            let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                let incoming = headers(&[("traceparent", PARENT), ("tracestate", "a=1"), ("baggage", "k=v")]);
                let span = tracing::info_span!("request");
                set_remote_parent(&span, extract(&incoming));
                let call = tracing::info_span!(parent: &span, "call");

                let mut outgoing = headers(&[("traceparent", "stale")]);
                inject(&call, &mut outgoing);
                let parent = outgoing["traceparent"].to_str().unwrap();
                assert!(parent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{parent}");
                assert!(!parent.contains("00f067aa0ba902b7"), "{parent}");
                assert!(parent.ends_with(flags), "{parent}");
                assert_eq!(outgoing["tracestate"], "a=1");
                assert!(!outgoing.contains_key("baggage"));
            });
        }
    }

    #[test]
    fn a_span_that_nobody_listens_to_writes_nothing() {
        tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), || {
            let mut outgoing = HeaderMap::new();
            inject(&tracing::info_span!("call"), &mut outgoing);
            assert!(outgoing.is_empty());
        });
    }
}
