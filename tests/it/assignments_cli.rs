//! `assignments`: every verb as a process, in both outputs, with every exit code.

mod usage;

use azure_emulator::scenario::{CONTOSO, CONTOSO_APP, FABRIKAM, FABRIKAM_CALLERS};
use azure_emulator::{Assignment, Emulator, Endpoint, Fault, PrincipalType, Scenario};
use base::clock::{SharedClock, SystemClock};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::fake::{Fake, Reply};
use crate::support::forge::ALEX;
use crate::support::process::{Ended, Process, write_configuration};
use crate::support::stack::assignments_toml;

const KEY: &str = "ACS_TOKEN_BROKER__ASSIGNMENTS__ACS__ACCESS_KEY";
const ENDPOINT: &str = "ACS_TOKEN_BROKER__EXCHANGE__ENDPOINT";
const NEW: &str = "0ca11e60-0000-4000-8000-0000000000AA";
const OTHER_APP: &str = "0ca11e60-0000-4000-8000-000000000001";

/// An emulated ACS, and a configuration that names it.
struct Desk {
    emulator: Emulator,
    folder: TempDir,
    config: String,
    key: String,
}

impl Desk {
    async fn open() -> Self {
        let clock: SharedClock = SystemClock::shared();
        let emulator = Emulator::start(Scenario::demo(), ([127, 0, 0, 1], 0).into(), None, clock)
            .await
            .unwrap();
        let assign = |object_id, tenant_id, principal_type| Assignment {
            object_id,
            tenant_id,
            principal_type,
            client_ids: vec![CONTOSO_APP],
        };
        emulator.set_assignments([
            assign(CONTOSO, CONTOSO, PrincipalType::Tenant),
            assign(ALEX.parse().unwrap(), FABRIKAM, PrincipalType::User),
            assign(FABRIKAM_CALLERS, FABRIKAM, PrincipalType::Group),
        ]);
        let folder = tempfile::tempdir().unwrap();
        let config = write_configuration(folder.path(), &emulator, None);
        let assignments = assignments_toml(&emulator.assignments());
        std::fs::write(folder.path().join("assignments.toml"), assignments).unwrap();
        let key = emulator.expected_access_key();
        Self {
            emulator,
            folder,
            config,
            key,
        }
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, &[(KEY, &self.key)]).await
    }

    async fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        let arguments = [&["assignments"], arguments, &["--config", &self.config]].concat();
        Process::run(&arguments, environment).await
    }

    /// The one JSON value of a command that did as it was asked.
    async fn json(&self, arguments: &[&str]) -> Value {
        let ended = self.run(&[arguments, &["--output", "json"]].concat()).await;
        assert_eq!(ended.code, Some(0), "{arguments:?} {ended:?}");
        one_value(&ended)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// How many calls of this method ACS has seen.
    fn calls(&self, method: &str) -> usize {
        let calls = self.emulator.journal();
        calls
            .iter()
            .filter(|call| call.endpoint == Some(Endpoint::Assignments) && call.method == method)
            .count()
    }
}

fn one_value(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

fn user(id: &str, clients: &[&str]) -> Value {
    json!({"objectId": id, "tenantId": FABRIKAM.to_string(), "principalType": "user", "clientIds": clients})
}

fn ids(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap();
    list.iter().map(|entry| entry["objectId"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn list_and_get() {
    let desk = Desk::open().await;
    let table = desk.run(&["list"]).await;
    assert_eq!(table.code, Some(0), "{table:?}");
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{table:?}");
    let column = lines[0].find("TENANT ID").unwrap();
    for line in &lines[1..] {
        assert!(
            [CONTOSO, FABRIKAM]
                .iter()
                .any(|id| line[column..].starts_with(&id.to_string())),
            "{line}"
        );
        assert!(line.ends_with(&CONTOSO_APP.to_string()), "{line}");
    }
    assert!(!table.stdout.contains('\u{1b}') && table.stderr.is_empty(), "{table:?}");

    // What is listed is an assignment file, and makes no difference to what is there.
    let list = desk.json(&["list"]).await;
    assert_eq!(list["value"].as_array().unwrap().len(), 3);
    let file = desk.write("listed.json", &list.to_string());
    assert_eq!(
        desk.json(&["diff", &file]).await,
        json!({"added": [], "changed": [], "removed": []})
    );

    let alex = desk.json(&["get", &ALEX.to_uppercase()]).await;
    assert_eq!(alex, user(ALEX, &[&CONTOSO_APP.to_string()]));
    let alex = desk.run(&["get", ALEX]).await;
    assert!(
        alex.code == Some(0) && alex.stdout.contains("principal type  user"),
        "{alex:?}"
    );
    for output in ["json", "table"] {
        let nobody = desk.run(&["get", NEW, "--output", output]).await;
        assert_eq!(nobody.code, Some(1), "{nobody:?}");
        assert!(nobody.stderr.contains("no such assignment"), "{nobody:?}");
    }
    // An empty list is a list.
    desk.emulator.set_assignments([]);
    assert_eq!(desk.json(&["list"]).await, json!({"value": []}));
    assert_eq!(desk.run(&["list"]).await.stdout.lines().count(), 1);
}

#[tokio::test]
async fn set_and_remove() {
    let desk = Desk::open().await;
    let fabrikam = FABRIKAM.to_string();
    let set = |kind: &'static str, id: &'static str| {
        [
            "set",
            id,
            "--tenant-id",
            &fabrikam,
            "--principal-type",
            kind,
            "--client-id",
            OTHER_APP,
        ]
        .map(str::to_owned)
    };
    let arguments = set("user", NEW);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--client-id", NEW]);
    assert_eq!(
        desk.json(&arguments).await,
        user(&NEW.to_lowercase(), &[OTHER_APP, &NEW.to_lowercase()])
    );
    arguments.truncate(8);
    let replaced = desk.run(&arguments).await;
    assert!(
        replaced.code == Some(0) && replaced.stderr.contains("replaced"),
        "{replaced:?}"
    );
    let stored = desk.emulator.assignments();
    let stored = stored
        .iter()
        .find(|found| found.object_id == NEW.parse::<uuid::Uuid>().unwrap())
        .unwrap();
    assert_eq!(
        (stored.principal_type, stored.client_ids.len()),
        (PrincipalType::User, 1)
    );

    // A tenant is itself.
    let tenant = set("tenant", NEW);
    let tenant: Vec<&str> = tenant.iter().map(String::as_str).collect();
    let before = desk.calls("PUT");
    let refused = desk.run(&tenant).await;
    assert_eq!((refused.code, desk.calls("PUT")), (Some(2), before), "{refused:?}");

    let removed = desk.json(&["remove", NEW]).await;
    assert_eq!(removed, json!({"removed": user(&NEW.to_lowercase(), &[OTHER_APP])}));
    let gone = desk.run(&["remove", NEW]).await;
    assert_eq!(gone.code, Some(1), "{gone:?}");
    let alex = desk.run(&["remove", ALEX]).await;
    assert!(alex.code == Some(0) && alex.stdout.starts_with("removed\n"), "{alex:?}");
    assert_eq!(desk.emulator.assignments().len(), 2);
}

/// A file that adds a user, changes the group's client apps and lacks Contoso; Alex is as before, in capitals.
fn wanted() -> String {
    let app = CONTOSO_APP.to_string();
    let group = json!({
        "objectId": FABRIKAM_CALLERS.to_string(), "tenantId": FABRIKAM.to_string(), "principalType": "group",
        "clientIds": [OTHER_APP, app.to_uppercase()],
    });
    let mut added = user(NEW, &[&app]);
    added["allowedScopes"] = json!(["chat"]);
    let alex = user(&ALEX.to_uppercase(), &[&app.to_uppercase(), &app]);
    json!({"assignments": [added, group, alex]}).to_string()
}

#[tokio::test]
async fn apply_tells_the_difference_and_sends_it_once() {
    for output in ["table", "json"] {
        let desk = Desk::open().await;
        let file = desk.write("wanted.json", &wanted());
        let apply = async |more: &[&str]| {
            let ended = desk.run(&[&["apply", &file, "--output", output], more].concat()).await;
            assert_eq!(ended.code, Some(0), "{ended:?}");
            if output == "json" {
                let value = one_value(&ended);
                let difference = [
                    ids(&value["added"]).len(),
                    value["changed"].as_array().unwrap().len(),
                    ids(&value["removed"]).len(),
                ];
                (difference, value["applied"] == true)
            } else {
                let count = |mark: &str| ended.stdout.lines().filter(|line| line.starts_with(mark)).count();
                (
                    [count("+ "), count("~ "), count("- ")],
                    ended.stdout.ends_with("applied\n"),
                )
            }
        };
        let before = desk.emulator.assignments();
        assert_eq!(apply(&["--dry-run"]).await, ([1, 1, 1], false));
        assert_eq!((desk.calls("PATCH"), desk.emulator.assignments()), (0, before));
        assert_eq!(apply(&[]).await, ([1, 1, 1], true));
        assert_eq!(
            (desk.calls("PATCH"), desk.calls("PUT"), desk.calls("DELETE")),
            (1, 0, 0)
        );
        let after = desk.emulator.assignments();
        assert_eq!(after.len(), 3);
        assert!(
            after.iter().all(|assignment| assignment.object_id != CONTOSO),
            "{after:?}"
        );
        // Again, in another order: nothing is sent.
        assert_eq!(apply(&[]).await, ([0, 0, 0], false));
        assert_eq!(desk.calls("PATCH"), 1);
    }
}

#[tokio::test]
async fn what_is_sent_is_one_merge_patch() {
    let desk = Desk::open().await;
    let fake = Fake::start().await;
    let app = CONTOSO_APP.to_string();
    let list = "/access/entra/assignments";
    // Where nothing is listed everything is added. The answer to the PATCH is that to the GET: a list.
    fake.on(list, Reply::json(&json!({"value": [user(ALEX, &[&app])]})));
    let file = desk.write("wanted.json", &json!({"assignments": [user(NEW, &[&app])]}).to_string());
    let ended = desk
        .run_with(
            &["apply", &file, "--output", "json"],
            &[(KEY, &desk.key), (ENDPOINT, &fake.origin())],
        )
        .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let calls = fake.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1].headers["content-type"], "application/merge-patch+json");
    let mut members = user(NEW, &[&app]);
    members.as_object_mut().unwrap().remove("objectId");
    let body: Value = serde_json::from_slice(&calls[1].body).unwrap();
    assert_eq!(body, json!({NEW.to_lowercase(): members, ALEX: null}));
}

#[tokio::test]
async fn diff_shows_the_drift_and_is_no_failure() {
    let desk = Desk::open().await;
    assert_eq!(
        desk.json(&["diff"]).await,
        json!({"added": [], "changed": [], "removed": []})
    );
    assert_eq!(desk.run(&["diff"]).await.stdout, "no difference\n");
    desk.write("assignments.toml", "assignments = []\n");
    let drifted = desk.json(&["diff"]).await;
    assert_eq!(ids(&drifted["removed"]).len(), 3);
    let file = desk.write("wanted.json", &wanted());
    let drifted = desk.json(&["diff", &file]).await;
    assert_eq!(ids(&drifted["added"]), [NEW.to_lowercase()]);
    assert_eq!(ids(&drifted["removed"]), [CONTOSO.to_string()]);
    let change = &drifted["changed"][0];
    assert_eq!(change["before"]["clientIds"], json!([CONTOSO_APP.to_string()]));
    assert_eq!(
        change["after"]["clientIds"],
        json!([OTHER_APP, CONTOSO_APP.to_string()])
    );
    let table = desk.run(&["diff", &file]).await;
    assert!(
        table.code == Some(0) && table.stdout.contains("1 to add, 1 to change, 1 to remove"),
        "{table:?}"
    );
    assert!(["PATCH", "PUT", "DELETE"].iter().all(|method| desk.calls(method) == 0));
}

#[tokio::test]
async fn acs_refuses_or_is_away() {
    let desk = Desk::open().await;
    let file = desk.write("wanted.json", &wanted());
    let fabrikam = FABRIKAM.to_string();
    let set = [
        "set",
        NEW,
        "--tenant-id",
        &fabrikam,
        "--principal-type",
        "user",
        "--client-id",
        OTHER_APP,
    ];
    let verbs = [
        &["list"][..],
        &["get", ALEX],
        &set,
        &["remove", ALEX],
        &["apply", &file],
        &["diff"],
    ];
    let check = async |environment: &[(&str, &str)], said: &str| {
        for verb in verbs {
            let ended = desk
                .run_with(&[verb, &["--output", "json"]].concat(), environment)
                .await;
            assert_eq!(ended.code, Some(1), "{verb:?} {ended:?}");
            assert!(ended.stderr.contains(said), "{verb:?} {ended:?}");
            assert_eq!(
                one_value(&ended)["error"]["message"].as_str().unwrap().lines().count(),
                1
            );
        }
    };
    // Another resource's key.
    check(&[(KEY, "QW5vdGhlciBrZXk=")], "401 (Denied)").await;
    check(&[(KEY, &desk.key), (ENDPOINT, "http://127.0.0.1:1")], "ACS is away").await;
    for (status, said) in [(403, "403"), (429, "limits"), (500, "away"), (400, "400")] {
        let fault = Fault {
            status: Some(status),
            ..Fault::default()
        };
        desk.emulator.set_fault(Endpoint::Assignments, fault).unwrap();
        check(&[(KEY, &desk.key)], said).await;
    }
    assert_eq!(desk.emulator.assignments().len(), 3);
}

#[tokio::test]
async fn nothing_is_sent_where_the_list_is_not_whole() {
    let desk = Desk::open().await;
    let fake = Fake::start().await;
    let part = json!({"value": [], "nextLink": "https://elsewhere.example/"});
    fake.on("/access/entra/assignments", Reply::json(&part));
    let file = desk.write("wanted.json", &wanted());
    let environment = [(KEY, &*desk.key), (ENDPOINT, &fake.origin())];
    let ended = desk.run_with(&["apply", &file], &environment).await;
    assert_eq!((ended.code, fake.calls().len()), (Some(1), 1), "{ended:?}");
    assert!(ended.stderr.contains("leads away from the endpoint"), "{ended:?}");
}
