use serde_json::{Value, json};

use super::support::{ClientCertificate, JSON, stage};
use crate::scenario::{CONTOSO_API, CONTOSO_APP};

#[tokio::test]
async fn credentials_are_registered_over_http() {
    let stage = stage().await;
    let app = format!("/_emulator/apps/{CONTOSO_API}");
    let certificates = format!("{app}/certificates");
    let certificate = ClientCertificate::new();
    let answer = stage.send("POST", &certificates, &[], &certificate.pem).await;
    assert_eq!(
        (answer.status, &answer.json()["x5t#S256"]),
        (201, &json!(certificate.x5t_s256()))
    );
    assert_eq!(answer.json()["notAfter"], "2040-01-01T00:00:00Z");
    // Once more is no second one.
    stage.send("POST", &certificates, &[], &certificate.pem).await;
    assert_eq!(stage.get(&certificates).await.json(), json!([answer.json()]));
    assert_eq!(stage.send("POST", &certificates, &[], "x").await.status, 400);
    let one = format!("{certificates}/{}", answer.json()["thumbprint"].as_str().unwrap());
    assert_eq!(stage.send("DELETE", &one, &[], "").await.status, 204);
    assert_eq!(stage.send("DELETE", &one, &[], "").await.status, 404);

    let federated = format!("{app}/federated-credentials");
    let usual = stage.get(&federated).await.json();
    assert_eq!(usual.as_array().unwrap().len(), 2);
    assert_eq!(usual[0]["issuer"], stage.emulator.federated_issuer());
    let new = json!({"issuer": "/_emulator/federated/x", "subject": "s"});
    let answer = stage.send("POST", &federated, &[JSON], &new.to_string()).await;
    let expected = json!({
        "issuer": format!("{}/_emulator/federated/x", stage.emulator.origin()),
        "subject": "s",
        "audience": "api://AzureADTokenExchange",
    });
    assert_eq!((answer.status, answer.json()), (201, expected));
    for bad in [
        json!({}),
        json!({"issuer": "x"}),
        json!({"issuer": "x", "subject": "s", "more": 1}),
    ] {
        assert_eq!(
            stage.send("POST", &federated, &[], &bad.to_string()).await.status,
            400,
            "{bad}"
        );
    }
    assert_eq!(stage.send("DELETE", &federated, &[], "").await.status, 204);
    assert_eq!(stage.get(&federated).await.json(), json!([]));

    let secrets = json!({"secrets": [{"value": "a"}, {"value": "b", "expiresOn": "2027-01-01T00:00:00Z"}]});
    let path = format!("{app}/secrets");
    assert_eq!(stage.send("PUT", &path, &[], &secrets.to_string()).await.status, 204);
    let bad = json!({"secrets": [{"value": "a", "expiresOn": "tomorrow"}]});
    assert_eq!(stage.send("PUT", &path, &[], &bad.to_string()).await.status, 400);

    let keys = format!("{app}/signing-keys");
    let made = stage.send("POST", &keys, &[], "").await;
    assert_eq!((made.status, made.json()["keys"].as_array().unwrap().len()), (201, 2));
    assert_eq!(stage.send("DELETE", &keys, &[], "").await.status, 204);

    for (method, path) in [
        ("GET", format!("/_emulator/apps/{CONTOSO_APP}/certificates")),
        ("PUT", "/_emulator/apps/x/secrets".to_owned()),
        ("PUT", format!("/_emulator/apps/{CONTOSO_APP}/consent/fabrikam.com")),
        ("PUT", format!("{app}/consent/nobody")),
    ] {
        assert_eq!(stage.send(method, &path, &[], "").await.status, 404, "{method} {path}");
    }
}

#[tokio::test]
async fn consent_is_given_and_taken_over_http() {
    let stage = stage().await;
    let consented = || async {
        let apps = stage.get("/_emulator/apps").await.json();
        apps["apiApp"]["consentedBy"].as_array().unwrap().len()
    };
    assert_eq!(consented().await, 2);
    let path = format!("/_emulator/apps/{CONTOSO_API}/consent/fabrikam.com");
    assert_eq!(stage.send("DELETE", &path, &[], "").await.status, 204);
    assert_eq!(consented().await, 1);
    assert_eq!(stage.send("PUT", &path, &[], "").await.status, 204);
    assert_eq!(consented().await, 2);
}

#[tokio::test]
async fn the_registrations_are_listed() {
    let stage = stage().await;
    let apps = stage.get("/_emulator/apps").await.json();
    assert_eq!(apps["apiApp"]["clientId"], CONTOSO_API.to_string());
    assert_eq!(apps["apiApp"]["appIdUri"], format!("api://{CONTOSO_API}"));
    assert_eq!(apps["apiApp"]["secrets"], json!(["Emulated-Secret-Guards-Nothing"]));
    assert_eq!(
        apps["managedIdentity"]["identityEndpoint"],
        stage.emulator.identity_endpoint()
    );
    // Not for web pages from elsewhere.
    let page = [("origin", "https://evil.example")];
    assert_eq!(stage.send("GET", "/_emulator/apps", &page, "").await.status, 403);
}

#[tokio::test]
async fn settings_are_replaced_over_http() {
    let stage = stage().await;
    let path = "/_emulator/settings";
    let usual = json!({"token_lifetime": null, "assignments_page_size": 100});
    assert_eq!(stage.get(path).await.json(), usual);
    let answer = stage.send("PUT", path, &[], r#"{"token_lifetime": 600}"#).await;
    assert_eq!(
        answer.json(),
        json!({"token_lifetime": 600, "assignments_page_size": 100})
    );
    for bad in [
        r#"{"token_lifetime": 0}"#,
        r#"{"assignments_page_size": 0}"#,
        r#"{"x": 1}"#,
    ] {
        assert_eq!(stage.send("PUT", path, &[], bad).await.status, 400, "{bad}");
    }
    assert_eq!(stage.get(path).await.json()["token_lifetime"], 600);
    let without = stage.send("PUT", path, &[], r#"{"v1_documents": false}"#).await;
    assert_eq!(without.json()["v1_documents"], false);
    assert_eq!(stage.send("PUT", path, &[], "").await.json(), usual);
    assert_ne!(usual, Value::Null);
}
