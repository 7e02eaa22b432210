//! The budget of an ACS endpoint: ACS never sees more than it allows, and callers are served in order or told when to come
//! back.

use azure_emulator::scenario::FABRIKAM;
use serde_json::json;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::eventually;
use crate::support::fake::{Fake, Reply, grant};
use crate::support::http::{Answer, Call};
use crate::support::scrape::Scrape;
use crate::support::stack::{ACS_PATH, Builder, Stack};

/// A broker whose ACS is a fake that grants everybody; everyone of Fabrikam is assigned.
async fn broker(acs: &Fake, change: impl FnOnce(Builder) -> Builder) -> Stack {
    let everyone = format!(
        "[[assignments]]\nobjectId = \"{FABRIKAM}\"\ntenantId = \"{FABRIKAM}\"\nprincipalType = \"tenant\"\n\
         clientIds = [\"c0a5a990-0000-4000-8000-000000000003\"]\n"
    );
    let stack = change(Stack::builder())
        .assignments("assignments.toml", everyone)
        .endpoint(&acs.origin())
        .start()
        .await;
    acs.on(ACS_PATH, granted(&stack));
    stack
}

fn granted(stack: &Stack) -> Reply {
    let hour = jiff::SignedDuration::from_hours(1);
    let now = jiff::Timestamp::from_second(stack.now()).unwrap();
    Reply::json(&grant("an-acs-token", now + hour))
}

/// A token of a user of their own.
fn token(stack: &Stack, number: u128) -> String {
    let oid = Uuid::from_u128(0xfab0_0000_0000_4000_8000_0000_0000_0000 + number);
    stack.user("adele").claim("oid", json!(oid.to_string())).token()
}

fn send(stack: &Stack, token: &str) -> JoinHandle<Answer> {
    let call = Call::new("POST", stack.url("/token")).bearer(token);
    tokio::spawn(call.send())
}

async fn waiting(stack: &Stack) -> f64 {
    Scrape::of(stack.management).await.sum("acs_broker_exchange_queue", &[])
}

async fn until_waiting(stack: &Stack, number: f64) {
    eventually("callers wait", async || waiting(stack).await >= number).await;
}

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").unwrap().parse().unwrap()
}

#[tokio::test]
async fn whoever_cannot_be_served_in_time_is_told_when_to_come_back() {
    let acs = Fake::start().await;
    let stack = broker(&acs, |builder| builder.set("limits.upstream_exchanges", "2/30s")).await;
    let first = token(&stack, 1);
    assert_eq!(stack.post_token(&first).await.cache(), "miss");
    assert_eq!(stack.post_token(&token(&stack, 2)).await.cache(), "miss");
    let third = token(&stack, 3);
    let refused = stack.post_token(&third).await;
    assert_eq!(refused.outcome(), "429 TooManyRequests/UpstreamLimit");
    assert!((30..=45).contains(&retry_after(&refused)), "{refused:?}");
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", &third),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
    ];
    assert_eq!(
        stack.post_form(&form).await.outcome(),
        "429 temporarily_unavailable TooManyRequests"
    );
    assert_eq!(
        stack.post_token(&first).await.cache(),
        "hit",
        "what is cached is served"
    );
    assert_eq!(acs.count(ACS_PATH), 2);
    let told = Scrape::of(stack.management).await;
    let limited = |limit| told.sum("acs_broker_limits_refused_total", &[("acs_broker_limit", limit)]);
    assert!((limited("upstream_exchanges") - 2.0).abs() < 0.1, "{}", told.text);
    assert!(limited("queue").abs() < 0.1);
    assert!(
        told.sum("acs_broker_exchange_budget", &[("acs_broker_resource_name", "default")])
            .abs()
            < 0.1
    );
    stack.advance(30);
    assert_eq!(stack.post_token(&third).await.cache(), "miss");
    assert_eq!(acs.count(ACS_PATH), 3);
}

#[tokio::test]
async fn those_who_wait_are_served_in_order_and_hold_nothing_meanwhile() {
    let acs = Fake::start().await;
    let stack = broker(&acs, |builder| {
        builder
            .set("limits.upstream_exchanges", "1/3s")
            .set("server.max_in_flight", "1")
    })
    .await;
    let first = token(&stack, 1);
    assert_eq!(stack.post_token(&first).await.cache(), "miss");
    let second = token(&stack, 2);
    let waits = send(&stack, &second);
    until_waiting(&stack, 1.0).await;
    let also = send(&stack, &second);
    let third = send(&stack, &token(&stack, 3));
    until_waiting(&stack, 2.0).await;
    // The only place of max_in_flight is free for a caller whom the cache can serve.
    assert_eq!(stack.post_token(&first).await.cache(), "hit");
    assert!(
        (waiting(&stack).await - 2.0).abs() < 0.1,
        "whoever joins takes no place"
    );
    stack.advance(3);
    let mut served = [waits.await.unwrap(), also.await.unwrap()].map(|answer| answer.cache().to_owned());
    served.sort();
    assert_eq!(served, ["miss", "shared"]);
    assert_eq!(acs.count(ACS_PATH), 2);
    assert!(!third.is_finished());
    stack.advance(3);
    assert_eq!(third.await.unwrap().cache(), "miss");
    assert_eq!(acs.count(ACS_PATH), 3);
}

#[tokio::test]
async fn whose_turn_does_not_come_in_time_is_told_when_to_come_back() {
    let acs = Fake::start().await;
    let stack = broker(&acs, |builder| {
        builder
            .set("limits.upstream_exchanges", "1/1s")
            .set("server.request_timeout", "3s")
    })
    .await;
    // The exchange that takes the place does not end, which nobody could foresee.
    let gate = crate::support::fake::Gate::closed();
    acs.on(ACS_PATH, granted(&stack).behind(&gate));
    let first = send(&stack, &token(&stack, 1));
    eventually("the first is sent", async || acs.count(ACS_PATH) == 1).await;
    let missed = stack.post_token(&token(&stack, 2)).await;
    assert_eq!(missed.outcome(), "429 TooManyRequests/UpstreamLimit");
    assert!((1..=2).contains(&retry_after(&missed)), "{missed:?}");
    assert_eq!(first.await.unwrap().outcome(), "504 UpstreamTimeout");
    assert!(waiting(&stack).await < 0.5);
    assert_eq!(acs.count(ACS_PATH), 1);
}

#[tokio::test]
async fn an_attempt_that_found_nobody_takes_no_place() {
    let acs = Fake::start().await;
    let stack = broker(&acs, |builder| builder.set("limits.upstream_exchanges", "1/30s")).await;
    let origin = acs.origin();
    drop(acs);
    for number in 0..3 {
        let answer = stack.post_token(&token(&stack, number)).await;
        assert_eq!(answer.outcome(), "503 UpstreamUnavailable", "{origin}");
    }
    let free = Scrape::of(stack.management)
        .await
        .sum("acs_broker_exchange_budget", &[]);
    assert!((free - 1.0).abs() < 0.1, "{free}");
}

#[tokio::test]
async fn the_queue_is_bounded_and_whoever_leaves_makes_room() {
    let acs = Fake::start().await;
    let stack = broker(&acs, |builder| {
        builder
            .set("limits.upstream_exchanges", "1/3s")
            .set("limits.upstream_queue", "1")
    })
    .await;
    assert_eq!(stack.post_token(&token(&stack, 1)).await.cache(), "miss");
    let leaves = send(&stack, &token(&stack, 2));
    until_waiting(&stack, 1.0).await;
    let refused = stack.post_token(&token(&stack, 3)).await;
    assert_eq!(refused.outcome(), "429 TooManyRequests/UpstreamLimit");
    let told = Scrape::of(stack.management).await;
    let queue = [("acs_broker_limit", "queue")];
    assert!((told.sum("acs_broker_limits_refused_total", &queue) - 1.0).abs() < 0.1);
    leaves.abort();
    eventually("the place is free", async || waiting(&stack).await < 0.5).await;
    let stays = send(&stack, &token(&stack, 4));
    until_waiting(&stack, 1.0).await;
    stack.advance(3);
    assert_eq!(stays.await.unwrap().cache(), "miss");
    assert_eq!(acs.count(ACS_PATH), 2, "nothing was sent for those who had gone");
}

#[tokio::test]
async fn a_limit_of_acs_answers_those_who_wait_and_halves_the_budget_once() {
    let acs = Fake::start().await;
    let stack = broker(&acs, |builder| builder.set("limits.upstream_exchanges", "4/5s")).await;
    for number in 0..3 {
        assert_eq!(stack.post_token(&token(&stack, number)).await.cache(), "miss");
    }
    let gate = crate::support::fake::Gate::closed();
    let limited = Reply::status(429).header("retry-after", "7").behind(&gate);
    acs.on(ACS_PATH, limited);
    let fourth = send(&stack, &token(&stack, 4));
    eventually("the fourth is sent", async || acs.count(ACS_PATH) == 4).await;
    let waits = send(&stack, &token(&stack, 5));
    until_waiting(&stack, 1.0).await;
    gate.open();
    for answer in [fourth.await.unwrap(), waits.await.unwrap()] {
        assert_eq!(answer.outcome(), "429 TooManyRequests/UpstreamLimit");
        assert_eq!(retry_after(&answer), 7);
    }
    let limit = async || {
        Scrape::of(stack.management)
            .await
            .sum("acs_broker_exchange_budget_limit", &[])
    };
    assert!((limit().await - 2.0).abs() < 1e-6);
    acs.on(ACS_PATH, granted(&stack));
    // The pause, then windows after each of which a tenth comes back.
    for (seconds, expected) in [(7, 2.0), (5, 2.4), (5, 2.8), (15, 4.0)] {
        stack.advance(seconds);
        let limit = limit().await;
        assert!((limit - expected).abs() < 1e-6, "{limit} instead of {expected}");
    }
    assert_eq!(stack.post_token(&token(&stack, 6)).await.cache(), "miss");
}

#[tokio::test]
async fn renewals_leave_a_part_of_the_budget_to_others() {
    let acs = Fake::start().await;
    let stack = broker(&acs, |builder| {
        builder
            .set("limits.upstream_exchanges", "2/24h")
            .set("limits.renewal_share", "0.5")
    })
    .await;
    assert_eq!(stack.post_token(&token(&stack, 1)).await.cache(), "miss");
    // Five minutes before its end a renewal comes before the answer, if there is room for one.
    stack.advance(55 * 60);
    let new = token(&stack, 1);
    assert_eq!(stack.post_token(&new).await.cache(), "hit");
    assert_eq!(acs.count(ACS_PATH), 1);
    acs.on(ACS_PATH, granted(&stack));
    assert_eq!(
        stack.post_token(&token(&stack, 2)).await.cache(),
        "miss",
        "a first-time caller has the rest"
    );
    // A renewal that was skipped counts as failed: it is not tried at each request.
    assert_eq!(stack.post_token(&new).await.cache(), "hit");
    assert_eq!(acs.count(ACS_PATH), 2);
}

#[tokio::test]
async fn a_retry_counts_and_is_not_made_without_a_place() {
    for (budget, calls) in [("2/30s", 2), ("1/30s", 1)] {
        let acs = Fake::start().await;
        let stack = broker(&acs, |builder| builder.set("limits.upstream_exchanges", budget)).await;
        acs.on(ACS_PATH, Reply::status(503));
        assert_eq!(
            stack.post_token(&token(&stack, 1)).await.outcome(),
            "503 UpstreamUnavailable"
        );
        assert_eq!(acs.count(ACS_PATH), calls);
        let refused = stack.post_token(&token(&stack, 2)).await;
        assert_eq!(refused.outcome(), "429 TooManyRequests/UpstreamLimit");
        assert_eq!(acs.count(ACS_PATH), calls);
    }
}

#[tokio::test]
async fn each_replica_takes_its_part_and_off_is_off() {
    for (setting, value, served) in [
        ("limits.replicas", "3", 1),
        ("limits.replicas", "100", 1),
        ("limits.upstream_exchanges", "off", 4),
        ("exchange.upstream_exchanges", "2/30s", 2),
    ] {
        let acs = Fake::start().await;
        let stack = broker(&acs, |builder| {
            builder
                .set("limits.upstream_exchanges", "5/30s")
                .set("server.request_timeout", "2s")
                .set(setting, value)
        })
        .await;
        let mut statuses = Vec::new();
        for number in 0..4 {
            statuses.push(stack.post_token(&token(&stack, number)).await.status);
        }
        assert_eq!(
            statuses.iter().filter(|status| **status == 200).count(),
            served,
            "{setting} {value}"
        );
        assert_eq!(acs.count(ACS_PATH), served);
    }
}

#[tokio::test]
async fn a_storm_is_served_and_acs_sees_no_more_than_the_budget() {
    let acs = Fake::start().await;
    let stack = broker(&acs, |builder| {
        builder
            .set("limits.upstream_exchanges", "20/2s")
            .set("server.request_timeout", "60s")
    })
    .await;
    let callers: Vec<_> = (0..100).map(|number| send(&stack, &token(&stack, number))).collect();
    for window in 1..=5 {
        // Once all of a window are answered, their places are free together, a window later.
        let answered = async || callers.iter().filter(|caller| caller.is_finished()).count() == 20 * window;
        eventually("the budget of a window is used up", answered).await;
        assert_eq!(acs.count(ACS_PATH), 20 * window);
        stack.advance(2);
    }
    let answers = futures_util::future::join_all(callers).await;
    for answer in answers {
        assert_eq!(answer.unwrap().cache(), "miss");
    }
    assert_eq!(acs.count(ACS_PATH), 100);
}
