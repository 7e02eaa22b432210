//! `doctor`: each check as a process sees it, in the world as it should be and with one thing wrong.

mod emulated;
mod graph;
mod report;
mod setup;
mod token;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use azure_emulator::scenario::{CONTOSO, CONTOSO_API, CONTOSO_API_SECRET, CONTOSO_APP, FABRIKAM, FABRIKAM_CALLERS};
use azure_emulator::{Assignment, Emulator, PrincipalType, TokenRequest};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::report::Report;
use crate::support::fake::{Fake, Reply};
use crate::support::forge::ACS_CLIENTS;
use crate::support::process::{Ended, Process, emulator};
use crate::support::stack::assignments_toml;

/// The service principals of the fake Graph.
const ACS_PRINCIPAL: &str = "44444444-0000-4000-8000-000000000001";
const APP_PRINCIPAL: &str = "44444444-0000-4000-8000-000000000002";
const APP_OBJECT: &str = "55555555-0000-4000-8000-000000000001";
/// The id of the permission `VoIP` there.
const VOIP: &str = "66666666-0000-4000-8000-000000000001";

/// The emulator as Entra and ACS, a fake as Graph, and a configuration that names both.
struct Clinic {
    emulator: Emulator,
    graph: Fake,
    folder: TempDir,
    authority: String,
    endpoint: String,
}

impl Clinic {
    /// With everything done that administrators have to do.
    async fn open() -> Self {
        let emulator = emulator().await;
        let graph = Fake::start().await;
        let assign = |object_id, tenant_id, principal_type| Assignment {
            object_id,
            tenant_id,
            principal_type,
            client_ids: vec![CONTOSO_APP],
        };
        emulator.set_assignments([
            assign(CONTOSO, CONTOSO, PrincipalType::Tenant),
            assign(FABRIKAM_CALLERS, FABRIKAM, PrincipalType::Group),
        ]);
        let folder = tempfile::tempdir().unwrap();
        let clinic = Self {
            authority: emulator.origin(),
            endpoint: emulator.origin(),
            emulator,
            graph,
            folder,
        };
        for (path, reply) in good_graph() {
            clinic.graph.on(&path, Reply::json(&reply));
        }
        clinic.write("assignments.toml", &assignments_toml(&clinic.emulator.assignments()));
        clinic.write("access-key", &clinic.emulator.expected_access_key());
        clinic.write("client-secret", CONTOSO_API_SECRET);
        clinic
    }

    fn write(&self, name: &str, text: &str) -> String {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }

    fn configure(&self) -> String {
        let text = format!(
            "[entra]\nauthority = \"{}\"\n[[entra.tenants]]\nid = \"{CONTOSO}\"\n[[entra.tenants]]\nid = \"{FABRIKAM}\"\n\
             [exchange]\nendpoint = \"{}\"\n\
             [assignments]\nfile = \"assignments.toml\"\nunknown_groups = \"graph\"\n\
             [assignments.acs]\naccess_key_file = \"access-key\"\n\
             [graph]\nendpoint = \"{}\"\nclient_id = \"{CONTOSO_API}\"\ncredential = \"secret\"\nclient_secret_file = \"client-secret\"\n\
             [doctor]\nacknowledged = [\"acs.retirement\"]\n",
            self.authority,
            self.endpoint,
            self.graph.origin()
        );
        self.write("broker.toml", &text)
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, &[]).await
    }

    async fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        let file = self.configure();
        let arguments = [&["doctor", "--config", &file], arguments].concat();
        let ended = Process::run(&arguments, environment).await;
        // Whatever is asked, no secret is shown.
        for secret in [CONTOSO_API_SECRET.to_owned(), self.emulator.expected_access_key()] {
            assert!(
                !ended.stdout.contains(&secret) && !ended.stderr.contains(&secret),
                "{ended:?}"
            );
        }
        assert!(
            !ended.stdout.contains("eyJ") && !ended.stderr.contains("eyJ"),
            "{ended:?}"
        );
        ended
    }

    async fn report(&self, arguments: &[&str]) -> Report {
        let ended = self.run(&[arguments, &["--output", "json"]].concat()).await;
        Report::read(&ended)
    }

    fn token(&self, user: &str) -> String {
        self.token_with(user, &TokenRequest::default())
    }

    fn token_with(&self, user: &str, request: &TokenRequest) -> String {
        let token = self.emulator.issue_token(user, request).unwrap();
        self.write("token", &token)
    }
}

/// A Graph in which everything is done, by path.
fn good_graph() -> BTreeMap<String, Value> {
    let list = |items: Value| json!({ "value": items });
    BTreeMap::from([
        (
            "/v1.0/servicePrincipals".to_owned(),
            list(json!([
                {"id": ACS_PRINCIPAL, "appId": ACS_CLIENTS, "accountEnabled": true,
                 "oauth2PermissionScopes": [{"id": VOIP, "value": "VoIP"}]},
                {"id": APP_PRINCIPAL, "appId": CONTOSO_APP.to_string(), "appOwnerOrganizationId": CONTOSO.to_string()},
            ])),
        ),
        (
            "/v1.0/applications".to_owned(),
            list(
                json!([{"id": APP_OBJECT, "appId": CONTOSO_APP.to_string(), "signInAudience": "AzureADMultipleOrgs",
                "spa": {"redirectUris": ["https://app.contoso.com/"]}, "requiredResourceAccess": [
                    {"resourceAppId": ACS_CLIENTS, "resourceAccess": [{"id": VOIP, "type": "Scope"}]}]}]),
            ),
        ),
        (
            "/v1.0/oauth2PermissionGrants".to_owned(),
            list(
                json!([{"clientId": APP_PRINCIPAL, "consentType": "AllPrincipals", "resourceId": ACS_PRINCIPAL, "scope": "VoIP"}]),
            ),
        ),
        (
            format!("/v1.0/servicePrincipals/{ACS_PRINCIPAL}/appRoleAssignedTo"),
            list(json!([{"principalId": FABRIKAM_CALLERS.to_string()}])),
        ),
        (
            format!("/v1.0/groups/{FABRIKAM_CALLERS}"),
            json!({"id": FABRIKAM_CALLERS.to_string(), "displayName": "Callers"}),
        ),
        (
            format!("/v1.0/groups/{FABRIKAM_CALLERS}/members"),
            list(json!([{"@odata.type": "#microsoft.graph.user"}])),
        ),
        (
            "/v1.0/subscribedSkus".to_owned(),
            list(json!([{"capabilityStatus": "Enabled", "servicePlans": [{"servicePlanName": "AAD_PREMIUM"}]}])),
        ),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_world_in_which_everything_is_done_passes_soon() {
    let clinic = Clinic::open().await;
    let file = clinic.token("adele");
    #[expect(clippy::disallowed_methods, reason = "a real process is measured")]
    let began = Instant::now();
    let report = clinic.report(&["--token-file", &file]).await;
    let took = began.elapsed();
    report.failed(&["token.assignment"]);
    assert!(took < Duration::from_secs(2), "{took:?}");
    // Adele is in the group, and Graph's answer about that is not scripted: all the rest passes.
    let passed = report.with("pass");
    for id in [
        "config.valid",
        "clock.skew",
        "entra.discovery",
        "entra.keys",
        "entra.credential",
        "acs.reachable",
        "acs.credential",
        "acs.assignments",
        "acs.assignments.drift",
        "acs.api_version",
        "acs.retirement",
        "graph.token",
        "graph.acs_clients_principal",
        "graph.app_account_type",
        "graph.app_redirect_uris",
        "graph.app_permissions",
        "graph.consent",
        "graph.group_exists",
        "graph.group_assigned",
        "graph.license",
        "token.signature",
        "token.route",
    ] {
        assert!(passed.contains(&id), "{id}: {:#}", report.json);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_configuration_fails_and_a_wrong_command_line_is_another_thing() {
    let clinic = Clinic::open().await;
    let report = Report::read(&Process::run(&["doctor", "--config", "/nowhere.toml", "--output", "json"], &[]).await);
    report.failed(&["config.valid"]);
    let unknown = clinic
        .run_with(&["--output", "json"], &[("ACS_TOKEN_BROKER__EXCHANGE__UNKNOWN", "1")])
        .await;
    Report::read(&unknown).failed(&["config.valid"]);
    // A file that it names: the rest is looked at all the same.
    clinic.write("assignments.toml", "[[assignments");
    let report = clinic.report(&[]).await;
    report.failed(&["config.valid"]);
    assert_eq!(report.check("entra.keys")["status"], "pass");
    for arguments in [
        &["--unknown"][..],
        &["--tenant", "x"],
        &["--tenant", "11111111-0000-4000-8000-000000000001"],
        &["--token-file", "/nowhere"],
        &["--exchange"],
        &["--token-file", "-", "--graph-token-file", "-"],
        &["--token-file", "-"],
    ] {
        let ended = clinic.run(&[arguments, &["--output", "json"]].concat()).await;
        assert_eq!(ended.code, Some(2), "{arguments:?} {ended:?}");
        let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(answer["error"]["code"], "Usage", "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_nothing_is_asked() {
    let clinic = Clinic::open().await;
    let asked = clinic.emulator.count(azure_emulator::Endpoint::Keys);
    let report = clinic.report(&["--offline"]).await;
    report.failed(&[]);
    assert_eq!(report.with("pass"), ["config.valid", "config.plain_http"]);
    assert_eq!(clinic.emulator.count(azure_emulator::Endpoint::Keys), asked);
    assert!(clinic.graph.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn entra_that_is_away_or_wrong() {
    let mut clinic = Clinic::open().await;
    // No server listens there.
    let gone = Fake::start().await.origin();
    clinic.authority = gone;
    let report = clinic.report(&[]).await;
    let check = report.check("entra.discovery");
    assert_eq!(
        (check["status"].as_str(), check["who"].as_str()),
        (Some("fail"), Some("operator")),
        "{check}"
    );
    assert!(
        check["summary"].as_str().unwrap().contains("refused the connection"),
        "{check}"
    );
    // Another clock, no key that can be used, and no document at all.
    let entra = Fake::start().await;
    for tenant in [CONTOSO, FABRIKAM] {
        let played = entra.play_entra(&clinic.emulator, tenant, &[]);
        let document = played.document(&played.v2_issuer, &played.jwks_uri);
        entra.on(&played.v2, document.header("date", "Tue, 24 Nov 2020 12:00:00 GMT"));
    }
    clinic.authority = entra.origin();
    let report = clinic.report(&[]).await;
    assert_eq!(report.check("entra.keys")["status"], "fail", "{:#}", report.json);
    assert_eq!(report.check("entra.discovery")["status"], "pass", "{:#}", report.json);
    let clock = report.check("clock.skew");
    assert_eq!(clock["status"], "fail", "{clock}");
    assert!(clock["summary"].as_str().unwrap().contains("ahead"), "{clock}");
    let nothing = Fake::start().await;
    clinic.authority = nothing.origin();
    let report = clinic.report(&[]).await;
    assert_eq!(report.check("entra.discovery")["status"], "fail");
    assert_eq!(report.check("entra.keys")["status"], "skip");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_entra_refuses() {
    let clinic = Clinic::open().await;
    clinic.write("client-secret", "not-the-secret");
    let report = clinic.report(&[]).await;
    report.failed(&["entra.credential", "graph.token"]);
    let check = report.check("entra.credential");
    assert!(check["summary"].as_str().unwrap().contains("AADSTS7000215"), "{check}");
    assert_eq!(report.check("graph.consent")["status"], "skip");
}

#[tokio::test(flavor = "multi_thread")]
async fn acs_that_is_away_refuses_or_lacks_assignments() {
    let mut clinic = Clinic::open().await;
    clinic.write("access-key", "d3Jvbmc=");
    let report = clinic.report(&[]).await;
    report.failed(&["acs.credential"]);
    assert_eq!(report.check("acs.assignments")["status"], "skip");
    clinic.write("access-key", &clinic.emulator.expected_access_key());
    let group = clinic
        .emulator
        .assignments()
        .into_iter()
        .find(|each| each.object_id == FABRIKAM_CALLERS);
    clinic.emulator.set_assignments(group);
    let report = clinic.report(&[]).await;
    report.failed(&["acs.assignments"]);
    assert!(
        report.check("acs.assignments")["summary"]
            .as_str()
            .unwrap()
            .contains(&CONTOSO.to_string())
    );
    assert_eq!(report.check("acs.assignments.drift")["status"], "warn");
    let report = clinic
        .run_with(
            &["--output", "json"],
            &[("ACS_TOKEN_BROKER__EXCHANGE__API_VERSION", "2025-06-30")],
        )
        .await;
    let report = Report::read(&report);
    report.failed(&["acs.api_version"]);
    clinic.endpoint = Fake::start().await.origin();
    let report = clinic.report(&[]).await;
    assert_eq!(report.check("acs.reachable")["status"], "fail");
    assert_eq!(report.check("acs.credential")["status"], "skip");
    let other = Fake::start().await;
    clinic.endpoint = other.origin();
    let report = clinic.report(&[]).await;
    assert!(
        report.check("acs.reachable")["summary"]
            .as_str()
            .unwrap()
            .contains("no ACS resource")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_gets_words_and_a_failure_says_who_must_do_what() {
    let clinic = Clinic::open().await;
    clinic
        .graph
        .on("/v1.0/oauth2PermissionGrants", Reply::json(&json!({"value": []})));
    let ended = clinic.run(&[]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        !ended.stdout.contains('\u{1b}') && !ended.stderr.contains("looking"),
        "{ended:?}"
    );
    for part in [
        "\nMicrosoft Entra\n",
        "fail graph.consent",
        "who     the administrator of",
        &format!("{}/{FABRIKAM}/adminconsent?client_id={CONTOSO_APP}", clinic.authority),
        "docs    docs/doctor.md#graph.consent",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
}

/// Each id has its anchor and its section in the guide, and no section is left over.
#[test]
fn the_guide_has_a_section_for_each_check() {
    use acs_token_broker::doctor::check::CheckId;
    let guide = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let between = |begin: &str, end: &str| -> Vec<String> {
        let lines = guide.lines().filter_map(|line| line.strip_prefix(begin));
        lines
            .filter_map(|line| line.strip_suffix(end).map(str::to_owned))
            .collect()
    };
    let ids: Vec<&str> = CheckId::ALL.iter().map(|id| id.name()).collect();
    let headings: Vec<String> = between("### ", "")
        .into_iter()
        .filter(|heading| heading.contains('.'))
        .collect();
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    let ids = sorted(ids.into_iter().map(str::to_owned).collect());
    assert_eq!(sorted(between("<a id=\"", "\"></a>")), ids);
    assert_eq!(sorted(headings), ids);
}
