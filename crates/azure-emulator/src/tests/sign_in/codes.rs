use std::time::Duration;

use serde_json::json;

use super::{
    API, BACK, CLIENT, FORM, Fields, SCOPE, STEP_UP, VERIFIER, client_info, form, refusal, request, sent_back, value,
};
use crate::scenario::{CONTOSO_API_SECRET, CONTOSO_API_URI, FABRIKAM};
use crate::tests::support::{claims, entra_error, stage};

const ADELE: &str = "fab00000-0000-4000-8000-0000000ade1e";

#[tokio::test]
async fn a_code_becomes_tokens_once() {
    let stage = stage().await;
    for tenant in ["common", "organizations", "fabrikam.com"] {
        let answer = stage.authorize(tenant, &[("client_info", "1")]).await;
        let sent = sent_back(&answer);
        assert_eq!(value(&sent, "state"), Some("s&1 ?"));
        assert!(value(&sent, "client_info").is_some() && value(&sent, "session_state").is_some());
        let code = value(&sent, "code").unwrap();
        let answer = stage.redeem(tenant, code, &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store, no-cache"));
        let body = answer.json();
        assert_eq!(client_info(&body), json!({"uid": ADELE, "utid": FABRIKAM.to_string()}));
        assert_eq!(body["scope"], "https://communication.azure.com/clients/VoIP");
        assert!(body.get("refresh_token_expires_in").is_none());

        let id = claims(body["id_token"].as_str().unwrap());
        assert_eq!(id["iss"], format!("{}/{FABRIKAM}/v2.0", stage.emulator.origin()));
        assert_eq!((&id["aud"], &id["nonce"]), (&json!(CLIENT), &json!("n1")));
        assert_eq!((&id["oid"], &id["tid"]), (&json!(ADELE), &json!(FABRIKAM.to_string())));
        assert_eq!(id["preferred_username"], "adele@fabrikam.com");
        assert!(id.get("email").is_none());
        let access = claims(body["access_token"].as_str().unwrap());
        assert_eq!((&access["scp"], &access["azpacr"]), (&json!("VoIP"), &json!("0")));
        assert!(access.get("nonce").is_none() && access.get("acrs").is_none());

        let again = stage.redeem(tenant, code, &[]).await;
        assert_eq!(entra_error(&again), (400, "invalid_grant".to_owned(), 54005));
    }
}

#[tokio::test]
async fn a_code_is_bound_to_client_redirect_uri_and_proof_key() {
    let stage = stage().await;
    let code = stage.code("common", &[]).await;
    let secret = CONTOSO_API_SECRET;
    let other = "http://localhost:3000/other";
    let cases: &[(&str, Fields<'_>, u64)] = &[
        ("common", &[("redirect_uri", other)], 500_112),
        ("common", &[("code_verifier", "")], 50148),
        (
            "common",
            &[("code_verifier", "wrong-wrong-wrong-wrong-wrong-wrong-wrong-wrong")],
            501_481,
        ),
        ("common", &[("client_id", API), ("client_secret", secret)], 700_005),
        ("contoso.com", &[], 700_005),
        ("common", &[("code", "1.wrong")], 9_002_313),
    ];
    for (tenant, changes, expected) in cases {
        let answer = stage.redeem(tenant, &code, changes).await;
        assert_eq!(
            entra_error(&answer),
            (400, "invalid_grant".to_owned(), *expected),
            "{changes:?}"
        );
    }
    assert_eq!(stage.redeem("common", &code, &[]).await.status, 200);
    let late = stage.code("common", &[]).await;
    stage.clock.advance(Duration::from_secs(600));
    let answer = stage.redeem("common", &late, &[]).await;
    assert_eq!(entra_error(&answer), (400, "invalid_grant".to_owned(), 70008));
}

#[tokio::test]
async fn a_client_learns_what_is_wrong() {
    let stage = stage().await;
    let cases: &[(Fields<'_>, &str, &str)] = &[
        (&[("login_hint", "")], "login_required", "AADSTS50058"),
        (&[("login_hint", "who@fabrikam.com")], "login_required", "AADSTS50058"),
        (&[("domain_hint", "contoso.com")], "login_required", "AADSTS50058"),
        (&[("code_challenge", "")], "invalid_request", "AADSTS9002325"),
        (&[("code_challenge_method", "plain")], "invalid_request", "AADSTS501491"),
        (&[("code_challenge_method", "")], "invalid_request", "AADSTS501491"),
        (&[("code_challenge", "short")], "invalid_request", "AADSTS501491"),
        (
            &[("response_type", "token")],
            "unsupported_response_type",
            "AADSTS700054",
        ),
        (&[("response_mode", "web_message")], "invalid_request", "AADSTS90023"),
        (&[("prompt", "usual")], "invalid_request", "AADSTS90023"),
        (&[("claims", "{")], "invalid_request", "AADSTS9002313"),
        (&[("scope", "")], "invalid_request", "AADSTS900144"),
        (
            &[("scope", "openid https://elsewhere.example/x")],
            "invalid_resource",
            "AADSTS500011",
        ),
        (
            &[("scope", "openid https://communication.azure.com/clients/Chat")],
            "consent_required",
            "AADSTS65001",
        ),
    ];
    for (changes, error, code) in cases {
        let answer = stage.authorize("common", changes).await;
        assert_eq!(
            refusal(&answer),
            ((*error).to_owned(), (*code).to_owned()),
            "{changes:?}"
        );
    }
    // A user of another tenant is nobody here.
    let answer = stage.authorize("contoso.com", &[]).await;
    assert_eq!(refusal(&answer).0, "login_required");
    let fragment = stage
        .authorize("common", &[("response_mode", "fragment"), ("login_hint", "")])
        .await;
    assert!(
        fragment
            .header("location")
            .unwrap()
            .starts_with(&format!("{BACK}#error=login_required&"))
    );
}

#[tokio::test]
async fn nobody_is_sent_elsewhere() {
    let stage = stage().await;
    for changes in [
        [("redirect_uri", "https://evil.example/")],
        [("redirect_uri", "http://localhost.evil.example/")],
        [("redirect_uri", "javascript:alert(1)")],
        [("redirect_uri", "")],
        [("client_id", "x")],
    ] {
        let answer = stage.authorize("common", &changes).await;
        assert_eq!((answer.status, answer.header("location")), (400, None), "{changes:?}");
        let text = String::from_utf8(answer.body).unwrap();
        assert!(text.contains("AADSTS") && !text.contains("<script"), "{text}");
    }
    assert_eq!(stage.authorize("nobody", &[]).await.status, 400);
}

#[tokio::test]
async fn refresh_tokens_are_replaced_and_end() {
    let stage = stage().await;
    let code = stage.code("common", &[]).await;
    let first = stage.redeem("common", &code, &[]).await.json();
    let first = first["refresh_token"].as_str().unwrap();
    let answer = stage.refresh(first, &[("client_info", "1")]).await.json();
    assert_ne!(answer["refresh_token"], first);
    assert!(answer["id_token"].is_string() && answer["client_info"].is_string());
    // Another API that the client may use, with the same refresh token.
    let own = format!("{CONTOSO_API_URI}/access");
    let answer = stage.refresh(first, &[("scope", &own)]).await.json();
    assert_eq!(claims(answer["access_token"].as_str().unwrap())["aud"], API);
    assert!(answer.get("id_token").is_none() && answer["refresh_token"].is_string());

    let wrong = stage.refresh("1.wrong", &[]).await;
    assert_eq!(entra_error(&wrong), (400, "invalid_grant".to_owned(), 9_002_313));
    let other = stage
        .refresh(first, &[("client_id", API), ("client_secret", CONTOSO_API_SECRET)])
        .await;
    assert_eq!(entra_error(&other), (400, "invalid_grant".to_owned(), 700_005));
    stage.clock.advance(Duration::from_secs(90 * 86_400));
    let ended = stage.refresh(first, &[]).await;
    assert_eq!(entra_error(&ended), (400, "invalid_grant".to_owned(), 700_082));
}

#[tokio::test]
async fn a_pages_refresh_tokens_last_a_day() {
    let stage = stage().await;
    let code = stage.code("common", &[]).await;
    let fields = form(&[
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT),
        ("code", &code),
        ("redirect_uri", BACK),
        ("code_verifier", VERIFIER),
    ]);
    let page = ("origin", "http://localhost:3000");
    let answer = stage
        .send("POST", "/common/oauth2/v2.0/token", &[FORM, page], &fields)
        .await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("http://localhost:3000")
    );
    let body = answer.json();
    assert_eq!(body["refresh_token_expires_in"], 86_400);
    stage.clock.advance(Duration::from_secs(80_000));
    let body = stage.refresh(body["refresh_token"].as_str().unwrap(), &[]).await.json();
    assert_eq!(body["refresh_token_expires_in"], 6_400);
    stage.clock.advance(Duration::from_secs(6_400));
    let ended = stage.refresh(body["refresh_token"].as_str().unwrap(), &[]).await;
    assert_eq!(entra_error(&ended), (400, "invalid_grant".to_owned(), 700_084));
}

#[tokio::test]
async fn what_openid_asks_for_is_honoured_by_every_grant() {
    let stage = stage().await;
    let password = async |scope: &str, more: Fields<'_>| {
        let mut fields = vec![
            ("grant_type", "password"),
            ("client_id", CLIENT),
            ("username", "adele@fabrikam.com"),
            ("password", "Emulated-Pa55"),
            ("scope", scope),
        ];
        fields.extend(more);
        stage.ask("organizations", &fields).await.json()
    };
    let bare = password("https://communication.azure.com/clients/VoIP", &[]).await;
    for absent in ["id_token", "refresh_token", "client_info"] {
        assert!(bare.get(absent).is_none(), "{absent}");
    }
    let all = password(&format!("{SCOPE} email"), &[("client_info", "1")]).await;
    assert_eq!(claims(all["id_token"].as_str().unwrap())["email"], "adele@fabrikam.com");
    assert_eq!(client_info(&all)["uid"], ADELE);
    let answer = stage.refresh(all["refresh_token"].as_str().unwrap(), &[]).await;
    assert_eq!(answer.status, 200);
    // Without an API the access token is Graph's.
    let only = password("openid profile", &[]).await;
    assert_eq!(only["scope"], "openid profile");
    assert_eq!(
        claims(only["access_token"].as_str().unwrap())["aud"],
        "00000003-0000-0000-c000-000000000000"
    );
    let id = claims(password("openid", &[]).await["id_token"].as_str().unwrap());
    assert!(id.get("name").is_none() && id.get("preferred_username").is_none());

    let assertion = stage.token("adele", json!({"audience": "api"}));
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("client_id", API),
        ("client_secret", CONTOSO_API_SECRET),
        ("assertion", assertion.as_str()),
        ("requested_token_use", "on_behalf_of"),
        (
            "scope",
            "openid offline_access https://communication.azure.com/clients/.default",
        ),
    ];
    let body = stage.ask("fabrikam.com", &fields).await.json();
    assert!(body["id_token"].is_string() && body["refresh_token"].is_string());
}

#[tokio::test]
async fn a_step_up_satisfies_conditional_access() {
    let stage = stage().await;
    let own = format!("openid offline_access {CONTOSO_API_URI}/access");
    let on_behalf = async |assertion: &str| {
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("client_id", API),
            ("client_secret", CONTOSO_API_SECRET),
            ("assertion", assertion),
            ("requested_token_use", "on_behalf_of"),
            ("scope", "https://communication.azure.com/clients/.default"),
        ];
        stage.ask("fabrikam.com", &fields).await
    };
    let joni = [("login_hint", "joni@fabrikam.com"), ("scope", own.as_str())];
    let code = stage.code("common", &joni).await;
    let body = stage.redeem("common", &code, &[]).await.json();
    let answer = on_behalf(body["access_token"].as_str().unwrap()).await;
    assert_eq!(entra_error(&answer), (400, "invalid_grant".to_owned(), 50076));
    assert_eq!(answer.json()["claims"], STEP_UP);
    // A refresh token does not step up.
    let refresh = body["refresh_token"].as_str().unwrap();
    let answer = stage.refresh(refresh, &[("claims", STEP_UP)]).await;
    assert_eq!(entra_error(&answer), (400, "invalid_grant".to_owned(), 50076));
    assert_eq!(answer.json()["suberror"], "basic_action");

    let with_claims = [joni[0], joni[1], ("claims", STEP_UP)];
    let code = stage.code("common", &with_claims).await;
    let body = stage.redeem("common", &code, &[]).await.json();
    assert_eq!(claims(body["access_token"].as_str().unwrap())["acrs"], json!(["c1"]));
    assert_eq!(on_behalf(body["access_token"].as_str().unwrap()).await.status, 200);
    // What the sign-in satisfied, its refresh tokens do.
    let refresh = body["refresh_token"].as_str().unwrap();
    let body = stage.refresh(refresh, &[("claims", STEP_UP)]).await.json();
    assert_eq!(on_behalf(body["access_token"].as_str().unwrap()).await.status, 200);
}

#[tokio::test]
async fn consent_and_blocks_hold_at_every_grant() {
    let stage = stage().await;
    let code = stage.code("common", &[]).await;
    let body = stage.redeem("common", &code, &[]).await.json();
    let refresh = body["refresh_token"].as_str().unwrap();
    let set = async |body: &str| stage.send("PUT", "/_emulator/users/adele", &[], body).await;
    set(r#"{"consent":"required"}"#).await;
    let answer = stage.refresh(refresh, &[]).await;
    assert_eq!(entra_error(&answer), (400, "invalid_grant".to_owned(), 65001));
    assert_eq!(answer.json()["suberror"], "consent_required");
    let silent = stage.authorize("common", &[]).await;
    assert_eq!(
        refusal(&silent),
        ("consent_required".to_owned(), "AADSTS65001".to_owned())
    );
    set(r#"{"consent":"given","conditional_access":"blocked"}"#).await;
    let answer = stage.refresh(refresh, &[]).await;
    assert_eq!(entra_error(&answer), (400, "invalid_grant".to_owned(), 53003));
    let silent = stage.authorize("common", &[]).await;
    assert_eq!(
        refusal(&silent),
        ("interaction_required".to_owned(), "AADSTS53003".to_owned())
    );
    set(r#"{"conditional_access":"none"}"#).await;
    assert_eq!(stage.refresh(refresh, &[]).await.status, 200);
}

#[tokio::test]
async fn a_confidential_client_signs_users_in_too() {
    let stage = stage().await;
    let changes = [
        ("client_id", API),
        ("code_challenge", ""),
        ("code_challenge_method", ""),
    ];
    assert_eq!(request(&changes).len(), 8);
    let code = stage.code("common", &changes).await;
    let secret = [("client_id", API), ("code_verifier", "")];
    let answer = stage.redeem("common", &code, &secret).await;
    assert_eq!(entra_error(&answer).2, 7_000_218);
    let secret = [secret[0], secret[1], ("client_secret", CONTOSO_API_SECRET)];
    assert_eq!(stage.redeem("common", &code, &secret).await.status, 200);
}
