use serde_json::{Value, json};

use super::support::{Answer, Stage, stage};
use crate::scenario::{FABRIKAM_CALLERS, FABRIKAM_MARKETING, FABRIKAM_NIGHT_SHIFT};
use crate::{Endpoint, Fault};

const GRAPH: &str = "https://graph.microsoft.com";

fn token(stage: &Stage, tenant: &str, resource: &str, roles: &[&str]) -> String {
    let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    stage.emulator.issue_app_token(tenant, resource, &roles).unwrap()
}

fn usual(stage: &Stage) -> String {
    token(stage, "Fabrikam", GRAPH, &["GroupMember.Read.All", "User.Read.All"])
}

async fn check(stage: &Stage, token: &str, user: &str, groups: Value) -> Answer {
    let path = format!("/v1.0/users/{user}/checkMemberGroups");
    stage
        .send_as(token, "POST", &path, &json!({"groupIds": groups}).to_string())
        .await
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    let body = answer.json();
    assert_eq!(
        (answer.status, &body["error"]["code"]),
        (status, &json!(code)),
        "{body}"
    );
    assert!(body["error"]["message"].is_string());
    assert!(body["error"]["innerError"]["request-id"].is_string());
    assert_eq!(body["error"]["innerError"]["date"], "2026-01-01T00:00:00");
}

#[tokio::test]
async fn membership_is_reported_transitively_and_only_what_was_asked() {
    let stage = stage().await;
    let token = usual(&stage);
    let all = json!([
        FABRIKAM_CALLERS.to_string(),
        FABRIKAM_MARKETING.to_string(),
        FABRIKAM_NIGHT_SHIFT.to_string(),
        "00000000-0000-4000-8000-000000000001",
    ]);
    let cases = [
        ("adele", json!([FABRIKAM_CALLERS.to_string()])),
        ("grady", json!([FABRIKAM_MARKETING.to_string()])),
        ("megan", json!([])),
        ("lidia", json!([FABRIKAM_CALLERS.to_string()])),
        (
            "nestor",
            json!([FABRIKAM_CALLERS.to_string(), FABRIKAM_NIGHT_SHIFT.to_string()]),
        ),
    ];
    for (name, expected) in cases {
        let id = stage.emulator.scenario().user(name).unwrap().object_id.to_string();
        let answer = check(&stage, &token, &id, all.clone()).await;
        assert_eq!(answer.status, 200, "{name}");
        let body = answer.json();
        assert_eq!(body["value"], expected, "{name}");
        assert_eq!(
            body["@odata.context"],
            "https://graph.microsoft.com/v1.0/$metadata#Collection(Edm.String)"
        );
    }
    let answer = check(
        &stage,
        &token,
        "adele@fabrikam.com",
        json!([FABRIKAM_MARKETING.to_string()]),
    )
    .await;
    assert_eq!((answer.status, &answer.json()["value"]), (200, &json!([])));
}

#[tokio::test]
async fn the_apps_token_is_verified() {
    let stage = stage().await;
    let adele = stage.emulator.scenario().user("adele").unwrap().object_id.to_string();
    let group = json!([FABRIKAM_CALLERS.to_string()]);
    let good = usual(&stage);
    let (signed, _) = good.rsplit_once('.').unwrap();
    let other = usual(&stage);
    let tampered = format!("{signed}.{}", other.rsplit_once('.').unwrap().1);
    let both = ["GroupMember.Read.All", "User.Read.All"];
    for bad in [
        "x".to_owned(),
        tampered,
        token(&stage, "Fabrikam", "https://communication.azure.com", &both),
        stage.token("adele", json!({})),
    ] {
        refused(
            &check(&stage, &bad, &adele, group.clone()).await,
            401,
            "InvalidAuthenticationToken",
        );
    }
    let path = format!("/v1.0/users/{adele}/checkMemberGroups");
    let nothing = stage
        .send("POST", &path, &[("content-type", "application/json")], "{}")
        .await;
    refused(&nothing, 401, "InvalidAuthenticationToken");

    for roles in [&[][..], &["GroupMember.Read.All"], &["User.Read.All"]] {
        let weak = token(&stage, "Fabrikam", GRAPH, roles);
        refused(
            &check(&stage, &weak, &adele, group.clone()).await,
            403,
            "Authorization_RequestDenied",
        );
    }
    let delegated = stage.token(
        "adele",
        json!({"audience": GRAPH, "scopes": "User.Read", "claims": {"roles": both}}),
    );
    refused(
        &check(&stage, &delegated, &adele, group.clone()).await,
        403,
        "Authorization_RequestDenied",
    );
    let directory = token(&stage, "Fabrikam", GRAPH, &["Directory.Read.All"]);
    assert_eq!(check(&stage, &directory, &adele, group.clone()).await.status, 200);

    // Another tenant's directory does not have this user.
    let contoso = token(&stage, "Contoso", GRAPH, &both);
    refused(
        &check(&stage, &contoso, &adele, group.clone()).await,
        404,
        "Request_ResourceNotFound",
    );

    stage.clock.advance(std::time::Duration::from_secs(5400 + 300));
    let answer = check(&stage, &good, &adele, group).await;
    assert_eq!(answer.status, 401);
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("expired"));
}

#[tokio::test]
async fn the_request_is_checked() {
    let stage = stage().await;
    let (token, adele) = (
        usual(&stage),
        stage.emulator.scenario().user("adele").unwrap().object_id.to_string(),
    );
    let many: Vec<String> = (0..21).map(|n| uuid::Uuid::from_u128(n).to_string()).collect();
    for groups in [
        json!([]),
        json!("x"),
        json!(null),
        json!(["x"]),
        json!([1]),
        json!(many),
    ] {
        refused(&check(&stage, &token, &adele, groups).await, 400, "Request_BadRequest");
    }
    assert_eq!(check(&stage, &token, &adele, json!(many[..20])).await.status, 200);
    let path = format!("/v1.0/users/{adele}/checkMemberGroups");
    refused(&stage.send_as(&token, "POST", &path, "{").await, 400, "BadRequest");
    let nobody = check(&stage, &token, "fab00000-0000-4000-8000-00000000dead", json!([many[0]])).await;
    refused(&nobody, 404, "Request_ResourceNotFound");
    let daemon = stage
        .emulator
        .scenario()
        .user("app-only")
        .unwrap()
        .object_id
        .to_string();
    refused(
        &check(&stage, &token, &daemon, json!([many[0]])).await,
        404,
        "Request_ResourceNotFound",
    );
    refused(
        &stage.send_as(&token, "GET", "/v1.0/me", "").await,
        404,
        "ResourceNotFound",
    );
}

#[tokio::test]
async fn faults_have_graphs_shape() {
    let stage = stage().await;
    let fault = Fault::status(429).retry_after("11").times(1);
    stage.emulator.set_fault(Endpoint::Graph, fault).unwrap();
    let token = usual(&stage);
    let limited = check(
        &stage,
        &token,
        "adele@fabrikam.com",
        json!([FABRIKAM_CALLERS.to_string()]),
    )
    .await;
    refused(&limited, 429, "TooManyRequests");
    assert_eq!(limited.header("retry-after"), Some("11"));
    assert_eq!(
        check(
            &stage,
            &token,
            "adele@fabrikam.com",
            json!([FABRIKAM_CALLERS.to_string()])
        )
        .await
        .status,
        200
    );
    assert_eq!(stage.emulator.count(Endpoint::Graph), 2);
}
