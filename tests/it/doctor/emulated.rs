//! The emulator's Graph: each step undone is found, what `setup` can do is done, and the two administrators do the rest.

use azure_emulator::scenario::{CONTOSO, FABRIKAM, Step};
use serde_json::Value;
use tempfile::TempDir;

use super::{CONTOSO_API, CONTOSO_API_SECRET, Report};
use crate::support::process::{Process, emulator};
use crate::support::stack::assignments_toml;
use azure_emulator::Emulator;

/// Everything at the emulator: Entra, ACS and Graph.
struct World {
    emulator: Emulator,
    folder: TempDir,
    file: String,
}

impl World {
    async fn open() -> Self {
        Self::open_with("").await
    }

    /// With more in `[exchange]`.
    async fn open_with(exchange: &str) -> Self {
        let emulator = emulator().await;
        let folder = tempfile::tempdir().unwrap();
        let origin = emulator.origin();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("assignments.toml", &assignments_toml(&emulator.scenario().assignments));
        write("access-key", &emulator.expected_access_key());
        write("client-secret", CONTOSO_API_SECRET);
        let text = format!(
            "[entra]\nauthority = \"{origin}\"\n[[entra.tenants]]\nid = \"{CONTOSO}\"\n[[entra.tenants]]\nid = \"{FABRIKAM}\"\n\
             [exchange]\nendpoint = \"{origin}\"\n{exchange}\
             [assignments]\nfile = \"assignments.toml\"\nunknown_groups = \"graph\"\n\
             [assignments.acs]\naccess_key_file = \"access-key\"\n\
             [graph]\nendpoint = \"{origin}\"\nclient_id = \"{CONTOSO_API}\"\ncredential = \"secret\"\nclient_secret_file = \"client-secret\"\n"
        );
        write("broker.toml", &text);
        let file = folder.path().join("broker.toml").to_str().unwrap().to_owned();
        Self { emulator, folder, file }
    }

    async fn doctor(&self) -> Report {
        Report::read(&Process::run(&["doctor", "--config", &self.file, "--output", "json"], &[]).await)
    }

    /// `setup` with a token of an administrator of that tenant.
    async fn setup(&self, verb: &str, tenant: &str) -> (Option<i32>, Value) {
        let roles = [
            "Application.ReadWrite.All",
            "AppRoleAssignment.ReadWrite.All",
            "Directory.Read.All",
            "LicenseAssignment.Read.All",
        ];
        let token = self
            .emulator
            .issue_app_token(tenant, "https://graph.microsoft.com", &roles.map(str::to_owned))
            .unwrap();
        let given = self.folder.path().join("graph-token");
        std::fs::write(&given, &token).unwrap();
        let ended = Process::run(
            &[
                "setup",
                verb,
                "--yes",
                "--config",
                &self.file,
                "--output",
                "json",
                "--graph-token-file",
                given.to_str().unwrap(),
            ],
            &[],
        )
        .await;
        assert!(!ended.stdout.contains(&token), "{ended:?}");
        (ended.code, serde_json::from_str(&ended.stdout).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_undone_step_is_found_and_nothing_else() {
    let world = World::open().await;
    world.doctor().await.failed(&[]);
    for (step, ids) in [
        (
            Step::AcsClientsPrincipal,
            &["graph.acs_clients_principal", "graph.consent", "graph.group_assigned"][..],
        ),
        (Step::Permissions, &["graph.app_permissions"]),
        (Step::Consent, &["graph.consent"]),
        (Step::GroupAssignment, &["graph.group_assigned"]),
        (Step::AcsAssignment, &["acs.assignments"]),
    ] {
        world.emulator.set_step(step, false);
        world.doctor().await.failed(ids);
        world.emulator.set_step(step, true);
        world.doctor().await.failed(&[]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_does_what_it_can_and_the_consent_is_left() {
    let world = World::open().await;
    for step in Step::ALL {
        world.emulator.set_step(*step, false);
    }
    let report = world.doctor().await;
    assert_eq!(report.code, Some(1));
    let (code, planned) = world.setup("plan", "Contoso").await;
    assert_eq!(code, Some(0), "{planned:#}");
    assert!(
        planned["planned"].as_u64() > Some(0) && world.doctor().await.code == Some(1),
        "{planned:#}"
    );
    for tenant in ["Contoso", "Fabrikam"] {
        let (code, applied) = world.setup("apply", tenant).await;
        assert_eq!(
            (code, applied["refused"].as_u64()),
            (Some(0), Some(0)),
            "{tenant}: {applied:#}"
        );
    }
    let report = world.doctor().await;
    report.failed(&["graph.consent"]);
    // An administrator of each company opens the address that it prints.
    world.emulator.set_step(Step::Consent, true);
    let left = report.checks().iter().filter(|check| check["status"] == "fail");
    let left: Vec<&Value> = left.map(|check| &check["subject"]).collect();
    let report = world.doctor().await;
    assert!(report.with("fail").is_empty(), "{left:?}: {:#}", report.json);
    for tenant in ["Contoso", "Fabrikam"] {
        let (code, again) = world.setup("apply", tenant).await;
        assert_eq!((code, again["done"].as_u64()), (Some(0), Some(0)), "{again:#}");
    }
}

/// The same steps at ACS's other API, where Teams users are served.
#[tokio::test(flavor = "multi_thread")]
async fn teams_users_need_the_steps_of_the_api_for_teams() {
    const TEAMS_API: &str = "1fd5118e-2576-4263-8130-9503064c837a";
    let mode = "mode = \"teams_user\"\n[exchange.teams_user]\naccess_key_file = \"access-key\"\n";
    let world = World::open_with(mode).await;
    let report = world.doctor().await;
    report.failed(&[]);
    for id in [
        "acs.credential",
        "acs.api_version",
        "acs.retirement",
        "graph.acs_clients_principal",
        "graph.app_permissions",
        "graph.consent",
    ] {
        assert!(report.with("pass").contains(&id), "{id}: {:#}", report.json);
    }
    // No group is assigned to that API.
    assert!(
        !report.json.to_string().contains("graph.group_assigned"),
        "{:#}",
        report.json
    );
    world.emulator.set_step(Step::Permissions, false);
    let report = world.doctor().await;
    report.failed(&["graph.app_permissions"]);
    let command = report.check("graph.app_permissions")["command"].to_string();
    assert!(command.contains(TEAMS_API), "{command}");
    let (_, plan) = world.setup("plan", "Contoso").await;
    let text = plan.to_string();
    assert!(
        text.contains(TEAMS_API) && text.contains("Teams.ManageCalls"),
        "{plan:#}"
    );
    let (code, applied) = world.setup("apply", "Contoso").await;
    assert_eq!(code, Some(0), "{applied:#}");
    world.doctor().await.failed(&[]);
}

/// What ends is told with the date until the operator says that they know.
#[tokio::test(flavor = "multi_thread")]
async fn the_retirement_is_told_until_it_is_acknowledged() {
    let world = World::open().await;
    let check = world.doctor().await.check("acs.retirement").clone();
    assert_eq!(check["status"], "warn");
    assert!(check["summary"].as_str().unwrap().contains("2028-09-30"), "{check}");
    assert!(check["fix"].is_string() && check["who"] == "developer", "{check}");
    let acknowledged = [("ACS_TOKEN_BROKER__DOCTOR__ACKNOWLEDGED", "acs.retirement")];
    let arguments = ["doctor", "--config", &world.file, "--output", "json"];
    let report = Report::read(&Process::run(&arguments, &acknowledged).await);
    let check = report.check("acs.retirement");
    assert_eq!(check["status"], "pass");
    assert!(check["summary"].as_str().unwrap().contains("2028-09-30"), "{check}");
    let other = [("ACS_TOKEN_BROKER__DOCTOR__ACKNOWLEDGED", "graph.consent")];
    let refused = Process::run(&["check-config", "--config", &world.file], &other).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
}
