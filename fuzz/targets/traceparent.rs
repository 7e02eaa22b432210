//! `traceparent` in the first line, `tracestate` in those behind it. What is taken up is what the grammar allows, and is the same
//! when it is passed on and read again.
#![no_main]

use acs_token_broker_fuzz::fields;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use opentelemetry::trace::TraceContextExt as _;
use telemetry::propagation::extract;

fuzz_target!(|data: &[u8]| {
    let (parent, state) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    let Ok(value) = HeaderValue::from_bytes(parent) else {
        return;
    };
    let mut headers = fields("tracestate", state);
    headers.insert("traceparent", value);
    let context = extract(&headers);
    let span = context.span();
    let span = span.span_context();
    assert_eq!(
        span.is_valid(),
        std::str::from_utf8(parent).is_ok_and(is_by_the_grammar)
    );
    if !span.is_valid() {
        assert!(span.trace_state().header().is_empty());
        return;
    }
    let (id, parent_id) = (span.trace_id().to_string(), span.span_id().to_string());
    assert_eq!([id.as_bytes(), parent_id.as_bytes()], [&parent[3..35], &parent[36..52]]);
    let state = span.trace_state().header();
    let members: Vec<&str> = state.split(',').filter(|member| !member.is_empty()).collect();
    assert!(state.len() <= 512 && members.len() <= 32, "{state}");
    let keys: Vec<&str> = members
        .iter()
        .filter_map(|member| Some(member.split_once('=')?.0))
        .collect();
    assert!(
        keys.iter().enumerate().all(|(index, key)| !keys[..index].contains(key)),
        "{state}"
    );
    let flags = if span.is_sampled() { "01" } else { "00" };
    let mut passed_on = HeaderMap::new();
    passed_on.insert(
        "traceparent",
        format!("00-{id}-{parent_id}-{flags}").parse().expect("a field"),
    );
    passed_on.insert("tracestate", state.parse().expect("a field"));
    assert_eq!(extract(&passed_on).span().span_context(), span);
});

/// Section 3.2.2 of the recommendation, character by character.
fn is_by_the_grammar(parent: &str) -> bool {
    if !parent.is_ascii() {
        return false;
    }
    let parts: Vec<&str> = parent.splitn(5, '-').collect();
    let is_hex = |text: &str| text.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
    let is_id =
        |text: &str, length: usize| text.len() == length && is_hex(text) && text.bytes().any(|byte| byte != b'0');
    match parts[..] {
        [version, id, parent, flags, ref more @ ..] => {
            let is_version = version.len() == 2 && is_hex(version) && version != "ff";
            let is_flags = flags.len() == 2 && is_hex(flags);
            is_version && is_id(id, 32) && is_id(parent, 16) && is_flags && (more.is_empty() || version != "00")
        }
        _ => false,
    }
}
