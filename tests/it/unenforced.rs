//! `assignments.mode = "audit"`: a policy is tried out before it bites.

use azure_emulator::GroupsClaim;
use azure_emulator::scenario::{CONTOSO, CONTOSO_APP, FABRIKAM};
use serde_json::{Value, json};

use crate::support::forge::ALEX;
use crate::support::observed::{exported_with, flushed, lines};
use crate::support::process::Process;
use crate::support::scrape::Scrape;
use crate::support::stack::{Builder, Stack};

fn without_alex(mode: &str) -> Builder {
    let text = format!(
        "[[assignments]]\nobjectId = \"{CONTOSO}\"\ntenantId = \"{CONTOSO}\"\nprincipalType = \"tenant\"\n\
         clientIds = [\"{CONTOSO_APP}\"]\n"
    );
    Stack::builder()
        .assignments("assignments.toml", text)
        .set("assignments.mode", mode)
}

#[tokio::test]
async fn callers_whom_none_covers_are_left_to_acs() {
    for (mode, shown) in [("enforce", "403 NotAssigned/NoAssignment"), ("audit", "200")] {
        let stack = without_alex(mode).start().await;
        assert_eq!(stack.user("alex").post().await.outcome(), shown, "{mode}");
        let readiness = stack.probe("/readyz").await;
        assert_eq!(readiness.status, 200);
        let degraded = readiness.json()["degraded"].clone();
        let expected = if mode == "audit" {
            json!(["assignments are not enforced"])
        } else {
            json!([])
        };
        assert_eq!(degraded, expected, "{mode}");
    }
}

#[tokio::test]
async fn acs_decides_and_is_asked_again_after_a_while() {
    let stack = without_alex("audit").start().await;
    let alex = stack.user("alex").lifetime(7200);
    let token = alex.token();
    assert_eq!(stack.post_token(&token).await.cache(), "miss");
    assert_eq!(stack.post_token(&token).await.cache(), "hit");
    // As with every token that ACS alone permitted.
    stack.advance(601);
    assert_eq!(stack.post_token(&token).await.cache(), "miss");
    // Whom ACS does not know either gets nothing.
    let grady = stack
        .user("grady")
        .with(|request| request.groups = Some(GroupsClaim::Listed));
    assert_eq!(grady.post().await.outcome(), "403 ExchangeForbidden");
    let scrape = Scrape::of(stack.management).await;
    let counted = |outcome: &str, kind: &str, reason: &str| {
        let labels = [
            ("acs_broker_outcome", outcome),
            ("acs_broker_assignment_kind", kind),
            ("acs_broker_reason", reason),
        ];
        scrape.sum("acs_broker_authorization_total", &labels)
    };
    assert!(
        (counted("would_refuse", "acs", "NoAssignment") - 4.0).abs() < 0.1,
        "{}",
        scrape.text
    );
    assert!(counted("denied", "none", "NoAssignment").abs() < 0.1);
}

#[tokio::test]
async fn what_is_undecided_or_not_served_stays_so() {
    let stack = Stack::builder()
        .set("assignments.mode", "audit")
        .without_assignments()
        .start()
        .await;
    let loaded = async || stack.probe("/readyz").await.json()["reasons"].as_array().unwrap().len() == 1;
    crate::support::eventually("keys", loaded).await;
    assert_eq!(stack.user("alex").post().await.outcome(), "503 AssignmentsUnavailable");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    std::fs::write(&file, "assignments = []").unwrap();
    let emulator = crate::support::stack::emulator(&crate::support::stack::clock()).await;
    let resource = |name: &str, tenant: uuid::Uuid, mode: &str| {
        format!(
            "{{ name = '{name}', tenants = ['{tenant}'], exchange = {{ endpoint = '{}' }}, \
             assignments = {{ file = '{}', mode = '{mode}' }} }}",
            emulator.origin(),
            file.display()
        )
    };
    let one = format!("[{}]", resource("contoso", CONTOSO, "audit"));
    let stack = Stack::builder().resources(&one).start().await;
    assert_eq!(
        stack.user("alex").post().await.outcome(),
        "403 NotAssigned/NoAssignment"
    );
    let both = format!(
        "[{}, {}]",
        resource("contoso", CONTOSO, "audit"),
        resource("fabrikam", FABRIKAM, "enforce")
    );
    let stack = Stack::builder().resources(&both).start().await;
    assert_eq!(
        stack.user("alex").post().await.outcome(),
        "403 NotAssigned/NoAssignment"
    );
    assert_ne!(
        stack.user("diego").post().await.outcome(),
        "403 NotAssigned/NoAssignment"
    );
    let degraded = stack.probe("/readyz").await.json()["degraded"].clone();
    assert_eq!(degraded, json!(["resource contoso: assignments are not enforced"]));
}

#[tokio::test]
async fn one_event_and_the_log_say_who_would_be_refused() {
    let (served, _collector) = exported_with(&[
        ("ACS_TOKEN_BROKER__ASSIGNMENTS__MODE", "audit"),
        ("ACS_TOKEN_BROKER__ASSIGNMENTS__UNKNOWN_GROUPS", "refuse"),
    ])
    .await;
    let file = served.folder.path().join("assignments.toml");
    std::fs::write(file, "assignments = []").unwrap();
    let is_empty = async || {
        let scrape = Scrape::of(served.management.trim_start_matches("http://")).await;
        scrape.sum("acs_broker_assignments_entries", &[]).abs() < 0.1
    };
    crate::support::eventually("the file is read", is_empty).await;
    assert_eq!(served.post_token(&served.token("alex")).await.outcome(), "200");
    let output = flushed(served).await.stdout;
    let found: Vec<Value> = lines(&output)
        .filter(|line| line["decision"] == "would_refuse")
        .collect();
    let of = |is_audit: bool| -> Vec<&Value> {
        let found = found.iter();
        found
            .filter(|line| (line["target"] == "acs_token_broker::audit") == is_audit)
            .collect()
    };
    let (events, logged) = (of(true), of(false));
    assert_eq!((events.len(), logged.len()), (1, 1), "{output}");
    assert_eq!(events[0]["acs_broker.assignment.kind"], "acs");
    for line in [events[0], logged[0]] {
        assert_eq!(line["acs_broker.tenant.id"], FABRIKAM.to_string());
        assert_eq!(line["enduser.pseudo.id"].as_str().unwrap().len(), 32);
    }
    assert!(
        logged[0]["error"].as_str().unwrap().contains("no assignment"),
        "{}",
        logged[0]
    );
    assert!(!output.contains(ALEX));
}

#[tokio::test]
async fn identity_mode_enforces() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.toml");
    let text = format!(
        "entra.tenants = [{{ id = \"{FABRIKAM}\" }}]\n[exchange]\nendpoint = \"https://a.communication.azure.com\"\n\
         mode = \"identity\"\n[assignments]\nmode = \"audit\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let arguments = ["check-config", "--config", file.to_str().unwrap()];
    let key = [("ACS_TOKEN_BROKER__EXCHANGE__IDENTITY__ACCESS_KEY", "a2V5")];
    let ended = Process::run(&arguments, &key).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("assignments.mode: must be \"enforce\""),
        "{ended:?}"
    );
}
