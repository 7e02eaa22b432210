use http::HeaderMap;
use serde_json::{Value, json};

use super::support::{Answer, DATE, Stage, claims, stage};
use crate::Settings;
use crate::acs::sign_for_test;
use crate::scenario::{CONTOSO, CONTOSO_APP, FABRIKAM};

const VERSION: &str = "api-version=2025-03-02-preview";

async fn signed_as(stage: &Stage, method: &str, path: &str, content_type: &str, body: &str) -> Answer {
    let key = &stage.emulator.scenario().resource.access_key;
    let signature = sign_for_test(method, path, &stage.host(), DATE, body.as_bytes(), key);
    send_with(stage, method, path, content_type, body, &signature).await
}

async fn send_with(
    stage: &Stage,
    method: &str,
    path: &str,
    content_type: &str,
    body: &str,
    signature: &HeaderMap,
) -> Answer {
    let mut headers = vec![("content-type", content_type)];
    for (name, value) in signature {
        headers.push((name.as_str(), value.to_str().unwrap()));
    }
    stage.send(method, path, &headers, body).await
}

async fn signed(stage: &Stage, method: &str, path: &str, body: &str) -> Answer {
    signed_as(stage, method, path, "application/json", body).await
}

#[tokio::test]
async fn unsigned_and_missigned_requests_are_denied() {
    let stage = stage().await;
    let path = format!("/access/entra/assignments?{VERSION}");
    let answer = stage.get(&path).await;
    assert_eq!(answer.status, 401);
    let denied = json!({"error": {"code": "Denied", "message": "Denied by the resource provider."}});
    assert_eq!(answer.json(), denied);
    let key = &stage.emulator.scenario().resource.access_key;
    let good = sign_for_test("GET", &path, &stage.host(), DATE, b"", key);
    let other_path = format!("{path}&x=1");
    let cases = [
        (
            sign_for_test("GET", &path, &stage.host(), DATE, b"", b"other"),
            path.as_str(),
        ),
        (sign_for_test("GET", &path, "other", DATE, b"", key), &path),
        (sign_for_test("PUT", &path, &stage.host(), DATE, b"", key), &path),
        (
            sign_for_test("GET", &path, &stage.host(), "Thu, 01 Jan 2026 00:06:00 GMT", b"", key),
            &path,
        ),
        (good.clone(), &other_path),
    ];
    for (number, (signature, path)) in cases.iter().enumerate() {
        let answer = send_with(&stage, "GET", path, "application/json", "", signature).await;
        assert_eq!(answer.status, 401, "case {number}");
    }
    assert_eq!(send_with(&stage, "GET", &path, "a/b", "", &good).await.status, 200);
}

#[tokio::test]
async fn assignments_can_be_managed() {
    let stage = stage().await;
    let list = format!("/access/entra/assignments?{VERSION}");
    assert_eq!(
        signed(&stage, "GET", &list, "").await.json()["value"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let megan = stage.emulator.scenario().user("megan").unwrap().object_id.to_string();
    let one = format!("/access/entra/assignments/{megan}?{VERSION}");
    assert_eq!(signed(&stage, "GET", &one, "").await.status, 404);

    let body = json!({
        "tenantId": FABRIKAM.to_string(),
        "principalType": "user",
        "clientIds": [CONTOSO_APP.to_string()],
    });
    let created = signed(&stage, "PUT", &one, &body.to_string()).await;
    assert_eq!(created.status, 201);
    let mut expected = body.clone();
    expected["objectId"] = json!(megan);
    assert_eq!(created.json(), expected);
    assert_eq!(signed(&stage, "PUT", &one, &body.to_string()).await.status, 200);
    assert_eq!(signed(&stage, "GET", &one, "").await.json(), expected);
    assert_eq!(stage.exchange(&stage.token("megan", json!({}))).await.status, 200);

    assert_eq!(signed(&stage, "DELETE", &one, "").await.status, 204);
    assert_eq!(signed(&stage, "GET", &one, "").await.status, 404);
    assert_eq!(stage.exchange(&stage.token("megan", json!({}))).await.status, 403);

    let patch = "application/merge-patch+json";
    let changes = json!({megan.as_str(): body, CONTOSO.to_string(): null}).to_string();
    let answer = signed_as(&stage, "PATCH", &list, patch, &changes).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"value": [expected]})));
    assert_eq!(stage.exchange(&stage.token("diego", json!({}))).await.status, 403);
    let removal = json!({megan.as_str(): null}).to_string();
    assert_eq!(signed_as(&stage, "PATCH", &list, patch, &removal).await.status, 204);
    assert_eq!(signed(&stage, "PATCH", &list, &removal).await.status, 415);

    let bad = json!({"tenantId": FABRIKAM.to_string(), "principalType": "tenant", "clientIds": ["x"]});
    let answer = signed(&stage, "PUT", &one, &bad.to_string()).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["target"]),
        (400, &json!("objectId"))
    );
    let other_version = "/access/entra/assignments?api-version=2023-10-01";
    let answer = signed(&stage, "GET", other_version, "").await;
    assert_eq!(answer.json()["error"]["code"], "UnsupportedApiVersionValue");
}

#[tokio::test]
async fn identities_live_and_end() {
    let stage = stage().await;
    let create = "/identities?api-version=2023-10-01";
    let plain = signed(&stage, "POST", create, "{}").await;
    assert_eq!(plain.status, 201);
    assert!(plain.json().get("accessToken").is_none());
    // What the SDK's `createUser()` sends.
    assert_eq!(signed(&stage, "POST", create, "").await.status, 201);

    let body = json!({"createTokenWithScopes": ["chat", "voip"], "expiresInMinutes": 60}).to_string();
    let created = signed(&stage, "POST", create, &body).await.json();
    assert_eq!(created["accessToken"]["expiresOn"], "2026-01-01T01:00:00.0000000+00:00");
    let token = claims(created["accessToken"]["token"].as_str().unwrap());
    assert_eq!(token["acsScope"], "chat,voip");

    // The SDK percent-encodes the colons, and signs the path that way.
    let id = created["identity"]["id"].as_str().unwrap().replace(':', "%3A");
    let issue = format!("/identities/{id}/:issueAccessToken?api-version=2023-10-01");
    let scopes = json!({"scopes": ["chat.join"]}).to_string();
    let issued = signed(&stage, "POST", &issue, &scopes).await;
    assert_eq!(issued.status, 200);
    assert_eq!(issued.json()["expiresOn"], "2026-01-02T00:00:00.0000000+00:00");
    let revoke = format!("/identities/{id}/:revokeAccessTokens?api-version=2023-10-01");
    assert_eq!(signed(&stage, "POST", &revoke, "").await.status, 204);
    let delete = format!("/identities/{id}?api-version=2023-10-01");
    assert_eq!(signed(&stage, "DELETE", &delete, "").await.status, 204);
    for (method, path, body) in [
        ("POST", &issue, scopes.as_str()),
        ("POST", &revoke, ""),
        ("DELETE", &delete, ""),
    ] {
        let answer = signed(&stage, method, path, body).await;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.json()["error"]["code"], "IdentityNotFound");
    }

    let bad: [Value; 6] = [
        json!({"createTokenWithScopes": ["x"]}),
        json!({"createTokenWithScopes": "chat"}),
        json!({"expiresInMinutes": 59}),
        json!({"expiresInMinutes": 1441}),
        json!({"expiresInMinutes": "60"}),
        json!({"customId": "stable versions do not know it"}),
    ];
    for body in bad {
        let answer = signed(&stage, "POST", create, &body.to_string()).await;
        assert_eq!(answer.status, 400, "{body}");
    }
}

#[tokio::test]
async fn a_custom_id_always_gets_the_same_identity() {
    let stage = stage().await;
    let create = format!("/identities?{VERSION}");
    let body = json!({"customId": "fabrikam/adele", "createTokenWithScopes": ["chat"]}).to_string();
    let first = signed(&stage, "POST", &create, &body).await;
    let second = signed(&stage, "POST", &create, &body).await;
    assert_eq!((first.status, second.status), (201, 200));
    assert_eq!(first.json()["identity"], second.json()["identity"]);
    assert_ne!(first.json()["accessToken"], second.json()["accessToken"]);
    let long = json!({"customId": "x".repeat(257)}).to_string();
    assert_eq!(signed(&stage, "POST", &create, &long).await.status, 400);
}

#[tokio::test]
async fn assignments_come_in_pages() {
    let stage = stage().await;
    stage
        .emulator
        .set_settings(Settings {
            assignments_page_size: 2,
            ..Settings::default()
        })
        .unwrap();
    let all: Vec<String> = stage
        .emulator
        .assignments()
        .iter()
        .map(|assignment| assignment.object_id.to_string())
        .collect();
    for (query, sizes) in [
        ("", &[2, 1][..]),
        ("&maxpagesize=1", &[1, 1, 1]),
        ("&maxpagesize=50", &[2, 1]),
    ] {
        let mut path = format!("/access/entra/assignments?{VERSION}{query}");
        let mut seen = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            let page = signed(&stage, "GET", &path, "").await.json();
            let value = page["value"].as_array().unwrap();
            assert_eq!(value.len(), *size, "{query}");
            seen.extend(value.iter().map(|found| found["objectId"].as_str().unwrap().to_owned()));
            match page["nextLink"].as_str() {
                Some(link) => path = link.strip_prefix(&stage.emulator.origin()).unwrap().to_owned(),
                None => assert_eq!(number + 1, sizes.len(), "{query}"),
            }
        }
        assert_eq!(seen, all, "{query}");
    }
    for bad in ["maxpagesize=0", "maxpagesize=x", "skipToken=x"] {
        let path = format!("/access/entra/assignments?{VERSION}&{bad}");
        assert_eq!(signed(&stage, "GET", &path, "").await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn an_apps_entra_token_counts_as_much_as_the_access_key() {
    let stage = stage().await;
    let list = format!("/access/entra/assignments?{VERSION}");
    let create = format!("/identities?{VERSION}");
    let of = |tenant: &str, resource: &str| stage.emulator.issue_app_token(tenant, resource, &[]).unwrap();
    let good = of("Contoso", "https://communication.azure.com");
    assert_eq!(stage.send_as(&good, "GET", &list, "").await.status, 200);
    assert_eq!(stage.send_as(&good, "POST", &create, "{}").await.status, 201);
    let identity = "/_emulator/msi/token?api-version=2019-08-01&resource=https://communication.azure.com";
    let key = [("x-identity-header", "emulated-identity-header")];
    let identity = stage.send("GET", identity, &key, "").await.json();
    let identity = identity["access_token"].as_str().unwrap();
    assert_eq!(stage.send_as(identity, "GET", &list, "").await.status, 200);

    let bad = [
        "x".to_owned(),
        of("Contoso", "https://graph.microsoft.com"),
        of("Fabrikam", "https://communication.azure.com"),
        stage.token("diego", json!({})),
        stage.token("diego", json!({"audience": "https://communication.azure.com"})),
        stage.token(
            "app-only",
            json!({"audience": "https://communication.azure.com", "lifetime": -300}),
        ),
    ];
    for (number, token) in bad.iter().enumerate() {
        assert_eq!(
            stage.send_as(token, "GET", &list, "").await.status,
            401,
            "case {number}"
        );
    }
    // Entra's token is good, but the app has no role on the resource.
    let stranger = stage.token("app-only", json!({"audience": "https://communication.azure.com"}));
    let answer = stage.send_as(&stranger, "GET", &list, "").await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (403, &json!("Forbidden"))
    );
    stage.clock.advance(std::time::Duration::from_secs(5400 + 300));
    assert_eq!(stage.send_as(&good, "GET", &list, "").await.status, 401);
}
