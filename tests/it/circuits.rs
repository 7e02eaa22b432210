//! An upstream that fails is left alone for a while; what is cached is served meanwhile.

use azure_emulator::scenario::{CONTOSO_API, CONTOSO_API_SECRET, FABRIKAM};
use azure_emulator::{Endpoint, Fault};
use serde_json::json;

use crate::support::http::Answer;
use crate::support::modes::{for_api, with_secret};
use crate::support::scrape::Scrape;
use crate::support::stack::{self, Builder, Stack};

fn breaking(builder: Builder) -> Builder {
    builder.set(
        "upstream.breaker",
        "{ min_calls = 4, half_open_calls = 2, open_for = '5s', window = '10s' }",
    )
}

fn failing(status: u16) -> Fault {
    Fault::status(status)
}

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").unwrap().parse().unwrap()
}

async fn degraded(stack: &Stack) -> Vec<String> {
    let body = stack.probe("/readyz").await.json();
    serde_json::from_value(body["degraded"].clone()).unwrap()
}

async fn state(stack: &Stack, upstream: &str) -> f64 {
    let told = Scrape::of(stack.management).await;
    told.sum("acs_broker_circuit_state", &[("acs_broker_upstream", upstream)])
}

/// A token of one session among many: each is an exchange of its own, if on behalf of the user.
fn session(stack: &Stack, number: u32) -> String {
    let user = stack.user("alex").claim("sid", json!(number.to_string()));
    user.claim("oid", json!(format!("fab00000-0000-4000-8000-0000{number:08}")))
        .token()
}

async fn everyone(builder: Builder) -> Stack {
    let everyone = format!(
        "[[assignments]]\nobjectId = \"{FABRIKAM}\"\ntenantId = \"{FABRIKAM}\"\nprincipalType = \"tenant\"\n\
         clientIds = [\"c0a5a990-0000-4000-8000-000000000003\"]\n"
    );
    builder.assignments("assignments.toml", everyone).start().await
}

#[tokio::test]
async fn acs_is_left_alone_after_failures_and_tried_by_a_few_calls() {
    let stack = everyone(breaking(Stack::builder())).await;
    assert!(state(&stack, "acs").await.abs() < 0.1, "there from the start");
    let cached = stack.user("alex").token();
    assert_eq!(stack.post_token(&cached).await.outcome(), "200");
    stack.advance(11);
    stack.fault(Endpoint::Exchange, failing(500));
    stack.emulator.clear_journal();
    let new = |number| session(&stack, number);
    for number in 0..4 {
        assert_eq!(
            stack.post_token(&new(number)).await.outcome(),
            "503 UpstreamUnavailable"
        );
    }
    assert_eq!(stack.exchanges(), 4);
    let answer = stack.post_token(&new(5)).await;
    assert_eq!(answer.outcome(), "503 UpstreamUnavailable");
    assert_eq!(retry_after(&answer), 5);
    assert_eq!(stack.exchanges(), 4, "nothing is sent");
    assert_eq!(stack.post_token(&cached).await.cache(), "hit");
    assert_eq!(degraded(&stack).await, ["acs circuit open"]);
    assert_eq!(stack.probe("/readyz").await.status, 200);
    assert!((state(&stack, "acs").await - 2.0).abs() < 0.1);
    // One bad probe opens it again; it is not repeated, though ACS says 503.
    stack.fault(Endpoint::Exchange, failing(503));
    stack.advance(5);
    assert_eq!(stack.post_token(&new(6)).await.outcome(), "503 UpstreamUnavailable");
    assert_eq!(stack.exchanges(), 5);
    assert_eq!(retry_after(&stack.post_token(&new(7)).await), 5);
    // Two good ones close it. A refusal of the user is an answer.
    stack.emulator.clear_faults();
    stack.advance(5);
    assert_eq!(stack.user("megan").post().await.outcome(), "403 ExchangeForbidden");
    assert!((state(&stack, "acs").await - 1.0).abs() < 0.1);
    assert_eq!(stack.user("adele").post().await.outcome(), "200");
    assert!(state(&stack, "acs").await.abs() < 0.1);
    assert_eq!(degraded(&stack).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_breaker_can_be_off() {
    let stack = everyone(Stack::builder().set("upstream.breaker", "off")).await;
    stack.fault(Endpoint::Exchange, failing(500));
    for number in 0..30 {
        assert_eq!(
            stack.post_token(&session(&stack, number)).await.outcome(),
            "503 UpstreamUnavailable"
        );
    }
    assert_eq!(stack.exchanges(), 30);
    assert_eq!(degraded(&stack).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_tenants_token_endpoint_has_a_circuit_of_its_own() {
    let stack = breaking(with_secret()).start().await;
    let token = |number: u32| {
        let user = stack.user("alex").with(for_api);
        user.claim("sid", json!(number.to_string())).token()
    };
    stack.fault(Endpoint::OnBehalfOf, failing(500));
    for number in 0..4 {
        assert_eq!(
            stack.post_token(&token(number)).await.outcome(),
            "503 UpstreamUnavailable"
        );
    }
    stack.emulator.clear_journal();
    assert_eq!(stack.post_token(&token(5)).await.outcome(), "503 UpstreamUnavailable");
    assert_eq!(stack.emulator.count(Endpoint::OnBehalfOf), 0);
    assert_eq!(
        degraded(&stack).await,
        [format!("entra circuit open of tenant {FABRIKAM}")]
    );
    assert!((state(&stack, "entra_token").await - 2.0).abs() < 0.1);
    assert!(state(&stack, "acs").await.abs() < 0.1);
}

#[tokio::test]
async fn graph_has_a_circuit_too() {
    let clock = stack::clock();
    let emulator = stack::emulator(&clock).await;
    let origin = emulator.origin();
    let stack = breaking(Stack::builder())
        .emulator(emulator, &clock)
        .set("assignments.unknown_groups", "graph")
        .set("graph.endpoint", origin)
        .set("graph.client_id", CONTOSO_API.to_string())
        .set("graph.credential", "secret")
        .set("graph.client_secret", CONTOSO_API_SECRET)
        .start()
        .await;
    stack.fault(Endpoint::Graph, failing(500));
    for _ in 0..4 {
        let answer = stack.user("megan").post().await;
        assert_eq!(answer.outcome(), "503 UpstreamUnavailable");
    }
    stack.emulator.clear_journal();
    let answer = stack.user("megan").post().await;
    assert_eq!(answer.outcome(), "503 UpstreamUnavailable");
    assert_eq!(retry_after(&answer), 5);
    assert_eq!(stack.emulator.count(Endpoint::Graph), 0);
    assert_eq!(degraded(&stack).await, ["graph circuit open"]);
    assert!((state(&stack, "graph").await - 2.0).abs() < 0.1);
}
