//! Caching saves calls, and never gives anybody more than ACS would.

use acs_token_broker::emulator::{Endpoint, Fault, GroupsClaim};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::eventually;
use crate::support::fake::{Fake, Gate, Reply, grant};
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
async fn the_same_caller_shares_and_others_do_not() {
    let stack = Stack::start().await;
    let first = stack.user("alex").lifetime(60 * MINUTE).post().await;
    assert_eq!(first.cache(), "miss");
    // A new token of the same user, as the SDKs present whenever theirs changes.
    let again = stack.user("alex").lifetime(60 * MINUTE).post().await;
    assert_eq!((again.cache(), again.token()), ("hit", first.token()));
    for (name, user) in [
        ("another user", stack.user("diego")),
        (
            "another scope set",
            stack
                .user("alex")
                .with(|request| request.scopes = Some(vec!["VoIP".to_owned()])),
        ),
    ] {
        let answer = user.lifetime(60 * MINUTE).post().await;
        assert_eq!(answer.cache(), "miss", "{name}");
        assert_ne!(answer.token(), first.token());
    }
    let scopes = ["VoIP.Join".to_owned(), "VoIP".to_owned()];
    let order = stack
        .user("alex")
        .lifetime(60 * MINUTE)
        .with(|request| request.scopes = Some(scopes.to_vec()));
    assert_eq!(order.post().await.cache(), "hit", "scopes are a set");
    assert_eq!(stack.exchanges(), 3);
}

#[tokio::test]
async fn another_client_app_does_not_share() {
    let other = "0ca11e60-0000-4000-8000-000000000001";
    let stack = Stack::start().await;
    let both = stack
        .demo_assignments_without(&[])
        .replace("clientIds = [", &format!("clientIds = [\"{other}\", "));
    let mut at_acs = stack.emulator.assignments();
    for assignment in &mut at_acs {
        assignment.client_ids.push(other.parse().unwrap());
    }
    stack.emulator.set_assignments(at_acs);
    stack.write_assignments(&both);
    let first = stack.user("alex").lifetime(60 * MINUTE).post().await;
    let with_other = stack
        .user("alex")
        .lifetime(60 * MINUTE)
        .with(|request| request.client_id = Some(other.to_owned()));
    eventually("the other app is assigned", async || {
        with_other.post().await.status == 200
    })
    .await;
    assert_eq!(stack.exchanges(), 2);
    assert_ne!(with_other.post().await.token(), first.token());
}

#[tokio::test]
async fn many_callers_cause_one_exchange() {
    const CALLERS: usize = 8;
    let acs = Fake::start().await;
    let stack = Stack::builder()
        .endpoint(&acs.origin())
        .set("server.max_in_flight", CALLERS.to_string())
        .start()
        .await;
    let gate = Gate::closed();
    let end = jiff::Timestamp::from_second(stack.now() + 60 * MINUTE).unwrap();
    acs.on(ACS_PATH, Reply::json(&grant("shared", end)).behind(&gate));
    let tokens: Vec<String> = (0..CALLERS)
        .map(|_| stack.user("alex").lifetime(60 * MINUTE).token())
        .collect();
    let callers = futures_util::future::join_all(tokens.iter().map(|token| stack.post_token(token)));
    let (answers, ()) = tokio::join!(callers, async {
        // All are in once there is no place left for another.
        eventually("all wait", async || {
            stack.post_token("a.b.c").await.told() == "503 Overloaded"
        })
        .await;
        gate.open();
    });
    let mut outcomes: Vec<&str> = answers.iter().map(Answer::cache).collect();
    outcomes.sort_unstable();
    let mut expected = vec!["miss"];
    expected.resize(CALLERS, "shared");
    assert_eq!(outcomes, expected);
    assert!(answers.iter().all(|answer| answer.token() == "shared"));
    assert_eq!(acs.count(ACS_PATH), 1);
}

#[tokio::test]
async fn the_leader_may_go_away() {
    let acs = Fake::start().await;
    let stack = Stack::builder()
        .endpoint(&acs.origin())
        .set("server.max_in_flight", "2")
        .start()
        .await;
    let gate = Gate::closed();
    let end = jiff::Timestamp::from_second(stack.now() + 60 * MINUTE).unwrap();
    acs.on(ACS_PATH, Reply::json(&grant("shared", end)).behind(&gate));
    let token = stack.user("alex").lifetime(60 * MINUTE).token();
    let mut leader = TcpStream::connect(stack.public).await.unwrap();
    let request =
        format!("POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nAuthorization: Bearer {token}\r\n\r\n");
    leader.write_all(request.as_bytes()).await.unwrap();
    eventually("ACS is asked", async || acs.count(ACS_PATH) == 1).await;
    let waiter = stack.user("alex").lifetime(60 * MINUTE).token();
    let (answer, ()) = tokio::join!(stack.post_token(&waiter), async {
        eventually("both wait", async || {
            stack.post_token("a.b.c").await.told() == "503 Overloaded"
        })
        .await;
        drop(leader);
        // A round trip later the broker knows; the flight keeps the leader's place in flight.
        assert_eq!(stack.post_token("a.b.c").await.told(), "503 Overloaded");
        gate.open();
    });
    assert_eq!((answer.cache(), answer.token()), ("shared", "shared".to_owned()));
    assert_eq!(acs.count(ACS_PATH), 1);
    assert_eq!(stack.post_token(&waiter).await.cache(), "hit");
}

#[tokio::test]
async fn nobody_is_served_within_the_expiry_margin() {
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
async fn a_failed_renewal_serves_what_there_is_and_backs_off() {
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
async fn ahead_of_time_it_is_renewed_in_the_background() {
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
async fn a_failed_background_renewal_is_not_told_and_backs_off() {
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

/// Adele is covered by a group, of which her token says nothing.
#[tokio::test]
async fn what_acs_alone_permits_is_asked_again() {
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
    // A user with an assignment of his own is not asked about again.
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
    assert_eq!(stack.post_token(&token).await.told(), "503 UpstreamUnavailable");
    stack.emulator.clear_faults();
    stack.emulator.set_assignments([]);
    assert_eq!(stack.post_token(&token).await.told(), "403 ExchangeForbidden");
    // The same caller, once his token tells his group: had the entry stayed, it would be served to him.
    let listed = stack
        .user("adele")
        .lifetime(70 * MINUTE)
        .with(|request| request.groups = Some(GroupsClaim::Listed));
    assert_eq!(listed.post().await.told(), "403 ExchangeForbidden");
    assert_eq!(stack.exchanges(), 4);
}

#[tokio::test]
async fn errors_are_not_cached() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    for (fault, told) in [
        (Fault::status(500), "503 UpstreamUnavailable"),
        (Fault::status(403), "403 ExchangeForbidden"),
        (Fault::status(401), "401 InvalidToken/RejectedUpstream"),
        (Fault::status(418), "502 UpstreamInvalidResponse"),
    ] {
        stack.fault(Endpoint::Exchange, fault);
        assert_eq!(stack.post_token(&token).await.told(), told);
    }
    stack.emulator.clear_faults();
    assert_eq!(stack.post_token(&token).await.cache(), "miss");
}

#[tokio::test]
async fn a_waiter_with_another_token_tries_once_himself_after_a_refusal() {
    let acs = Fake::start().await;
    let stack = Stack::builder()
        .endpoint(&acs.origin())
        .set("server.max_in_flight", "2")
        .start()
        .await;
    let gate = Gate::closed();
    acs.on(ACS_PATH, Reply::status(401).behind(&gate));
    let tokens = [0, 1].map(|_| stack.user("alex").lifetime(60 * MINUTE).token());
    let both = futures_util::future::join_all(tokens.iter().map(|token| stack.post_token(token)));
    let (answers, ()) = tokio::join!(both, async {
        eventually("both wait", async || {
            stack.post_token("a.b.c").await.told() == "503 Overloaded"
        })
        .await;
        eventually("ACS is asked", async || acs.count(ACS_PATH) == 1).await;
        let end = jiff::Timestamp::from_second(stack.now() + 60 * MINUTE).unwrap();
        acs.on(ACS_PATH, Reply::json(&grant("own", end)));
        gate.open();
    });
    let mut told: Vec<String> = answers.iter().map(Answer::told).collect();
    told.sort_unstable();
    assert_eq!(told, ["200", "401 InvalidToken/RejectedUpstream"]);
    assert_eq!(acs.count(ACS_PATH), 2);

    // A waiter with the very token that was refused does not ask again.
    let gate = Gate::closed();
    acs.on(ACS_PATH, Reply::status(403).behind(&gate));
    let token = stack.user("diego").token();
    let both = futures_util::future::join_all([&token, &token].map(|token| stack.post_token(token)));
    let (answers, ()) = tokio::join!(both, async {
        eventually("both wait", async || {
            stack.post_token("a.b.c").await.told() == "503 Overloaded"
        })
        .await;
        gate.open();
    });
    assert!(answers.iter().all(|answer| answer.told() == "403 ExchangeForbidden"));
    assert_eq!(acs.count(ACS_PATH), 3);
}

#[tokio::test]
async fn the_cache_is_bounded() {
    let stack = Stack::builder().set("cache.max_entries", "2").start().await;
    let users: Vec<String> = (0..100)
        .map(|n| {
            stack
                .user("diego")
                .lifetime(60 * MINUTE)
                .claim("oid", json!(format!("{n:08}-0000-4000-8000-000000000000")))
        })
        .map(|user| user.token())
        .collect();
    for token in users.iter().chain(&users) {
        assert_eq!(stack.post_token(token).await.told(), "200");
    }
    // Eviction lags behind a little, and nobody says which entries stay.
    assert!(stack.exchanges() > 150, "{}", stack.exchanges());
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
async fn what_outlives_its_entra_token_is_its_own() {
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
        assert_eq!(stack.post_token(&own).await.told(), "403 ExchangeForbidden");
    }
}

#[tokio::test]
async fn nobody_is_ever_served_anothers_token() {
    let stack = Stack::start().await;
    let users: Vec<(String, String)> = (0..12)
        .map(|n| {
            let id = format!("{n:08}-0000-4000-8000-000000000000");
            let user = stack.user("diego").lifetime(60 * MINUTE).claim("oid", json!(id));
            (user.token(), id)
        })
        .collect();
    let calls = (0..10).flat_map(|_| &users).map(async |(token, id)| {
        let answer = stack.post_token(token).await;
        assert_eq!(answer.told(), "200");
        let identity = answer.json()["identity"]["id"].as_str().unwrap().to_owned();
        assert!(identity.ends_with(&format!("_{id}")), "{identity} for {id}");
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(stack.exchanges(), users.len());
}
