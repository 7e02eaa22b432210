use serde_json::{Value, json};

use super::support::{Answer, Stage, stage};
use crate::scenario::{CONTOSO, CONTOSO_APP, FABRIKAM, RESOURCE};
use crate::{Endpoint, Fault, TeamsPrincipalType};

const EXCHANGE: &str = "/access/teamsExtension/:exchangeAccessToken";
const VERSION: &str = "api-version=2025-06-30";

async fn exchange(stage: &Stage, token: &str) -> Answer {
    stage
        .send_as(token, "POST", &format!("{EXCHANGE}?{VERSION}"), "{}")
        .await
}

#[tokio::test]
async fn an_assigned_user_gets_a_teams_extension_token() {
    let stage = stage().await;
    let diego = stage.emulator.scenario().user("diego").unwrap().object_id;
    for overrides in [
        json!({"audience": "teams", "lifetime": 4000}),
        json!({"audience": "teams", "version": "1.0", "lifetime": 4000}),
        json!({"audience": "1fd5118e-2576-4263-8130-9503064c837a", "lifetime": 4000}),
        json!({"scopes": ["https://auth.msft.communication.azure.com/TeamsExtension.ManageCalls"], "lifetime": 4000}),
    ] {
        let answer = exchange(&stage, &stage.token("diego", overrides.clone())).await;
        assert_eq!(answer.status, 200, "{overrides}");
        let body = answer.json();
        assert_eq!(body["identity"]["id"], format!("8:acs:{RESOURCE}_{CONTOSO}_{diego}"));
        assert_eq!(body["accessToken"]["expiresOn"], "2026-01-01T01:06:40.0000000+00:00");
    }
    // The offset is whatever the service likes; a fault sets another.
    let fault = serde_json::from_value::<Fault>(json!({"expires_on_offset": "-07:00"})).unwrap();
    stage.emulator.set_fault(Endpoint::TeamsExchange, fault).unwrap();
    let answer = exchange(
        &stage,
        &stage.token("diego", json!({"audience": "teams", "lifetime": 4000})),
    )
    .await;
    assert_eq!(
        answer.json()["accessToken"]["expiresOn"],
        "2025-12-31T18:06:40.0000000-07:00"
    );
}

#[tokio::test]
async fn others_get_none() {
    let stage = stage().await;
    let cases: [(&str, Value, u16, &str); 5] = [
        ("adele", json!({"audience": "teams"}), 403, "NoAssignment"),
        (
            "diego",
            json!({"audience": "teams", "client_id": FABRIKAM.to_string()}),
            403,
            "NoAssignment",
        ),
        ("diego", json!({}), 401, "InvalidAudience"),
        (
            "diego",
            json!({"audience": "teams", "scopes": "VoIP"}),
            401,
            "MissingScope",
        ),
        ("diego", json!({"audience": "teams", "lifetime": -300}), 401, "Expired"),
    ];
    for (user, overrides, status, inner) in cases {
        let answer = exchange(&stage, &stage.token(user, overrides.clone())).await;
        let code = answer.json()["error"]["innererror"]["code"].clone();
        assert_eq!((answer.status, code), (status, json!(inner)), "{user} {overrides}");
    }
    // The other exchange does not take these tokens.
    let token = stage.token("diego", json!({"audience": "teams"}));
    assert_eq!(stage.exchange(&token).await.status, 401);
    let old = format!("{EXCHANGE}?api-version=2023-10-01");
    let answer = stage.send_as(&token, "POST", &old, "{}").await;
    assert_eq!(answer.json()["error"]["code"], "UnsupportedApiVersionValue");
}

#[tokio::test]
async fn its_assignments_can_be_managed() {
    let stage = stage().await;
    let manager = stage
        .emulator
        .issue_app_token("Contoso", "https://communication.azure.com", &[])
        .unwrap();
    let adele = stage.emulator.scenario().user("adele").unwrap().object_id;
    let path = format!("/access/teamsExtension/tenants/{FABRIKAM}/assignments/{adele}?{VERSION}");
    let call = |method: &'static str, body: Value| {
        let (stage, manager, path) = (&stage, &manager, &path);
        async move {
            let text = if body.is_null() {
                String::new()
            } else {
                body.to_string()
            };
            stage.send_as(manager, method, path, &text).await
        }
    };
    assert_eq!(stage.get(&path).await.status, 401, "a credential is needed");
    assert_eq!(call("GET", Value::Null).await.status, 404);
    let token = stage.token("adele", json!({"audience": "teams"}));
    assert_eq!(exchange(&stage, &token).await.status, 403);

    let created = call("PUT", json!({"principalType": "user"})).await;
    let expected = json!({
        "objectId": adele.to_string(), "tenantId": FABRIKAM.to_string(), "principalType": "user",
    });
    assert_eq!((created.status, created.json()), (201, expected.clone()));
    assert_eq!(
        exchange(&stage, &token).await.status,
        200,
        "no clientIds means any client"
    );
    assert_eq!(call("GET", Value::Null).await.json(), expected);

    let narrow = json!({"principalType": "resourceAccount", "clientIds": [CONTOSO.to_string()]});
    assert_eq!(call("PUT", narrow).await.status, 200);
    assert_eq!(stage.emulator.teams_assignments().len(), 2);
    assert!(stage.emulator.teams_assignments().iter().any(|found| {
        found.principal_type == TeamsPrincipalType::ResourceAccount && !found.client_ids.contains(&CONTOSO_APP)
    }));
    assert_eq!(exchange(&stage, &token).await.status, 403, "another client app");
    for bad in [
        json!({}),
        json!({"principalType": "group"}),
        json!({"principalType": "user", "clientIds": ["x"]}),
    ] {
        assert_eq!(call("PUT", bad.clone()).await.status, 400, "{bad}");
    }
    assert_eq!(call("DELETE", Value::Null).await.status, 204);
    assert_eq!(call("GET", Value::Null).await.status, 404);
    let bad = format!("/access/teamsExtension/tenants/x/assignments/{adele}?{VERSION}");
    assert_eq!(stage.send_as(&manager, "GET", &bad, "").await.status, 400);
    stage.emulator.set_teams_assignments([]);
    assert!(stage.emulator.teams_assignments().is_empty());
}
