//! What the spans of a request are, in each way that it can go, and what they tell.

use azure_emulator::scenario::{CONTOSO_API, CONTOSO_API_SECRET, CONTOSO_API_URI, CONTOSO_APP, FABRIKAM};
use azure_emulator::{Endpoint, Fault, TokenRequest};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::support::forge::assemble;
use crate::support::modes::for_api;
use crate::support::observed::{exported, exporting_to, flushed, one, trace, traceparent};
use crate::support::otlp::{Collector, attribute, value};
use crate::support::process::Served;

/// The spans as a tree: `name(children)`, by start.
pub(crate) fn tree(spans: &[Span]) -> String {
    fn below(spans: &[Span], parent: &Span) -> String {
        let mut children: Vec<_> = spans
            .iter()
            .filter(|span| span.parent_span_id == parent.span_id)
            .collect();
        children.sort_by_key(|span| span.start_time_unix_nano);
        let inner: Vec<String> = children.into_iter().map(|child| below(spans, child)).collect();
        let name = attribute(parent, "acs_broker.upstream").unwrap_or_else(|| parent.name.clone());
        if inner.is_empty() {
            name
        } else {
            format!("{name}({})", inner.join(" "))
        }
    }
    let roots: Vec<_> = spans
        .iter()
        .filter(|span| spans.iter().all(|other| other.span_id != span.parent_span_id))
        .collect();
    assert_eq!(roots.len(), 1, "{spans:?}");
    below(spans, roots[0])
}

pub(crate) fn has(span: &Span, name: &str, wanted: &str) {
    assert_eq!(
        attribute(span, name).as_deref(),
        Some(wanted),
        "{name} of {}",
        span.name
    );
}

/// The type of the one exception event.
fn exception(span: &Span) -> String {
    let [event] = &span.events[..] else { panic!("{span:?}") };
    assert_eq!(event.name, "exception");
    assert!(value(&event.attributes, "exception.message").unwrap().len() > 5);
    value(&event.attributes, "exception.type").unwrap()
}

pub(crate) async fn post(served: &Served, token: &str, n: u32) -> String {
    let call = served.call("/token").bearer(token);
    call.header("traceparent", &traceparent(n)).send().await.outcome()
}

#[tokio::test]
async fn a_miss_a_hit_a_retry_and_the_keys_of_a_rotation() {
    let (served, collector) = exported().await;
    let token = served.token_with_groups("adele");
    assert_eq!(post(&served, &token, 1).await, "200");
    assert_eq!(post(&served, &token, 2).await, "200");
    let once = Fault {
        times: Some(1),
        ..Fault::status(503)
    };
    served.emulator.set_fault(Endpoint::Exchange, once).unwrap();
    assert_eq!(post(&served, &served.token("alex"), 3).await, "200");
    served.emulator.rotate_keys(None).unwrap();
    assert_eq!(post(&served, &served.token_with_groups("adele"), 4).await, "200");
    flushed(served).await;

    let miss = collector.trace(&trace(1));
    assert_eq!(tree(&miss), "POST /token(authenticate authorize cache(exchange(acs)))");
    let root = one(&miss, "POST /token");
    assert_eq!(root.kind(), SpanKind::Server);
    has(root, "http.route", "/token");
    let authenticate = one(&miss, "authenticate");
    has(authenticate, "acs_broker.tenant.id", &FABRIKAM.to_string());
    has(authenticate, "acs_broker.client_app.id", &CONTOSO_APP.to_string());
    assert!(!attribute(authenticate, "acs_broker.key.id").unwrap().is_empty());
    assert_eq!(attribute(authenticate, "enduser.pseudo.id").unwrap().len(), 32);
    assert_eq!(attribute(authenticate, "enduser.id"), None);
    has(one(&miss, "authorize"), "acs_broker.assignment.kind", "group");
    has(one(&miss, "cache"), "acs_broker.cache.outcome", "miss");
    has(one(&miss, "exchange"), "acs_broker.exchange.ahead", "false");
    let client = one(&miss, "POST");
    assert_eq!(client.kind(), SpanKind::Client);
    has(client, "acs_broker.upstream", "acs");
    has(client, "http.response.status_code", "200");
    assert_eq!(attribute(client, "http.request.resend_count"), None);
    assert!(miss.iter().all(|span| span.links.is_empty() && span.events.is_empty()));

    let hit = collector.trace(&trace(2));
    assert_eq!(tree(&hit), "POST /token(authenticate authorize cache)");
    has(one(&hit, "cache"), "acs_broker.cache.outcome", "hit");
    assert_eq!(
        attribute(one(&hit, "authenticate"), "acs_broker.key.id"),
        attribute(authenticate, "acs_broker.key.id")
    );

    let retried = collector.trace(&trace(3));
    assert_eq!(
        tree(&retried),
        "POST /token(authenticate authorize cache(exchange(acs acs)))"
    );
    let mut attempts: Vec<_> = retried.iter().filter(|span| span.name == "POST").collect();
    attempts.sort_by_key(|span| span.start_time_unix_nano);
    has(attempts[0], "http.response.status_code", "503");
    has(attempts[0], "error.type", "503");
    has(attempts[1], "http.request.resend_count", "1");
    has(attempts[1], "http.response.status_code", "200");

    let rotation = collector.trace(&trace(4));
    assert_eq!(
        tree(&rotation),
        "POST /token(authenticate(fetch keys(entra_keys entra_keys entra_keys)) authorize cache)"
    );
    let fetch = one(&rotation, "fetch keys");
    has(fetch, "acs_broker.jwks.cause", "unknown_kid");
    has(fetch, "acs_broker.tenant.id", &FABRIKAM.to_string());
    assert_ne!(attribute(fetch, "acs_broker.jwks.keys").as_deref(), Some("0"));
    assert_ne!(
        attribute(one(&rotation, "authenticate"), "acs_broker.key.id"),
        attribute(authenticate, "acs_broker.key.id")
    );
}

#[tokio::test]
async fn each_refusal_is_reported_by_the_stage_that_refuses() {
    let (served, collector) = exported().await;
    let alex = served.token("alex");
    let parts: Vec<&str> = alex.split('.').collect();
    let kid = "key\u{1b}[31m".to_owned() + &"x".repeat(300);
    let header = serde_json::json!({"alg": "RS256", "kid": kid}).to_string();
    let unknown = assemble(&header, format!(r#"{{"tid":"{FABRIKAM}"}}"#), "c2ln");
    let expired = TokenRequest {
        lifetime: Some(-3600),
        ..TokenRequest::default()
    };
    let expired = served.emulator.issue_token("alex", &expired).unwrap();
    let tokens = [
        (1, "nonsense".to_owned(), "authenticate", "token_rejected", 401),
        (
            2,
            format!("{}.{}.{}", parts[0], parts[1], "A".repeat(342)),
            "authenticate",
            "token_rejected",
            401,
        ),
        (3, unknown, "authenticate", "token_rejected", 401),
        (4, expired, "authenticate", "token_rejected", 401),
        (5, served.token("app-only"), "authenticate", "token_rejected", 401),
        (6, served.token_with_groups("grady"), "authorize", "not_assigned", 403),
    ];
    for (n, token, _, _, status) in &tokens {
        let outcome = post(&served, token, *n).await;
        assert!(outcome.starts_with(&status.to_string()), "{n}: {outcome}");
    }
    // 429 last: it ends all exchanges for a while.
    for (n, status) in [(7, 401), (8, 403), (10, 500), (11, 302), (9, 429)] {
        let fresh = served.emulator.issue_token("alex", &short_lived()).unwrap();
        served
            .emulator
            .set_fault(Endpoint::Exchange, Fault::status(status))
            .unwrap();
        let outcome = post(&served, &fresh, n).await;
        assert!(!outcome.starts_with("200"), "{outcome}");
    }
    flushed(served).await;
    for (n, _, stage, kind, _) in &tokens {
        let spans = collector.trace(&trace(*n));
        let span = one(&spans, stage);
        has(span, "error.type", kind);
        assert_eq!(exception(span), *kind);
        assert_eq!(span.status.as_ref().unwrap().code, 2);
        // The caller's fault is no error of the server's (semantic conventions for HTTP spans).
        let root = one(&spans, "POST /token");
        assert_eq!(root.status.as_ref().map_or(0, |status| status.code), 0);
        assert!(attribute(root, "error.type").is_some());
    }
    let named = collector.trace(&trace(3));
    let key = attribute(one(&named, "authenticate"), "acs_broker.key.id").unwrap();
    assert!(
        key.starts_with("key\\u{1b}[31mxxx") && key.chars().count() == 128,
        "{key}"
    );
    for (n, kind) in [
        (7, "acs_unauthorized"),
        (8, "acs_forbidden"),
        (9, "acs_limited"),
        (10, "acs_unavailable"),
        (11, "acs_invalid_response"),
    ] {
        let spans = collector.trace(&trace(n));
        assert_eq!(tree(&spans), "POST /token(authenticate authorize cache(exchange(acs)))");
        for stage in ["cache", "exchange"] {
            has(one(&spans, stage), "error.type", kind);
            assert_eq!(exception(one(&spans, stage)), kind);
        }
    }
}

/// Too short-lived to be cached.
fn short_lived() -> TokenRequest {
    TokenRequest {
        lifetime: Some(25),
        ..TokenRequest::default()
    }
}

#[tokio::test]
async fn on_behalf_of_and_a_question_to_graph() {
    let collector = Collector::start().await;
    let mut environment = exporting_to(&collector);
    let served = Served::start_with(None, |origin| {
        for (name, value) in [
            ("ENTRA__AUDIENCES", format!("{CONTOSO_API},{CONTOSO_API_URI}")),
            ("ENTRA__REQUIRED_SCOPES", "access".to_owned()),
            ("EXCHANGE__MODE", "on_behalf_of".to_owned()),
            ("EXCHANGE__ON_BEHALF_OF__CLIENT_ID", CONTOSO_API.to_string()),
            ("EXCHANGE__ON_BEHALF_OF__CREDENTIAL", "secret".to_owned()),
            ("EXCHANGE__ON_BEHALF_OF__CLIENT_SECRET", CONTOSO_API_SECRET.to_owned()),
            ("ASSIGNMENTS__UNKNOWN_GROUPS", "graph".to_owned()),
            ("GRAPH__ENDPOINT", origin),
            ("GRAPH__CLIENT_ID", CONTOSO_API.to_string()),
            ("GRAPH__CREDENTIAL", "secret".to_owned()),
            ("GRAPH__CLIENT_SECRET", CONTOSO_API_SECRET.to_owned()),
        ] {
            environment.push((format!("ACS_TOKEN_BROKER__{name}"), value));
        }
        environment
    })
    .await;
    let token = |user: &str| {
        let mut request = TokenRequest::default();
        for_api(&mut request);
        served.emulator.issue_token(user, &request).unwrap()
    };
    // Adele's group is in the token, lidia's is not.
    assert_eq!(post(&served, &token("lidia"), 1).await, "200");
    assert_eq!(post(&served, &token("alex"), 2).await, "200");
    flushed(served).await;
    let spans = collector.trace(&trace(1));
    assert_eq!(
        tree(&spans),
        "POST /token(authenticate authorize(membership(entra_token graph)) cache(exchange(entra_token acs)))"
    );
    let graph = spans
        .iter()
        .find(|span| attribute(span, "acs_broker.upstream").as_deref() == Some("graph"));
    let url = attribute(graph.unwrap(), "url.full").unwrap();
    assert!(url.ends_with("/users/REDACTED/checkMemberGroups"), "{url}");
    assert_ne!(
        attribute(one(&spans, "membership"), "acs_broker.graph.groups").as_deref(),
        Some("0")
    );
    has(one(&spans, "authorize"), "acs_broker.assignment.kind", "group");
    let spans = collector.trace(&trace(2));
    assert_eq!(
        tree(&spans),
        "POST /token(authenticate authorize cache(exchange(entra_token acs)))"
    );
}
