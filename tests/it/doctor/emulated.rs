//! The emulator's Graph: each step undone is found, what `setup` can do is done, and the two administrators do the rest.

use std::time::{Duration, Instant};

use azure_emulator::scenario::{CONTOSO, FABRIKAM, Step};
use serde_json::Value;
use tempfile::TempDir;

use super::{CONTOSO_API, CONTOSO_API_SECRET, CONTOSO_APP, Report};
use crate::support::http::Call;
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
        Self::with("", "").await
    }

    /// With settings of `[entra]` and `[exchange]`.
    async fn with(entra: &str, exchange: &str) -> Self {
        let emulator = emulator().await;
        let folder = tempfile::tempdir().unwrap();
        let origin = emulator.origin();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("assignments.toml", &assignments_toml(&emulator.scenario().assignments));
        write("access-key", &emulator.expected_access_key());
        write("client-secret", CONTOSO_API_SECRET);
        let text = format!(
            "[entra]\nauthority = \"{origin}\"\n{entra}[[entra.tenants]]\nid = \"{CONTOSO}\"\n[[entra.tenants]]\nid = \"{FABRIKAM}\"\n\
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
        #[expect(clippy::disallowed_methods, reason = "a real process is measured")]
        let began = Instant::now();
        let ended = Process::run(&["doctor", "--config", &self.file, "--output", "json"], &[]).await;
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2), "two tenants: {took:?}");
        Report::read(&ended)
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

/// In the modes in which front ends get tokens for the broker's own API: a consent of its own, of which ACS knows nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_consent_to_the_brokers_own_api_is_looked_at() {
    let entra = format!("audiences = [\"{CONTOSO_API}\", \"api://{CONTOSO_API}\"]\nrequired_scopes = [\"access\"]\n");
    let app =
        format!("client_id = \"{CONTOSO_API}\"\ncredential = \"secret\"\nclient_secret_file = \"client-secret\"\n");
    for (mode, exchange) in [
        ("on_behalf_of", app.as_str()),
        ("identity", "access_key_file = \"access-key\"\nscopes = [\"chat\"]\n"),
    ] {
        let world = World::with(&entra, &format!("mode = \"{mode}\"\n[exchange.{mode}]\n{exchange}")).await;
        let of_own_api = |report: &Report, status: &str| {
            let names = format!("the broker's own API {CONTOSO_API} (access)");
            let checks = report.checks().iter().filter(|check| {
                let is_about_it = check["summary"].as_str().unwrap().contains(&names);
                check["id"] == "graph.consent" && check["status"] == status && is_about_it
            });
            checks
                .map(|check| check["subject"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let report = world.doctor().await;
        report.failed(&[]);
        assert_eq!(
            of_own_api(&report, "pass"),
            [CONTOSO.to_string(), FABRIKAM.to_string()],
            "{mode}"
        );
        // Fabrikam consented to the broker's own app, and not to the front end.
        world.emulator.set_step(Step::Consent, false);
        let consent = format!(
            "{}/_emulator/apps/{CONTOSO_API}/consent/Fabrikam",
            world.emulator.origin()
        );
        assert_eq!(Call::new("PUT", consent).send().await.status, 204, "{mode}");
        let report = world.doctor().await;
        report.failed(&["graph.consent"]);
        assert_eq!(of_own_api(&report, "fail"), [FABRIKAM.to_string()], "{mode}");
        let address = format!(
            "{}/{FABRIKAM}/adminconsent?client_id={CONTOSO_APP}",
            world.emulator.origin()
        );
        let fix = report.check("graph.consent")["fix"].as_str().unwrap();
        assert!(fix.contains(&address), "{mode}: {fix}");
        let (_, plan) = world.setup("plan", "Fabrikam").await;
        let steps = plan["steps"].as_array().unwrap().iter();
        let ours: Vec<&Value> = steps.filter(|step| step["url"] == address).collect();
        assert_eq!(
            (ours.len(), &ours[0]["status"]),
            (1, &Value::from("manual")),
            "{mode}: {plan:#}"
        );
        assert!(
            ours[0]["message"]
                .as_str()
                .unwrap()
                .contains(&format!("our service {CONTOSO_API}: access"))
        );
        world.emulator.set_step(Step::Consent, true);
        world.doctor().await.failed(&[]);
    }
}

/// The same steps at ACS's other API, where Teams users are served.
#[tokio::test(flavor = "multi_thread")]
async fn teams_users_need_the_steps_of_the_api_for_teams() {
    const TEAMS_API: &str = "1fd5118e-2576-4263-8130-9503064c837a";
    let mode = "mode = \"teams_user\"\n[exchange.teams_user]\naccess_key_file = \"access-key\"\n";
    let world = World::with("", mode).await;
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

/// What ends is reported with the date until the operator acknowledges it.
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
