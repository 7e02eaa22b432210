//! Assignments from ACS itself: fetched as a whole, kept while ACS is away, and one set with the file's.

use azure_emulator::scenario::{CONTOSO_APP, FABRIKAM};
use azure_emulator::{Assignment, Endpoint, Fault, PrincipalType, Settings};
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::fake::{Fake, Reply, grant};
use crate::support::forge::ALEX;
use crate::support::stack::{ACS_PATH, Builder, Stack, clock, emulator};

const LIST: &str = "/access/entra/assignments";
const NO_ASSIGNMENT: &str = "403 NotAssigned/NoAssignment";
const UNAVAILABLE: &str = "503 AssignmentsUnavailable";
const KEY: &str = "QSBrZXkgZm9yIHRlc3RzLg==";

/// A stack with these sources, whose access key is the emulator's.
async fn stack(sources: &str, change: impl FnOnce(Builder) -> Builder) -> Stack {
    let clock = clock();
    let emulator = emulator(&clock).await;
    let key = emulator.expected_access_key();
    let builder = Stack::builder()
        .emulator(emulator, &clock)
        .set("assignments.sources", sources)
        .set("assignments.acs.access_key", key)
        .set("assignments.acs.refresh_interval", "50ms")
        .set("assignments.unknown_groups", "refuse");
    change(builder).start().await
}

/// The same with a fake in ACS's place, which lists `list` and grants every exchange.
async fn with_fake(sources: &str, fake: &Fake, list: &Value) -> Stack {
    let clock = clock();
    let emulator = emulator(&clock).await;
    fake.on(LIST, Reply::json(list));
    let end = "2026-11-24T13:00:00Z".parse().unwrap();
    fake.on(ACS_PATH, Reply::json(&grant("acs-token", end)));
    Stack::builder()
        .emulator(emulator, &clock)
        .endpoint(&fake.origin())
        .set("assignments.sources", sources)
        .set("assignments.acs.access_key", KEY)
        .set("assignments.acs.refresh_interval", "50ms")
        .set("assignments.unknown_groups", "refuse")
        .start()
        .await
}

fn user(id: &str) -> Value {
    json!({
        "objectId": id,
        "tenantId": FABRIKAM.to_string(),
        "principalType": "user",
        "clientIds": [CONTOSO_APP.to_string()],
    })
}

async fn outcome_of(stack: &Stack, user: &'static str) -> String {
    stack.user(user).post().await.outcome()
}

async fn degraded(stack: &Stack) -> String {
    stack.probe("/readyz").await.json()["degraded"].to_string()
}

#[tokio::test]
async fn what_acs_lists_counts_and_changes_take_effect() {
    let stack = stack("acs", |builder| builder).await;
    assert_eq!(outcome_of(&stack, "alex").await, "200");
    assert_eq!(outcome_of(&stack, "diego").await, "200");
    assert_eq!(outcome_of(&stack, "megan").await, "403 NotAssigned/GroupsUnknown");
    // The file is there and is nobody's business.
    stack.emulator.set_assignments([]);
    eventually("nobody is assigned", async || {
        outcome_of(&stack, "alex").await == NO_ASSIGNMENT
    })
    .await;
    assert_eq!(stack.probe("/readyz").await.status, 200, "an empty list is a list");
    stack.emulator.set_assignments([Assignment {
        object_id: ALEX.parse().unwrap(),
        tenant_id: FABRIKAM,
        principal_type: PrincipalType::User,
        client_ids: vec![CONTOSO_APP],
    }]);
    eventually("Alex is back", async || outcome_of(&stack, "alex").await == "200").await;
    assert_eq!(outcome_of(&stack, "diego").await, NO_ASSIGNMENT);
    assert_eq!(degraded(&stack).await, "[]");
}

#[tokio::test]
async fn all_pages_are_read_and_each_request_is_signed() {
    let clock = clock();
    let emulator = emulator(&clock).await;
    let settings = Settings {
        assignments_page_size: 1,
        ..Settings::default()
    };
    emulator.set_settings(settings).unwrap();
    let key = emulator.expected_access_key();
    let stack = Stack::builder()
        .emulator(emulator, &clock)
        .set("assignments.sources", "acs")
        .set("assignments.acs.access_key", key)
        .set("assignments.acs.refresh_interval", "1h")
        .set("assignments.acs.max_age", "2h")
        .start()
        .await;
    for user in ["alex", "diego"] {
        assert_eq!(outcome_of(&stack, user).await, "200", "{user}");
    }
    // The emulated ACS refuses what is not signed for the very address.
    assert_eq!(stack.emulator.count(Endpoint::Assignments), 3);
    let calls = stack.emulator.journal();
    let calls: Vec<_> = calls
        .iter()
        .filter(|call| call.endpoint == Some(Endpoint::Assignments))
        .collect();
    assert!(
        calls
            .iter()
            .all(|call| call.status == Some(200) && call.api_version.as_deref() == Some("2025-03-02-preview")),
        "{calls:?}"
    );
}

#[tokio::test]
async fn what_is_not_a_whole_list_leaves_the_last_good_one() {
    let fake = Fake::start().await;
    let elsewhere = Fake::start().await;
    elsewhere.on("/more", Reply::json(&json!({"value": []})));
    let good = json!({"value": [user(ALEX)]});
    let stack = with_fake("acs", &fake, &good).await;
    assert_eq!(outcome_of(&stack, "alex").await, "200");
    let more = |link: &str| json!({"value": [], "nextLink": link});
    fake.on("/round", Reply::json(&more("/round")));
    fake.on("/broken", Reply::json(&json!({"value": [{"objectId": ALEX}]})));
    let alex_twice = json!({"value": [user(ALEX), user(ALEX)]});
    for (name, reply) in [
        (
            "a foreign link",
            Reply::json(&more(&format!("{}/more", elsewhere.origin()))),
        ),
        ("a page without end", Reply::json(&more("/round"))),
        (
            "the same page again",
            Reply::json(&more(&format!("{LIST}?api-version=2025-03-02-preview"))),
        ),
        ("a page that is not there", Reply::json(&more("/gone"))),
        ("a malformed entry on the second page", Reply::json(&more("/broken"))),
        (
            "a malformed entry",
            Reply::json(&json!({"value": [user(ALEX), {"objectId": ALEX}]})),
        ),
        ("no GUID", Reply::json(&json!({"value": [user("alex")]}))),
        ("an assignment twice", Reply::json(&alex_twice)),
        ("no list", Reply::json(&json!({"assignments": []}))),
        (
            "no JSON",
            Reply::status(200).header("content-type", "application/json").body("{"),
        ),
        (
            "HTML",
            Reply::status(200).header("content-type", "text/html").body("<html>"),
        ),
        ("a refusal", Reply::status(401)),
        ("a limit", Reply::status(429).header("retry-after", "0")),
        ("trouble", Reply::status(503)),
        (
            "a redirect",
            Reply::status(302).header("location", format!("{}/more", elsewhere.origin())),
        ),
        (
            "too much",
            Reply::json(&json!({"value": [], "padding": "x".repeat(1 << 20)})),
        ),
    ] {
        fake.on(LIST, reply);
        eventually(name, async || {
            degraded(&stack)
                .await
                .contains("assignments from ACS were last fetched")
        })
        .await;
        assert_eq!(outcome_of(&stack, "alex").await, "200", "{name}");
        assert_eq!(stack.probe("/readyz").await.status, 200, "{name}");
        fake.on(LIST, Reply::json(&good));
        eventually("all is well", async || degraded(&stack).await == "[]").await;
    }
    assert_eq!(elsewhere.calls().len(), 0, "nothing signed goes elsewhere");
}

#[tokio::test]
async fn links_are_followed_at_the_endpoint() {
    let fake = Fake::start().await;
    fake.on(
        "/second",
        Reply::json(&json!({"value": [user(ALEX)], "nextLink": null})),
    );
    let first = json!({"value": [], "nextLink": format!("{}/second?skip=1", fake.origin())});
    let stack = with_fake("acs", &fake, &first).await;
    assert_eq!(outcome_of(&stack, "alex").await, "200");
    let calls = fake.calls();
    let second = calls.iter().find(|call| call.path == "/second").unwrap();
    let authorization = second.headers["authorization"].to_str().unwrap();
    assert!(
        authorization.starts_with("HMAC-SHA256 SignedHeaders="),
        "{authorization}"
    );
    assert!(second.headers.contains_key("x-ms-date") && second.headers.contains_key("x-ms-content-sha256"));
}

#[tokio::test]
async fn what_acs_listed_serves_until_it_is_too_old() {
    let stack = stack("acs", |builder| builder.set("assignments.acs.max_age", "1h")).await;
    assert_eq!(outcome_of(&stack, "alex").await, "200");
    let away = Fault {
        status: Some(503),
        ..Fault::default()
    };
    stack.fault(Endpoint::Assignments, away);
    eventually("it was seen", async || degraded(&stack).await != "[]").await;
    stack.advance(3600);
    assert_eq!(outcome_of(&stack, "alex").await, "200");
    let aged = degraded(&stack).await;
    assert!(
        aged.contains("assignments from ACS were last fetched 3600 s ago"),
        "{aged}"
    );
    stack.advance(1);
    // Nobody can learn whether they are assigned: neither those who are nor those who are not.
    for user in ["alex", "diego", "megan"] {
        assert_eq!(outcome_of(&stack, user).await, UNAVAILABLE, "{user}");
    }
    let readiness = stack.probe("/readyz").await;
    assert_eq!(
        readiness.status, 200,
        "the other replicas are no better off: {readiness:?}"
    );
    assert!(degraded(&stack).await.contains("3601 s ago"));
    stack.emulator.clear_faults();
    eventually("ACS is back", async || outcome_of(&stack, "alex").await == "200").await;
    assert_eq!(outcome_of(&stack, "megan").await, "403 NotAssigned/GroupsUnknown");
}

#[tokio::test]
async fn not_ready_before_each_source_was_loaded() {
    let clock = clock();
    let emulator = emulator(&clock).await;
    let away = Fault {
        drop_connection: true,
        ..Fault::default()
    };
    emulator.set_fault(Endpoint::Assignments, away).unwrap();
    let key = emulator.expected_access_key();
    let stack = Stack::builder()
        .emulator(emulator, &clock)
        .assignments("assignments.toml", one_user(ALEX, ""))
        .set("assignments.sources", "file,acs")
        .set("assignments.acs.access_key", key)
        .set("assignments.acs.refresh_interval", "50ms")
        .not_awaiting_readiness()
        .start()
        .await;
    eventually("keys are there", async || {
        stack.probe("/readyz").await.json()["reasons"] == json!(["assignments from ACS are not loaded"])
    })
    .await;
    // Users that the file covers are covered; of the others nothing is known.
    assert_eq!(outcome_of(&stack, "alex").await, "200");
    for user in ["diego", "megan"] {
        assert_eq!(outcome_of(&stack, user).await, UNAVAILABLE, "{user}");
    }
    stack.emulator.clear_faults();
    eventually("it is ready", async || stack.probe("/readyz").await.status == 200).await;
    assert_eq!(outcome_of(&stack, "diego").await, "200");
}

fn one_user(id: &str, more: &str) -> String {
    format!(
        "[[assignments]]\nobjectId = \"{id}\"\ntenantId = \"{FABRIKAM}\"\nprincipalType = \"user\"\n\
         clientIds = [\"{CONTOSO_APP}\"]\n{more}"
    )
}

#[tokio::test]
async fn the_file_and_acs_are_one_set() {
    let other = "0ca11e60-0000-4000-8000-000000000001";
    let file = one_user(ALEX, "allowedScopes = [\"chat\"]\n").replace(&CONTOSO_APP.to_string(), other);
    let stack = stack("file,acs", |builder| builder.assignments("assignments.toml", file)).await;
    let asking = async |client: &str| {
        let client = client.to_owned();
        let user = stack.user("alex").with(|request| request.client_id = Some(client));
        user.post().await.status
    };
    // ACS covers Alex with one client app, the file with another: both count.
    assert_eq!(asking(&CONTOSO_APP.to_string()).await, 200);
    // The emulated ACS decides for itself: that it was asked shows that the broker let the caller pass.
    assert_eq!(asking(other).await, 403);
    assert_eq!(stack.exchanges(), 2);
    assert_eq!(outcome_of(&stack, "diego").await, "200");
    // The file is read anew, and ACS's part stays.
    stack.write_assignments("assignments = []\n");
    eventually("the file's part is gone", async || {
        asking(other).await == 403 && outcome_of(&stack, "diego").await == "200" && {
            let before = stack.exchanges();
            asking(other).await;
            stack.exchanges() == before
        }
    })
    .await;
    assert_eq!(asking(&CONTOSO_APP.to_string()).await, 200);
}

#[tokio::test]
async fn the_files_part_serves_when_acss_is_too_old() {
    let stack = stack("file,acs", |builder| {
        builder
            .assignments("assignments.toml", one_user(ALEX, ""))
            .set("assignments.acs.max_age", "1h")
    })
    .await;
    assert_eq!(outcome_of(&stack, "diego").await, "200");
    let away = Fault {
        status: Some(500),
        ..Fault::default()
    };
    stack.fault(Endpoint::Assignments, away);
    eventually("it was seen", async || degraded(&stack).await != "[]").await;
    stack.advance(3601);
    assert_eq!(outcome_of(&stack, "alex").await, "200");
    assert_eq!(outcome_of(&stack, "diego").await, UNAVAILABLE);
    assert_eq!(stack.probe("/readyz").await.status, 200);
}

#[tokio::test]
async fn in_identity_mode_no_caller_is_served_before_the_file_is_loaded() {
    let clock = clock();
    let emulator = emulator(&clock).await;
    let key = emulator.expected_access_key();
    let stack = Stack::builder()
        .emulator(emulator, &clock)
        .set("exchange.mode", "identity")
        .set("exchange.identity.access_key", key.clone())
        .set("entra.audiences", "2a04943b-b6a7-4f65-8786-2bb6131b59f6")
        .set("entra.required_scopes", "VoIP")
        .set("assignments.sources", "file,acs")
        .set("assignments.acs.access_key", key)
        .set("assignments.acs.refresh_interval", "50ms")
        .without_assignments()
        .start()
        .await;
    eventually("only the file is missing", async || {
        stack.probe("/readyz").await.json()["reasons"] == json!(["assignments are not loaded"])
    })
    .await;
    // ACS lists Alex, but what the file would narrow is not known.
    assert_eq!(outcome_of(&stack, "alex").await, UNAVAILABLE);
    stack.write_assignments(&one_user(ALEX, "allowedScopes = [\"chat\"]\n"));
    eventually("Alex is served", async || outcome_of(&stack, "alex").await == "200").await;
    assert_eq!(outcome_of(&stack, "diego").await, "200");
}
