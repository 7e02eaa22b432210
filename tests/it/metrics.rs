//! Metrics: each decision is counted once under its names, every scraper sees it, and no label names a user.

mod export;
mod labels;
mod state;

use azure_emulator::scenario::FABRIKAM;
use azure_emulator::{Endpoint, Fault};

use crate::support::eventually;
use crate::support::fake::{Fake, Gate, Reply, grant};
use crate::support::forge::{assemble, with_claims};
use crate::support::http::{Call, raw};
use crate::support::modes::{for_api, with_secret};
use crate::support::scrape::Scrape;
use crate::support::stack::{ACS_PATH, Stack};

const REQUESTS: &str = "http_server_request_duration_seconds_count";
const CALLS: &str = "http_client_request_duration_seconds_count";
const AUTHENTICATION: &str = "acs_broker_authentication_total";
const AUTHORIZATION: &str = "acs_broker_authorization_total";
const CACHE: &str = "acs_broker_cache_requests_total";
const EXCHANGES: &str = "acs_broker_exchange_duration_seconds_count";
const REFUSALS: &str = "acs_broker_refusals_total";
const REFRESHES: &str = "acs_broker_jwks_refreshes_total";

async fn scrape(stack: &Stack) -> Scrape {
    Scrape::of(stack.management).await
}

/// That the series with these labels add up to that.
#[track_caller]
fn assert_sum(scrape: &Scrape, name: &str, labels: &[(&str, &str)], wanted: f64) {
    let sum = scrape.sum(name, labels);
    assert!(
        (sum - wanted).abs() < 1e-9,
        "{name} {labels:?}: {sum}, not {wanted}\n{}",
        scrape.text
    );
}

#[tokio::test]
async fn a_miss_and_hits() {
    let stack = Stack::start().await;
    let fresh = scrape(&stack).await;
    // What has not happened is shown as zero, so that the first time is an increase.
    for outcome in ["hit", "miss", "shared", "failed"] {
        assert_sum(&fresh, CACHE, &[("acs_broker_cache_outcome", outcome)], 0.0);
    }
    assert_sum(&fresh, "acs_broker_cache_entries", &[], 0.0);
    let token = stack.user("alex").lifetime(3600).token();
    for outcome in ["miss", "hit", "hit"] {
        assert_eq!(stack.post_token(&token).await.cache(), outcome);
    }
    let scraped = scrape(&stack).await;
    let ok = [
        ("http_request_method", "POST"),
        ("http_route", "/token"),
        ("http_response_status_code", "200"),
        ("url_scheme", "http"),
        ("network_protocol_version", "1.1"),
    ];
    assert_sum(&scraped, REQUESTS, &ok, 3.0);
    assert!(scraped.sum(REQUESTS, &[("error_type", "NotFound")]).is_nan());
    assert_sum(
        &scraped,
        AUTHENTICATION,
        &[("acs_broker_outcome", "accepted"), ("acs_broker_reason", "accepted")],
        3.0,
    );
    let permitted = [
        ("acs_broker_outcome", "permitted"),
        ("acs_broker_assignment_kind", "user"),
        ("acs_broker_reason", "permitted"),
        ("acs_broker_resource_name", "default"),
    ];
    assert_sum(&scraped, AUTHORIZATION, &permitted, 3.0);
    let outcome = |outcome| {
        [
            ("acs_broker_cache_outcome", outcome),
            ("acs_broker_resource_name", "default"),
        ]
    };
    assert_sum(&scraped, CACHE, &outcome("hit"), 2.0);
    assert_sum(&scraped, CACHE, &outcome("miss"), 1.0);
    let exchange = [
        ("acs_broker_exchange_mode", "passthrough"),
        ("acs_broker_outcome", "granted"),
        ("acs_broker_exchange_ahead", "false"),
        ("acs_broker_resource_name", "default"),
    ];
    assert_sum(&scraped, EXCHANGES, &exchange, 1.0);
    let port = stack.emulator.address().port().to_string();
    let call = [
        ("acs_broker_upstream", "acs"),
        ("http_request_method", "POST"),
        ("http_response_status_code", "200"),
        ("server_address", "127.0.0.1"),
        ("server_port", port.as_str()),
    ];
    assert_sum(&scraped, CALLS, &call, 1.0);
    assert_sum(&scraped, "acs_broker_cache_entries", &[], 1.0);
    assert!(scraped.sum("acs_broker_cache_size_bytes", &[]) > 1000.0);
    assert_sum(&scraped, "acs_broker_cache_entries_limit", &[], 100_000.0);
    assert_sum(&scraped, "acs_broker_cache_size_limit_bytes", &[], 268_435_456.0);
    assert_sum(&scraped, "http_server_active_requests", &[], 0.0);
    // A probe is no request of the public listener, and neither is a scrape.
    assert_sum(&scraped, REQUESTS, &[], 3.0);
}

#[tokio::test]
async fn a_renewal_ahead_is_an_exchange_for_nobody() {
    let stack = Stack::builder().set("cache.refresh_jitter", "0s").start().await;
    stack.user("alex").lifetime(3600).post().await;
    stack.advance(45 * 60);
    assert_eq!(stack.user("alex").lifetime(3600).post().await.cache(), "hit");
    let ahead = [("acs_broker_exchange_ahead", "true"), ("acs_broker_outcome", "granted")];
    eventually("it was renewed", async || {
        scrape(&stack).await.sum(EXCHANGES, &ahead) > 0.5
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_anothers_exchange_shares_it() {
    let acs = Fake::start().await;
    let stack = Stack::builder()
        .endpoint(&acs.origin())
        .set("server.max_in_flight", "2")
        .start()
        .await;
    let gate = Gate::closed();
    let end = jiff::Timestamp::from_second(stack.now() + 3600).unwrap();
    acs.on(ACS_PATH, Reply::json(&grant("shared", end)).behind(&gate));
    let token = stack.user("alex").token();
    let (first, second, ()) = tokio::join!(stack.post_token(&token), stack.post_token(&token), async {
        eventually("both wait", async || stack.post_token("a.b.c").await.status == 503).await;
        let scraped = scrape(&stack).await;
        assert_sum(&scraped, "acs_broker_requests_in_flight", &[], 2.0);
        assert_sum(&scraped, "acs_broker_requests_limit", &[], 2.0);
        assert_sum(
            &scraped,
            "http_server_active_requests",
            &[("http_request_method", "POST"), ("url_scheme", "http")],
            2.0,
        );
        assert_sum(&scraped, "acs_broker_connections_open", &[], 2.0);
        assert_sum(&scraped, "acs_broker_connections_limit", &[], 4096.0);
        assert!(scraped.sum(REFUSALS, &[("acs_broker_reason", "Overloaded")]) >= 1.0);
        gate.open();
    });
    let mut outcomes = [first.cache(), second.cache()];
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["miss", "shared"]);
    let scraped = scrape(&stack).await;
    assert_sum(&scraped, CACHE, &[("acs_broker_cache_outcome", "shared")], 1.0);
    assert_sum(&scraped, "acs_broker_requests_in_flight", &[], 0.0);
}

#[tokio::test]
async fn refused_tokens_by_their_reason() {
    let stack = Stack::start().await;
    let expired = with_claims(&stack, |claims| claims["exp"] = (stack.now() - 3600).into());
    let foreign = with_claims(&stack, |claims| claims["tid"] = "no-tenant".into());
    let api = with_claims(&stack, |claims| claims["aud"] = "another".into());
    let scopes = with_claims(&stack, |claims| claims["scp"] = "User.Read".into());
    for (token, reason, status) in [
        ("a.b.c".to_owned(), "Malformed", 401),
        (
            assemble(r#"{"alg":"none","kid":"k"}"#, format!("{{\"tid\":\"{FABRIKAM}\"}}"), ""),
            "UnsupportedAlgorithm",
            401,
        ),
        (foreign, "UnknownTenant", 401),
        (expired, "Expired", 401),
        (api, "InvalidAudience", 401),
        (scopes, "InsufficientScope", 403),
    ] {
        assert_eq!(stack.post_token(&token).await.status, status, "{reason}");
        let scraped = scrape(&stack).await;
        assert_sum(
            &scraped,
            AUTHENTICATION,
            &[("acs_broker_outcome", "refused"), ("acs_broker_reason", reason)],
            1.0,
        );
    }
    let scraped = scrape(&stack).await;
    assert_sum(
        &scraped,
        REQUESTS,
        &[("error_type", "InvalidToken"), ("http_response_status_code", "401")],
        5.0,
    );
    assert_sum(&scraped, REQUESTS, &[("error_type", "InsufficientScope")], 1.0);
    assert_sum(&scraped, AUTHORIZATION, &[], 0.0);
}

#[tokio::test]
async fn callers_that_no_assignment_covers_are_counted() {
    let stack = Stack::builder()
        .set("assignments.unknown_groups", "refuse")
        .start()
        .await;
    for (user, status) in [("megan", 403), ("adele", 403), ("diego", 200)] {
        assert_eq!(stack.user(user).post().await.status, status, "{user}");
    }
    let scraped = scrape(&stack).await;
    let of = |outcome, kind, reason| {
        [
            ("acs_broker_outcome", outcome),
            ("acs_broker_assignment_kind", kind),
            ("acs_broker_reason", reason),
        ]
    };
    assert_sum(&scraped, AUTHORIZATION, &of("permitted", "tenant", "permitted"), 1.0);
    let denied = scraped.sum(AUTHORIZATION, &of("denied", "none", "NoAssignment"))
        + scraped.sum(AUTHORIZATION, &of("denied", "none", "GroupsUnknown"));
    assert!((denied - 2.0).abs() < 1e-9, "{}", scraped.text);

    let stack = Stack::builder().without_assignments().start().await;
    eventually("nothing can be decided", async || {
        stack.user("alex").post().await.outcome() == "503 AssignmentsUnavailable"
    })
    .await;
    let scraped = scrape(&stack).await;
    assert_sum(&scraped, AUTHORIZATION, &of("undecided", "none", "NotLoaded"), 1.0);
    assert_sum(&scraped, "acs_broker_ready", &[], 0.0);
    let file = [
        ("acs_broker_resource_name", "default"),
        ("acs_broker_assignments_source", "file"),
    ];
    assert_sum(&scraped, "acs_broker_assignments_failing", &file, 1.0);
    assert!(scraped.sum("acs_broker_assignments_age_seconds", &file).is_nan());
}

#[tokio::test]
async fn refusals_for_number_size_and_time() {
    let stack = Stack::builder().set("server.request_timeout", "300ms").start().await;
    let token = stack.user("alex").token();
    let call = || Call::new("POST", stack.url("/token")).bearer(&token);
    let large = call().body("application/json", " ".repeat(65537));
    assert_eq!(large.send().await.status, 413);
    assert_eq!(call().header("x-long", &"x".repeat(33 * 1024)).send().await.status, 431);
    let slow = "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{";
    assert!(raw(stack.public, slow.as_bytes()).await.contains(" 408 "));
    stack.fault(Endpoint::Exchange, Fault::status(429).retry_after("7"));
    assert_eq!(call().send().await.outcome(), "429 TooManyRequests/UpstreamLimit");
    let scraped = scrape(&stack).await;
    for (reason, count) in [
        ("PayloadTooLarge", 1.0),
        ("HeadersTooLarge", 1.0),
        ("RequestTimeout", 1.0),
        ("TooManyRequests", 1.0),
        ("Overloaded", 0.0),
        ("ShuttingDown", 0.0),
    ] {
        assert_sum(&scraped, REFUSALS, &[("acs_broker_reason", reason)], count);
    }
}

#[tokio::test]
async fn exchanges_that_fail() {
    let stack = Stack::start().await;
    for (fault, outcome, calls) in [
        (Fault::status(401), "acs_unauthorized", 1.0),
        (Fault::status(403), "acs_forbidden", 1.0),
        (Fault::status(418), "acs_invalid_response", 1.0),
        // Once more on a 503, and both calls are counted.
        (Fault::status(503), "acs_unavailable", 2.0),
        (Fault::status(429).retry_after("2"), "acs_limited", 1.0),
    ] {
        let status = fault.status.unwrap().to_string();
        stack.fault(Endpoint::Exchange, fault);
        // Another token each time, since a refused one is not sent again for a while.
        stack.user("alex").post().await;
        let scraped = scrape(&stack).await;
        assert_sum(&scraped, EXCHANGES, &[("acs_broker_outcome", outcome)], 1.0);
        let call = [
            ("acs_broker_upstream", "acs"),
            ("http_response_status_code", status.as_str()),
            ("error_type", status.as_str()),
        ];
        assert_sum(&scraped, CALLS, &call, calls);
    }
    let scraped = scrape(&stack).await;
    assert_sum(&scraped, CACHE, &[("acs_broker_cache_outcome", "failed")], 5.0);
    stack.emulator.clear_faults();
    stack.advance(5);
    stack.fault(Endpoint::Exchange, Fault::drop_connection());
    stack.user("alex").post().await;
    let scraped = scrape(&stack).await;
    assert_sum(
        &scraped,
        CALLS,
        &[("acs_broker_upstream", "acs"), ("error_type", "connection")],
        2.0,
    );
}

#[tokio::test]
async fn on_behalf_of_asks_entra_too() {
    let stack = with_secret().start().await;
    assert_eq!(stack.user("diego").with(for_api).post().await.outcome(), "200");
    let scraped = scrape(&stack).await;
    assert_sum(
        &scraped,
        EXCHANGES,
        &[("acs_broker_exchange_mode", "on_behalf_of")],
        1.0,
    );
    assert_sum(&scraped, CALLS, &[("acs_broker_upstream", "entra_token")], 1.0);
}
