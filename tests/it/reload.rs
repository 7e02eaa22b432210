//! The assignments file: read at start and whenever it changes; a bad one never replaces a good one.

use azure_emulator::scenario::{CONTOSO, CONTOSO_APP, FABRIKAM};
use serde_json::json;

use crate::support::eventually;
use crate::support::forge::ALEX;
use crate::support::stack::Stack;

const NO_ASSIGNMENT: &str = "403 NotAssigned/NoAssignment";

fn json_set(users: &[&str]) -> String {
    let assignments: Vec<_> = users
        .iter()
        .map(|id| {
            json!({
                "objectId": id,
                "tenantId": FABRIKAM.to_string(),
                "principalType": "user",
                "clientIds": [CONTOSO_APP.to_string()],
            })
        })
        .collect();
    json!({ "value": assignments }).to_string()
}

async fn outcome_of(stack: &Stack, user: &'static str) -> String {
    stack.user(user).post().await.outcome()
}

#[tokio::test]
async fn a_toml_file_is_read_again() {
    let stack = Stack::builder()
        .assignments("assignments.toml", "assignments = []\n")
        .start()
        .await;
    assert_eq!(outcome_of(&stack, "alex").await, NO_ASSIGNMENT);
    assert_eq!(outcome_of(&stack, "diego").await, NO_ASSIGNMENT);
    stack.write_assignments(&stack.demo_assignments_without(&[CONTOSO]));
    eventually("Alex is assigned", async || outcome_of(&stack, "alex").await == "200").await;
    assert_eq!(outcome_of(&stack, "diego").await, NO_ASSIGNMENT);
    stack.write_assignments(&stack.demo_assignments_without(&[]));
    eventually("Diego is assigned", async || outcome_of(&stack, "diego").await == "200").await;
}

#[tokio::test]
async fn a_json_file_is_what_acs_lists() {
    let stack = Stack::builder()
        .assignments("assignments.json", json_set(&[ALEX]))
        .start()
        .await;
    assert_eq!(outcome_of(&stack, "alex").await, "200");
    stack.write_assignments(&json_set(&[]));
    eventually("Alex is gone", async || {
        outcome_of(&stack, "alex").await == NO_ASSIGNMENT
    })
    .await;
    // Members that ACS adds are ignored.
    let mut more: serde_json::Value = serde_json::from_str(&json_set(&[&ALEX.to_uppercase()])).unwrap();
    more["value"][0]["etag"] = json!("x");
    more["new"] = json!(1);
    stack.write_assignments(&more.to_string());
    eventually("Alex is back", async || outcome_of(&stack, "alex").await == "200").await;
}

#[tokio::test]
async fn a_bad_file_leaves_the_last_good_set() {
    let good = Stack::start().await;
    let demo = good.demo_assignments_without(&[]);
    let one = |id: &str, tenant: &str, kind: &str, clients: &str| {
        format!(
            "[[assignments]]\nobjectId = \"{id}\"\ntenantId = \"{tenant}\"\nprincipalType = \"{kind}\"\nclientIds = [{clients}]\n"
        )
    };
    let fabrikam = FABRIKAM.to_string();
    let app = format!("\"{CONTOSO_APP}\"");
    for (name, text) in [
        ("no TOML", "[[assignments".to_owned()),
        ("an unknown key", format!("{demo}\nowner = \"me\"\n")),
        ("an unknown table", format!("{demo}\n[other]\nx = 1\n")),
        ("a user twice", one(ALEX, &fabrikam, "user", &app).repeat(2)),
        (
            "a user twice, in another case",
            one(ALEX, &fabrikam, "user", &app) + &one(&ALEX.to_uppercase(), &fabrikam, "user", &app),
        ),
        ("a tenant that is not itself", one(ALEX, &fabrikam, "tenant", &app)),
        ("no client apps", one(ALEX, &fabrikam, "user", "")),
        ("no GUID", one("alex", &fabrikam, "user", &app)),
        ("a tenant that is no GUID", one(ALEX, "fabrikam.com", "user", &app)),
        ("a client that is no GUID", one(ALEX, &fabrikam, "user", "\"app\"")),
        ("another kind", one(ALEX, &fabrikam, "servicePrincipal", &app)),
    ] {
        good.write_assignments(&text);
        eventually("it was seen", async || {
            good.probe("/readyz").await.json()["degraded"]
                .to_string()
                .contains("assignment")
        })
        .await;
        assert_eq!(outcome_of(&good, "alex").await, "200", "{name}");
        assert_eq!(
            good.probe("/readyz").await.status,
            200,
            "{name}: growing old does not unready a replica"
        );
        good.write_assignments(&demo);
        eventually("it is good again", async || {
            good.probe("/readyz").await.json()["degraded"] == json!([])
        })
        .await;
    }
}

#[tokio::test]
async fn a_bad_json_file_leaves_the_last_good_set() {
    let stack = Stack::builder()
        .assignments("assignments.json", json_set(&[ALEX]))
        .start()
        .await;
    let mut partial: serde_json::Value = serde_json::from_str(&json_set(&[])).unwrap();
    partial["nextLink"] = json!("https://contoso.communication.azure.com/access/entra/assignments?page=2");
    for text in ["{", "[]", "{}", &partial.to_string(), r#"{"value":[{}]}"#] {
        stack.write_assignments(text);
        eventually("it was seen", async || {
            stack.probe("/readyz").await.json()["degraded"]
                .to_string()
                .contains("assignment")
        })
        .await;
        assert_eq!(outcome_of(&stack, "alex").await, "200", "{text}");
        stack.write_assignments(&json_set(&[ALEX]));
        eventually("it is good again", async || {
            stack.probe("/readyz").await.json()["degraded"] == json!([])
        })
        .await;
    }
}

#[tokio::test]
async fn without_a_file_nobody_is_served_until_it_appears() {
    let stack = Stack::builder().without_assignments().start().await;
    eventually("keys are there", async || {
        stack.probe("/readyz").await.json()["reasons"] == json!(["assignments are not loaded"])
    })
    .await;
    assert_eq!(stack.probe("/readyz").await.status, 503);
    assert_eq!(stack.probe("/livez").await.status, 200);
    assert_eq!(outcome_of(&stack, "alex").await, "503 AssignmentsUnavailable");
    // What the token is comes first.
    let expired = stack.user("alex").lifetime(-999).post().await;
    assert_eq!(expired.outcome(), "401 InvalidToken/Expired");
    stack.write_assignments("[[assignments");
    assert_eq!(outcome_of(&stack, "alex").await, "503 AssignmentsUnavailable");
    stack.write_assignments(&stack.demo_assignments_without(&[]));
    eventually("it is ready", async || stack.probe("/readyz").await.status == 200).await;
    assert_eq!(outcome_of(&stack, "alex").await, "200");
}

#[tokio::test]
async fn a_file_that_goes_away_leaves_the_last_good_set() {
    let stack = Stack::start().await;
    std::fs::remove_file(stack.folder().join("assignments.toml")).unwrap();
    eventually("it was seen", async || {
        stack.probe("/readyz").await.json()["degraded"]
            .to_string()
            .contains("assignment")
    })
    .await;
    assert_eq!(outcome_of(&stack, "alex").await, "200");
}
