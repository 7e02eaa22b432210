//! What clients ask before a sign-in, and where that leads.

use serde_json::{Value, json};

use super::support::{claims, stage};
use crate::scenario::{CONTOSO, FABRIKAM};

#[tokio::test]
async fn documents_name_only_endpoints_that_answer() {
    let stage = stage().await;
    let origin = stage.emulator.origin();
    for (path, issuer) in [
        ("common/v2.0".to_owned(), format!("{origin}/{{tenantid}}/v2.0")),
        ("organizations/v2.0".to_owned(), format!("{origin}/{{tenantid}}/v2.0")),
        ("common".to_owned(), format!("{origin}/sts/{{tenantid}}/")),
        (format!("{FABRIKAM}/v2.0"), format!("{origin}/{FABRIKAM}/v2.0")),
        (FABRIKAM.to_string(), format!("{origin}/sts/{FABRIKAM}/")),
        (format!("sts/{FABRIKAM}"), format!("{origin}/sts/{FABRIKAM}/")),
    ] {
        let document = stage
            .get(&format!("/{path}/.well-known/openid-configuration"))
            .await
            .json();
        assert_eq!(document["issuer"], issuer);
        let mut named = 0;
        for (name, address) in document.as_object().unwrap() {
            let Some(path) = address.as_str().and_then(|text| text.strip_prefix(&origin)) else {
                // Nothing leads away from this machine.
                let is_address = address.as_str().is_some_and(|text| text.contains("://"));
                assert!(!is_address && !name.ends_with("_endpoint"), "{name} {address}");
                continue;
            };
            if name == "issuer" {
                continue;
            }
            named += 1;
            for method in ["GET", "POST"] {
                let status = stage.send(method, path, &[], "").await.status;
                assert_ne!(status, 404, "{method} {name} {address}");
            }
        }
        assert_eq!(named, 5, "{document}");
    }
}

#[tokio::test]
async fn many_tenants_have_all_keys_each_with_its_issuer() {
    let stage = stage().await;
    let origin = stage.emulator.origin();
    for many in ["common", "organizations", "COMMON"] {
        let keys = stage.get(&format!("/{many}/discovery/v2.0/keys")).await.json();
        let issuers: Vec<&Value> = keys["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| &key["issuer"])
            .collect();
        assert_eq!(
            issuers,
            [CONTOSO, FABRIKAM]
                .map(|tenant| json!(format!("{origin}/{tenant}/v2.0")))
                .iter()
                .collect::<Vec<_>>()
        );
        let keys = stage.get(&format!("/{many}/discovery/keys")).await.json();
        assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn libraries_learn_hosts_and_realms() {
    let stage = stage().await;
    let origin = stage.emulator.origin();
    let path = format!(
        "/common/discovery/instance?api-version=1.1&authorization_endpoint={origin}/{FABRIKAM}/oauth2/v2.0/authorize"
    );
    let body = stage.get(&path).await.json();
    assert_eq!(
        body["tenant_discovery_endpoint"],
        format!("{origin}/{FABRIKAM}/v2.0/.well-known/openid-configuration")
    );
    assert_eq!(body["metadata"][0]["preferred_network"], stage.host());
    let path = "/common/discovery/instance?authorization_endpoint=https://evil.example/common/oauth2/v2.0/authorize";
    let answer = stage.get(path).await;
    assert_eq!(
        (answer.status, answer.json()["error"].clone()),
        (400, json!("invalid_instance"))
    );

    let realm = stage
        .get("/common/userrealm/adele@fabrikam.com?api-version=1.0")
        .await
        .json();
    assert_eq!(
        (&realm["account_type"], &realm["domain_name"]),
        (&json!("Managed"), &json!("fabrikam.com"))
    );
    let realm = stage.get("/common/userrealm/a%40elsewhere.example").await.json();
    assert_eq!(realm["account_type"], "Unknown");
}

#[tokio::test]
async fn a_token_that_has_ended_was_issued_before_its_end() {
    let stage = stage().await;
    for lifetime in [-300, -3600, -1, 0] {
        let claims = claims(&stage.token("adele", json!({"lifetime": lifetime})));
        let number = |name: &str| claims[name].as_i64().unwrap();
        assert_eq!(number("exp"), super::support::NOW + lifetime);
        assert!(
            number("iat") < number("exp") && number("nbf") < number("exp"),
            "{claims}"
        );
    }
}
