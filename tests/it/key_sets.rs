//! Which answers of Entra are a good fetch, and which keys in them count.

use azure_emulator::scenario::{CONTOSO, FABRIKAM};
use serde_json::{Value, json};

use crate::support::fake::{Entra, Fake, Gate, Reply};
use crate::support::forge::{change, with_header};
use crate::support::stack::{Builder, Stack, clock, emulator};

pub(crate) const UNKNOWN_KEY: &str = "401 InvalidToken/UnknownKey";
pub(crate) const KEYS_UNAVAILABLE: &str = "503 KeysUnavailable";

/// A token with a key id that nobody publishes.
pub(crate) fn unknown_kid(stack: &Stack, kid: &str) -> String {
    with_header(stack, |header| change(header, "kid", json!(kid)))
}

/// A broker for Fabrikam alone whose keys come from a fake, with the emulator's and then `more`.
pub(crate) async fn fabrikam_elsewhere(keys: &[&str]) -> (Fake, Entra, Builder) {
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

/// From now on Fabrikam's keys are answered once the gate opens.
pub(crate) fn held_back_keys(fake: &Fake, entra: &Entra, stack: &Stack) -> Gate {
    let gate = Gate::closed();
    let keys = Reply::json(&stack.emulator.jwks("Fabrikam").unwrap());
    fake.on(&entra.keys, keys.behind(&gate));
    gate
}

/// What is wrong, where, and what is answered there.
fn failures(entra: &Entra, elsewhere: &str, key: &Value) -> Vec<(&'static str, String, Reply)> {
    let set = |keys: &[Value]| Reply::json(&json!({ "keys": keys }));
    let with = |name: &str, value: Value| {
        let mut key = key.clone();
        change(&mut key, name, value);
        key
    };
    let other_issuer = entra.v2_issuer.replace(&FABRIKAM.to_string(), &CONTOSO.to_string());
    let small = json!({"kty": "RSA", "use": "sig", "kid": "small", "e": "AQAB", "n": "w".repeat(171)});
    vec![
        (
            "a foreign jwks_uri",
            entra.v2.clone(),
            entra.document(&entra.v2_issuer, &format!("{elsewhere}/keys")),
        ),
        (
            "no jwks_uri",
            entra.v2.clone(),
            Reply::json(&json!({"issuer": entra.v2_issuer})),
        ),
        (
            "a relative jwks_uri",
            entra.v2.clone(),
            entra.document(&entra.v2_issuer, "/keys"),
        ),
        (
            "another tenant's v2 issuer",
            entra.v2.clone(),
            entra.document(&other_issuer, &entra.jwks_uri),
        ),
        (
            "another tenant's v1 issuer",
            entra.v1.clone(),
            entra.document(&other_issuer, &entra.jwks_uri),
        ),
        (
            "an issuer without a tenant",
            entra.v2.clone(),
            entra.document("https://login.example/common/v2.0", &entra.jwks_uri),
        ),
        (
            "no issuer",
            entra.v1.clone(),
            Reply::json(&json!({"jwks_uri": entra.jwks_uri})),
        ),
        ("a v1 document that is away", entra.v1.clone(), Reply::status(500)),
        ("a v2 document that is away", entra.v2.clone(), Reply::status(404)),
        (
            "a redirected document",
            entra.v2.clone(),
            Reply::status(302).header("location", format!("{}{}", elsewhere, entra.v2)),
        ),
        (
            "a redirected set",
            entra.keys.clone(),
            Reply::status(307).header("location", format!("{}{}", elsewhere, entra.keys)),
        ),
        ("an oversize set", entra.keys.clone(), set(&vec![key.clone(); 200])),
        ("an empty set", entra.keys.clone(), set(&[])),
        (
            "a set that is no list",
            entra.keys.clone(),
            Reply::json(&json!({"keys": {}})),
        ),
        ("no JSON", entra.keys.clone(), Reply::status(200).body("<html>")),
        (
            "another status",
            entra.keys.clone(),
            Reply::json(&json!({"keys": [key]})).but_status(203),
        ),
        ("short keys only", entra.keys.clone(), set(&[small])),
        (
            "two keys of one id",
            entra.keys.clone(),
            set(&[key.clone(), with("n", json!("w".repeat(342)))]),
        ),
        (
            "encryption keys only",
            entra.keys.clone(),
            set(&[with("use", json!("enc"))]),
        ),
        (
            "keys of another issuer only",
            entra.keys.clone(),
            set(&[with("issuer", json!(other_issuer))]),
        ),
        (
            "keys without an id",
            entra.keys.clone(),
            set(&[with("kid", Value::Null)]),
        ),
    ]
}

#[tokio::test]
async fn what_is_a_failed_fetch() {
    let (fake, entra, builder) = fabrikam_elsewhere(&["Fabrikam"]).await;
    let stack = builder.set("upstream.max_response_bytes", "64KiB").start().await;
    let elsewhere = Fake::start().await;
    elsewhere.play_entra(&stack.emulator, FABRIKAM, &[]);
    let key = stack.emulator.jwks("Fabrikam").unwrap()["keys"][0].clone();
    let good = Reply::json(&json!({ "keys": [key] }));
    let cases = failures(&entra, &elsewhere.origin(), &key);
    let known = stack.user("alex").lifetime(80_000).token();
    for (name, path, bad) in cases {
        let (v1, v2) = (
            entra.document(&entra.v1_issuer, &entra.jwks_uri),
            entra.document(&entra.v2_issuer, &entra.jwks_uri),
        );
        fake.on(&path, bad);
        stack.advance(30);
        assert_eq!(
            stack.post_token(&unknown_kid(&stack, "x")).await.outcome(),
            KEYS_UNAVAILABLE,
            "{name}"
        );
        assert_eq!(
            stack.post_token(&known).await.outcome(),
            "200",
            "{name}: the last good set serves"
        );
        let asked = fake.calls().len();
        assert_eq!(
            stack.post_token(&unknown_kid(&stack, "x")).await.outcome(),
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
        stack.post_token(&unknown_kid(&stack, "x")).await.outcome(),
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
    for (issuer, expected) in [
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
        assert_eq!(stack.post_token(&token).await.outcome(), expected, "{issuer}");
    }
}

#[tokio::test]
async fn an_app_with_keys_of_its_own_is_verified_by_those() {
    use azure_emulator::KeyOwner;
    use azure_emulator::scenario::{CONTOSO_API, FABRIKAM};

    use crate::support::modes::{for_api, own_api};

    let own_key = |request: &mut azure_emulator::TokenRequest| {
        for_api(request);
        request.signing_key = Some(KeyOwner::App);
    };
    // Where the operator does not name the app, its keys are not among the tenant's.
    let clock = crate::support::stack::clock();
    let emulator = crate::support::stack::emulator(&clock).await;
    emulator.add_app_signing_key(&FABRIKAM.to_string()).unwrap();
    let stack = own_api(Stack::builder()).emulator(emulator, &clock).start().await;
    let answer = stack.user("alex").with(own_key).post().await;
    assert_eq!(answer.outcome(), "401 InvalidToken/UnknownKey");
    let clock = crate::support::stack::clock();
    let emulator = crate::support::stack::emulator(&clock).await;
    emulator.add_app_signing_key(&FABRIKAM.to_string()).unwrap();
    let tenants = format!("[{{ id = '{FABRIKAM}', app_id_for_keys = '{CONTOSO_API}' }}]");
    let stack = own_api(Stack::builder())
        .emulator(emulator, &clock)
        .set("entra.tenants", tenants)
        .set("exchange.mode", "on_behalf_of")
        .set("exchange.on_behalf_of.client_id", CONTOSO_API.to_string())
        .set("exchange.on_behalf_of.credential", "secret")
        .set(
            "exchange.on_behalf_of.client_secret",
            azure_emulator::scenario::CONTOSO_API_SECRET,
        )
        .start()
        .await;
    assert_eq!(stack.user("alex").with(own_key).post().await.outcome(), "200");
}
