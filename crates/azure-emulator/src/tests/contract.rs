//! The stable interface of 2025-06-30 and 2026-09-23, operation by operation, in the shapes of the specification's
//! examples [data-plane Identity, `stable/*/examples`]: the members of each request and answer, and no others.

use serde_json::{Value, json};

use super::support::{Answer, Stage, stage};
use crate::scenario::{CONTOSO, CONTOSO_APP};

const STABLE: [&str; 2] = ["2025-06-30", "2026-09-23"];

/// The names of all members with the kind of their values.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), shape(value)))
            .collect(),
        Value::Array(items) => items.first().map_or(json!([]), |item| json!([shape(item)])),
        Value::String(text) if is_end(text) => json!("time"),
        Value::String(_) => json!("text"),
        other => panic!("not in any example: {other}"),
    }
}

/// `2025-07-10T21:39:39.3244584+00:00`: seven digits of a second and an offset.
fn is_end(text: &str) -> bool {
    let digits = text.split_once('.').and_then(|(_, rest)| rest.get(..7));
    digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        && text.parse::<jiff::Timestamp>().is_ok()
}

/// A request by the resource's own administrator.
async fn managed(stage: &Stage, version: &str, method: &str, path: &str, body: Value) -> Answer {
    let audience = "https://communication.azure.com";
    let manager = stage.emulator.issue_app_token("Contoso", audience, &[]).unwrap();
    let text = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let path = format!("{path}?api-version={version}");
    stage.send_as(&manager, method, &path, &text).await
}

#[tokio::test]
async fn identities() {
    let scopes = json!(["chat", "voip", "chat.join", "chat.join.limited", "voip.join"]);
    let token = json!({"token": "text", "expiresOn": "time"});
    for version in STABLE {
        let stage = stage().await;
        let body = json!({"createTokenWithScopes": scopes, "expiresInMinutes": 60});
        let created = managed(&stage, version, "POST", "/identities", body).await;
        let answer = created.json();
        assert_eq!(
            (created.status, shape(&answer)),
            (201, json!({"identity": {"id": "text"}, "accessToken": token})),
            "{version}"
        );
        // The access token is there only where it was asked for.
        let bare = managed(&stage, version, "POST", "/identities", json!({})).await;
        assert_eq!(
            (bare.status, shape(&bare.json())),
            (201, json!({"identity": {"id": "text"}})),
            "{version}"
        );
        let id = answer["identity"]["id"].as_str().unwrap();
        let body = json!({"scopes": scopes, "expiresInMinutes": 60});
        let issued = managed(
            &stage,
            version,
            "POST",
            &format!("/identities/{id}/:issueAccessToken"),
            body,
        )
        .await;
        assert_eq!(
            (issued.status, shape(&issued.json())),
            (200, token.clone()),
            "{version}"
        );
        for (method, path) in [
            ("POST", format!("/identities/{id}/:revokeAccessTokens")),
            ("DELETE", format!("/identities/{id}")),
        ] {
            let answer = managed(&stage, version, method, &path, Value::Null).await;
            assert_eq!((answer.status, answer.body.len()), (204, 0), "{version} {method}");
        }
    }
}

#[tokio::test]
async fn teams_extension() {
    let shown = json!({"objectId": "text", "tenantId": "text", "principalType": "text"});
    for version in STABLE {
        let stage = stage().await;
        let user = stage.emulator.scenario().user("adele").unwrap();
        let path = format!(
            "/access/teamsExtension/tenants/{}/assignments/{}",
            user.tenant_id, user.object_id
        );
        let body = json!({"principalType": "resourceAccount"});
        for (status, note) in [(201, "made"), (200, "replaced")] {
            let put = managed(&stage, version, "PUT", &path, body.clone()).await;
            assert_eq!(
                (put.status, shape(&put.json())),
                (status, shown.clone()),
                "{version} {note}"
            );
        }
        let got = managed(&stage, version, "GET", &path, Value::Null).await;
        assert_eq!((got.status, shape(&got.json())), (200, shown.clone()), "{version}");
        let mut with_clients = shown.clone();
        with_clients["clientIds"] = json!(["text"]);
        let body = json!({"principalType": "user", "clientIds": [CONTOSO_APP.to_string()]});
        let put = managed(&stage, version, "PUT", &path, body).await;
        assert_eq!((put.status, shape(&put.json())), (200, with_clients), "{version}");

        let token = stage.token("adele", json!({"audience": "teams"}));
        let exchange = format!("/access/teamsExtension/:exchangeAccessToken?api-version={version}");
        let exchanged = stage.send_as(&token, "POST", &exchange, "{}").await;
        let wanted = json!({"identity": {"id": "text"}, "accessToken": {"token": "text", "expiresOn": "time"}});
        assert_eq!((exchanged.status, shape(&exchanged.json())), (200, wanted), "{version}");

        let deleted = managed(&stage, version, "DELETE", &path, Value::Null).await;
        assert_eq!((deleted.status, deleted.body.len()), (204, 0), "{version}");
    }
}

#[tokio::test]
async fn teams_users() {
    for version in ["2022-06-01", "2022-10-01", "2023-10-01", "2025-03-02-preview"]
        .into_iter()
        .chain(STABLE)
    {
        let stage = stage().await;
        let user = stage.emulator.scenario().user("adele").unwrap().object_id;
        let teams = json!({"audience": "teams", "scopes": ["Teams.ManageCalls"], "lifetime": 4000});
        let token = stage.token("adele", teams);
        let body = json!({"token": token, "appId": CONTOSO_APP.to_string(), "userId": user.to_string()});
        let exchanged = managed(&stage, version, "POST", "/teamsUser/:exchangeAccessToken", body).await;
        let answer = exchanged.json();
        assert_eq!(
            (exchanged.status, shape(&answer)),
            (200, json!({"token": "text", "expiresOn": "time"})),
            "{version}"
        );
        // With the Entra token's own end.
        assert_eq!(answer["expiresOn"], "2026-01-01T01:06:40.0000000+00:00", "{version}");
    }
}

/// What the preview has, the stable versions have not.
#[tokio::test]
async fn the_entra_exchange_stands_in_the_preview_alone() {
    let stage = stage().await;
    for version in STABLE {
        let token = stage.token("adele", json!({}));
        let path = format!("/access/entra/:exchangeAccessToken?api-version={version}");
        let answer = stage.send_as(&token, "POST", &path, "{}").await;
        assert_eq!(
            answer.json()["error"]["code"],
            "UnsupportedApiVersionValue",
            "{version}"
        );
        let path = format!("/access/entra/assignments/{CONTOSO}");
        let answer = managed(&stage, version, "GET", &path, Value::Null).await;
        assert_eq!(
            answer.json()["error"]["code"],
            "UnsupportedApiVersionValue",
            "{version}"
        );
        let answer = managed(&stage, version, "POST", "/identities", json!({"customId": "a"})).await;
        assert_eq!(answer.json()["error"]["target"], "customId", "{version}");
    }
}
