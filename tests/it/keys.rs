//! Signing keys: rotation, floods of unknown key ids, and an Entra that is away or not itself.

use acs_token_broker::emulator::scenario::{CONTOSO, FABRIKAM};
use acs_token_broker::emulator::{Endpoint, Fault};
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::fake::{Entra, Fake, Gate, Reply};
use crate::support::forge::{change, with_header};
use crate::support::stack::{Builder, Stack, clock, emulator};

const UNKNOWN_KEY: &str = "401 InvalidToken/UnknownKey";
const KEYS_UNAVAILABLE: &str = "503 KeysUnavailable";

/// A token with a key id that nobody publishes.
fn unknown_kid(stack: &Stack, kid: &str) -> String {
    with_header(stack, |header| change(header, "kid", json!(kid)))
}

#[tokio::test]
async fn a_rotated_key_is_fetched_at_once() {
    let stack = Stack::start().await;
    let old = stack.user("alex").token();
    let before = stack.key_fetches();
    stack.emulator.rotate_keys(Some("Fabrikam")).unwrap();
    assert_eq!(stack.user("alex").post().await.told(), "200");
    assert_eq!(stack.key_fetches(), before + 1);
    // The old key is still published, so its tokens stay good.
    assert_eq!(stack.post_token(&old).await.told(), "200");
    assert_eq!(stack.key_fetches(), before + 1);
    // Another tenant's cool-down is its own.
    stack.emulator.rotate_keys(Some("Contoso")).unwrap();
    assert_eq!(stack.user("diego").post().await.told(), "200");
    assert_eq!(stack.key_fetches(), before + 2);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_causes_one_fetch_per_cool_down() {
    let stack = Stack::start().await;
    let before = stack.key_fetches();
    for n in 0..20 {
        assert_eq!(
            stack.post_token(&unknown_kid(&stack, &format!("kid-{n}"))).await.told(),
            UNKNOWN_KEY
        );
    }
    assert_eq!(stack.key_fetches(), before + 1);
    stack.advance(29);
    assert_eq!(stack.post_token(&unknown_kid(&stack, "x")).await.told(), UNKNOWN_KEY);
    assert_eq!(stack.key_fetches(), before + 1);
    stack.advance(1);
    let tokens: Vec<String> = (0..20).map(|n| unknown_kid(&stack, &format!("again-{n}"))).collect();
    let answers = futures_util::future::join_all(tokens.iter().map(|token| stack.post_token(token))).await;
    assert!(answers.iter().all(|answer| answer.told() == UNKNOWN_KEY));
    assert_eq!(stack.key_fetches(), before + 2, "those at once share one fetch");
    // Meanwhile nothing changes for known keys.
    assert_eq!(stack.user("alex").post().await.told(), "200");
}

#[tokio::test]
async fn a_withdrawn_key_is_refused_after_the_next_good_fetch() {
    let stack = Stack::start().await;
    let old = stack.user("alex").token();
    stack.emulator.rotate_keys(Some("Fabrikam")).unwrap();
    stack.emulator.withdraw_old_keys(Some("Fabrikam")).unwrap();
    assert_ne!(stack.post_token(&old).await.told(), UNKNOWN_KEY, "not noticed yet");
    assert_eq!(stack.user("alex").post().await.told(), "200");
    assert_eq!(
        stack.post_token(&old).await.told(),
        UNKNOWN_KEY,
        "though its exchange is cached"
    );
}

#[tokio::test]
async fn the_last_good_keys_serve_while_entra_is_away() {
    let stack = Stack::start().await;
    let token = stack.user("alex").lifetime(90_000).token();
    stack.fault(Endpoint::Discovery, Fault::status(503));
    assert_eq!(stack.post_token(&token).await.told(), "200");
    let before = stack.emulator.count(Endpoint::Discovery);
    assert_eq!(
        stack.post_token(&unknown_kid(&stack, "x")).await.told(),
        KEYS_UNAVAILABLE
    );
    let after = stack.emulator.count(Endpoint::Discovery);
    assert!(after > before);
    // The failed fetch counts for the cool-down: no caller causes another, and none waits.
    stack.advance(29);
    assert_eq!(
        stack.post_token(&unknown_kid(&stack, "y")).await.told(),
        KEYS_UNAVAILABLE
    );
    assert_eq!(stack.emulator.count(Endpoint::Discovery), after);
    // Keys are 24 hours old: they still serve; then they do not.
    stack.advance(24 * 3600 - 29);
    assert_eq!(stack.post_token(&token).await.told(), "200");
    stack.advance(1);
    assert_eq!(stack.post_token(&token).await.told(), KEYS_UNAVAILABLE);
    assert_eq!(stack.probe("/readyz").await.status, 503);
    assert_eq!(stack.probe("/livez").await.status, 200);
    // Entra is back: the first caller after the cool-down brings the keys back.
    stack.emulator.clear_faults();
    stack.advance(30);
    assert_eq!(stack.post_token(&token).await.told(), "200");
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
    assert_eq!(stack.user("alex").post().await.told(), KEYS_UNAVAILABLE);
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
    assert_eq!(stack.user("alex").post().await.told(), KEYS_UNAVAILABLE);
}

/// A broker for Fabrikam alone whose keys come from a fake, with the emulator's and then `more`.
async fn fabrikam_elsewhere(keys: &[&str]) -> (Fake, Entra, Builder) {
    let clock = clock();
    let emulator = emulator(&clock).await;
    let fake = Fake::start().await;
    let mut set = Vec::new();
    for tenant in keys {
        set.extend(emulator.jwks(tenant).unwrap()["keys"].as_array().unwrap().clone());
    }
    let entra = fake.play_entra(&emulator, FABRIKAM, &set);
    let builder = Stack::builder()
        .emulator(emulator, &clock)
        .authority(&fake.origin())
        .tenants(&[FABRIKAM]);
    (fake, entra, builder)
}

#[tokio::test]
async fn what_is_a_failed_fetch() {
    let (fake, entra, builder) = fabrikam_elsewhere(&["Fabrikam"]).await;
    let stack = builder.set("upstream.max_response_bytes", "64KiB").start().await;
    let elsewhere = Fake::start().await;
    elsewhere.play_entra(&stack.emulator, FABRIKAM, &[]);
    let key = stack.emulator.jwks("Fabrikam").unwrap()["keys"][0].clone();
    let set = |keys: &[Value]| Reply::json(&json!({ "keys": keys }));
    let with = |name: &str, value: Value| {
        let mut key = key.clone();
        change(&mut key, name, value);
        key
    };
    let good = set(std::slice::from_ref(&key));
    let other_issuer = entra.v2_issuer.replace(&FABRIKAM.to_string(), &CONTOSO.to_string());
    let small = json!({"kty": "RSA", "use": "sig", "kid": "small", "e": "AQAB", "n": "w".repeat(171)});
    let cases = [
        (
            "a foreign jwks_uri",
            &entra.v2,
            entra.document(&entra.v2_issuer, &format!("{}/keys", elsewhere.origin())),
        ),
        (
            "no jwks_uri",
            &entra.v2,
            Reply::json(&json!({"issuer": entra.v2_issuer})),
        ),
        (
            "a relative jwks_uri",
            &entra.v2,
            entra.document(&entra.v2_issuer, "/keys"),
        ),
        (
            "another tenant's v2 issuer",
            &entra.v2,
            entra.document(&other_issuer, &entra.jwks_uri),
        ),
        (
            "another tenant's v1 issuer",
            &entra.v1,
            entra.document(&other_issuer, &entra.jwks_uri),
        ),
        (
            "an issuer without a tenant",
            &entra.v2,
            entra.document("https://login.example/common/v2.0", &entra.jwks_uri),
        ),
        (
            "no issuer",
            &entra.v1,
            Reply::json(&json!({"jwks_uri": entra.jwks_uri})),
        ),
        ("a v1 document that is away", &entra.v1, Reply::status(500)),
        ("a v2 document that is away", &entra.v2, Reply::status(404)),
        (
            "a redirected document",
            &entra.v2,
            Reply::status(302).header("location", format!("{}{}", elsewhere.origin(), entra.v2)),
        ),
        (
            "a redirected set",
            &entra.keys,
            Reply::status(307).header("location", format!("{}{}", elsewhere.origin(), entra.keys)),
        ),
        ("an oversize set", &entra.keys, set(&vec![key.clone(); 200])),
        ("an empty set", &entra.keys, set(&[])),
        ("a set that is no list", &entra.keys, Reply::json(&json!({"keys": {}}))),
        ("no JSON", &entra.keys, Reply::status(200).body("<html>")),
        (
            "another status",
            &entra.keys,
            Reply::json(&json!({"keys": [key]})).but_status(203),
        ),
        ("short keys only", &entra.keys, set(&[small])),
        (
            "two keys of one id",
            &entra.keys,
            set(&[key.clone(), with("n", json!("w".repeat(342)))]),
        ),
        ("encryption keys only", &entra.keys, set(&[with("use", json!("enc"))])),
        (
            "keys of another issuer only",
            &entra.keys,
            set(&[with("issuer", json!(other_issuer))]),
        ),
        ("keys without an id", &entra.keys, set(&[with("kid", Value::Null)])),
    ];
    let known = stack.user("alex").lifetime(80_000).token();
    for (name, path, bad) in cases {
        let (v1, v2) = (
            entra.document(&entra.v1_issuer, &entra.jwks_uri),
            entra.document(&entra.v2_issuer, &entra.jwks_uri),
        );
        fake.on(path, bad);
        stack.advance(30);
        assert_eq!(
            stack.post_token(&unknown_kid(&stack, "x")).await.told(),
            KEYS_UNAVAILABLE,
            "{name}"
        );
        assert_eq!(
            stack.post_token(&known).await.told(),
            "200",
            "{name}: the last good set serves"
        );
        let asked = fake.calls().len();
        assert_eq!(
            stack.post_token(&unknown_kid(&stack, "x")).await.told(),
            KEYS_UNAVAILABLE,
            "{name}"
        );
        assert_eq!(fake.calls().len(), asked, "{name}: it counts for the cool-down");
        fake.on(&entra.v1, v1);
        fake.on(&entra.v2, v2);
        fake.on(&entra.keys, good.clone());
    }
    assert_eq!(elsewhere.calls().len(), 0, "nothing was asked elsewhere");
    stack.advance(30);
    assert_eq!(
        stack.post_token(&unknown_kid(&stack, "x")).await.told(),
        UNKNOWN_KEY,
        "and a good fetch is good again"
    );
}

#[tokio::test]
async fn unusable_keys_beside_a_good_one_verify_nothing() {
    let (fake, entra, builder) = fabrikam_elsewhere(&["Fabrikam", "Contoso"]).await;
    let stack = builder.start().await;
    let mut keys = [
        stack.emulator.jwks("Fabrikam").unwrap()["keys"][0].clone(),
        stack.emulator.jwks("Contoso").unwrap()["keys"][0].clone(),
    ];
    let kid = keys[1]["kid"].as_str().unwrap().to_owned();
    let token = stack
        .emulator
        .sign(
            "Contoso",
            &json!({"alg": "RS256", "kid": kid}),
            &crate::support::forge::good_claims(&stack),
        )
        .unwrap();
    // Entra's own multi-tenant form, the v2 issuer, and none: the key counts. Contoso's issuer: it does not.
    for (issuer, told) in [
        (json!(entra.v2_issuer), "401 InvalidToken/RejectedUpstream"),
        (
            json!(entra.v2_issuer.replace(&FABRIKAM.to_string(), "{tenantid}")),
            "401 InvalidToken/RejectedUpstream",
        ),
        (Value::Null, "401 InvalidToken/RejectedUpstream"),
        (
            json!(entra.v2_issuer.replace(&FABRIKAM.to_string(), &CONTOSO.to_string())),
            UNKNOWN_KEY,
        ),
    ] {
        change(&mut keys[1], "issuer", issuer.clone());
        fake.on(&entra.keys, Reply::json(&json!({ "keys": keys })));
        stack.advance(30);
        stack.post_token(&unknown_kid(&stack, "x")).await;
        assert_eq!(stack.post_token(&token).await.told(), told, "{issuer}");
    }
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
    let gate = Gate::closed();
    let keys = Reply::json(&stack.emulator.jwks("Fabrikam").unwrap());
    fake.on(&entra.keys, keys.behind(&gate));
    let before = fake.count(&entra.keys);
    let token = unknown_kid(&stack, "x");
    let waiting = stack.post_token(&token);
    let others = async {
        eventually("the fetch is under way", async || fake.count(&entra.keys) == before + 1).await;
        // The one place is free for those with known keys, again and again.
        for _ in 0..3 {
            assert_eq!(stack.post_token(&known).await.told(), "200");
        }
        // The waiting room is bounded too: it holds as many as may be in flight.
        assert_eq!(
            stack.post_token(&unknown_kid(&stack, "y")).await.told(),
            KEYS_UNAVAILABLE
        );
        gate.open();
    };
    let (waited, ()) = tokio::join!(waiting, others);
    assert_eq!(waited.told(), UNKNOWN_KEY);
    assert_eq!(fake.count(&entra.keys), before + 1);
}

#[tokio::test]
async fn nobody_waits_longer_than_jwks_wait() {
    let (fake, entra, builder) = fabrikam_elsewhere(&["Fabrikam"]).await;
    let stack = builder.set("entra.jwks_wait", "100ms").start().await;
    let gate = Gate::closed();
    let keys = Reply::json(&stack.emulator.jwks("Fabrikam").unwrap());
    fake.on(&entra.keys, keys.behind(&gate));
    assert_eq!(
        stack.post_token(&unknown_kid(&stack, "x")).await.told(),
        KEYS_UNAVAILABLE
    );
    gate.open();
    // The fetch went on without its caller.
    eventually("the fetch has ended", async || {
        stack.post_token(&unknown_kid(&stack, "x")).await.told() == UNKNOWN_KEY
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
    assert_eq!(stack.user("alex").post().await.told(), "200");
}

#[tokio::test]
async fn keys_that_grow_old_are_told_and_unready_nobody() {
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
