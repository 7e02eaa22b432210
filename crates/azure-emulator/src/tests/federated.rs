use serde_json::json;

use super::support::{NOW, claims, stage};
use crate::FederatedTokenRequest;

#[tokio::test]
async fn a_clusters_token_verifies_by_its_discovery_document() {
    let stage = stage().await;
    let issuer = stage.emulator.federated_issuer();
    assert_eq!(
        issuer,
        format!("{}/_emulator/federated/contoso-aks", stage.emulator.origin())
    );
    let token = stage
        .emulator
        .federated_token(&FederatedTokenRequest::default())
        .unwrap();
    let stated = claims(&token);
    assert_eq!(stated["iss"], issuer);
    assert_eq!(stated["sub"], "system:serviceaccount:default:acs-token-broker");
    assert_eq!(stated["aud"], json!(["api://AzureADTokenExchange"]));
    assert_eq!((&stated["iat"], &stated["exp"]), (&json!(NOW), &json!(NOW + 3600)));
    assert_eq!(stated["kubernetes.io"]["serviceaccount"]["name"], "acs-token-broker");

    let document = stage
        .get("/_emulator/federated/contoso-aks/.well-known/openid-configuration")
        .await
        .json();
    assert_eq!(document["issuer"], issuer);
    let keys = document["jwks_uri"]
        .as_str()
        .unwrap()
        .strip_prefix(&stage.emulator.origin())
        .unwrap();
    let keys = stage.get(keys).await.json();
    let kid = crate::jwt::decode(&token).unwrap().header["kid"].clone();
    assert_eq!(
        (keys["keys"].as_array().unwrap().len(), &keys["keys"][0]["kid"]),
        (1, &kid)
    );
    let other = stage.get("/_emulator/federated/other/openid/v1/jwks").await.json();
    assert_ne!(other["keys"][0]["kid"], kid, "clusters have keys of their own");
    assert_eq!(stage.get("/_emulator/federated/a_b/openid/v1/jwks").await.status, 404);
    let bad = serde_json::from_value(json!({"cluster": "../x"})).unwrap();
    assert!(stage.emulator.federated_token(&bad).is_err());
}

#[tokio::test]
async fn tokens_are_had_over_http() {
    let stage = stage().await;
    let path = "/_emulator/federated-token";
    let answer = stage
        .send(
            "POST",
            path,
            &[],
            r#"{"lifetime": 60, "subject": "s", "audience": "a"}"#,
        )
        .await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    let body = answer.json();
    let stated = claims(body["token"].as_str().unwrap());
    assert_eq!(
        (&stated["sub"], &stated["aud"], &stated["exp"]),
        (&json!("s"), &json!(["a"]), &json!(NOW + 60))
    );
    assert_eq!((&body["issuer"], &body["expires_on"]), (&stated["iss"], &stated["exp"]));
    assert!(stated.get("kubernetes.io").is_none());

    let bare = stage.send("POST", path, &[("accept", "text/plain")], "").await;
    assert!(bare.header("content-type").unwrap().starts_with("text/plain"));
    assert!(claims(std::str::from_utf8(&bare.body).unwrap())["iss"].is_string());
    for bad in [r#"{"x": 1}"#, r#"{"cluster": "a b"}"#] {
        assert_eq!(stage.send("POST", path, &[], bad).await.status, 400, "{bad}");
    }
    assert!(stage.emulator.journal().is_empty(), "controls are in no journal");
}
