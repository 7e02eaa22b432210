use serde_json::{Value, json};

use super::support::{Pairs, Stage, changed, claims, entra_error, stage};
use crate::scenario::{CONTOSO, CONTOSO_API, CONTOSO_API_SECRET, CONTOSO_API_URI, CONTOSO_APP, FABRIKAM};
use crate::{Endpoint, Fault, Settings};

const ACS: &str = "https://communication.azure.com/clients/.default";
const API: &str = "c0a5a991-0000-4000-8000-000000000005";

fn fields(assertion: &str) -> Vec<(&str, &str)> {
    vec![
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("client_id", API),
        ("client_secret", CONTOSO_API_SECRET),
        ("assertion", assertion),
        ("scope", ACS),
        ("requested_token_use", "on_behalf_of"),
    ]
}

async fn exchange(stage: &Stage, assertion: &str, changes: Pairs<'_>) -> super::support::Answer {
    stage.ask("fabrikam.com", &changed(&fields(assertion), changes)).await
}

#[tokio::test]
async fn a_users_token_for_the_broker_becomes_one_for_acs() {
    let stage = stage().await;
    assert_eq!(API, CONTOSO_API.to_string());
    for overrides in [
        json!({"audience": "api", "lifetime": 600}),
        json!({"audience": "api", "version": "1.0", "lifetime": 600}),
        json!({"scopes": [format!("{CONTOSO_API_URI}/access")], "lifetime": 600}),
        json!({"scopes": format!("{CONTOSO_API_URI}/.default"), "lifetime": 600}),
    ] {
        let incoming = stage.token("adele", overrides.clone());
        let stated = claims(&incoming);
        assert_eq!(stated["scp"], "access", "{overrides}");
        assert_eq!(stated["groups"], json!(["fab00000-0000-4000-8000-00000000ca11"]));
        assert_eq!(stage.exchange(&incoming).await.status, 401, "it is not for ACS");

        let answer = exchange(&stage, &incoming, &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        assert_eq!(body["token_type"], "Bearer");
        assert_eq!(
            body["scope"],
            "https://communication.azure.com/clients/VoIP https://communication.azure.com/clients/VoIP.Join"
        );
        let token = body["access_token"].as_str().unwrap();
        let issued = claims(token);
        assert_eq!(issued["aud"], "2a04943b-b6a7-4f65-8786-2bb6131b59f6");
        assert_eq!((&issued["azp"], &issued["azpacr"]), (&json!(API), &json!("1")));
        for same in ["oid", "tid"] {
            assert_eq!(issued[same], stated[same]);
        }
        assert_eq!(issued["scp"], "VoIP VoIP.Join");
        assert!(
            issued.get("groups").is_none(),
            "ACS Clients tokens have no groups claim"
        );
        // Its life is its own.
        let lifetime = body["expires_in"].as_i64().unwrap();
        assert!((3600..5400).contains(&lifetime), "{lifetime}");
        assert_eq!(issued["exp"].as_i64().unwrap(), super::support::NOW + lifetime);
        assert_eq!(stage.exchange(token).await.status, 200, "ACS knows the client");
    }
    let mut settings = Settings {
        token_lifetime: Some(700),
        ..Settings::default()
    };
    stage.emulator.set_settings(settings.clone()).unwrap();
    let incoming = stage.token("adele", json!({"audience": "api"}));
    assert_eq!(exchange(&stage, &incoming, &[]).await.json()["expires_in"], 700);
    settings.token_lifetime = Some(0);
    assert!(stage.emulator.set_settings(settings).is_err());
}

#[tokio::test]
async fn single_scopes_are_granted_as_asked() {
    let stage = stage().await;
    let incoming = stage.token("adele", json!({"audience": "api"}));
    let join = ("scope", "openid https://communication.azure.com/clients/VoIP.Join");
    let answer = exchange(&stage, &incoming, &[join]).await.json();
    assert_eq!(claims(answer["access_token"].as_str().unwrap())["scp"], "VoIP.Join");
    let chat = ("scope", "https://communication.azure.com/clients/Chat");
    let answer = exchange(&stage, &incoming, &[chat]).await;
    assert_eq!(entra_error(&answer), (400, "invalid_grant".to_owned(), 65001));
    let teams = ("scope", "https://auth.msft.communication.azure.com/.default");
    let answer = exchange(&stage, &incoming, &[teams]).await.json();
    let issued = claims(answer["access_token"].as_str().unwrap());
    assert_eq!(
        issued["scp"],
        "TeamsExtension.ManageCalls Teams.ManageCalls Teams.ManageChats"
    );
}

#[tokio::test]
async fn the_assertion_is_verified() {
    let stage = stage().await;
    let of = |overrides: Value| stage.token("adele", overrides);
    let api = |more: Value| {
        let mut overrides = json!({"audience": "api"});
        for (name, value) in more.as_object().unwrap() {
            overrides[name] = value.clone();
        }
        of(overrides)
    };
    let good = api(json!({}));
    let (signed, _) = good.rsplit_once('.').unwrap();
    let (_, other) = api(json!({}))
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let contoso_key = stage.emulator.current_kid("Contoso").unwrap();
    let contoso_signed = stage
        .emulator
        .sign("Contoso", &json!({"alg": "RS256", "kid": contoso_key}), &claims(&good))
        .unwrap();
    let cases = [
        ("x".to_owned(), "invalid_request", 50027),
        (format!("{signed}.{other}"), "invalid_grant", 50013),
        (contoso_signed, "invalid_grant", 50013),
        (
            api(json!({"claims": {"iss": "https://elsewhere.example"}})),
            "invalid_grant",
            50013,
        ),
        (stage.token("diego", json!({"audience": "api"})), "invalid_grant", 50013),
        (of(json!({})), "invalid_grant", 500_131),
        (of(json!({"audience": "api://other"})), "invalid_grant", 500_131),
        (
            of(json!({"audience": CONTOSO_APP.to_string()})),
            "invalid_grant",
            500_131,
        ),
        (api(json!({"lifetime": 0})), "invalid_grant", 500_133),
        (
            api(json!({"claims": {"nbf": super::support::NOW + 301}})),
            "invalid_grant",
            500_133,
        ),
        (api(json!({"claims": {"exp": null}})), "invalid_grant", 50013),
        (api(json!({"scopes": []})), "unauthorized_client", 7_000_114),
        (
            api(json!({"claims": {"idtyp": "app"}})),
            "unauthorized_client",
            7_000_114,
        ),
        (
            api(json!({"claims": {"oid": CONTOSO.to_string()}})),
            "invalid_grant",
            50034,
        ),
    ];
    for (number, (assertion, error, code)) in cases.iter().enumerate() {
        let answer = exchange(&stage, assertion, &[]).await;
        assert_eq!(entra_error(&answer), (400, (*error).to_owned(), *code), "case {number}");
    }
    // No clock is granted any difference at the end.
    let last = api(json!({"lifetime": 1}));
    assert_eq!(exchange(&stage, &last, &[]).await.status, 200);
    // A key that is withdrawn counts no more, one that is published still does.
    stage.emulator.rotate_keys(Some("Fabrikam")).unwrap();
    assert_eq!(exchange(&stage, &good, &[]).await.status, 200);
    stage.emulator.withdraw_old_keys(Some("Fabrikam")).unwrap();
    assert_eq!(entra_error(&exchange(&stage, &good, &[]).await).2, 50013);
}

#[tokio::test]
async fn the_request_is_checked() {
    let stage = stage().await;
    let incoming = stage.token("adele", json!({"audience": "api"}));
    let cases: [(Pairs<'_>, u16, &str, u64); 11] = [
        (&[("assertion", "")], 400, "invalid_request", 900_144),
        (&[("scope", "")], 400, "invalid_request", 900_144),
        (&[("requested_token_use", "")], 400, "invalid_request", 900_144),
        (&[("requested_token_use", "other")], 400, "invalid_request", 90023),
        (&[("client_id", "")], 400, "invalid_request", 900_144),
        (&[("client_id", "x")], 400, "unauthorized_client", 700_016),
        (&[("client_secret", "")], 401, "invalid_client", 7_000_218),
        (&[("client_secret", "x")], 401, "invalid_client", 7_000_215),
        (&[("scope", "x")], 400, "invalid_scope", 70011),
        (
            &[("scope", "https://elsewhere.example/.default")],
            400,
            "invalid_resource",
            500_011,
        ),
        (
            &[("scope", "https://graph.microsoft.com/User.Read")],
            400,
            "invalid_grant",
            65001,
        ),
    ];
    for (changes, status, error, code) in cases {
        let answer = exchange(&stage, &incoming, changes).await;
        assert_eq!(entra_error(&answer), (status, error.to_owned(), code), "{changes:?}");
    }
    // A public client has nothing to prove itself with.
    let app = CONTOSO_APP.to_string();
    let public = exchange(&stage, &incoming, &[("client_id", &app), ("client_secret", "")]).await;
    assert_eq!(entra_error(&public), (401, "invalid_client".to_owned(), 7_000_218));
    let public = exchange(&stage, &incoming, &[("client_id", &app)]).await;
    assert_eq!(entra_error(&public), (401, "invalid_client".to_owned(), 700_025));
    for (tenant, code) in [("common", 50059), ("organizations", 50059), ("nobody", 90002)] {
        let answer = stage.ask(tenant, &fields(&incoming)).await;
        assert_eq!(entra_error(&answer).2, code, "{tenant}");
    }
    let answer = stage.ask(&CONTOSO.to_string(), &fields(&incoming)).await;
    assert_eq!(entra_error(&answer).2, 50013, "another tenant's token");
}

#[tokio::test]
async fn consent_can_be_missing() {
    let stage = stage().await;
    let incoming = stage.token("adele", json!({"audience": "api"}));
    stage.emulator.set_consent("Fabrikam", false).unwrap();
    let answer = exchange(&stage, &incoming, &[]).await;
    assert_eq!(entra_error(&answer), (400, "invalid_grant".to_owned(), 65001));
    assert_eq!(answer.json()["suberror"], "consent_required");
    let diego = stage.token("diego", json!({"audience": "api"}));
    assert_eq!(
        stage.ask("contoso.com", &fields(&diego)).await.status,
        200,
        "another tenant's holds"
    );
    stage.emulator.set_consent("Fabrikam", true).unwrap();
    assert_eq!(exchange(&stage, &incoming, &[]).await.status, 200);
}

#[tokio::test]
async fn conditional_access_challenges_until_the_user_steps_up() {
    let stage = stage().await;
    let first = stage.token("joni", json!({"audience": "api"}));
    let answer = exchange(&stage, &first, &[]).await;
    assert_eq!(entra_error(&answer), (400, "invalid_grant".to_owned(), 50076));
    let body = answer.json();
    assert_eq!(body["suberror"], "basic_action");
    let challenge: Value = serde_json::from_str(body["claims"].as_str().unwrap()).unwrap();
    assert_eq!(
        challenge,
        json!({"access_token": {"acrs": {"essential": true, "value": "c1"}}})
    );

    let other = stage.token("joni", json!({"audience": "api", "acrs": ["c2"]}));
    assert_eq!(exchange(&stage, &other, &[]).await.status, 400);
    let stepped_up = stage.token("joni", json!({"audience": "api", "acrs": "c1"}));
    let answer = exchange(&stage, &stepped_up, &[]).await;
    assert_eq!(answer.status, 200);
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(stage.exchange(&token).await.status, 200);
}

#[tokio::test]
async fn an_apps_own_key_signs_its_tokens() {
    let stage = stage().await;
    let kid = |token: &str| {
        let decoded = crate::jwt::decode(token).unwrap();
        decoded.header["kid"].as_str().unwrap().to_owned()
    };
    let tenants = stage.emulator.current_kid("Fabrikam").unwrap();
    assert_eq!(kid(&stage.token("adele", json!({"audience": "api"}))), tenants);
    let none = serde_json::from_value(json!({"audience": "api", "signing_key": "app"})).unwrap();
    assert!(stage.emulator.issue_token("adele", &none).is_err());

    let own = stage.emulator.add_app_signing_key("Fabrikam").unwrap();
    let signed = stage.token("adele", json!({"audience": "api"}));
    assert_eq!(kid(&signed), own);
    assert_eq!(kid(&stage.token("adele", json!({}))), tenants);
    assert_eq!(
        kid(&stage.token("diego", json!({"audience": "api"}))),
        stage.emulator.current_kid("Contoso").unwrap()
    );
    let by_tenant = stage.token("adele", json!({"audience": "api", "signing_key": "tenant"}));
    assert_eq!(kid(&by_tenant), tenants);
    for assertion in [&signed, &by_tenant] {
        assert_eq!(exchange(&stage, assertion, &[]).await.status, 200);
    }
    // Published under its app only.
    for (path, version) in [("v2.0/", "v2.0/"), ("", "")] {
        let document = format!("/{FABRIKAM}/{path}.well-known/openid-configuration?appid={API}");
        let uri = stage.get(&document).await.json()["jwks_uri"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            uri,
            format!(
                "{}/{FABRIKAM}/discovery/{version}keys?appid={API}",
                stage.emulator.origin()
            )
        );
        let keys = |query: String| {
            let path = format!("/{FABRIKAM}/discovery/{version}keys{query}");
            let stage = &stage;
            async move {
                let set = stage.get(&path).await.json();
                let keys = set["keys"].as_array().unwrap().clone();
                keys.iter()
                    .map(|key| key["kid"].as_str().unwrap().to_owned())
                    .collect::<Vec<_>>()
            }
        };
        assert_eq!(
            keys(format!("?appid={API}")).await.as_slice(),
            std::slice::from_ref(&own)
        );
        assert_eq!(
            keys(format!("?appid={CONTOSO_APP}")).await.as_slice(),
            std::slice::from_ref(&tenants)
        );
        assert_eq!(keys(String::new()).await.as_slice(), std::slice::from_ref(&tenants));
    }
    // ACS knows neither the key nor the audience.
    assert_eq!(stage.exchange(&signed).await.status, 401);
}

#[tokio::test]
async fn grants_have_faults_and_counts_of_their_own() {
    let stage = stage().await;
    let incoming = stage.token("adele", json!({"audience": "api"}));
    let fault = Fault::status(503).retry_after("3").times(1);
    stage.emulator.set_fault(Endpoint::OnBehalfOf, fault).unwrap();
    let credentials = [
        ("grant_type", "client_credentials"),
        ("client_id", API),
        ("client_secret", CONTOSO_API_SECRET),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    assert_eq!(stage.ask("fabrikam.com", &credentials).await.status, 200);
    let broken = exchange(&stage, &incoming, &[]).await;
    assert_eq!((broken.status, broken.header("retry-after")), (503, Some("3")));
    assert_eq!(broken.json()["error"], "temporarily_unavailable");
    assert_eq!(exchange(&stage, &incoming, &[]).await.status, 200);
    stage
        .emulator
        .set_fault(Endpoint::Token, Fault::drop_connection().times(2))
        .unwrap();
    assert!(
        stage
            .try_send("POST", "/fabrikam.com/oauth2/v2.0/token", &[], "")
            .await
            .is_none()
    );
    let counts = [Endpoint::OnBehalfOf, Endpoint::ClientCredentials, Endpoint::Token].map(|e| stage.emulator.count(e));
    assert_eq!(counts, [2, 1, 4]);
    let journal = serde_json::to_string(&stage.emulator.journal()).unwrap();
    for secret in [CONTOSO_API_SECRET, incoming.as_str(), "assertion"] {
        assert!(!journal.contains(secret));
    }
    assert!(journal.contains("on_behalf_of"));
}

#[tokio::test]
async fn the_clients_request_id_comes_back() {
    let stage = stage().await;
    let id = "6f8d2a52-6a2b-4c0e-9b5f-0d2f9e3a1b11";
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("client-request-id", id),
    ];
    let answer = stage
        .send("POST", "/fabrikam.com/oauth2/v2.0/token", &headers, "")
        .await;
    assert_eq!(answer.json()["correlation_id"], id);
    assert!(answer.json()["error_description"].as_str().unwrap().contains(id));
}
