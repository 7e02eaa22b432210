//! Caching saves calls, and never gives anybody more than ACS would.

use azure_emulator::{Endpoint, Fault};
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
            stack.post_token("a.b.c").await.outcome() == "503 Overloaded"
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
async fn the_exchange_goes_on_when_its_leader_leaves() {
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
            stack.post_token("a.b.c").await.outcome() == "503 Overloaded"
        })
        .await;
        drop(leader);
        // Nobody works on the leader's request any more; the exchange goes on for the other.
        eventually("the leader's place is free", async || {
            stack.post_token("a.b.c").await.outcome() == "401 InvalidToken/Malformed"
        })
        .await;
        gate.open();
    });
    assert_eq!((answer.cache(), answer.token()), ("shared", "shared".to_owned()));
    assert_eq!(acs.count(ACS_PATH), 1);
    assert_eq!(stack.post_token(&waiter).await.cache(), "hit");
}

/// Adele is covered by a group, of which the token says nothing.
#[tokio::test]
async fn errors_are_not_cached() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    for (fault, expected) in [
        (Fault::status(500), "503 UpstreamUnavailable"),
        (Fault::status(403), "403 ExchangeForbidden"),
        (Fault::status(401), "401 InvalidToken/RejectedUpstream"),
        (Fault::status(418), "502 UpstreamInvalidResponse"),
    ] {
        stack.fault(Endpoint::Exchange, fault);
        assert_eq!(stack.post_token(&token).await.outcome(), expected);
        // Refusals are remembered for a moment; see `refusals`.
        stack.advance(15);
    }
    stack.emulator.clear_faults();
    assert_eq!(stack.post_token(&token).await.cache(), "miss");
}

#[tokio::test]
async fn a_waiter_with_another_token_makes_one_exchange_after_a_refusal() {
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
            stack.post_token("a.b.c").await.outcome() == "503 Overloaded"
        })
        .await;
        eventually("ACS is asked", async || acs.count(ACS_PATH) == 1).await;
        let end = jiff::Timestamp::from_second(stack.now() + 60 * MINUTE).unwrap();
        acs.on(ACS_PATH, Reply::json(&grant("own", end)));
        gate.open();
    });
    let mut shown: Vec<String> = answers.iter().map(Answer::outcome).collect();
    shown.sort_unstable();
    assert_eq!(shown, ["200", "401 InvalidToken/RejectedUpstream"]);
    assert_eq!(acs.count(ACS_PATH), 2);

    // A waiter with the very token that was refused does not ask again.
    let gate = Gate::closed();
    acs.on(ACS_PATH, Reply::status(403).behind(&gate));
    let token = stack.user("diego").token();
    let both = futures_util::future::join_all([&token, &token].map(|token| stack.post_token(token)));
    let (answers, ()) = tokio::join!(both, async {
        eventually("both wait", async || {
            stack.post_token("a.b.c").await.outcome() == "503 Overloaded"
        })
        .await;
        gate.open();
    });
    assert!(answers.iter().all(|answer| answer.outcome() == "403 ExchangeForbidden"));
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
        assert_eq!(stack.post_token(token).await.outcome(), "200");
    }
    // Eviction lags behind a little, and nobody says which entries stay.
    assert!(stack.exchanges() > 150, "{}", stack.exchanges());
}

#[tokio::test]
async fn each_user_gets_only_their_own_token() {
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
        assert_eq!(answer.outcome(), "200");
        let identity = answer.json()["identity"]["id"].as_str().unwrap().to_owned();
        assert!(identity.ends_with(&format!("_{id}")), "{identity} for {id}");
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(stack.exchanges(), users.len());
}

/// A caller who joins another's flight gets no more, and not much less, than an exchange of their own would bring.
#[tokio::test]
async fn joining_a_flight_gives_no_caller_more_than_their_own_exchange_would() {
    let short = 40 * MINUTE;
    let long = 80 * MINUTE;
    let tiny = 5 * MINUTE;
    // The leader's token, the waiter's, what the waiter gets, exchanges in all.
    for (leader, waiter, gets, exchanges) in [
        (long, short, short, 2),
        (short, long, short, 1),
        (tiny, long, long, 2),
        (long, long - MINUTE, long, 1),
        (20, long, long, 2),
    ] {
        let acs = Fault::latency(std::time::Duration::from_millis(300));
        let stack = exact().set("server.max_in_flight", "2").start().await;
        stack.fault(Endpoint::Exchange, acs.times(1));
        let tokens = [leader, waiter].map(|lifetime| stack.user("alex").lifetime(lifetime).token());
        let (led, joined) = tokio::join!(stack.post_token(&tokens[0]), async {
            eventually("ACS is asked", async || stack.exchanges() == 1).await;
            stack.post_token(&tokens[1]).await
        });
        assert_eq!((led.cache(), left(&stack, &led)), ("miss", leader), "{leader} {waiter}");
        assert_eq!(left(&stack, &joined), gets, "{leader} {waiter}");
        assert_eq!(stack.exchanges(), exchanges, "{leader} {waiter}");
    }
}

#[tokio::test]
async fn waiters_share_a_token_too_short_to_cache() {
    let acs = Fake::start().await;
    let stack = Stack::builder()
        .endpoint(&acs.origin())
        .set("server.max_in_flight", "2")
        .start()
        .await;
    let gate = Gate::closed();
    let end = jiff::Timestamp::from_second(stack.now() + 20).unwrap();
    acs.on(ACS_PATH, Reply::json(&grant("short", end)).behind(&gate));
    let token = stack.user("alex").lifetime(20).token();
    let both = futures_util::future::join_all([&token, &token].map(|token| stack.post_token(token)));
    let (answers, ()) = tokio::join!(both, async {
        eventually("both wait", async || {
            stack.post_token("a.b.c").await.outcome() == "503 Overloaded"
        })
        .await;
        gate.open();
    });
    assert!(answers.iter().all(|answer| answer.token() == "short"));
    assert_eq!(acs.count(ACS_PATH), 1);
    assert_eq!(stack.post_token(&token).await.cache(), "miss");
}
