//! Nothing that the broker shows Azure, or gets from it on the way, is written anywhere at the most talkative level:
//! secrets, keys, assertions, signatures, intermediate tokens. Azure quotes them all in what it answers.

use std::process::{Command, Output};

use azure_emulator::scenario::{CONTOSO_API, CONTOSO_API_URI, FABRIKAM};
use azure_emulator::{Emulator, Scenario, TokenRequest};
use base::clock::{Clock as _, SharedClock, SystemClock};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::fake::{Entra, Fake, Reply, Seen, grant};
use crate::support::http::Call;
use crate::support::modes::for_api;
use crate::support::observed::user_of;
use crate::support::otlp::Collector;
use crate::support::own_certificate;
use crate::support::process::{Process, as_user, serving, write_configuration};

/// A user without rights.
const NOBODY: u32 = 65534;
const CLIENT_SECRET: &str = "client-secret-Zm9yYmlkZGVuLXdvcmRz";
const ACCESS_KEY: &str = "YWNjZXNzLWtleS10aGF0LW11c3QtbmV2ZXItYmUtd3JpdHRlbi1hbnl3aGVyZQ==";
const FEDERATED: &str = "eyJhbGciOiJSUzI1NiJ9.ZmVkZXJhdGVkLXBheWxvYWQtb2YtdGhlLWNsdXN0ZXI.ZmVkZXJhdGVkLXNpZ25hdHVyZQ";
const INTERMEDIATE: &str =
    "eyJhbGciOiJSUzI1NiJ9.aW50ZXJtZWRpYXRlLXBheWxvYWQtb2YtZW50cmE.aW50ZXJtZWRpYXRlLXNpZ25hdHVyZQ";
const ISSUED: &str = "eyJhbGciOiJSUzI1NiJ9.aXNzdWVkLXBheWxvYWQtb2YtYWNz.aXNzdWVkLXNpZ25hdHVyZQ";
const TOKEN_PATH: &str = "/token-endpoint";
const TEAMS_USER_PATH: &str = "/teamsUser/:exchangeAccessToken";

/// Everything of Azure, quoting whatever it is sent.
struct Azure {
    emulator: Emulator,
    fake: Fake,
    folder: TempDir,
}

impl Azure {
    async fn start() -> Self {
        let clock: SharedClock = SystemClock::shared();
        let emulator = Emulator::start(Scenario::demo(), ([127, 0, 0, 1], 0).into(), None, clock)
            .await
            .unwrap();
        let fake = Fake::start().await;
        let keys = emulator.jwks(&FABRIKAM.to_string()).unwrap()["keys"]
            .as_array()
            .unwrap()
            .clone();
        let entra: Entra = fake.play_entra(&emulator, FABRIKAM, &keys);
        let document = json!({
            "issuer": entra.v2_issuer,
            "jwks_uri": entra.jwks_uri,
            "token_endpoint": format!("{}{TOKEN_PATH}", fake.origin()),
        });
        fake.on(&entra.v2, Reply::json(&document));
        Self {
            emulator,
            fake,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Answers everything well.
    fn be_good(&self) {
        let end = SystemClock::new().now() + std::time::Duration::from_secs(3600);
        let entra = json!({"token_type": "Bearer", "expires_in": 3600, "access_token": INTERMEDIATE, "scope": "VoIP"});
        self.fake.on(TOKEN_PATH, Reply::json(&entra));
        let grant = grant(ISSUED, end);
        for path in ["/access/entra/:exchangeAccessToken", "/identities"] {
            self.fake.on(path, Reply::json(&grant));
        }
        self.fake.on(TEAMS_USER_PATH, Reply::json(&grant["accessToken"]));
        self.fake
            .on("/access/entra/assignments", Reply::json(&json!({ "value": [] })));
    }

    /// Answers with errors that quote all that was sent so far.
    fn quote(&self, status: u16) {
        let sent: String = self.fake.calls().iter().map(|call| text(call) + " ").collect();
        let sent: String = sent.chars().filter(|c| !c.is_control()).take(200_000).collect();
        let entra = json!({"error": "invalid_grant", "error_description": format!("AADSTS50013: {sent}"), "error_codes": [50013]});
        self.fake.on(TOKEN_PATH, Reply::json(&entra).but_status(status));
        let azure = json!({"error": {"code": sent, "message": sent}});
        for path in [
            "/access/entra/:exchangeAccessToken",
            "/identities",
            TEAMS_USER_PATH,
            "/access/entra/assignments",
        ] {
            self.fake.on(path, Reply::json(&azure).but_status(status));
        }
    }

    fn token(&self, user: &str, for_teams: bool) -> String {
        let mut request = TokenRequest::default();
        for_api(&mut request);
        if for_teams {
            request.audience = Some("teams".to_owned());
            // Shorter than what is cached, so that each is exchanged.
            request.lifetime = Some(600);
        }
        self.emulator.issue_token(user, &request).unwrap()
    }
}

fn text(call: &Seen) -> String {
    let headers = call.headers.values().filter_map(|value| value.to_str().ok());
    let body = String::from_utf8_lossy(&call.body).into_owned();
    let decoded = form_urlencoded::parse(body.as_bytes())
        .map(|(_, value)| value.into_owned())
        .collect::<Vec<_>>();
    headers
        .map(str::to_owned)
        .chain([body.clone()])
        .chain(decoded)
        .collect::<Vec<_>>()
        .join(" ")
}

/// What of the calls nobody may read: assertions, tokens, signatures.
fn secrets_of(calls: &[Seen]) -> Vec<String> {
    let mut secrets = Vec::new();
    for call in calls {
        for (name, value) in form_urlencoded::parse(&call.body) {
            if ["assertion", "client_assertion", "client_secret"].contains(&&*name) {
                secrets.extend(
                    value
                        .split('.')
                        .skip(usize::from(value.contains('.')))
                        .map(str::to_owned),
                );
            }
        }
        if let Some(header) = call.headers.get("authorization").and_then(|value| value.to_str().ok()) {
            let value = header
                .rsplit(['=', ' '])
                .find(|part| part.len() > 20)
                .unwrap_or_default();
            secrets.extend(
                value
                    .split('.')
                    .skip(usize::from(value.contains('.')))
                    .map(str::to_owned),
            );
            // A signature in base64 ends in padding.
            secrets.extend(
                header
                    .split("Signature=")
                    .nth(1)
                    .map(|text| text.trim_end_matches('=').to_owned()),
            );
        }
    }
    secrets
}

#[tokio::test]
async fn nothing_that_azure_is_shown_is_ever_written() {
    let azure = Azure::start().await;
    let write = |name: &str, text: &str| {
        let path = azure.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (certificate, key) = own_certificate(0);
    let pem = write("broker.pem", &format!("{certificate}{key}"));
    let federated = write("federated", FEDERATED);
    let own_key = key.lines().nth(1).unwrap().to_owned();
    let app = [
        ("EXCHANGE__MODE", "on_behalf_of".to_owned()),
        ("EXCHANGE__ON_BEHALF_OF__CLIENT_ID", CONTOSO_API.to_string()),
    ];
    let on_behalf_of = |credential: &str, rest: (&'static str, String)| {
        let mut settings = app.to_vec();
        settings.push(("EXCHANGE__ON_BEHALF_OF__CREDENTIAL", credential.to_owned()));
        settings.push(rest);
        settings
    };
    let signed = vec![
        ("EXCHANGE__MODE", "identity".to_owned()),
        ("EXCHANGE__IDENTITY__ACCESS_KEY", ACCESS_KEY.to_owned()),
        ("ASSIGNMENTS__SOURCES", "file,acs".to_owned()),
        ("ASSIGNMENTS__ACS__ACCESS_KEY", ACCESS_KEY.to_owned()),
        ("ASSIGNMENTS__UNKNOWN_GROUPS", "graph".to_owned()),
        ("GRAPH__ENDPOINT", azure.fake.origin()),
        ("GRAPH__CLIENT_ID", CONTOSO_API.to_string()),
        ("GRAPH__CREDENTIAL", "secret".to_owned()),
        ("GRAPH__CLIENT_SECRET", CLIENT_SECRET.to_owned()),
    ];
    for settings in [
        on_behalf_of(
            "secret",
            ("EXCHANGE__ON_BEHALF_OF__CLIENT_SECRET", CLIENT_SECRET.to_owned()),
        ),
        on_behalf_of("certificate", ("EXCHANGE__ON_BEHALF_OF__CERTIFICATE_FILE", pem)),
        on_behalf_of(
            "workload_identity",
            ("EXCHANGE__ON_BEHALF_OF__FEDERATED_TOKEN_FILE", federated),
        ),
        signed,
        vec![
            ("EXCHANGE__MODE", "teams_user".to_owned()),
            ("EXCHANGE__TEAMS_USER__ACCESS_KEY", ACCESS_KEY.to_owned()),
        ],
        vec![
            ("EXCHANGE__MODE", "teams_user".to_owned()),
            ("EXCHANGE__TEAMS_USER__CREDENTIAL", "secret".to_owned()),
            ("EXCHANGE__TEAMS_USER__CLIENT_ID", CONTOSO_API.to_string()),
            ("EXCHANGE__TEAMS_USER__TENANT_ID", FABRIKAM.to_string()),
            ("EXCHANGE__TEAMS_USER__CLIENT_SECRET", CLIENT_SECRET.to_owned()),
        ],
    ] {
        run(&azure, &settings, &own_key).await;
    }
}

async fn run(azure: &Azure, settings: &[(&'static str, String)], own_key: &str) {
    let collector = Collector::start().await;
    let origin = azure.fake.origin();
    let mut environment: Vec<(String, String)> = settings
        .iter()
        .map(|(name, value)| (format!("ACS_TOKEN_BROKER__{name}"), value.clone()))
        .collect();
    let for_teams = settings.iter().any(|(_, value)| value == "teams_user");
    let own_api = [
        ("AUDIENCES", format!("{CONTOSO_API},{CONTOSO_API_URI}")),
        ("REQUIRED_SCOPES", "access".to_owned()),
    ];
    let own_api = own_api.into_iter().filter(|_| !for_teams);
    environment.extend(own_api.map(|(name, value)| (format!("ACS_TOKEN_BROKER__ENTRA__{name}"), value)));
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.origin()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
        (
            "ACS_TOKEN_BROKER__TELEMETRY__LOG_LEVEL",
            "trace,hyper=trace,reqwest=trace,azure_core=trace,rustls=trace".to_owned(),
        ),
        ("RUST_LOG", "trace".to_owned()),
        ("ACS_TOKEN_BROKER__ENTRA__AUTHORITY", origin.clone()),
        ("ACS_TOKEN_BROKER__ENTRA__TENANTS", format!("[{{ id = '{FABRIKAM}' }}]")),
    ] {
        environment.push((name.to_owned(), value));
    }
    azure.be_good();
    let file = write_configuration(azure.folder.path(), &azure.emulator, Some(&origin));
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
    let (process, public, _) = serving(&file, &environment).await;
    let mut presented = Vec::new();
    let mut post = async |user: &str| {
        let token = azure.token(user, for_teams);
        let answer = Call::new("POST", format!("{public}/token")).bearer(&token).send().await;
        presented.push(token);
        answer.outcome()
    };
    assert_eq!(post("alex").await, "200");
    post("lidia").await;
    for status in [400, 401, 403, 429, 500, 200] {
        azure.quote(status);
        // Who has an assignment of their own: tokens for Teams list no groups.
        assert_ne!(post(if for_teams { "alex" } else { "joni" }).await, "");
        post("lidia").await;
    }
    process.signal("TERM");
    let ended = process.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let calls = azure.fake.calls();
    let fixed = [CLIENT_SECRET, ACCESS_KEY.trim_end_matches('='), own_key].map(str::to_owned);
    let tokens = [FEDERATED, INTERMEDIATE, ISSUED].map(str::to_owned);
    let parts = tokens
        .iter()
        .chain(&presented)
        .flat_map(|token| token.split('.').skip(1));
    // Users are named by a hash.
    let users = presented.iter().map(|token| user_of(token));
    let secrets: Vec<String> = parts
        .map(str::to_owned)
        .chain(fixed)
        .chain(users)
        .chain(secrets_of(&calls))
        .collect();
    assert!(secrets.iter().filter(|secret| secret.len() > 20).count() > 10);
    let written = [ended.stdout, ended.stderr, collector.bytes()];
    for secret in secrets.iter().filter(|secret| secret.len() > 20) {
        for output in &written {
            let line = output.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None, "{secret}");
        }
    }
    assert!(collector.logs().len() > 20 && collector.spans().len() > 20);
    assert!(written[0].len() > 2000, "something was written");
    let upstream: Value = written[0]
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find(|line: &Value| line["acs_broker.error.cause"].is_string())
        .unwrap();
    assert!(
        upstream["acs_broker.error.cause"].as_str().unwrap().len() > 10,
        "the operator learns why"
    );
}

/// `/proc/PID/FILE` as another process of the same user reads it.
fn read_by_same_user(process: &Process, file: &str) -> Output {
    let mut command = Command::new("head");
    as_user(&mut command, NOBODY);
    command
        .args(["-c", "4096", &format!("/proc/{}/{file}", process.id())])
        .output()
        .unwrap()
}

/// What the kernel hides so, it writes into no core dump either (core(5)).
#[tokio::test]
async fn no_other_process_of_its_user_reads_the_brokers_memory() {
    const MARKER: &str = "environment-that-nobody-else-reads";
    let fabrikam = FABRIKAM.to_string();
    let tenants = format!("[{{id = \"{fabrikam}\"}}]");
    let served = Process::start_as(
        NOBODY,
        &["serve"],
        &[
            ("OTEL_SERVICE_NAME", MARKER),
            ("ACS_TOKEN_BROKER__SERVER__LISTEN", "127.0.0.1:0"),
            ("ACS_TOKEN_BROKER__MANAGEMENT__LISTEN", "127.0.0.1:0"),
            ("ACS_TOKEN_BROKER__ENTRA__AUTHORITY", "http://127.0.0.1:9"),
            ("ACS_TOKEN_BROKER__ENTRA__TENANTS", &tenants),
            ("ACS_TOKEN_BROKER__EXCHANGE__ENDPOINT", "http://127.0.0.1:9"),
        ],
    );
    let is_up = |line: &str| line.contains("listening").then_some(());
    served.line("it serves", is_up).await;
    for file in ["environ", "mem", "maps"] {
        let read = read_by_same_user(&served, file);
        let said = String::from_utf8_lossy(&read.stderr).into_owned();
        assert!(said.contains("Permission denied"), "{file}: {said}");
        assert_eq!(read.stdout, b"", "{file}");
    }
    // With the broker for development they could.
    let listen = ["--listen", "--management-listen", "--emulator-listen"].map(|name| [name, "127.0.0.1:0"]);
    let arguments = [&["dev"], listen.as_flattened()].concat();
    let developed = Process::start_as(NOBODY, &arguments, &[("OTEL_SERVICE_NAME", MARKER)]);
    let is_up = |line: &str| line.starts_with("broker").then_some(());
    developed.line("it serves", is_up).await;
    let read = read_by_same_user(&developed, "environ");
    assert!(String::from_utf8_lossy(&read.stdout).contains(MARKER), "{read:?}");
}
