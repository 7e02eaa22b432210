//! How long a cached token is good for, and for which callers: it never gives anybody more than ACS would.

use azure_emulator::{Endpoint, Fault, GroupsClaim};

use crate::support::eventually;
use crate::support::fake::{Fake, Reply, grant};
use crate::support::http::Answer;
use crate::support::stack::{ACS_PATH, Builder, Stack};

const MINUTE: i64 = 60;

/// Seconds until the answered ACS token ends.
fn left(stack: &Stack, answer: &Answer) -> i64 {
    answer.expires_on().as_second() - stack.now()
}

/// A stack without jitter, so that every threshold is exact.
fn exact() -> Builder {
    Stack::builder().set("cache.refresh_jitter", "0s")
}

#[tokio::test]
async fn no_token_is_served_within_the_expiry_margin() {
    let stack = exact()
        .set("cache.min_remaining", "0s")
        .set("cache.refresh_ahead", "0s")
        .start()
        .await;
    let first = stack.user("alex").lifetime(10 * MINUTE).post().await;
    stack.advance(570);
    let late = stack.user("alex").lifetime(60 * MINUTE).post().await;
    assert_eq!((late.cache(), late.token()), ("hit", first.token()));
    assert_eq!(left(&stack, &late), 30);
    stack.advance(1);
    let fresh = stack.user("alex").lifetime(60 * MINUTE).post().await;
    assert_eq!((fresh.cache(), left(&stack, &fresh)), ("miss", 60 * MINUTE));
}

#[tokio::test]
async fn with_little_left_a_longer_token_renews_before_the_answer() {
    let stack = exact().set("cache.refresh_ahead", "0s").start().await;
    let first = stack.user("alex").lifetime(20 * MINUTE).post().await;
    stack.advance(600);
    let longer = || stack.user("alex").lifetime(60 * MINUTE);
    assert_eq!(longer().post().await.cache(), "hit", "ten minutes left are enough");
    stack.advance(1);
    // A token that gains nothing, or under two minutes, is served what there is.
    let same = stack.user("alex").lifetime(10 * MINUTE - 1).post().await;
    assert_eq!((same.cache(), same.token()), ("hit", first.token()));
    let little = stack.user("alex").lifetime(12 * MINUTE - 2).post().await;
    assert_eq!((little.cache(), little.token()), ("hit", first.token()));
    assert_eq!(stack.exchanges(), 1);
    let renewed = longer().post().await;
    assert_eq!((renewed.cache(), left(&stack, &renewed)), ("miss", 60 * MINUTE));
    assert_eq!(stack.exchanges(), 2);
}

#[tokio::test]
async fn a_failed_renewal_serves_the_old_token_and_backs_off() {
    let stack = exact().set("cache.refresh_ahead", "0s").start().await;
    let first = stack.user("alex").lifetime(5 * MINUTE).post().await;
    stack.fault(Endpoint::Exchange, Fault::status(500));
    let longer = stack.user("alex").lifetime(60 * MINUTE);
    for _ in 0..3 {
        let answer = longer.post().await;
        assert_eq!((answer.cache(), answer.token()), ("hit", first.token()));
    }
    assert_eq!(stack.exchanges(), 2, "one renewal was tried");
    stack.advance(29);
    assert_eq!(longer.post().await.cache(), "hit");
    assert_eq!(stack.exchanges(), 2);
    stack.emulator.clear_faults();
    stack.advance(1);
    assert_eq!(longer.post().await.cache(), "miss");
    assert_eq!(stack.exchanges(), 3);
}

#[tokio::test]
async fn a_token_is_renewed_ahead_in_the_background() {
    let stack = exact().start().await;
    let first = stack.user("alex").lifetime(30 * MINUTE).post().await;
    stack.advance(600);
    let longer = stack.user("alex").lifetime(60 * MINUTE);
    assert_eq!(longer.post().await.cache(), "hit");
    assert_eq!(stack.exchanges(), 1, "twenty minutes left are enough");
    stack.advance(1);
    let served = longer.post().await;
    assert_eq!((served.cache(), served.token()), ("hit", first.token()));
    eventually("it was renewed", async || longer.post().await.token() != first.token()).await;
    let renewed = longer.post().await;
    assert_eq!((renewed.cache(), left(&stack, &renewed)), ("hit", 60 * MINUTE));
    assert_eq!(stack.exchanges(), 2);
}

#[tokio::test]
async fn a_failed_background_renewal_is_hidden_and_backs_off() {
    let stack = exact().start().await;
    stack.user("alex").lifetime(15 * MINUTE).post().await;
    stack.fault(Endpoint::Exchange, Fault::status(500));
    let longer = stack.user("alex").lifetime(60 * MINUTE);
    assert_eq!(longer.post().await.cache(), "hit");
    eventually("a renewal was tried", async || stack.exchanges() == 2).await;
    eventually("it has failed", async || {
        stack
            .emulator
            .journal()
            .iter()
            .filter(|call| call.status == Some(500))
            .count()
            == 1
    })
    .await;
    // The back-off is noted once the answer was read, a moment after it was sent.
    stack.user("diego").post().await;
    for _ in 0..3 {
        assert_eq!(longer.post().await.cache(), "hit");
    }
    assert_eq!(stack.exchanges(), 3, "two of Alex, one of Diego");
}

#[tokio::test]
async fn a_shorter_lived_token_gets_an_exchange_of_its_own() {
    let stack = Stack::start().await;
    let long = stack.user("alex").lifetime(80 * MINUTE).post().await;
    // Give or take two minutes, the longer entry is served.
    assert_eq!(stack.user("alex").lifetime(78 * MINUTE).post().await.cache(), "hit");
    let short_token = stack.user("alex").lifetime(40 * MINUTE).token();
    let short = stack.post_token(&short_token).await;
    assert_eq!((short.cache(), left(&stack, &short)), ("miss", 40 * MINUTE));
    assert_eq!(stack.exchanges(), 2);
    // It may be remembered for that very token, for nobody else, and the longer entry stays.
    assert_eq!(stack.post_token(&short_token).await.token(), short.token());
    let long_again = stack.user("alex").lifetime(80 * MINUTE).post().await;
    assert_eq!((long_again.cache(), long_again.token()), ("hit", long.token()));
    let other_short = stack.user("alex").lifetime(40 * MINUTE).post().await;
    assert_eq!(left(&stack, &other_short), 40 * MINUTE);
    assert_ne!(other_short.token(), long.token());
    // One with a few minutes never gets what lives longer than it does.
    let tiny = stack.user("alex").lifetime(3 * MINUTE).post().await;
    assert!(left(&stack, &tiny) <= 3 * MINUTE);
}

#[tokio::test]
async fn what_acs_alone_permits_is_revalidated() {
    let stack = exact().start().await;
    let token = stack.user("adele").lifetime(60 * MINUTE).token();
    assert_eq!(stack.post_token(&token).await.cache(), "miss");
    stack.advance(599);
    assert_eq!(stack.post_token(&token).await.cache(), "hit");
    stack.advance(1);
    assert_eq!(stack.post_token(&token).await.cache(), "miss");
    assert_eq!(stack.exchanges(), 2);
    // That refreshed the entry though it ends no later.
    stack.advance(599);
    assert_eq!(stack.post_token(&token).await.cache(), "hit");
    // A user with an assignment of their own is not asked about again.
    let alex = stack.user("alex").lifetime(60 * MINUTE).token();
    stack.post_token(&alex).await;
    stack.advance(700);
    assert_eq!(stack.post_token(&alex).await.cache(), "hit");
}

#[tokio::test]
async fn acs_refusal_drops_the_entry_and_other_failures_are_answered() {
    let stack = exact().start().await;
    let token = stack.user("adele").lifetime(70 * MINUTE).token();
    stack.post_token(&token).await;
    stack.advance(600);
    stack.fault(Endpoint::Exchange, Fault::status(500));
    assert_eq!(stack.post_token(&token).await.outcome(), "503 UpstreamUnavailable");
    stack.emulator.clear_faults();
    stack.emulator.set_assignments([]);
    assert_eq!(stack.post_token(&token).await.outcome(), "403 ExchangeForbidden");
    // The same caller, once the token lists the group: had the entry stayed, it would be served to them.
    let listed = stack
        .user("adele")
        .lifetime(70 * MINUTE)
        .with(|request| request.groups = Some(GroupsClaim::Listed));
    assert_eq!(listed.post().await.outcome(), "403 ExchangeForbidden");
    assert_eq!(stack.exchanges(), 4);
}

#[tokio::test]
async fn a_renewal_that_gains_nothing_is_not_repeated() {
    let acs = Fake::start().await;
    let stack = exact()
        .endpoint(&acs.origin())
        .set("cache.refresh_ahead", "0s")
        .start()
        .await;
    // This ACS gives every token the same end.
    let end = jiff::Timestamp::from_second(stack.now() + 5 * MINUTE).unwrap();
    acs.on(ACS_PATH, Reply::json(&grant("same-end", end)));
    assert_eq!(stack.user("alex").lifetime(5 * MINUTE).post().await.cache(), "miss");
    let longer = stack.user("alex").lifetime(60 * MINUTE);
    assert_eq!(longer.post().await.cache(), "miss");
    for _ in 0..3 {
        assert_eq!(longer.post().await.cache(), "hit");
    }
    assert_eq!(acs.count(ACS_PATH), 2);
    stack.advance(30);
    longer.post().await;
    assert_eq!(acs.count(ACS_PATH), 3, "after the back-off it is tried again");
}

#[tokio::test]
async fn a_token_that_outlives_its_entra_token_is_not_shared() {
    let stack = Stack::start().await;
    // An ACS that gives more than the Entra token has: the next token of the user could not have had that.
    let lifetime = Fault {
        lifetime: Some(120 * MINUTE),
        ..Fault::default()
    };
    stack.fault(Endpoint::Exchange, lifetime);
    let generous_token = stack.user("alex").lifetime(60 * MINUTE).token();
    let generous = stack.post_token(&generous_token).await;
    assert_eq!(left(&stack, &generous), 120 * MINUTE);
    stack.emulator.clear_faults();
    let next = stack.user("alex").lifetime(60 * MINUTE).post().await;
    assert_eq!((next.cache(), left(&stack, &next)), ("miss", 60 * MINUTE));
    assert_ne!(next.token(), generous.token());
    assert_eq!(stack.exchanges(), 2);
}

#[tokio::test]
async fn an_own_exchange_grows_old_too() {
    let stack = exact().start().await;
    let own = stack.user("adele").lifetime(40 * MINUTE).token();
    stack.user("adele").lifetime(80 * MINUTE).post().await;
    assert_eq!(stack.post_token(&own).await.cache(), "miss");
    assert_eq!(stack.post_token(&own).await.cache(), "hit");
    stack.emulator.set_assignments([]);
    stack.advance(599);
    assert_eq!(stack.post_token(&own).await.cache(), "hit");
    stack.advance(1);
    for _ in 0..2 {
        assert_eq!(stack.post_token(&own).await.outcome(), "403 ExchangeForbidden");
    }
}

#[tokio::test]
async fn background_renewals_keep_no_request_out() {
    let stack = exact().set("server.max_in_flight", "1").start().await;
    assert_eq!(stack.user("alex").lifetime(60 * MINUTE).post().await.cache(), "miss");
    assert_eq!(stack.user("diego").lifetime(60 * MINUTE).post().await.cache(), "miss");
    stack.advance(45 * 60);
    // One renewal is under way for as long as the emulated ACS takes.
    stack.fault(Endpoint::Exchange, Fault::latency(std::time::Duration::from_secs(2)));
    assert_eq!(stack.user("alex").lifetime(60 * MINUTE).post().await.cache(), "hit");
    for _ in 0..3 {
        assert_eq!(stack.user("diego").lifetime(15 * MINUTE).post().await.cache(), "hit");
    }
}
