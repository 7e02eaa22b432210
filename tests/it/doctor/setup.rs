//! `setup`: what is planned, what is done, and what is left to others.

use azure_emulator::scenario::{CONTOSO, CONTOSO_APP, FABRIKAM, FABRIKAM_CALLERS};
use azure_emulator::{Assignment, PrincipalType};
use serde_json::{Value, json};

use super::{ACS_PRINCIPAL, APP_OBJECT, Clinic, VOIP, good_graph};
use crate::support::fake::Reply;
use crate::support::forge::ACS_CLIENTS;
use crate::support::process::{Ended, Process};

async fn setup(clinic: &Clinic, arguments: &[&str]) -> Ended {
    let file = clinic.configure();
    Process::run(&[&["setup"], arguments, &["--config", &file]].concat(), &[]).await
}

fn plan(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// The steps' checks, with how each stands.
fn steps(plan: &Value) -> Vec<(&str, &str)> {
    let steps = plan["steps"].as_array().unwrap().iter();
    steps
        .map(|step| (step["id"].as_str().unwrap(), step["status"].as_str().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_done_there_is_nothing_to_do() {
    let clinic = Clinic::open().await;
    for verb in ["plan", "apply"] {
        let ended = setup(&clinic, &[verb, "--yes", "--output", "json"]).await;
        assert_eq!((ended.code, steps(&plan(&ended))), (Some(0), vec![]), "{ended:?}");
    }
    let ended = setup(&clinic, &["plan"]).await;
    assert_eq!(ended.stdout, "nothing to do\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn assignments_are_added_and_nothing_is_taken_away() {
    let clinic = Clinic::open().await;
    let other: uuid::Uuid = "0ca11e60-0000-4000-8000-000000000001".parse().unwrap();
    // The group is there for another client app, and another group is assigned too.
    let there = |object_id, client| Assignment {
        object_id,
        tenant_id: FABRIKAM,
        principal_type: PrincipalType::Group,
        client_ids: vec![client],
    };
    clinic
        .emulator
        .set_assignments([there(FABRIKAM_CALLERS, other), there(other, other)]);
    let planned = setup(&clinic, &["plan", "--output", "json"]).await;
    let value = plan(&planned);
    assert_eq!(
        (planned.code, value["planned"].as_u64()),
        (Some(0), Some(2)),
        "{planned:?}"
    );
    assert!(
        value["steps"][0]["az"]
            .as_str()
            .unwrap()
            .starts_with("az rest --method PUT")
    );
    assert_eq!(value["steps"][0]["request"]["method"], "PUT");
    assert_eq!(clinic.emulator.assignments().len(), 2, "a plan changes nothing");
    // There is no terminal to ask on.
    assert_eq!(setup(&clinic, &["apply"]).await.code, Some(2));
    assert_eq!(clinic.emulator.assignments().len(), 2);
    let applied = setup(&clinic, &["apply", "--yes", "--output", "json"]).await;
    assert_eq!(
        (applied.code, plan(&applied)["done"].as_u64()),
        (Some(0), Some(2)),
        "{applied:?}"
    );
    let now = clinic.emulator.assignments();
    assert_eq!(now.len(), 3);
    let group = now.iter().find(|each| each.object_id == FABRIKAM_CALLERS).unwrap();
    assert_eq!(group.client_ids, [other, CONTOSO_APP]);
    assert!(now.iter().any(|each| each.object_id == CONTOSO));
    let again = setup(&clinic, &["apply", "--yes", "--output", "json"]).await;
    assert_eq!((again.code, steps(&plan(&again))), (Some(0), vec![]), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_graph_extends_what_is_there() {
    let clinic = Clinic::open().await;
    let mut applications = good_graph()["/v1.0/applications"].clone();
    let own = json!({"resourceAppId": "00000003-0000-0000-c000-000000000000", "resourceAccess": [{"id": "x", "type": "Scope"}]});
    applications["value"][0]["requiredResourceAccess"] = json!([own]);
    clinic.graph.on("/v1.0/applications", Reply::json(&applications));
    clinic
        .graph
        .on(&format!("/v1.0/applications/{APP_OBJECT}"), Reply::status(204));
    let one = CONTOSO.to_string();
    let applied = setup(&clinic, &["apply", "--yes", "--output", "json", "--tenant", &one]).await;
    assert_eq!(
        (applied.code, steps(&plan(&applied))),
        (Some(0), vec![("graph.app_permissions", "done")]),
        "{applied:?}"
    );
    let calls = clinic.graph.calls();
    let written = calls.iter().find(|call| call.path.ends_with(APP_OBJECT)).unwrap();
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    assert_eq!(
        body,
        json!({"requiredResourceAccess": [own, {"resourceAppId": ACS_CLIENTS, "resourceAccess": [{"id": VOIP, "type": "Scope"}]}]})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_refused_does_not_stop_the_others() {
    let clinic = Clinic::open().await;
    let assigned = format!("/v1.0/servicePrincipals/{ACS_PRINCIPAL}/appRoleAssignedTo");
    clinic.graph.on(&assigned, Reply::json(&json!({"value": []})));
    clinic
        .graph
        .on("/v1.0/oauth2PermissionGrants", Reply::json(&json!({"value": []})));
    let mut applications = good_graph()["/v1.0/applications"].clone();
    applications["value"][0]["requiredResourceAccess"] = json!([]);
    clinic.graph.on("/v1.0/applications", Reply::json(&applications));
    let denied = json!({"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges."}});
    clinic.graph.on(
        &format!("/v1.0/applications/{APP_OBJECT}"),
        Reply::json(&denied).but_status(403),
    );
    let one = FABRIKAM.to_string();
    let applied = setup(&clinic, &["apply", "--yes", "--output", "json", "--tenant", &one]).await;
    let value = plan(&applied);
    assert_eq!(applied.code, Some(1), "{applied:?}");
    assert_eq!(
        steps(&value),
        [
            ("graph.app_permissions", "refused"),
            ("graph.group_assigned", "done"),
            ("graph.consent", "manual")
        ]
    );
    let refused = value["steps"][0]["error"].as_str().unwrap();
    assert!(refused.contains("Application.ReadWrite.All"), "{refused}");
    // Consent is never given: there is an address, and a text to send.
    let consent = &value["steps"][2];
    let url = format!("{}/{FABRIKAM}/adminconsent?client_id={CONTOSO_APP}", clinic.authority);
    assert_eq!(consent["url"], url);
    let message = consent["message"].as_str().unwrap();
    assert!(
        message.contains(&url) && message.contains(&FABRIKAM_CALLERS.to_string()),
        "{message}"
    );
    let shown = setup(&clinic, &["plan", "--tenant", &one]).await;
    assert!(
        shown.stdout.contains("send them this") && shown.stdout.contains(&url),
        "{}",
        shown.stdout
    );
}
