//! `assignments replay`: yesterday's callers against today's file.

use azure_emulator::scenario::{CONTOSO, CONTOSO_APP, FABRIKAM, FABRIKAM_CALLERS};
use serde_json::{Value, json};

use crate::support::forge::ALEX;
use crate::support::observed::{exported_with, flushed};
use crate::support::process::{Ended, Process, emulator, write_configuration};

const KEY: &str = "a key for the tests of replay";
const HASH_KEY: &str = "ACS_TOKEN_BROKER__TELEMETRY__USER_HASH_KEY";

fn assignment(kind: &str, tenant: impl std::fmt::Display, object: impl std::fmt::Display) -> String {
    format!(
        "[[assignments]]\nobjectId = \"{object}\"\ntenantId = \"{tenant}\"\nprincipalType = \"{kind}\"\n\
         clientIds = [\"{CONTOSO_APP}\"]\n"
    )
}

fn rows(json: &Value, list: &str) -> Vec<String> {
    let rows = json[list].as_array().unwrap().iter();
    rows.map(|row| {
        row["objectId"]
            .as_str()
            .or(row["userHash"].as_str())
            .unwrap_or("-")
            .to_owned()
    })
    .collect()
}

struct Desk {
    folder: tempfile::TempDir,
    config: String,
    log: String,
}

impl Desk {
    async fn open(assignments: &str, log: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = write_configuration(folder.path(), &emulator().await, None);
        std::fs::write(folder.path().join("assignments.toml"), assignments).unwrap();
        let file = folder.path().join("audit.log");
        std::fs::write(&file, log).unwrap();
        let log = file.to_str().unwrap().to_owned();
        Self { folder, config, log }
    }

    async fn run(&self, more: &[&str], environment: &[(&str, &str)]) -> Ended {
        let arguments = [
            "assignments",
            "replay",
            "--config",
            &self.config,
            "--audit-log",
            &self.log,
        ];
        Process::run(&[&arguments, more].concat(), environment).await
    }

    async fn json(&self, environment: &[(&str, &str)]) -> Value {
        let ended = self.run(&["--output", "json"], environment).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        serde_json::from_str(&ended.stdout).unwrap()
    }
}

#[tokio::test]
async fn what_a_broker_wrote_is_judged_by_hash_and_by_id() {
    for plain in [false, true] {
        let ids = if plain { "plain" } else { "hash" };
        let (served, _collector) =
            exported_with(&[(HASH_KEY, KEY), ("ACS_TOKEN_BROKER__TELEMETRY__USER_IDS", ids)]).await;
        for user in ["alex", "adele", "diego", "grady", "alex"] {
            served.post_token(&served.token_with_groups(user)).await;
        }
        let grady = crate::support::observed::user_of(&served.token("grady"));
        let log = flushed(served).await.stdout;
        // Alex and Contoso lose theirs, Grady gets one, and Adele's group stays.
        let file = assignment("user", FABRIKAM, &grady) + &assignment("group", FABRIKAM, FABRIKAM_CALLERS);
        let desk = Desk::open(&file, &log).await;
        let json = desk.json(&[(HASH_KEY, KEY)]).await;
        assert_eq!(json["unchanged"], 1, "{json}");
        assert_eq!(rows(&json, "admitted").len(), 1, "{json}");
        assert_eq!(rows(&json, "refused").len(), 1, "{json}");
        assert_eq!(json["refused"][0]["tenantId"], CONTOSO.to_string());
        assert_eq!(json["refused"][0]["before"], "issued");
        // Alex may be in the group, for all that the log says.
        assert_eq!(rows(&json, "byGroup").len(), 1, "{json}");
        assert_eq!(json["byGroup"][0]["requests"], 2, "{json}");
        assert_eq!(rows(&json, "unknown").len(), 0, "{json}");
        if plain {
            assert_eq!(rows(&json, "admitted"), [grady]);
            assert_eq!(rows(&json, "byGroup"), [ALEX]);
        } else {
            assert!(
                !json.to_string().contains(ALEX) && !json.to_string().contains(&grady),
                "{json}"
            );
            // Without the key nobody knows which hash is Grady's.
            let json = desk.json(&[]).await;
            assert_eq!(rows(&json, "admitted").len(), 0, "{json}");
            assert_eq!(rows(&json, "unknown").len(), 2, "{json}");
        }
        let table = desk.run(&[], &[(HASH_KEY, KEY)]).await;
        assert_eq!(table.code, Some(0), "{table:?}");
        assert!(table.stdout.starts_with("CHANGE"), "{table:?}");
        let total = "1 callers would be refused, 1 newly admitted, 1 depend on a group, 0 unknown, 1 unchanged\n";
        assert!(table.stdout.ends_with(total), "{table:?}");
    }
}

fn event(more: &Value) -> String {
    let mut event = json!({
        "target": "acs_token_broker::audit", "message": "token", "decision": "issued",
        "acs_broker.tenant.id": FABRIKAM.to_string(), "enduser.id": ALEX,
        "acs_broker.client_app.id": CONTOSO_APP.to_string(), "acs_broker.assignment.kind": "user",
    });
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    event.to_string() + "\n"
}

#[tokio::test]
async fn a_trial_tells_whom_enforcing_would_refuse() {
    let log = event(&json!({"decision": "would_refuse", "acs_broker.assignment.kind": "acs"}));
    let desk = Desk::open("assignments = []", &log).await;
    let json = desk.json(&[]).await;
    assert_eq!(rows(&json, "refused"), [ALEX], "{json}");
    assert_eq!(json["refused"][0]["before"], "would_refuse");
    std::fs::write(
        desk.folder.path().join("assignments.toml"),
        assignment("user", FABRIKAM, ALEX),
    )
    .unwrap();
    let json = desk.json(&[]).await;
    assert_eq!(
        (rows(&json, "refused").len(), &json["unchanged"]),
        (0, &json!(1)),
        "{json}"
    );
}

#[tokio::test]
async fn usage_and_files_that_are_no_good() {
    let desk = Desk::open("assignments = []", "no audit event\n").await;
    let empty = desk.run(&[], &[]).await;
    assert_eq!(empty.code, Some(0), "{empty:?}");
    assert!(empty.stderr.contains("no audit event"), "{empty:?}");
    let missing = ["assignments", "replay", "--config", &desk.config, "--output", "json"];
    let without = Process::run(&missing, &[]).await;
    assert_eq!(without.code, Some(2), "{without:?}");
    let nowhere = Process::run(&[&missing[..], &["--audit-log", "/no/such/file"]].concat(), &[]).await;
    assert_eq!(nowhere.code, Some(2), "{nowhere:?}");
    let json: Value = serde_json::from_str(&nowhere.stdout).unwrap();
    assert_eq!(json["error"]["code"], "InvalidFile", "{nowhere:?}");
    let unknown = desk.run(&["--resource", "x"], &[]).await;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    std::fs::write(desk.folder.path().join("assignments.toml"), "broken").unwrap();
    assert_eq!(desk.run(&[], &[]).await.code, Some(2));
}
