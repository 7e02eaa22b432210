//! `teams-assignments`: every verb as a process, in both outputs, with every exit code.

use azure_emulator::scenario::{CONTOSO, CONTOSO_APP, FABRIKAM};
use azure_emulator::{Emulator, Endpoint, Fault, Scenario};
use base::clock::{SharedClock, SystemClock};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::forge::ALEX;
use crate::support::process::{Ended, Process, write_configuration};

const KEY: &str = "ACS_TOKEN_BROKER__ASSIGNMENTS__ACS__ACCESS_KEY";
const VERSION: &str = "ACS_TOKEN_BROKER__EXCHANGE__TEAMS_EXTENSION_API_VERSION";
const OTHER_APP: &str = "0ca11e60-0000-4000-8000-000000000001";

struct Desk {
    emulator: Emulator,
    _folder: TempDir,
    config: String,
    key: String,
}

impl Desk {
    async fn open() -> Self {
        let clock: SharedClock = SystemClock::shared();
        let emulator = Emulator::start(Scenario::demo(), ([127, 0, 0, 1], 0).into(), None, clock)
            .await
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = write_configuration(folder.path(), &emulator, None);
        let key = emulator.expected_access_key();
        Self {
            emulator,
            _folder: folder,
            config,
            key,
        }
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, &[(KEY, &self.key)]).await
    }

    async fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        let arguments = [&["teams-assignments"], arguments, &["--config", &self.config]].concat();
        Process::run(&arguments, environment).await
    }

    /// The one JSON value of a command that did as it was asked.
    async fn json(&self, arguments: &[&str]) -> Value {
        let ended = self.run(&[arguments, &["--output", "json"]].concat()).await;
        assert_eq!(ended.code, Some(0), "{arguments:?} {ended:?}");
        serde_json::from_str(&ended.stdout).unwrap()
    }
}

#[tokio::test]
async fn an_assignment_is_made_shown_replaced_and_removed() {
    let desk = Desk::open().await;
    let tenant = FABRIKAM.to_string();
    let of = |verb: &'static str| [verb, "--tenant", &tenant, ALEX];
    let app = CONTOSO_APP.to_string();

    let missing = desk.run(&of("get")).await;
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stderr.contains("no such assignment"), "{missing:?}");

    // A user with every client app, which is what leaving both out means.
    let bare = json!({"objectId": ALEX, "tenantId": tenant, "principalType": "user"});
    assert_eq!(desk.json(&of("set")).await, bare);
    assert_eq!(desk.json(&of("get")).await, bare);
    let shown = desk.run(&of("get")).await;
    assert_eq!(shown.code, Some(0));
    assert!(
        shown.stdout.contains(ALEX) && shown.stdout.contains("client ids      all"),
        "{shown:?}"
    );

    let more = [
        "--principal-type",
        "resourceAccount",
        "--client-id",
        &app,
        "--client-id",
        OTHER_APP,
    ];
    let whole = json!({"objectId": ALEX, "tenantId": tenant, "principalType": "resourceAccount", "clientIds": [app, OTHER_APP]});
    let ended = desk.run(&[&of("set")[..], &more].concat()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stderr.contains("replaced") && ended.stdout.contains("resourceAccount"),
        "{ended:?}"
    );
    assert_eq!(desk.json(&of("get")).await, whole);

    assert_eq!(desk.json(&of("remove")).await, json!({"removed": whole}));
    let again = desk.run(&[&of("remove")[..], &["--output", "json"]].concat()).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    let error: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(error["error"]["code"], "NotFound");
    // The other tenant's are others.
    let tenant = CONTOSO.to_string();
    let diego = desk.emulator.scenario().user("diego").unwrap().object_id.to_string();
    let seen = desk.json(&["get", "--tenant", &tenant, &diego]).await;
    assert_eq!(seen["principalType"], "user");
    let elsewhere = desk.run(&["get", "--tenant", &FABRIKAM.to_string(), &diego]).await;
    assert_eq!(elsewhere.code, Some(1), "{elsewhere:?}");
}

#[tokio::test]
async fn the_configured_version_is_sent() {
    let desk = Desk::open().await;
    let tenant = FABRIKAM.to_string();
    for environment in [
        &[(KEY, desk.key.as_str())][..],
        &[(KEY, &desk.key), (VERSION, "2026-09-23")],
    ] {
        let ended = desk.run_with(&["set", "--tenant", &tenant, ALEX], environment).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let calls = desk.emulator.journal().into_iter();
    let versions: Vec<_> = calls
        .filter(|call| call.endpoint == Some(Endpoint::TeamsAssignments))
        .filter_map(|call| call.api_version)
        .collect();
    assert_eq!(versions, ["2025-06-30", "2026-09-23"]);
}

#[tokio::test]
async fn usage_refusals_and_outages_have_their_exit_codes() {
    let desk = Desk::open().await;
    let tenant = FABRIKAM.to_string();
    for (arguments, said) in [
        (&[][..], "Usage"),
        (&["list"], "list"),
        (&["get", ALEX], "--tenant"),
        (&["get", "--tenant", &tenant], "OBJECT_ID"),
        (&["get", "--tenant", "fabrikam.com", ALEX], "not a GUID"),
        (&["get", "--tenant", &tenant, "alex"], "not a GUID"),
        (
            &["set", "--tenant", &tenant, ALEX, "--principal-type", "group"],
            "group",
        ),
        (&["set", "--tenant", &tenant, ALEX, "--client-id", "app"], "not a GUID"),
        (
            &["get", "--tenant", &tenant, ALEX, "--resource", "emea"],
            "no resource of that name",
        ),
    ] {
        let ended = desk.run(arguments).await;
        assert_eq!(ended.code, Some(2), "{arguments:?} {ended:?}");
        assert!(
            ended.stderr.contains(said) && ended.stdout.is_empty(),
            "{arguments:?} {ended:?}"
        );
    }
    let get = ["get", "--tenant", &tenant, ALEX, "--output", "json"];
    let code = |ended: &Ended| -> Value {
        let value: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        value["error"]["code"].clone()
    };
    let usage = desk.run(&["get", "--tenant", "x", ALEX, "--output", "json"]).await;
    assert_eq!((usage.code, code(&usage)), (Some(2), json!("Usage")));
    let no_key = desk.run_with(&get, &[]).await;
    assert_eq!((no_key.code, code(&no_key)), (Some(2), json!("Configuration")));
    let wrong = desk.run_with(&get, &[(KEY, "d3Jvbmcga2V5")]).await;
    assert_eq!((wrong.code, code(&wrong)), (Some(1), json!("Refused")));
    for (status, wanted) in [(429, "TooManyRequests"), (503, "Unavailable"), (418, "InvalidResponse")] {
        desk.emulator
            .set_fault(Endpoint::TeamsAssignments, Fault::status(status))
            .unwrap();
        let ended = desk.run(&get).await;
        assert_eq!((ended.code, code(&ended)), (Some(1), json!(wanted)), "{ended:?}");
    }
}
