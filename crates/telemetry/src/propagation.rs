//! W3C Trace Context between callers, this broker and its upstreams.
//!
//! Only `traceparent` and `tracestate` (<https://www.w3.org/TR/trace-context/>). Baggage is neither read nor
//! passed on: it is the caller's to fill, and Entra and ACS have no use for it.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::trace;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// A longer `tracestate` is left out: section 3.3.1.5 of the recommendation asks to pass on 512 characters, and
/// more is only a way to make the broker's own requests too large for its upstreams.
const MAX_TRACESTATE: usize = 512;

/// Section 3.3.1.1: so many members at most.
const MAX_MEMBERS: usize = 32;

/// A `traceparent` of version 00 has this length; a higher version's begins with as much of the same form.
const TRACEPARENT_LENGTH: usize = 55;

/// The caller's trace context; an empty one if there is none or it is malformed. Whatever is not the recommendation's
/// grammar is malformed: an id that another tracer would read otherwise belongs to no trace.
#[must_use]
pub fn extract(headers: &HeaderMap) -> Context {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    // Several traceparents are malformed.
    let parent = match (parents.next(), parents.next()) {
        (Some(parent), None) => parent.to_str().ok().and_then(traceparent),
        _ => None,
    };
    // An empty context rather than the current one: a request's parent is never what happens to run here.
    let Some((trace_id, span_id, flags)) = parent else {
        return Context::new();
    };
    let state = tracestate(headers).unwrap_or_default();
    Context::new().with_remote_span_context(SpanContext::new(trace_id, span_id, flags, true, state))
}

/// Section 3.2.2: `version "-" trace-id "-" parent-id "-" trace-flags`, in lower case.
fn traceparent(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let (known, rest) = text.split_at_checked(TRACEPARENT_LENGTH)?;
    let parts: Vec<&str> = known.split('-').collect();
    let [version, trace_id, span_id, flags] = parts[..] else {
        return None;
    };
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    let well_formed = hex(version, 2) && hex(trace_id, 32) && hex(span_id, 16) && hex(flags, 2);
    // Section 4.3: of a higher version as much is read as is known, if it ends there.
    let known_version = match version {
        "00" => rest.is_empty(),
        "ff" => false,
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    if !well_formed || !known_version {
        return None;
    }
    let trace_id = TraceId::from_hex(trace_id).ok().filter(|id| *id != TraceId::INVALID)?;
    let span_id = SpanId::from_hex(span_id).ok().filter(|id| *id != SpanId::INVALID)?;
    // Other flags mean nothing yet, and are not passed on.
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    Some((trace_id, span_id, flags))
}

/// Section 3.3: several fields are one list. `None` where it is malformed or too long: then it is not passed on.
fn tracestate(headers: &HeaderMap) -> Option<TraceState> {
    let mut members: Vec<(&str, &str)> = Vec::new();
    let mut length = 0;
    for field in headers.get_all(TRACESTATE) {
        let field = field.to_str().ok()?;
        length += field.len() + 1;
        for member in field.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            // Empty ones are allowed.
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let printable = value.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'=');
            let doubled = members.iter().any(|(own, _)| *own == key);
            if key.is_empty() || value.is_empty() || value.len() > 256 || !printable || doubled {
                return None;
            }
            members.push((key, value));
        }
    }
    if members.len() > MAX_MEMBERS || length > MAX_TRACESTATE + 1 {
        return None;
    }
    // Which judges the keys.
    TraceState::from_key_value(members).ok()
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
    let context = match trace::unsampled_context() {
        Some(unsampled) => Context::new().with_remote_span_context(unsampled),
        None => span.context(),
    };
    TraceContextPropagator::new().inject_context(&context, &mut Headers(headers));
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
    fn a_parent_by_the_grammar_is_taken_up() {
        for (parent, sampled) in [
            (PARENT.to_owned(), true),
            (PARENT.replace("-01", "-00"), false),
            (PARENT.replace("-01", "-ff"), true),
            (PARENT.replace("-01", "-02"), false),
            // Versions to come.
            (PARENT.replacen("00", "01", 1), true),
            (format!("{}-what-will-be", PARENT.replacen("00", "cc", 1)), true),
            (format!("{}-", PARENT.replacen("00", "fe", 1)), true),
        ] {
            let fields = headers(&[("traceparent", &parent)]);
            let context = extract(&fields);
            assert_eq!(trace_id(&fields), "4bf92f3577b34da6a3ce929d0e0e4736", "{parent}");
            let span = context.span();
            assert_eq!(
                span.span_context().span_id().to_string(),
                "00f067aa0ba902b7",
                "{parent}"
            );
            assert!(span.span_context().is_remote());
            assert_eq!(span.span_context().is_sampled(), sampled, "{parent}");
        }
    }

    #[test]
    fn a_malformed_parent_is_no_parent() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let span = "00f067aa0ba902b7";
        for parent in [
            String::new(),
            "ünsinn".to_owned(),
            trace.to_owned(),
            // Too short, too long: an id, a flag, the version, the whole.
            format!("00-{}-{span}-01", &trace[2..]),
            format!("00-00{trace}-{span}-01"),
            format!("00-{trace}-{}-01", &span[1..]),
            format!("00-{trace}-0{span}-01"),
            format!("00-{trace}-{span}-1"),
            format!("00-{trace}-{span}-001"),
            format!("0-{trace}-{span}-01"),
            format!("000-{trace}-{span}-01"),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-"),
            format!("{PARENT}-"),
            format!("{PARENT}-00"),
            format!("{PARENT}{PARENT}"),
            format!("{PARENT},{PARENT}"),
            // Digits that are moved: the length is right.
            format!("00-{trace}0-{}-01", &span[1..]),
            format!("00-{}-0{span}-01", &trace[1..]),
            format!("0-0{trace}-{span}-01"),
            format!("00-{trace}-{span}0-1"),
            // No digits.
            format!("00-+{}-{span}-01", &trace[1..]),
            format!("00-{trace}-+{}-01", &span[1..]),
            format!("00-{trace}-{span}-+1"),
            format!("+0-{trace}-{span}-01"),
            format!("00-{}g-{span}-01", &trace[1..]),
            format!("00-{}\u{e9}-{span}-01", &trace[2..]),
            PARENT.replace('-', "_"),
            PARENT.replace('-', " "),
            // Upper case.
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{trace}-{}-01", span.to_uppercase()),
            format!("00-{trace}-{span}-0A"),
            format!("0A-{trace}-{span}-01"),
            // All zero.
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            // The version that is none, and more of a higher one than a dash would part.
            format!("ff-{trace}-{span}-01"),
            format!("cc-{trace}-{span}-01.what"),
            format!("cc-{trace}-{span}-012"),
            // Blanks: those that HTTP takes off are gone already.
            format!(" {PARENT}"),
            format!("{PARENT} "),
            format!("00 -{trace}-{span}-01"),
        ] {
            let fields = headers(&[("traceparent", &parent), ("tracestate", "a=1")]);
            assert!(!extract(&fields).span().span_context().is_valid(), "{parent}");
        }
        for fields in [
            &[][..],
            &[("tracestate", "a=1")],
            &[("traceparent", PARENT), ("traceparent", PARENT)],
        ] {
            assert!(
                !extract(&headers(fields)).span().span_context().is_valid(),
                "{fields:?}"
            );
        }
    }

    #[test]
    fn state_is_one_list_within_bounds_or_not_passed_on() {
        let state = |fields: &[&str]| {
            let mut all = headers(&[("traceparent", PARENT)]);
            for field in fields {
                all.append("tracestate", HeaderValue::from_str(field).unwrap());
            }
            let context = extract(&all);
            assert!(context.span().span_context().is_valid(), "{fields:?}");
            context.span().span_context().trace_state().header()
        };
        let members = |count: usize| {
            let members: Vec<String> = (0..count).map(|n| format!("k{n}=v")).collect();
            members.join(",")
        };
        let (most, too_many) = (members(32), members(33));
        let long = format!("a={},b={},c=1", "x".repeat(254), "y".repeat(249));
        let longer = format!("{long}2345");
        for (fields, wanted) in [
            (&["a=1", "b=2"][..], "a=1,b=2"),
            (&["a=1, b=2 ,,\tc=3,"], "a=1,b=2,c=3"),
            (&["", "a=1"], "a=1"),
            (&["tenant@vendor=a b!~", "0a_-*/=x"], "tenant@vendor=a b!~,0a_-*/=x"),
            (&[&most], &most),
            (&[&long], &long),
            (&[&longer], ""),
            (&[&too_many], ""),
            (&["a=1", "a=2"], ""),
            (&["a"], ""),
            (&["=1"], ""),
            (&["a="], ""),
            (&["a==1"], ""),
            (&["a=1=2"], ""),
            (&["A=1"], ""),
            (&["a b=1"], ""),
            (&["a=1\t2"], ""),
            (&["a=ü"], ""),
        ] {
            assert_eq!(state(fields), wanted, "{fields:?}");
        }
        assert_eq!(long.len(), 512);
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
