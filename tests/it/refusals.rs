//! A token that was refused is not sent again for a while: every question counts against the quota of all.

use azure_emulator::scenario::{CONTOSO_API, FABRIKAM};
use azure_emulator::{Endpoint, Fault};

use crate::support::http::Call;
use crate::support::modes::{for_api, with_secret};
use crate::support::scrape::Scrape;
use crate::support::stack::Stack;

#[tokio::test]
async fn a_refused_token_costs_one_call_however_often_it_comes() {
    for (fault, expected) in [
        (Fault::status(401), "401 InvalidToken/RejectedUpstream"),
        (Fault::status(403), "403 ExchangeForbidden"),
    ] {
        let stack = Stack::start().await;
        stack.fault(Endpoint::Exchange, fault);
        let token = stack.user("alex").token();
        for _ in 0..100 {
            assert_eq!(stack.post_token(&token).await.outcome(), expected);
        }
        assert_eq!(stack.exchanges(), 1);
        // Other forms of the request ask for the same.
        assert_eq!(stack.post_acs_path(&token).await.outcome(), expected);
        assert_eq!(stack.exchanges(), 1);
        // Another token of the user is another question, and so is another user.
        assert_eq!(stack.user("alex").lifetime(1800).post().await.outcome(), expected);
        assert_eq!(stack.user("diego").post().await.outcome(), expected);
        assert_eq!(stack.exchanges(), 3);
        stack.emulator.clear_faults();
        stack.advance(14);
        assert_eq!(stack.post_token(&token).await.outcome(), expected);
        assert_eq!(stack.exchanges(), 3);
        stack.advance(1);
        assert_eq!(stack.post_token(&token).await.cache(), "miss");
        assert_eq!(stack.exchanges(), 4);
        // Each answer counts as failed, an exchange only where there was one.
        let scrape = Scrape::of(stack.management).await;
        let failed = [("acs_broker_cache_outcome", "failed")];
        assert!(
            (scrape.sum("acs_broker_cache_requests_total", &failed) - 104.0).abs() < 0.5,
            "{}",
            scrape.text
        );
    }
}

#[tokio::test]
async fn a_burst_with_one_refused_token_is_one_call() {
    let stack = Stack::start().await;
    stack.fault(
        Endpoint::Exchange,
        Fault {
            latency_ms: Some(50),
            ..Fault::status(403)
        },
    );
    let token = stack.user("alex").token();
    let answers = futures_util::future::join_all((0..100).map(|_| stack.post_token(&token))).await;
    assert!(answers.iter().all(|answer| answer.outcome() == "403 ExchangeForbidden"));
    assert_eq!(stack.exchanges(), 1);
}

#[tokio::test]
async fn limits_and_outages_are_not_remembered() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    for (fault, expected) in [
        (Fault::status(500), "503 UpstreamUnavailable"),
        (Fault::status(504), "504 UpstreamTimeout"),
        (Fault::status(418), "502 UpstreamInvalidResponse"),
        (Fault::status(429), "429 TooManyRequests/UpstreamLimit"),
    ] {
        stack.fault(Endpoint::Exchange, fault);
        assert_eq!(stack.post_token(&token).await.outcome(), expected);
    }
    stack.emulator.clear_faults();
    stack.advance(1);
    assert_eq!(stack.post_token(&token).await.cache(), "miss");
}

#[tokio::test]
async fn what_the_broker_decides_itself_takes_effect_at_once() {
    let stack = Stack::start().await;
    stack.fault(Endpoint::Exchange, Fault::status(403));
    let token = stack.user("alex").token();
    assert_eq!(stack.post_token(&token).await.outcome(), "403 ExchangeForbidden");
    // A user who is taken out of the file is refused for that, not for what ACS said.
    stack.write_assignments("");
    crate::support::eventually("the file is read", async || {
        stack.post_token(&token).await.outcome() == "403 NotAssigned/NoAssignment"
    })
    .await;
    assert_eq!(stack.exchanges(), 1);
}

#[tokio::test]
async fn entras_refusals_on_behalf_of_a_user_are_remembered_and_those_of_the_broker_are_not() {
    let stack = with_secret().start().await;
    let consent = format!(
        "{}/_emulator/apps/{CONTOSO_API}/consent/{FABRIKAM}",
        stack.emulator.origin()
    );
    let control = async |method: &str| Call::new(method, consent.clone()).send().await;
    let asked = || stack.emulator.count(Endpoint::OnBehalfOf);
    assert!(control("DELETE").await.status < 300);
    let token = stack.user("alex").with(for_api).token();
    for _ in 0..20 {
        assert_eq!(stack.post_token(&token).await.outcome(), "403 ExchangeForbidden");
    }
    assert_eq!(asked(), 1);
    assert!(control("PUT").await.status < 300);
    stack.advance(15);
    assert_eq!(stack.post_token(&token).await.outcome(), "200");
    let refused = stack.user("diego").with(for_api).token();
    let body = serde_json::json!({"error": "invalid_client", "error_description": "AADSTS7000215: words.",
        "error_codes": [7_000_215]});
    let fault = Fault {
        body: Some(body),
        ..Fault::status(401)
    };
    stack.fault(Endpoint::Token, fault);
    let before = stack.emulator.count(Endpoint::Token);
    for _ in 0..3 {
        assert_eq!(stack.post_token(&refused).await.outcome(), "502 UpstreamRejectedBroker");
    }
    assert_eq!(stack.emulator.count(Endpoint::Token), before + 3);
    stack.emulator.clear_faults();
    assert_eq!(stack.post_token(&refused).await.outcome(), "200");
}
