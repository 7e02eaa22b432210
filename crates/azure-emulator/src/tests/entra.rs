use serde_json::json;

use super::support::{Pairs, claims, entra_error, stage};
use crate::scenario::{CONTOSO_APP, FABRIKAM, FABRIKAM_CALLERS, FABRIKAM_NIGHT_SHIFT};

#[tokio::test]
async fn discovery_points_to_itself() {
    let stage = stage().await;
    let origin = stage.emulator.origin();
    for tenant in [
        FABRIKAM.to_string(),
        FABRIKAM.to_string().to_uppercase(),
        "fabrikam.com".to_owned(),
    ] {
        let v2 = stage
            .get(&format!("/{tenant}/v2.0/.well-known/openid-configuration"))
            .await
            .json();
        assert_eq!(v2["issuer"], format!("{origin}/{FABRIKAM}/v2.0"));
        assert_eq!(v2["jwks_uri"], format!("{origin}/{FABRIKAM}/discovery/v2.0/keys"));
        assert_eq!(v2["token_endpoint"], format!("{origin}/{FABRIKAM}/oauth2/v2.0/token"));
        let v1 = stage
            .get(&format!(
                "/{tenant}/.well-known/openid-configuration?appid={CONTOSO_APP}"
            ))
            .await
            .json();
        assert_eq!(v1["issuer"], format!("{origin}/sts/{FABRIKAM}/"));
        assert_eq!(
            v1["jwks_uri"],
            format!("{origin}/{FABRIKAM}/discovery/keys?appid={CONTOSO_APP}")
        );
    }
    let keys = stage.get(&format!("/{FABRIKAM}/discovery/v2.0/keys")).await.json();
    assert_eq!(keys["keys"][0]["issuer"], format!("{origin}/{FABRIKAM}/v2.0"));
    assert_eq!(keys, stage.emulator.jwks("Fabrikam").unwrap());
    let keys = stage.get(&format!("/{FABRIKAM}/discovery/keys")).await.json();
    assert_eq!(
        keys["keys"][0]["kid"],
        stage.emulator.current_kid("fabrikam.com").unwrap()
    );
}

#[tokio::test]
async fn an_unknown_tenant_gets_entras_error() {
    let stage = stage().await;
    for path in [
        "/nobody/v2.0/.well-known/openid-configuration",
        "/nobody/.well-known/openid-configuration",
        "/nobody/discovery/v2.0/keys",
        "/nobody/discovery/keys",
    ] {
        let answer = stage.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        let body = answer.json();
        assert_eq!(body["error"], "invalid_tenant");
        assert_eq!(body["error_codes"], json!([90002]));
        assert!(
            body["error_description"]
                .as_str()
                .unwrap()
                .starts_with("AADSTS90002: Tenant 'nobody' not found.")
        );
        assert_eq!(body["timestamp"], "2026-01-01 00:00:00Z");
        assert!(body["trace_id"].is_string() && body["correlation_id"].is_string());
    }
}

#[tokio::test]
async fn tokens_look_like_entras() {
    let stage = stage().await;
    let origin = stage.emulator.origin();
    let now = 1_767_225_600;

    let v2 = claims(&stage.token("adele", json!({"lifetime": 3600})));
    assert_eq!(v2["iss"], format!("{origin}/{FABRIKAM}/v2.0"));
    assert_eq!(v2["aud"], "2a04943b-b6a7-4f65-8786-2bb6131b59f6");
    assert_eq!((&v2["ver"], &v2["scp"]), (&json!("2.0"), &json!("VoIP VoIP.Join")));
    assert_eq!(v2["azp"], CONTOSO_APP.to_string());
    assert_eq!((&v2["iat"], &v2["nbf"]), (&json!(now - 300), &json!(now - 300)));
    assert_eq!(v2["exp"], now + 3600);
    for absent in ["groups", "_claim_names", "hasgroups", "appid", "roles", "idtyp"] {
        assert!(v2.get(absent).is_none(), "{absent}");
    }

    let v1 = claims(&stage.token("adele", json!({"version": "1.0", "scopes": "VoIP"})));
    assert_eq!(v1["iss"], format!("{origin}/sts/{FABRIKAM}/"));
    assert_eq!(v1["aud"], "https://communication.azure.com/clients");
    assert_eq!((&v1["ver"], &v1["scp"]), (&json!("1.0"), &json!("VoIP")));
    assert_eq!(v1["appid"], CONTOSO_APP.to_string());
    assert!(v1.get("azp").is_none());

    let daemon = claims(&stage.token("app-only", json!({})));
    assert_eq!(daemon["idtyp"], "app");
    assert!(daemon["roles"].is_array() && daemon.get("scp").is_none());

    let lifetime = v1["exp"].as_i64().unwrap() - now;
    assert!((3600..5400).contains(&lifetime), "{lifetime}");
}

#[tokio::test]
async fn groups_are_given_to_ones_own_api_only() {
    let stage = stage().await;
    let own = json!({"audience": "api://mine"});
    assert_eq!(
        claims(&stage.token("adele", own.clone()))["groups"],
        json!([FABRIKAM_CALLERS.to_string()])
    );
    assert!(claims(&stage.token("megan", own.clone())).get("groups").is_none());
    let many = claims(&stage.token("lidia", own));
    assert!(many.get("groups").is_none());
    assert_eq!(many["_claim_names"], json!({"groups": "src1"}));
    assert!(many["_claim_sources"]["src1"]["endpoint"].is_string());
    assert!(claims(&stage.token("lidia", json!({}))).get("_claim_names").is_none());
    // The broker's own API is such a one, and groups within groups count.
    let many = claims(&stage.token("lidia", json!({"audience": "api"})));
    assert!(many.get("groups").is_none() && many["_claim_names"].is_object());
    let nested = claims(&stage.token("nestor", json!({"audience": "api"})));
    assert_eq!(
        nested["groups"],
        json!([FABRIKAM_NIGHT_SHIFT.to_string(), FABRIKAM_CALLERS.to_string()])
    );
    let overage = claims(&stage.token("adele", json!({"groups": "overage"})));
    assert!(overage.get("_claim_names").is_some());
    let changed = claims(&stage.token("adele", json!({"claims": {"oid": null, "xms_cc": ["cp1"]}})));
    assert!(changed.get("oid").is_none() && changed["xms_cc"] == json!(["cp1"]));
}

#[tokio::test]
async fn the_password_grant_checks_what_entra_checks() {
    let stage = stage().await;
    let form = |changes: &[(&str, &str)]| {
        let client = CONTOSO_APP.to_string();
        let mut fields = vec![
            ("grant_type", "password"),
            ("client_id", client.as_str()),
            ("scope", "openid https://communication.azure.com/clients/VoIP"),
            ("username", "adele@fabrikam.com"),
            ("password", "Emulated-Pa55"),
        ];
        for (name, value) in changes {
            fields.retain(|(found, _)| found != name);
            fields.push((name, value));
        }
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        form.finish()
    };
    let path = format!("/{FABRIKAM}/oauth2/v2.0/token");
    let headers = [("content-type", "application/x-www-form-urlencoded")];

    let answer = stage.send("POST", &path, &headers, &form(&[])).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["scope"], "https://communication.azure.com/clients/VoIP");
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(claims(token)["scp"], "VoIP");
    assert_eq!(stage.exchange(token).await.status, 200);

    let own = format!("api://{CONTOSO_APP}/.default");
    let answer = stage.send("POST", &path, &headers, &form(&[("scope", &own)])).await;
    let claims = claims(answer.json()["access_token"].as_str().unwrap());
    assert_eq!(claims["aud"], CONTOSO_APP.to_string());
    assert!(claims["groups"].is_array());

    let chat = "https://communication.azure.com/clients/Chat";
    let cases: [(Pairs<'_>, &str, u32); 12] = [
        (&[("grant_type", "magic")], "unsupported_grant_type", 70003),
        (&[("grant_type", "")], "invalid_request", 900_144),
        (&[("client_id", "")], "invalid_request", 900_144),
        (&[("scope", "")], "invalid_request", 900_144),
        (&[("password", "")], "invalid_request", 900_144),
        (&[("client_id", "x")], "unauthorized_client", 700_016),
        (&[("password", "x")], "invalid_grant", 50126),
        (&[("username", "adele@contoso.com")], "invalid_grant", 50034),
        (&[("scope", "VoIP")], "invalid_scope", 70011),
        (&[("scope", "profile offline_access")], "invalid_scope", 70011),
        (&[("scope", "https://elsewhere.example/x")], "invalid_resource", 500_011),
        (&[("scope", chat)], "invalid_grant", 65001),
    ];
    for (changes, error, code) in cases {
        let answer = stage.send("POST", &path, &headers, &form(changes)).await;
        assert_eq!(answer.status, 400, "{changes:?}");
        assert_eq!(answer.json()["error"], error, "{changes:?}");
        assert_eq!(answer.json()["error_codes"], json!([code]), "{changes:?}");
    }

    let doubled = format!("{}&scope=x", form(&[]));
    let answer = stage.send("POST", &path, &headers, &doubled).await;
    assert_eq!(answer.json()["error_codes"], json!([9_000_411]));
    let json_type = [("content-type", "application/json")];
    let answer = stage.send("POST", &path, &json_type, &form(&[])).await;
    assert_eq!(answer.json()["error_codes"], json!([900_144]));
    let answer = stage
        .send("POST", "/nobody/oauth2/v2.0/token", &headers, &form(&[]))
        .await;
    assert_eq!(answer.json()["error"], "invalid_tenant");
    let huge = "x".repeat(65 * 1024);
    assert_eq!(stage.send("POST", &path, &headers, &huge).await.status, 413);
    assert_eq!(stage.emulator.journal().pop().unwrap().status, Some(413));
}

#[tokio::test]
async fn an_unknown_grant_is_unsupported_in_every_tenant() {
    let stage = stage().await;
    let client = CONTOSO_APP.to_string();
    for tenant in ["fabrikam.com", "organizations", "common"] {
        let answer = stage
            .ask(tenant, &[("grant_type", "magic"), ("client_id", &client)])
            .await;
        let expected = (400, "unsupported_grant_type".to_owned(), 70003);
        assert_eq!(entra_error(&answer), expected, "{tenant}");
    }
}
