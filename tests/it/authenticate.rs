//! Which Entra tokens are accepted, and what is answered to those that are not.

use azure_emulator::scenario::{CONTOSO, CONTOSO_APP, FABRIKAM};
use azure_emulator::{Endpoint, TokenVersion};
use serde_json::{Value, json};

use crate::support::forge::{self, ALEX, change, with_claims, with_header};
use crate::support::stack::Stack;

#[tokio::test]
async fn both_token_versions_of_both_tenants_are_accepted() {
    let stack = Stack::start().await;
    for user in ["alex", "diego"] {
        for version in [TokenVersion::V1, TokenVersion::V2] {
            let answer = stack
                .user(user)
                .with(|request| request.version = Some(version))
                .post()
                .await;
            assert_eq!(answer.outcome(), "200", "{user} {version:?}");
        }
    }
}

#[tokio::test]
async fn the_forged_good_token_is_good() {
    let stack = Stack::start().await;
    assert_eq!(stack.post_token(&with_claims(&stack, |_| {})).await.outcome(), "200");
}

#[tokio::test]
async fn guids_compare_without_regard_to_case() {
    let stack = Stack::start().await;
    let upper = with_claims(&stack, |claims| {
        for name in ["tid", "oid", "azp", "aud"] {
            claims[name] = json!(claims[name].as_str().unwrap().to_uppercase());
        }
    });
    assert_eq!(stack.post_token(&upper).await.cache(), "miss");
    // And they are the same caller: one entry for both writings.
    assert_eq!(stack.post_token(&with_claims(&stack, |_| {})).await.cache(), "hit");
}

#[tokio::test]
async fn claims_one_by_one() {
    let stack = Stack::start().await;
    let now = stack.now();
    let origin = stack.emulator.origin();
    let missing = "401 InvalidToken/MissingClaim";
    let malformed = "401 InvalidToken/Malformed";
    let not_delegated = "401 InvalidToken/NotDelegated";
    let issuer = "401 InvalidToken/InvalidIssuer";
    let audience = "401 InvalidToken/InvalidAudience";
    let early = "401 InvalidToken/NotYetValid";
    let tenant = "401 InvalidToken/UnknownTenant";
    for (name, value, expected) in [
        // Absent.
        ("tid", Value::Null, missing),
        ("iss", Value::Null, missing),
        ("aud", Value::Null, missing),
        ("exp", Value::Null, missing),
        ("oid", Value::Null, missing),
        ("azp", Value::Null, missing),
        ("scp", Value::Null, not_delegated),
        // Entra always has them, the contract does not require them.
        ("nbf", Value::Null, "200"),
        ("iat", Value::Null, "200"),
        // Of another type.
        ("tid", json!(7), malformed),
        ("iss", json!([format!("{origin}/{FABRIKAM}/v2.0")]), malformed),
        ("aud", json!(7), malformed),
        ("aud", json!([7]), malformed),
        ("exp", json!((now + 3600).to_string()), malformed),
        ("exp", json!(-1), "401 InvalidToken/Expired"),
        ("exp", json!(1e300), malformed),
        ("exp", json!(true), malformed),
        ("nbf", json!("soon"), malformed),
        ("iat", json!({}), malformed),
        ("oid", json!("not-a-guid"), malformed),
        ("oid", json!([ALEX]), malformed),
        ("azp", json!("not-a-guid"), malformed),
        ("appid", json!(CONTOSO.to_string()), malformed),
        ("scp", json!(["VoIP"]), malformed),
        ("idtyp", json!(1), malformed),
        ("groups", json!("g"), malformed),
        ("groups", json!([1]), malformed),
        ("roles", json!("r"), malformed),
        ("hasgroups", json!("true"), malformed),
        ("_claim_names", json!("groups"), malformed),
        ("ver", json!(2), malformed),
        // Issuers: only those of the tenant's own discovery documents.
        ("iss", json!(""), issuer),
        ("iss", json!(format!("{origin}/{CONTOSO}/v2.0")), issuer),
        ("iss", json!(format!("{origin}/{FABRIKAM}/v2.0/")), issuer),
        ("iss", json!(format!("{origin}/{{tenantid}}/v2.0")), issuer),
        ("iss", json!(format!("https://evil.example/{FABRIKAM}/v2.0")), issuer),
        // Audiences.
        ("aud", json!("https://graph.microsoft.com"), audience),
        ("aud", json!(""), audience),
        ("aud", json!([]), audience),
        ("aud", json!("https://communication.azure.com/clients/"), audience),
        ("aud", json!(CONTOSO_APP.to_string()), audience),
        // Not a user's.
        ("scp", json!(""), not_delegated),
        ("scp", json!("  "), not_delegated),
        ("idtyp", json!("app"), not_delegated),
        ("idtyp", json!("device"), not_delegated),
        ("idtyp", json!("user"), "200"),
        ("cnf", json!({"jkt": "x"}), not_delegated),
        ("cnf", Value::Bool(false), not_delegated),
        // Scopes: exact, any one will do.
        ("scp", json!("Chat"), "403 InsufficientScope"),
        ("scp", json!("voip"), "403 InsufficientScope"),
        ("scp", json!("VoIPX"), "403 InsufficientScope"),
        ("scp", json!("Chat VoIP.Join"), "200"),
        // Tenants.
        ("tid", json!("common"), tenant),
        ("tid", json!("organizations"), tenant),
        ("tid", json!(""), tenant),
        ("tid", json!("9188040d-6c67-4c5b-b112-36a304b66dad"), tenant),
        ("tid", json!(format!("../{FABRIKAM}")), tenant),
        // Times, at and beyond the skew of a minute.
        ("exp", json!(now - 59), "401 InvalidToken/Expired"),
        ("exp", json!(now - 60), "401 InvalidToken/Expired"),
        ("exp", json!(0), "401 InvalidToken/Expired"),
        ("nbf", json!(now + 60), "200"),
        ("nbf", json!(now + 61), early),
        ("iat", json!(now + 60), "200"),
        ("iat", json!(now + 61), early),
    ] {
        let token = with_claims(&stack, |claims| change(claims, name, value.clone()));
        let answer = stack.post_token(&token).await;
        assert_eq!(answer.outcome(), expected, "{name} = {value}");
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        match answer.status {
            401 => assert!(challenge.contains("error=\"invalid_token\""), "{challenge}"),
            403 => assert_eq!(
                challenge,
                "Bearer realm=\"acs-token-broker\", error=\"insufficient_scope\", scope=\"VoIP VoIP.Join\""
            ),
            _ => assert_eq!(challenge, ""),
        }
    }
    // No token caused a call that it should not have: not one tenant but the two listed was looked up.
    let allowed = [CONTOSO.to_string(), FABRIKAM.to_string()];
    for call in stack.emulator.journal() {
        if matches!(call.endpoint, Some(Endpoint::Discovery | Endpoint::Keys)) {
            assert!(
                allowed.iter().any(|id| call.path.starts_with(&format!("/{id}/"))),
                "{}",
                call.path
            );
        }
    }
}

#[tokio::test]
async fn a_token_that_skew_alone_lets_in_brings_no_acs_token() {
    let stack = Stack::start().await;
    // ACS lets it in too, and gives a token that is over: nobody is handed that.
    let over = stack.user("alex").lifetime(-30).post().await;
    assert_eq!(over.outcome(), "401 InvalidToken/Expired");
    assert_eq!(stack.exchanges(), 1);
    assert_eq!(
        stack.user("alex").lifetime(-60).post().await.outcome(),
        "401 InvalidToken/Expired"
    );
    assert_eq!(stack.exchanges(), 1, "beyond the skew ACS is not asked");
    // A token that ends within the margin is exchanged, and not cached.
    for exchanges in [2, 3] {
        assert_eq!(stack.user("alex").lifetime(20).post().await.cache(), "miss");
        assert_eq!(stack.exchanges(), exchanges);
    }
}

#[tokio::test]
async fn the_clock_decides_when_a_token_ends() {
    let stack = Stack::builder().set("entra.clock_skew", "0s").start().await;
    let token = stack.user("alex").lifetime(100).token();
    stack.advance(99);
    assert_eq!(stack.post_token(&token).await.outcome(), "200");
    stack.advance(1);
    assert_eq!(stack.post_token(&token).await.outcome(), "401 InvalidToken/Expired");
}

#[tokio::test]
async fn the_first_failed_check_is_reported() {
    let stack = Stack::start().await;
    let now = stack.now();
    // Each step breaks one more check, from the last to the first: what is reported moves forward each time.
    let mut claims = forge::good_claims(&stack);
    let mut header = forge::good_header(&stack);
    let steps: [(bool, &str, Value, &str); 13] = [
        (true, "azp", json!(CONTOSO.to_string()), "403 NotAssigned/NoAssignment"),
        (true, "scp", json!("Chat"), "403 InsufficientScope"),
        (true, "oid", Value::Null, "401 InvalidToken/MissingClaim"),
        (true, "cnf", json!({}), "401 InvalidToken/NotDelegated"),
        (true, "nbf", json!(now + 999), "401 InvalidToken/NotYetValid"),
        (true, "exp", json!(now - 999), "401 InvalidToken/Expired"),
        (true, "aud", json!("x"), "401 InvalidToken/InvalidAudience"),
        (true, "iss", json!("x"), "401 InvalidToken/InvalidIssuer"),
        (true, "exp", Value::Null, "401 InvalidToken/MissingClaim"),
        (false, "kid", json!("nobody's"), "401 InvalidToken/UnknownKey"),
        (true, "tid", json!("x"), "401 InvalidToken/UnknownTenant"),
        (false, "alg", json!("PS256"), "401 InvalidToken/UnsupportedAlgorithm"),
        (false, "kid", json!(7), "401 InvalidToken/Malformed"),
    ];
    for (in_claims, name, value, expected) in steps {
        change(if in_claims { &mut claims } else { &mut header }, name, value);
        let token = stack.emulator.sign("Fabrikam", &header, &claims).unwrap();
        assert_eq!(stack.post_token(&token).await.outcome(), expected, "{name}");
    }
}

#[tokio::test]
async fn headers_that_lack_something() {
    let stack = Stack::start().await;
    for (name, value, expected) in [
        ("kid", Value::Null, "401 InvalidToken/UnknownKey"),
        ("kid", json!(""), "401 InvalidToken/UnknownKey"),
        ("alg", Value::Null, "401 InvalidToken/Malformed"),
        ("alg", json!(""), "401 InvalidToken/UnsupportedAlgorithm"),
        ("alg", json!("rs256"), "401 InvalidToken/UnsupportedAlgorithm"),
        ("alg", json!(["RS256"]), "401 InvalidToken/Malformed"),
        ("typ", Value::Null, "200"),
        ("typ", json!("at+jwt"), "200"),
        ("typ", json!(1), "401 InvalidToken/Malformed"),
        ("crit", json!(["exp"]), "401 InvalidToken/Malformed"),
        ("crit", json!([]), "401 InvalidToken/Malformed"),
        ("x5t", json!("anything"), "200"),
    ] {
        let token = with_header(&stack, |header| change(header, name, value.clone()));
        assert_eq!(stack.post_token(&token).await.outcome(), expected, "{name} = {value}");
    }
}

#[tokio::test]
async fn other_kinds_of_tokens() {
    let stack = Stack::start().await;
    assert_eq!(
        stack.user("app-only").post().await.outcome(),
        "401 InvalidToken/NotDelegated"
    );
    // An ID token: for the client app itself, without scopes.
    let id_token = with_claims(&stack, |claims| {
        change(claims, "aud", json!(CONTOSO_APP.to_string()));
        change(claims, "scp", Value::Null);
        change(claims, "nonce", json!("n"));
    });
    assert_eq!(
        stack.post_token(&id_token).await.outcome(),
        "401 InvalidToken/InvalidAudience"
    );
    let id_token_for_us = with_claims(&stack, |claims| change(claims, "scp", Value::Null));
    assert_eq!(
        stack.post_token(&id_token_for_us).await.outcome(),
        "401 InvalidToken/NotDelegated"
    );
    assert_eq!(stack.exchanges(), 0);
}

#[tokio::test]
async fn audiences_and_scopes_are_the_configured_ones() {
    let stack = Stack::builder()
        .set("entra.audiences", "api://contoso-broker")
        .set("entra.required_scopes", "Tokens.Get,Other")
        .start()
        .await;
    let token = with_claims(&stack, |claims| {
        change(claims, "aud", json!("api://contoso-broker"));
        change(claims, "scp", json!("Tokens.Get"));
    });
    // Accepted here; the emulated ACS then refuses it, as its own audience is another.
    assert_eq!(
        stack.post_token(&token).await.outcome(),
        "401 InvalidToken/RejectedUpstream"
    );
    assert_eq!(
        stack.user("alex").post().await.outcome(),
        "401 InvalidToken/InvalidAudience"
    );
    let scopes = with_claims(&stack, |claims| change(claims, "aud", json!("api://contoso-broker")));
    let answer = stack.post_token(&scopes).await;
    assert_eq!(answer.outcome(), "403 InsufficientScope");
    assert!(
        answer
            .header("www-authenticate")
            .unwrap()
            .ends_with("scope=\"Tokens.Get Other\"")
    );
}

#[tokio::test]
async fn a_token_seen_before_is_still_checked() {
    let stack = Stack::start().await;
    let token = stack.user("alex").lifetime(3600).token();
    assert_eq!(stack.post_token(&token).await.outcome(), "200");
    assert_eq!(stack.post_token(&token).await.outcome(), "200");
    // Not a byte of it may change ...
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    assert!(
        stack
            .post_token(&forged)
            .await
            .outcome()
            .starts_with("401 InvalidToken/")
    );
    // ... and it ends when it ends.
    stack.advance(3600 + 60);
    assert_eq!(stack.post_token(&token).await.outcome(), "401 InvalidToken/Expired");
}
