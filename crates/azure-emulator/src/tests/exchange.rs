use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::support::{EXCHANGE, Pairs, claims, stage};
use crate::scenario::{CONTOSO, Coverage, FABRIKAM, RESOURCE};
use crate::{Assignment, PrincipalType};

#[tokio::test]
async fn every_users_coverage_is_what_the_exchange_answers() {
    let stage = stage().await;
    for user in &stage.emulator.scenario().users {
        let answer = stage
            .exchange(&stage.token(&user.name, json!({"lifetime": 4000})))
            .await;
        let expected = match user.coverage {
            Coverage::User | Coverage::Group | Coverage::Tenant => 200,
            Coverage::None => 403,
            Coverage::AppOnly => 401,
        };
        assert_eq!(answer.status, expected, "{}", user.name);
        let body = answer.json();
        if expected == 200 {
            assert_eq!(
                body["identity"]["id"],
                format!("8:acs:{RESOURCE}_wf_{}_{}", user.tenant_id, user.object_id)
            );
            assert_eq!(body["accessToken"]["expiresOn"], "2026-01-01T01:06:40.0000000+00:00");
        } else {
            assert!(body["error"]["code"].is_string() && body["error"]["message"].is_string());
        }
    }
    // The listing says the same, with the kind of assignment.
    let listed = stage.get("/_emulator/users").await.json();
    for (user, listed) in stage.emulator.scenario().users.iter().zip(listed.as_array().unwrap()) {
        let kind = match user.coverage {
            Coverage::User => json!("user"),
            Coverage::Group => json!("group"),
            Coverage::Tenant => json!("tenant"),
            Coverage::None | Coverage::AppOnly => Value::Null,
        };
        assert_eq!(listed["coveredBy"]["principalType"], kind, "{}", user.name);
    }
}

#[tokio::test]
async fn scenario_names_and_ids_are_unique() {
    let scenario = crate::Scenario::demo();
    for (number, user) in scenario.users.iter().enumerate() {
        for other in &scenario.users[..number] {
            assert_ne!(user.name, other.name);
            assert_ne!(user.object_id, other.object_id);
        }
    }
    assert_eq!(scenario.assignments.len(), 3);
}

#[tokio::test]
async fn each_exchange_gives_a_different_token_of_the_same_end() {
    let stage = stage().await;
    let token = stage.token("alex", json!({"lifetime": 3600, "scopes": ["VoIP"]}));
    let first = stage.exchange(&token).await.json();
    let second = stage.exchange(&token).await.json();
    assert_eq!(first["identity"], second["identity"]);
    assert_eq!(first["accessToken"]["expiresOn"], second["accessToken"]["expiresOn"]);
    assert_ne!(first["accessToken"]["token"], second["accessToken"]["token"]);
    let acs = claims(first["accessToken"]["token"].as_str().unwrap());
    assert_eq!(acs["exp"], claims(&token)["exp"]);
    assert_eq!(acs["acsScope"], "voip");
    assert_eq!(acs["resourceId"], RESOURCE.to_string());
}

#[tokio::test]
async fn tokens_are_verified() {
    let stage = stage().await;
    let cases = [
        (json!({}), None),
        (json!({"version": "1.0"}), None),
        (json!({"scopes": ["VoIP.Join"]}), None),
        (json!({"audience": "https://communication.azure.com/clients"}), None),
        (json!({"audience": "2A04943B-B6A7-4F65-8786-2BB6131B59F6"}), None),
        // Five minutes of difference between clocks are allowed.
        (json!({"lifetime": -299}), None),
        (json!({"lifetime": -300}), Some("Expired")),
        (json!({"claims": {"nbf": 1_767_225_600 + 301}}), Some("NotYetValid")),
        (json!({"audience": "api://mine"}), Some("InvalidAudience")),
        (
            json!({"claims": {"iss": "https://elsewhere.example"}}),
            Some("InvalidIssuer"),
        ),
        (
            json!({"version": "1.0", "claims": {"ver": "2.0"}}),
            Some("InvalidIssuer"),
        ),
        (json!({"claims": {"ver": null}}), Some("MissingClaim")),
        (json!({"claims": {"exp": null}}), Some("MissingClaim")),
        (json!({"claims": {"oid": null}}), Some("MissingClaim")),
        (json!({"claims": {"azp": null}}), Some("MissingClaim")),
        (json!({"claims": {"tid": null}}), Some("MissingClaim")),
        (json!({"claims": {"tid": CONTOSO.to_string()}}), Some("UnknownKey")),
        (json!({"scopes": []}), Some("NotDelegated")),
        (json!({"claims": {"idtyp": "app"}}), Some("NotDelegated")),
        (json!({"scopes": "Chat"}), Some("MissingScope")),
        (json!({"scopes": "voip"}), Some("MissingScope")),
    ];
    for (overrides, refusal) in cases {
        let answer = stage.exchange(&stage.token("alex", overrides.clone())).await;
        match refusal {
            None => assert_eq!(answer.status, 200, "{overrides}"),
            Some(code) => {
                assert_eq!(answer.status, 401, "{overrides}");
                assert_eq!(answer.json()["error"]["innererror"]["code"], code, "{overrides}");
            }
        }
    }
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let stage = stage().await;
    let good = stage.token("alex", json!({}));
    let payload = claims(&good);
    let kid = stage.emulator.current_kid("Fabrikam").unwrap();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let b64 = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let other_user = json!({"oid": "x", "tid": FABRIKAM.to_string()});
    let sign = |tenant: &str, header: Value| stage.emulator.sign(tenant, &header, &payload).unwrap();
    let cases = [
        ("not.a.token".to_owned(), "Malformed"),
        (
            format!("{}.{}.", b64(&json!({"alg": "none", "kid": kid})), b64(&payload)),
            "UnsupportedAlgorithm",
        ),
        (
            sign("Fabrikam", json!({"alg": "HS256", "kid": kid})),
            "UnsupportedAlgorithm",
        ),
        (sign("Fabrikam", json!({"alg": "RS256"})), "UnknownKey"),
        (sign("Fabrikam", json!({"alg": "RS256", "kid": "x"})), "UnknownKey"),
        (
            sign("Fabrikam", json!({"alg": "RS256", "kid": kid, "crit": ["exp"]})),
            "Malformed",
        ),
        // Contoso's key under Fabrikam's key id.
        (sign("Contoso", json!({"alg": "RS256", "kid": kid})), "InvalidSignature"),
        (format!("{header}.{}.{signature}", b64(&other_user)), "InvalidSignature"),
        (format!("{signed}."), "InvalidSignature"),
    ];
    for (token, code) in cases {
        let answer = stage.exchange(&token).await;
        assert_eq!(answer.status, 401, "{code}");
        assert_eq!(answer.json()["error"]["innererror"]["code"], code);
    }
}

#[tokio::test]
async fn keys_count_as_long_as_they_are_published() {
    let stage = stage().await;
    let old = stage.token("alex", json!({}));
    let contoso = stage.emulator.current_kid("Contoso").unwrap();
    stage.emulator.rotate_keys(Some("Fabrikam")).unwrap();
    assert_eq!(stage.emulator.current_kid("Contoso").unwrap(), contoso);
    let new = stage.token("alex", json!({}));
    assert_eq!(stage.exchange(&old).await.status, 200);
    assert_eq!(stage.exchange(&new).await.status, 200);
    stage.emulator.withdraw_old_keys(None).unwrap();
    assert_eq!(stage.exchange(&old).await.status, 401);
    assert_eq!(stage.exchange(&new).await.status, 200);
    stage.clock.advance(Duration::from_mins(100));
    assert_eq!(stage.exchange(&new).await.status, 401);
}

#[tokio::test]
async fn the_request_itself_is_checked() {
    let stage = stage().await;
    let bearer = format!("Bearer {}", stage.token("alex", json!({})));
    let auth = ("authorization", bearer.as_str());
    let kind = ("content-type", "application/json");
    let bare = "/access/entra/:exchangeAccessToken";
    let wrong = "/access/entra/:exchangeAccessToken?api-version=2099-01-01";
    let huge = format!("{{\"x\":\"{}\"}}", "x".repeat(65 * 1024));
    let cases: [(&str, Pairs<'_>, &str, u16, &str); 9] = [
        (bare, &[auth, kind], "{}", 400, "MissingApiVersionParameter"),
        (wrong, &[auth, kind], "{}", 400, "UnsupportedApiVersionValue"),
        (EXCHANGE, &[kind], "{}", 401, "Denied"),
        (EXCHANGE, &[("authorization", "Basic x"), kind], "{}", 401, "Denied"),
        (EXCHANGE, &[auth, auth, kind], "{}", 401, "Denied"),
        (EXCHANGE, &[auth], "{}", 415, "UnsupportedMediaType"),
        (EXCHANGE, &[auth, kind], "", 400, "InvalidRequestBody"),
        (EXCHANGE, &[auth, kind], "[]", 400, "InvalidRequestBody"),
        (EXCHANGE, &[auth, kind], &huge, 413, "RequestEntityTooLarge"),
    ];
    for (path, headers, body, status, code) in cases {
        let answer = stage.send("POST", path, headers, body).await;
        assert_eq!(answer.status, status, "{code}");
        assert_eq!(answer.json()["error"]["code"], code);
    }
    assert_eq!(stage.send("GET", EXCHANGE, &[auth], "").await.status, 405);
}

#[tokio::test]
async fn assignments_decide_with_the_client_app() {
    let stage = stage().await;
    let other_app = json!({"client_id": "11111111-1111-4111-8111-111111111111"});
    let answer = stage.exchange(&stage.token("alex", other_app)).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.json()["error"]["innererror"]["code"], "NoAssignment");
    // What the token says of groups does not count, what the directory says does.
    let claimed = json!({"claims": {"groups": [crate::scenario::FABRIKAM_CALLERS.to_string()]}});
    assert_eq!(stage.exchange(&stage.token("megan", claimed)).await.status, 403);

    let scenario = stage.emulator.scenario();
    let megan = scenario.user("megan").unwrap();
    stage.emulator.set_assignments([Assignment {
        object_id: megan.object_id,
        tenant_id: FABRIKAM,
        principal_type: PrincipalType::User,
        client_ids: vec![scenario.client_app.client_id],
    }]);
    assert_eq!(stage.emulator.assignments().len(), 1);
    assert_eq!(stage.exchange(&stage.token("megan", json!({}))).await.status, 200);
    assert_eq!(stage.exchange(&stage.token("adele", json!({}))).await.status, 403);
}
