//! Credentials that the platform gives: a managed identity, as the app's federated credential and as itself. The
//! platform tells its address in the process's environment, so the broker runs as a process.

use azure_emulator::scenario::{CONTOSO_API, CONTOSO_API_URI, CONTOSO_IDENTITY};
use azure_emulator::{Emulator, Endpoint, Scenario, TokenRequest};
use base::clock::{SharedClock, SystemClock};
use serde_json::Value;

use crate::support::http::Call;
use crate::support::modes::for_api;
use crate::support::process::{Process, serving, write_configuration};

async fn emulator() -> Emulator {
    let clock: SharedClock = SystemClock::shared();
    Emulator::start(Scenario::demo(), ([127, 0, 0, 1], 0).into(), None, clock)
        .await
        .unwrap()
}

/// What App Service and Container Apps set for the processes that they run.
fn platform(emulator: &Emulator) -> Vec<(String, String)> {
    let header = emulator.scenario().managed_identity.identity_header.clone();
    vec![
        ("IDENTITY_ENDPOINT".to_owned(), emulator.identity_endpoint()),
        ("IDENTITY_HEADER".to_owned(), header),
    ]
}

fn borrowed(environment: &[(String, String)]) -> Vec<(&str, &str)> {
    environment.iter().map(|(name, value)| (&**name, &**value)).collect()
}

#[tokio::test]
async fn a_managed_identity_speaks_for_the_brokers_app() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let file = write_configuration(folder.path(), &emulator, None);
    let mut environment = platform(&emulator);
    for (name, value) in [
        ("ENTRA__AUDIENCES", format!("{CONTOSO_API},{CONTOSO_API_URI}")),
        ("ENTRA__REQUIRED_SCOPES", "access".to_owned()),
        ("EXCHANGE__MODE", "on_behalf_of".to_owned()),
        ("EXCHANGE__ON_BEHALF_OF__CLIENT_ID", CONTOSO_API.to_string()),
        ("EXCHANGE__ON_BEHALF_OF__CREDENTIAL", "managed_identity".to_owned()),
        (
            "EXCHANGE__ON_BEHALF_OF__MANAGED_IDENTITY_CLIENT_ID",
            CONTOSO_IDENTITY.to_string(),
        ),
    ] {
        environment.push((format!("ACS_TOKEN_BROKER__{name}"), value));
    }
    let (_process, public, _) = serving(&file, &borrowed(&environment)).await;
    let post = async |user: &str| {
        let mut request = TokenRequest::default();
        for_api(&mut request);
        let token = emulator.issue_token(user, &request).unwrap();
        Call::new("POST", format!("{public}/token"))
            .bearer(&token)
            .send()
            .await
            .outcome()
    };
    assert_eq!(post("alex").await, "200");
    assert_eq!(post("diego").await, "200");
    assert_eq!(emulator.count(Endpoint::OnBehalfOf), 2);
    assert_eq!(emulator.count(Endpoint::ManagedIdentity), 1, "its token is kept");
    // An app that does not trust it any more.
    emulator.clear_federated_credentials();
    assert_eq!(post("adele").await, "502 UpstreamRejectedBroker");
}

#[tokio::test]
async fn a_managed_identity_may_ask_for_assignments_as_itself() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let file = write_configuration(folder.path(), &emulator, None);
    let mut environment = platform(&emulator);
    environment.push((
        "ACS_TOKEN_BROKER__ASSIGNMENTS__ACS__CREDENTIAL".to_owned(),
        "managed_identity".to_owned(),
    ));
    let list = ["assignments", "list", "--config", &file, "--output", "json"];
    let listed = Process::run(&list, &borrowed(&environment)).await;
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    let json: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(json["value"].as_array().unwrap().len(), emulator.assignments().len());
}

/// No key, no secret, no app: the identity that the platform gives has a role on the resource.
#[tokio::test]
async fn a_managed_identity_stands_in_for_the_access_key() {
    let own_api = [
        ("ENTRA__AUDIENCES", format!("{CONTOSO_API},{CONTOSO_API_URI}")),
        ("ENTRA__REQUIRED_SCOPES", "access".to_owned()),
    ];
    for (mode, audience, settings, endpoint) in [
        ("identity", "api", &own_api[..], Endpoint::Identities),
        ("teams_user", "teams", &[], Endpoint::TeamsUser),
    ] {
        let emulator = emulator().await;
        let folder = tempfile::tempdir().unwrap();
        let file = write_configuration(folder.path(), &emulator, None);
        let mut environment = platform(&emulator);
        let section = mode.to_uppercase();
        let credential = [
            ("EXCHANGE__MODE".to_owned(), mode.to_owned()),
            (
                format!("EXCHANGE__{section}__CREDENTIAL"),
                "managed_identity".to_owned(),
            ),
            (
                format!("EXCHANGE__{section}__MANAGED_IDENTITY_CLIENT_ID"),
                CONTOSO_IDENTITY.to_string(),
            ),
        ];
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        for (name, value) in settings.chain(credential) {
            environment.push((format!("ACS_TOKEN_BROKER__{name}"), value));
        }
        let (_process, public, _) = serving(&file, &borrowed(&environment)).await;
        for user in ["alex", "diego"] {
            let request = TokenRequest {
                audience: Some(audience.to_owned()),
                ..TokenRequest::default()
            };
            let token = emulator.issue_token(user, &request).unwrap();
            let call = Call::new("POST", format!("{public}/token")).bearer(&token);
            assert_eq!(call.send().await.outcome(), "200", "{mode} {user}");
        }
        assert_eq!(emulator.count(endpoint), 2, "{mode}");
        assert_eq!(
            emulator.count(Endpoint::ManagedIdentity),
            1,
            "{mode}: its token is kept"
        );
    }
}
