//! What one user, and one address, may ask for and cause.

use azure_emulator::scenario::CONTOSO_API;
use azure_emulator::{Endpoint, Fault};
use serde_json::json;

use crate::support::http::{Answer, Call};
use crate::support::modes::{for_api, with_secret};
use crate::support::scrape::Scrape;
use crate::support::stack::{self, Stack};

const LIMITED: &str = "429 TooManyRequests/BrokerLimit";

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").unwrap().parse().unwrap()
}

async fn refused_by(stack: &Stack, limit: &str) -> f64 {
    let told = Scrape::of(stack.management).await;
    told.sum("acs_broker_limits_refused_total", &[("acs_broker_limit", limit)])
}

#[tokio::test]
async fn a_user_has_a_rate_of_their_own() {
    let stack = Stack::builder().set("limits.per_user", "3/1m").start().await;
    let token = stack.user("alex").token();
    for _ in 0..3 {
        assert_eq!(stack.post_token(&token).await.outcome(), "200");
    }
    // Another token of the same user, in another form, is the same user.
    let other = stack.user("alex").token();
    let refused = stack.post_acs_path(&other).await;
    assert_eq!(refused.outcome(), LIMITED);
    assert_eq!(retry_after(&refused), 20);
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", &other),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
    ];
    let refused = stack.post_form(&form).await;
    assert_eq!(refused.outcome(), "429 temporarily_unavailable TooManyRequests");
    assert_eq!(stack.user("diego").post().await.outcome(), "200");
    // What is refused before the user is known counts for nobody.
    for _ in 0..5 {
        let expired = stack.user("diego").lifetime(-600).post().await;
        assert_eq!(expired.outcome(), "401 InvalidToken/Expired");
        let scopeless = stack
            .user("diego")
            .with(|request| request.scopes = Some(vec!["x".to_owned()]));
        assert_eq!(scopeless.post().await.outcome(), "403 InsufficientScope");
    }
    assert_eq!(stack.user("diego").post().await.outcome(), "200");
    assert!((refused_by(&stack, "per_user").await - 2.0).abs() < 0.1);
    stack.advance(20);
    assert_eq!(stack.post_token(&token).await.outcome(), "200");
    assert_eq!(stack.post_token(&token).await.outcome(), LIMITED);
}

#[tokio::test]
async fn an_address_has_a_rate_of_its_own_and_preflights_do_not_count() {
    let stack = Stack::builder()
        .set("limits.per_address", "3/1m")
        .set("server.trusted_proxies", "127.0.0.0/8")
        .set("server.cors.allowed_origins", "https://app.contoso.com")
        .start()
        .await;
    let from = |address: &str| Call::new("POST", stack.url("/token")).header("x-forwarded-for", address);
    let preflight = || {
        let call = Call::new("OPTIONS", stack.url("/token")).header("origin", "https://app.contoso.com");
        call.header("access-control-request-method", "POST")
            .header("x-forwarded-for", "192.0.2.1")
    };
    for _ in 0..10 {
        assert_eq!(preflight().send().await.status, 200);
    }
    assert_eq!(from("192.0.2.1").send().await.outcome(), "401 AuthenticationRequired");
    assert_eq!(
        from("6.6.6.6, 192.0.2.1").send().await.outcome(),
        "401 AuthenticationRequired"
    );
    let elsewhere = Call::new("GET", stack.url("/nowhere")).header("x-forwarded-for", "192.0.2.1:4711");
    assert_eq!(elsewhere.send().await.outcome(), "404 NotFound");
    let token = stack.user("alex").token();
    let refused = from("192.0.2.1")
        .header("origin", "https://app.contoso.com")
        .bearer(&token)
        .send()
        .await;
    assert_eq!(refused.outcome(), LIMITED);
    assert_eq!(retry_after(&refused), 20);
    assert_eq!(
        refused.header("access-control-allow-origin"),
        Some("https://app.contoso.com")
    );
    assert_eq!(from("192.0.2.2").bearer(&token).send().await.outcome(), "200");
    for last in 1..=3 {
        let address = format!("2001:db8:0:1::{last}");
        assert_eq!(from(&address).send().await.outcome(), "401 AuthenticationRequired");
    }
    assert_eq!(
        from("[2001:db8:0:1::ffff]:9").send().await.outcome(),
        LIMITED,
        "a /64 is one"
    );
    assert!((refused_by(&stack, "per_address").await - 2.0).abs() < 0.1);
    stack.advance(20);
    assert_eq!(from("192.0.2.1").bearer(&token).send().await.outcome(), "200");
}

#[tokio::test]
async fn whoever_is_no_trusted_proxy_cannot_name_another_address() {
    let stack = Stack::builder().set("limits.per_address", "2/1m").start().await;
    for number in 0..4 {
        let call = Call::new("POST", stack.url("/token")).header("x-forwarded-for", &format!("192.0.2.{number}"));
        let told = call.send().await.outcome();
        assert_eq!(
            told,
            if number < 2 {
                "401 AuthenticationRequired"
            } else {
                LIMITED
            }
        );
    }
}

#[tokio::test]
async fn what_one_limit_refuses_none_counts() {
    let stack = Stack::builder()
        .set("limits.per_user", "2/4m")
        .set("limits.per_address", "4/4m")
        .set("limits.upstream_exchanges", "1/30s")
        .start()
        .await;
    // One token each: another could end earlier than what is cached, and be exchanged for itself.
    let tokens = [
        ("alex", stack.user("alex").token()),
        ("diego", stack.user("diego").token()),
    ];
    let tokens = std::collections::HashMap::from(tokens);
    let post = async |name| stack.post_token(&tokens[name]).await.outcome();
    assert_eq!(post("alex").await, "200");
    // Alex and the address have one of their own left, however often the budget refuses diego.
    for _ in 0..5 {
        assert_eq!(post("diego").await, "429 TooManyRequests/UpstreamLimit");
    }
    assert_eq!(post("alex").await, "200");
    for _ in 0..5 {
        assert_eq!(post("alex").await, LIMITED);
    }
    stack.advance(30);
    assert_eq!(post("diego").await, "200");
    assert_eq!(post("diego").await, "200");
    let address = Call::new("POST", stack.url("/token")).send().await;
    assert_eq!(address.outcome(), LIMITED);
}

#[tokio::test]
async fn a_user_causes_so_much_upstream_and_no_more() {
    let stack = with_secret().set("limits.upstream_per_user", "2/1m").start().await;
    // On behalf of a user each session is an exchange of its own.
    let session = |name, number: u32| {
        let user = stack.user(name).with(for_api);
        user.claim("sid", json!(number.to_string())).token()
    };
    let first = session("alex", 0);
    assert_eq!(stack.post_token(&first).await.cache(), "miss");
    assert_eq!(stack.post_token(&session("alex", 1)).await.cache(), "miss");
    let refused = stack.post_token(&session("alex", 2)).await;
    assert_eq!(refused.outcome(), LIMITED);
    assert_eq!(retry_after(&refused), 30);
    assert_eq!(
        stack.post_token(&first).await.cache(),
        "hit",
        "what is cached causes nothing"
    );
    assert_eq!(stack.post_token(&session("adele", 0)).await.cache(), "miss");
    assert_eq!(stack.emulator.count(Endpoint::OnBehalfOf), 3);
    assert!((refused_by(&stack, "upstream_per_user").await - 1.0).abs() < 0.1);
    stack.advance(30);
    assert_eq!(stack.post_token(&session("alex", 2)).await.cache(), "miss");
}

#[tokio::test]
async fn questions_to_graph_count_as_upstream_work() {
    let clock = stack::clock();
    let emulator = stack::emulator(&clock).await;
    let origin = emulator.origin();
    let stack = Stack::builder()
        .emulator(emulator, &clock)
        .set("assignments.unknown_groups", "graph")
        .set("graph.endpoint", origin)
        .set("graph.client_id", CONTOSO_API.to_string())
        .set("graph.credential", "secret")
        .set("graph.client_secret", azure_emulator::scenario::CONTOSO_API_SECRET)
        .set("graph.cache_ttl", "1s")
        .set("limits.upstream_per_user", "2/1m")
        .start()
        .await;
    let token = stack.user("megan").token();
    for _ in 0..2 {
        assert_eq!(stack.post_token(&token).await.outcome(), "403 NotAssigned/NoAssignment");
        stack.advance(2);
    }
    assert_eq!(stack.post_token(&token).await.outcome(), LIMITED);
    assert_eq!(stack.emulator.count(Endpoint::Graph), 2);
    // While Graph limits the tenant nothing is sent, and nothing counts.
    stack.advance(120);
    stack.fault(Endpoint::Graph, Fault::status(429).retry_after("10"));
    for _ in 0..5 {
        let outcome = stack.post_token(&token).await.outcome();
        assert_eq!(outcome, "429 TooManyRequests/UpstreamLimit");
    }
    stack.emulator.clear_faults();
    stack.advance(10);
    assert_eq!(stack.post_token(&token).await.outcome(), "403 NotAssigned/NoAssignment");
}
