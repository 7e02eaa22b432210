use serde_json::{Value, json};

use super::support::{claims, stage};
use crate::scenario::{CONTOSO, CONTOSO_APP};

const EXCHANGE: &str = "/teamsUser/:exchangeAccessToken?api-version=2023-10-01";

#[tokio::test]
async fn what_is_checked_of_a_teams_users_token() {
    let stage = stage().await;
    let user = stage.emulator.scenario().user("adele").unwrap().object_id.to_string();
    let app = CONTOSO_APP.to_string();
    let manager = stage
        .emulator
        .issue_app_token("Contoso", "https://communication.azure.com", &[])
        .unwrap();
    let token = |overrides: Value| stage.token("adele", overrides);
    let good = token(json!({"audience": "teams"}));
    let body = |token: &str, app: &str, user: &str| json!({"token": token, "appId": app, "userId": user});
    for (body, status, told) in [
        (body(&good, &app, &user), 200, ""),
        (body(&good, &app.to_uppercase(), &user.to_uppercase()), 200, ""),
        (
            body(
                &token(json!({"audience": "teams", "scopes": "Teams.ManageChats"})),
                &app,
                &user,
            ),
            200,
            "",
        ),
        (
            body(&token(json!({"audience": "teams", "version": "1.0"})), &app, &user),
            200,
            "",
        ),
        (body("", &app, &user), 400, "token"),
        (json!({"appId": app, "userId": user}), 400, "token"),
        (json!({"token": good, "userId": user}), 400, "appId"),
        (body(&good, &app, "adele"), 400, "userId"),
        (body(&good, &CONTOSO.to_string(), &user), 400, "appId"),
        (body(&good, &app, &CONTOSO.to_string()), 400, "userId"),
        (body("a.b.c", &app, &user), 401, "Malformed"),
        (body(&token(json!({})), &app, &user), 401, "InvalidAudience"),
        (
            body(
                &token(json!({"audience": "teams", "scopes": "TeamsExtension.ManageCalls"})),
                &app,
                &user,
            ),
            401,
            "MissingScope",
        ),
        (
            body(&token(json!({"audience": "teams", "lifetime": -300})), &app, &user),
            401,
            "Expired",
        ),
    ] {
        let answer = stage.send_as(&manager, "POST", EXCHANGE, &body.to_string()).await;
        let error = answer.json()["error"].clone();
        let found = error["target"]
            .as_str()
            .or_else(|| error["innererror"]["code"].as_str());
        assert_eq!((answer.status, found.unwrap_or_default()), (status, told), "{body}");
    }
    // Who asks is checked first, and that refusal differs from one of the user's token.
    let bare = stage
        .send("POST", EXCHANGE, &[], &body("a.b.c", &app, &user).to_string())
        .await;
    assert_eq!(
        (bare.status, bare.json()["error"]["code"].clone()),
        (401, json!("Denied"))
    );
    let old = "/teamsUser/:exchangeAccessToken?api-version=2021-03-07";
    let answer = stage.send_as(&manager, "POST", old, "{}").await;
    assert_eq!(answer.json()["error"]["code"], "UnsupportedApiVersionValue");
}

#[tokio::test]
async fn the_token_is_the_users() {
    let stage = stage().await;
    let user = stage.emulator.scenario().user("adele").unwrap().object_id.to_string();
    let manager = stage
        .emulator
        .issue_app_token("Contoso", "https://communication.azure.com", &[])
        .unwrap();
    let token = stage.token("adele", json!({"audience": "teams"}));
    assert_eq!(
        claims(&token)["scp"],
        "TeamsExtension.ManageCalls Teams.ManageCalls Teams.ManageChats"
    );
    let body = json!({"token": token, "appId": CONTOSO_APP.to_string(), "userId": user});
    let answer = stage
        .send_as(&manager, "POST", EXCHANGE, &body.to_string())
        .await
        .json();
    let issued = claims(answer["token"].as_str().unwrap());
    assert_eq!(issued["skypeid"], format!("orgid:{user}"));
    assert_eq!(issued["acsScope"], "teams.managecalls,teams.managechats");
    stage.emulator.set_encrypted_tokens(true);
    let answer = stage
        .send_as(&manager, "POST", EXCHANGE, &body.to_string())
        .await
        .json();
    assert_eq!(answer["token"].as_str().unwrap().split('.').count(), 5);
}
