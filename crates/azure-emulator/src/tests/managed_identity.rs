use serde_json::json;

use super::support::{JWT_BEARER, Pairs, claims, stage};
use crate::scenario::{CONTOSO, CONTOSO_API, CONTOSO_IDENTITY, CONTOSO_IDENTITY_PRINCIPAL};
use crate::{Endpoint, Fault};

const APP_SERVICE: &str = "/_emulator/msi/token?api-version=2019-08-01";
const IMDS: &str = "/metadata/identity/oauth2/token?api-version=2018-02-01";
const KEY: (&str, &str) = ("x-identity-header", "emulated-identity-header");
const METADATA: (&str, &str) = ("metadata", "true");

#[tokio::test]
async fn both_forms_give_the_identitys_tokens() {
    let stage = stage().await;
    assert_eq!(
        stage.emulator.identity_endpoint(),
        format!("{}/_emulator/msi/token", stage.emulator.origin())
    );
    for (path, header) in [(APP_SERVICE, KEY), (IMDS, METADATA)] {
        for (resource, audience) in [
            ("api://AzureADTokenExchange", "api://AzureADTokenExchange"),
            ("https://graph.microsoft.com", "https://graph.microsoft.com"),
            ("https://graph.microsoft.com/", "https://graph.microsoft.com"),
            ("https://communication.azure.com", "https://communication.azure.com"),
        ] {
            let answer = stage
                .send("GET", &format!("{path}&resource={resource}"), &[header], "")
                .await;
            assert_eq!(answer.status, 200, "{path} {resource}");
            let body = answer.json();
            assert_eq!(
                (&body["token_type"], &body["resource"]),
                (&json!("Bearer"), &json!(resource))
            );
            assert_eq!(body["client_id"], CONTOSO_IDENTITY.to_string());
            let token = claims(body["access_token"].as_str().unwrap());
            assert_eq!(token["aud"], audience);
            assert_eq!(token["sub"], CONTOSO_IDENTITY_PRINCIPAL.to_string());
            assert_eq!(token["idtyp"], "app");
            assert_eq!(token["roles"].is_array(), audience == "https://graph.microsoft.com");
            // A number in text, in both forms.
            assert_eq!(body["expires_on"], token["exp"].to_string());
        }
    }
    let imds = stage
        .send(
            "GET",
            &format!("{IMDS}&resource=https://graph.microsoft.com"),
            &[METADATA],
            "",
        )
        .await;
    assert!(imds.json()["expires_in"].is_string());
    assert_eq!(stage.emulator.count(Endpoint::ManagedIdentity), 9);
}

#[tokio::test]
async fn its_token_stands_in_for_the_apps_credential() {
    let stage = stage().await;
    let path = format!("{APP_SERVICE}&resource=api://AzureADTokenExchange&client_id={CONTOSO_IDENTITY}");
    let identity = stage.send("GET", &path, &[KEY], "").await.json();
    let assertion = identity["access_token"].as_str().unwrap();
    assert_eq!(
        claims(assertion)["iss"],
        format!("{}/{CONTOSO}/v2.0", stage.emulator.origin())
    );
    let id = CONTOSO_API.to_string();
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", id.as_str()),
        ("scope", "https://graph.microsoft.com/.default"),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", assertion),
    ];
    assert_eq!(stage.ask("fabrikam.com", &fields).await.status, 200);
    // A token for another API of the same identity does not.
    let path = format!("{APP_SERVICE}&resource={id}");
    let other = stage.send("GET", &path, &[KEY], "").await.json();
    let fields = super::support::changed(
        &fields,
        &[("client_assertion", other["access_token"].as_str().unwrap())],
    );
    let answer = stage.ask("fabrikam.com", &fields).await;
    assert_eq!(answer.json()["error_codes"], json!([700_212]));
}

#[tokio::test]
async fn the_request_is_checked() {
    let stage = stage().await;
    let graph = "&resource=https://graph.microsoft.com";
    let cases: [(String, Pairs<'_>, u16); 10] = [
        (format!("{APP_SERVICE}{graph}"), &[], 401),
        (format!("{APP_SERVICE}{graph}"), &[("x-identity-header", "x")], 401),
        (format!("/_emulator/msi/token?{}", &graph[1..]), &[KEY], 400),
        (APP_SERVICE.to_owned(), &[KEY], 400),
        (format!("{APP_SERVICE}&resource=https://elsewhere.example"), &[KEY], 400),
        (format!("{APP_SERVICE}{graph}&client_id={CONTOSO_API}"), &[KEY], 400),
        (format!("{IMDS}{graph}"), &[], 400),
        (format!("{IMDS}{graph}"), &[("metadata", "false")], 400),
        (IMDS.to_owned(), &[METADATA], 400),
        (
            format!("/metadata/identity/oauth2/token?{}", &graph[1..]),
            &[METADATA],
            400,
        ),
    ];
    for (path, headers, status) in cases {
        assert_eq!(
            stage.send("GET", &path, headers, "").await.status,
            status,
            "{path} {headers:?}"
        );
    }
    stage
        .emulator
        .set_fault(Endpoint::ManagedIdentity, Fault::status(500).times(1))
        .unwrap();
    let path = format!("{IMDS}{graph}");
    assert_eq!(stage.send("GET", &path, &[METADATA], "").await.status, 500);
    assert_eq!(stage.send("GET", &path, &[METADATA], "").await.status, 200);
}
