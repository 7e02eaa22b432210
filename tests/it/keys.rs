//! Signing keys: rotation, floods of unknown key ids, and an Entra that is away or not itself.

use azure_emulator::scenario::{CONTOSO, FABRIKAM};
use azure_emulator::{Endpoint, Fault};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::json;

use crate::key_sets::{KEYS_UNAVAILABLE, UNKNOWN_KEY, fabrikam_elsewhere, held_back_keys, unknown_kid};
use crate::support::eventually;
use crate::support::fake::Reply;
use crate::support::http::{Call, client};
use crate::support::stack::Stack;

#[tokio::test]
async fn a_rotated_key_is_fetched_at_once() {
    let stack = Stack::start().await;
    let old = stack.user("alex").token();
    let before = stack.key_fetches();
    stack.emulator.rotate_keys(Some("Fabrikam")).unwrap();
    assert_eq!(stack.user("alex").post().await.outcome(), "200");
    assert_eq!(stack.key_fetches(), before + 1);
    // The old key is still published, so its tokens stay good.
    assert_eq!(stack.post_token(&old).await.outcome(), "200");
    assert_eq!(stack.key_fetches(), before + 1);
    // Another tenant's cool-down is its own.
    stack.emulator.rotate_keys(Some("Contoso")).unwrap();
    assert_eq!(stack.user("diego").post().await.outcome(), "200");
    assert_eq!(stack.key_fetches(), before + 2);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_causes_one_fetch_per_cool_down() {
    let stack = Stack::start().await;
    let before = stack.key_fetches();
    for n in 0..20 {
        assert_eq!(
            stack
                .post_token(&unknown_kid(&stack, &format!("kid-{n}")))
                .await
                .outcome(),
            UNKNOWN_KEY
        );
    }
    assert_eq!(stack.key_fetches(), before + 1);
    stack.advance(29);
    assert_eq!(stack.post_token(&unknown_kid(&stack, "x")).await.outcome(), UNKNOWN_KEY);
    assert_eq!(stack.key_fetches(), before + 1);
    stack.advance(1);
    let tokens: Vec<String> = (0..20).map(|n| unknown_kid(&stack, &format!("again-{n}"))).collect();
    let answers = futures_util::future::join_all(tokens.iter().map(|token| stack.post_token(token))).await;
    assert!(answers.iter().all(|answer| answer.outcome() == UNKNOWN_KEY));
    assert_eq!(stack.key_fetches(), before + 2, "those at once share one fetch");
    // Meanwhile nothing changes for known keys.
    assert_eq!(stack.user("alex").post().await.outcome(), "200");
}

#[tokio::test]
async fn a_withdrawn_key_is_refused_after_the_next_good_fetch() {
    let stack = Stack::builder().set("entra.jwks_withdrawal_grace", "0s").start().await;
    let old = stack.user("alex").token();
    stack.emulator.rotate_keys(Some("Fabrikam")).unwrap();
    stack.emulator.withdraw_old_keys(Some("Fabrikam")).unwrap();
    assert_ne!(stack.post_token(&old).await.outcome(), UNKNOWN_KEY, "not noticed yet");
    assert_eq!(stack.user("alex").post().await.outcome(), "200");
    assert_eq!(
        stack.post_token(&old).await.outcome(),
        UNKNOWN_KEY,
        "though its exchange is cached"
    );
}

#[tokio::test]
async fn a_withdrawn_key_is_good_for_its_grace_and_no_longer() {
    let stack = Stack::start().await;
    let alex = || stack.user("alex").lifetime(3600);
    let (old, never_seen) = (alex().token(), alex().claim("sid", json!("another")).token());
    assert_eq!(stack.post_token(&old).await.outcome(), "200");
    stack.emulator.rotate_keys(Some("Fabrikam")).unwrap();
    stack.emulator.withdraw_old_keys(Some("Fabrikam")).unwrap();
    assert_eq!(alex().post().await.outcome(), "200", "fetched anew");
    let fetches = stack.key_fetches();
    assert_eq!(stack.post_token(&old).await.outcome(), "200");
    stack.advance(60);
    // A further fetch that lacks the key gives it no more time.
    assert_eq!(stack.post_token(&unknown_kid(&stack, "x")).await.outcome(), UNKNOWN_KEY);
    assert_eq!(stack.key_fetches(), fetches + 1);
    stack.advance(59);
    assert_eq!(stack.post_token(&old).await.outcome(), "200");
    assert_eq!(stack.key_fetches(), fetches + 1, "callers with it cause no fetch");
    stack.advance(1);
    // The signature was verified a second ago under this very set; the key has ended all the same.
    assert_eq!(stack.post_token(&old).await.outcome(), UNKNOWN_KEY);
    assert_eq!(stack.post_token(&never_seen).await.outcome(), UNKNOWN_KEY);
    assert_eq!(alex().post().await.outcome(), "200");
}

#[tokio::test]
async fn keys_that_alternate_between_two_sets_put_nobody_out() {
    for (grace, other) in [("2m", "200"), ("0s", UNKNOWN_KEY)] {
        let (fake, entra, builder) = fabrikam_elsewhere(&["Fabrikam"]).await;
        let stack = builder.set("entra.jwks_withdrawal_grace", grace).start().await;
        let alex = stack.user("alex").lifetime(3600);
        let first = stack.emulator.jwks("Fabrikam").unwrap();
        let with_first = alex.token();
        stack.emulator.rotate_keys(Some("Fabrikam")).unwrap();
        // ACS itself goes on knowing both keys.
        let mut second = stack.emulator.jwks("Fabrikam").unwrap();
        let old = first["keys"][0]["kid"].clone();
        second["keys"].as_array_mut().unwrap().retain(|key| key["kid"] != old);
        assert_eq!(second["keys"].as_array().unwrap().len(), 1);
        let with_second = alex.token();
        assert_eq!(stack.post_token(&with_first).await.outcome(), "200");
        // Another front end answers the fetch that the new key causes.
        fake.on(&entra.keys, Reply::json(&second));
        assert_eq!(stack.post_token(&with_second).await.outcome(), "200");
        // Within the cool-down, whichever front end answered last.
        assert_eq!(stack.post_token(&with_first).await.outcome(), other, "{grace}");
        fake.on(&entra.keys, Reply::json(&first));
        stack.advance(30);
        stack.post_token(&unknown_kid(&stack, "x")).await;
        assert_eq!(stack.post_token(&with_first).await.outcome(), "200", "{grace}");
        assert_eq!(stack.post_token(&with_second).await.outcome(), other, "{grace}");
    }
}

#[tokio::test]
async fn the_last_good_keys_serve_while_entra_is_away() {
    let stack = Stack::start().await;
    let token = stack.user("alex").lifetime(90_000).token();
    stack.fault(Endpoint::Discovery, Fault::status(503));
    assert_eq!(stack.post_token(&token).await.outcome(), "200");
    let before = stack.emulator.count(Endpoint::Discovery);
    assert_eq!(
        stack.post_token(&unknown_kid(&stack, "x")).await.outcome(),
        KEYS_UNAVAILABLE
    );
    let after = stack.emulator.count(Endpoint::Discovery);
    assert!(after > before);
    // The failed fetch counts for the cool-down: no caller causes another, and none waits.
    stack.advance(29);
    assert_eq!(
        stack.post_token(&unknown_kid(&stack, "y")).await.outcome(),
        KEYS_UNAVAILABLE
    );
    assert_eq!(stack.emulator.count(Endpoint::Discovery), after);
    // Keys are 24 hours old: they still serve; then they do not.
    stack.advance(24 * 3600 - 29);
    assert_eq!(stack.post_token(&token).await.outcome(), "200");
    stack.advance(1);
    assert_eq!(stack.post_token(&token).await.outcome(), KEYS_UNAVAILABLE);
    assert_eq!(stack.probe("/readyz").await.status, 503);
    assert_eq!(stack.probe("/livez").await.status, 200);
    // Entra is back: the first caller after the cool-down brings the keys back.
    stack.emulator.clear_faults();
    stack.advance(30);
    assert_eq!(stack.post_token(&token).await.outcome(), "200");
    assert_eq!(stack.probe("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_tenant_without_keys_harms_only_its_own_callers() {
    let (fake, entra, builder) = fabrikam_elsewhere(&[]).await;
    let stack = builder
        .tenants(&[CONTOSO, FABRIKAM])
        .not_awaiting_readiness()
        .start()
        .await;
    fake.play_entra(
        &stack.emulator,
        CONTOSO,
        stack.emulator.jwks("Contoso").unwrap()["keys"].as_array().unwrap(),
    );
    eventually("Contoso is served", async || {
        stack.user("diego").post().await.status == 200
    })
    .await;
    eventually("both were tried", async || stack.probe("/readyz").await.status == 200).await;
    assert_eq!(stack.user("alex").post().await.outcome(), KEYS_UNAVAILABLE);
    let degraded = stack.probe("/readyz").await.json()["degraded"].to_string();
    assert!(degraded.contains(&FABRIKAM.to_string()), "{degraded}");
    assert!(fake.count(&entra.keys) >= 1);
}

#[tokio::test]
async fn nobody_is_ready_without_any_keys() {
    let (_fake, _entra, builder) = fabrikam_elsewhere(&[]).await;
    let stack = builder.not_awaiting_readiness().start().await;
    eventually("it was tried", async || {
        stack.probe("/readyz").await.json()["reasons"]
            .to_string()
            .contains("no tenant has usable signing keys")
    })
    .await;
    assert_eq!(stack.user("alex").post().await.outcome(), KEYS_UNAVAILABLE);
}

#[tokio::test]
async fn callers_with_unknown_keys_wait_outside() {
    let (fake, entra, builder) = fabrikam_elsewhere(&["Fabrikam"]).await;
    let stack = builder
        .set("server.max_in_flight", "1")
        .set("entra.jwks_wait", "8s")
        .start()
        .await;
    let known = stack.user("alex").token();
    let gate = held_back_keys(&fake, &entra, &stack);
    let before = fake.count(&entra.keys);
    let token = unknown_kid(&stack, "x");
    let others = async {
        eventually("the fetch is under way", async || fake.count(&entra.keys) == before + 1).await;
        // The one place is free for those with known keys, again and again.
        for _ in 0..3 {
            assert_eq!(stack.post_token(&known).await.outcome(), "200");
        }
        gate.open();
    };
    let (waited, ()) = tokio::join!(stack.post_token(&token), others);
    assert_eq!(waited.outcome(), UNKNOWN_KEY);
    assert_eq!(fake.count(&entra.keys), before + 1);
}

#[tokio::test]
async fn who_waited_in_vain_learns_so_however_busy_the_broker_is() {
    let (fake, entra, builder) = fabrikam_elsewhere(&["Fabrikam"]).await;
    let stack = builder
        .set("server.max_in_flight", "1")
        .set("entra.jwks_wait", "8s")
        .start()
        .await;
    let known = stack.user("alex").token();
    let gate = held_back_keys(&fake, &entra, &stack);
    let before = fake.count(&entra.keys);
    let token = unknown_kid(&stack, "x");
    // The one place is taken for as long as the emulated ACS takes; the fetch ends meanwhile.
    stack.fault(Endpoint::Exchange, Fault::latency(std::time::Duration::from_secs(2)));
    let busy = async {
        eventually("the fetch is under way", async || fake.count(&entra.keys) == before + 1).await;
        let asked = async {
            eventually("ACS is asked", async || stack.exchanges() == 1).await;
            gate.open();
        };
        let (served, ()) = tokio::join!(stack.post_token(&known), asked);
        assert_eq!(served.outcome(), "200");
    };
    let (waited, ()) = tokio::join!(stack.post_token(&token), busy);
    assert_eq!(waited.outcome(), UNKNOWN_KEY);
}

#[tokio::test]
async fn the_waiting_room_is_bounded() {
    let (fake, entra, builder) = fabrikam_elsewhere(&["Fabrikam"]).await;
    let stack = builder
        .set("server.max_connections", "3")
        .set("entra.jwks_wait", "8s")
        .start()
        .await;
    // One connection brings them all, once it is there.
    let http_2 = client(|builder| builder.http2_prior_knowledge().pool_max_idle_per_host(1));
    let unknown = async |kid: &str| {
        let call = Call::new("POST", stack.url("/token")).bearer(&unknown_kid(&stack, kid));
        call.send_with(&http_2).await.unwrap().outcome()
    };
    assert_eq!(unknown("first").await, UNKNOWN_KEY);
    stack.advance(30);
    let gate = held_back_keys(&fake, &entra, &stack);
    // Four come, three can wait: whichever is last to come is answered at once, the others when the fetch is over.
    let mut callers: FuturesUnordered<_> = ["a", "b", "c", "d"].map(unknown).into_iter().collect();
    assert_eq!(callers.next().await.unwrap(), KEYS_UNAVAILABLE);
    gate.open();
    assert_eq!(callers.collect::<Vec<_>>().await, [UNKNOWN_KEY; 3]);
}

#[tokio::test]
async fn nobody_waits_longer_than_jwks_wait() {
    let (fake, entra, builder) = fabrikam_elsewhere(&["Fabrikam"]).await;
    let stack = builder.set("entra.jwks_wait", "100ms").start().await;
    let gate = held_back_keys(&fake, &entra, &stack);
    assert_eq!(
        stack.post_token(&unknown_kid(&stack, "x")).await.outcome(),
        KEYS_UNAVAILABLE
    );
    gate.open();
    // The fetch went on without its caller.
    eventually("the fetch has ended", async || {
        stack.post_token(&unknown_kid(&stack, "x")).await.outcome() == UNKNOWN_KEY
    })
    .await;
}

#[tokio::test]
async fn keys_are_fetched_ahead() {
    let stack = Stack::builder()
        .set("entra.jwks_refresh_interval", "200ms")
        .start()
        .await;
    let before = stack.key_fetches();
    eventually("two more rounds", async || stack.key_fetches() >= before + 4).await;
    // A rotation is known before the first caller comes with the new key.
    stack.emulator.rotate_keys(None).unwrap();
    let before = stack.key_fetches();
    eventually("another round", async || stack.key_fetches() >= before + 4).await;
    assert_eq!(stack.user("alex").post().await.outcome(), "200");
}

#[tokio::test]
async fn keys_that_grow_old_are_reported_and_unready_nobody() {
    let stack = Stack::start().await;
    // The background fetches go by the real time: to the broker's clock they are overdue.
    stack.advance(2 * 3600);
    let answer = stack.probe("/readyz").await;
    assert_eq!(answer.status, 200);
    let degraded = answer.json()["degraded"].to_string();
    for tenant in [CONTOSO, FABRIKAM] {
        assert!(degraded.contains(&tenant.to_string()), "{degraded}");
    }
}

#[tokio::test]
async fn a_failed_background_fetch_counts_for_the_cool_down() {
    let stack = Stack::builder()
        .tenants(&[FABRIKAM])
        .set("entra.jwks_refresh_interval", "200ms")
        .start()
        .await;
    stack.emulator.clear_journal();
    stack.fault(Endpoint::Discovery, Fault::status(503));
    eventually("a background fetch has failed", async || {
        stack.emulator.journal().iter().any(|call| call.status == Some(503))
    })
    .await;
    // A round trip later the broker has read the answers; the next background fetch waits for the cool-down too.
    assert_eq!(stack.user("alex").post().await.outcome(), "200");
    let before = stack.emulator.count(Endpoint::Discovery);
    let outcome = stack.post_token(&unknown_kid(&stack, "x")).await.outcome();
    assert_eq!(outcome, KEYS_UNAVAILABLE);
    assert_eq!(stack.emulator.count(Endpoint::Discovery), before);
}
