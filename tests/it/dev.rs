//! `dev` asks nobody but its emulator, and answers nobody but this machine.

use azure_emulator::Emulator;

use crate::support::http::Call;
use crate::support::process::{Process, emulator};

const ANY: &str = "127.0.0.1:0";
const ARGUMENTS: [&str; 7] = [
    "dev",
    "--listen",
    ANY,
    "--management-listen",
    ANY,
    "--emulator-listen",
    ANY,
];

async fn where_it_is(process: &Process) -> (String, String, String) {
    let printed = async |name: &'static str| {
        process
            .line(name, |line| {
                line.strip_prefix(name)?.split_whitespace().next().map(str::to_owned)
            })
            .await
    };
    (
        printed("broker ").await,
        printed("management ").await,
        printed("emulator ").await,
    )
}

#[tokio::test]
async fn no_variable_leads_elsewhere() {
    // On loopback, as a forwarded port would be.
    let other: Emulator = emulator().await;
    let origin = other.origin();
    let client = "b0b00000-0000-4000-8000-000000000005";
    // Every problem is reported at once, so that one start shows many; each variable is there once.
    let mut starts: Vec<Vec<(String, String, &str)>> = Vec::new();
    for (variable, value, key) in [
        (
            "EXCHANGE__ENDPOINT",
            "https://contoso.communication.azure.com",
            "exchange.endpoint",
        ),
        ("EXCHANGE__ENDPOINT", origin.as_str(), "exchange.endpoint"),
        ("EXCHANGE__ENDPOINT", "http://[::1]:8090", "exchange.endpoint"),
        (
            "ENTRA__AUTHORITY",
            "https://login.microsoftonline.com",
            "entra.authority",
        ),
        ("ENTRA__AUTHORITY", &origin, "entra.authority"),
        ("ENTRA__CLOUD", "usgov", "entra.cloud"),
        (
            "ENTRA__TENANTS",
            "[{id = \"fab00000-0000-4000-8000-000000000002\", authority = \"https://contoso.ciamlogin.com\"}]",
            "entra.tenants",
        ),
        ("GRAPH__ENDPOINT", "https://graph.microsoft.com", "graph.endpoint"),
        ("GRAPH__ENDPOINT", &origin, "graph.endpoint"),
        ("GRAPH__CLIENT_ID", client, "graph.client_id"),
        ("EXCHANGE", &format!("{{endpoint = \"{origin}\"}}"), "exchange"),
        ("ENTRA", &format!("{{authority = \"{origin}\"}}"), "entra"),
        (
            "RESOURCES",
            "[{name = \"contoso\", exchange = {endpoint = \"https://contoso.communication.azure.com\"}}]",
            "resources",
        ),
        ("UPSTREAM__PROXY", "http://127.0.0.1:3128", "upstream.proxy"),
        (
            "EXCHANGE__ON_BEHALF_OF__CREDENTIAL",
            "managed_identity",
            "exchange.on_behalf_of.credential",
        ),
        (
            "EXCHANGE__ON_BEHALF_OF__CLIENT_SECRET",
            "hunter2hunter2",
            "exchange.on_behalf_of.client_secret",
        ),
        (
            "EXCHANGE__IDENTITY__ACCESS_KEY",
            "aHVudGVyMmh1bnRlcjI=",
            "exchange.identity.access_key",
        ),
        (
            "ASSIGNMENTS__ACS__ACCESS_KEY",
            "aHVudGVyMmh1bnRlcjI=",
            "assignments.acs.access_key",
        ),
        (
            "ASSIGNMENTS__ACS__CREDENTIAL",
            "managed_identity",
            "assignments.acs.credential",
        ),
        // A store shared with others is no emulator either.
        (
            "SHARED_CACHE__URL",
            "rediss://cache.contoso.com:6380",
            "SHARED_CACHE__URL",
        ),
    ] {
        let name = format!("ACS_TOKEN_BROKER__{variable}");
        let is_free = |start: &&mut Vec<(String, String, &str)>| start.iter().all(|(other, ..)| *other != name);
        let case = (name.clone(), value.to_owned(), key);
        match starts.iter_mut().find(is_free) {
            Some(start) => start.push(case),
            None => starts.push(vec![case]),
        }
    }
    for start in starts {
        let variables: Vec<(&str, &str)> = start
            .iter()
            .map(|(name, value, _)| (name.as_str(), value.as_str()))
            .collect();
        let ended = Process::run(&ARGUMENTS, &variables).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        for (name, value, key) in start {
            let is_named = ended
                .stderr
                .lines()
                .any(|line| line.contains(key) && line.contains(&name));
            assert!(is_named, "{name}={value} {ended:?}");
        }
        assert!(
            !ended.stderr.contains("hunter2") && !ended.stderr.contains("aHVudGVy"),
            "{ended:?}"
        );
    }
    // One alone is enough.
    let one = [("ACS_TOKEN_BROKER__EXCHANGE__ENDPOINT", origin.as_str())];
    let ended = Process::run(&ARGUMENTS, &one).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.stderr.matches("(from ").count(), 1, "{ended:?}");
    assert_eq!(other.journal().len(), 0, "the other one was asked");
}

#[tokio::test]
async fn what_leads_nowhere_is_obeyed() {
    let shell = [
        ("ACS_TOKEN_BROKER_CONFIG", "/etc/acs-token-broker/broker.toml"),
        ("ACS_TOKEN_BROKER__SERVER__DIAGNOSTIC_HEADERS", "false"),
        ("ACS_TOKEN_BROKER__SERVER__REQUEST_TIMEOUT", "20s"),
        ("ACS_TOKEN_BROKER__CACHE__MAX_ENTRIES", "10"),
        ("ACS_TOKEN_BROKER__TELEMETRY__LOG_LEVEL", "debug"),
        ("ACS_TOKEN_BROKER__EXCHANGE__TIMEOUT", "4s"),
        ("ACS_TOKEN_BROKER__ENTRA__JWKS_WAIT", "1s"),
        // At the emulator's Graph, which the configuration of `dev` names.
        ("ACS_TOKEN_BROKER__ASSIGNMENTS__UNKNOWN_GROUPS", "graph"),
        // Nothing of `dev` reads these, though a broker that leads to Azure would.
        ("HTTPS_PROXY", "http://127.0.0.1:9"),
        ("HTTP_PROXY", "http://127.0.0.1:9"),
        ("IDENTITY_ENDPOINT", "http://127.0.0.1:9/msi/token"),
        ("IDENTITY_HEADER", "x"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/no/such/file"),
        ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us"),
    ];
    let process = Process::start(&ARGUMENTS, &shell);
    let (broker, management, emulator) = where_it_is(&process).await;
    crate::support::eventually("dev is ready", async || {
        let call = Call::new("GET", format!("{management}/readyz"));
        call.try_send().await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    let token = Call::new("POST", format!("{emulator}/_emulator/users/adele/token"));
    let token = token.send().await.json()["access_token"].as_str().unwrap().to_owned();
    let answer = Call::new("POST", format!("{broker}/token")).bearer(&token).send().await;
    assert_eq!(answer.outcome(), "200");
    assert_eq!(answer.header("x-cache"), None, "the variable holds");
}

#[tokio::test]
async fn only_requests_that_name_this_machine_are_answered() {
    let process = Process::start(&ARGUMENTS, &[]);
    let (broker, management, _) = where_it_is(&process).await;
    let port = broker.rsplit(':').next().unwrap();
    for (host, refused) in [
        ("localhost", false),
        (&format!("localhost:{port}"), false),
        ("app.localhost:3000", false),
        ("127.0.0.1", false),
        ("127.0.0.2:8080", false),
        ("[::1]:8080", false),
        ("attacker.example", true),
        (&format!("attacker.example:{port}"), true),
        ("localhost.attacker.example", true),
        ("127.0.0.1.attacker.example", true),
        ("0.0.0.0", true),
        ("10.0.0.1", true),
    ] {
        for (call, status) in [
            (Call::new("POST", format!("{broker}/token")), 401),
            (Call::new("OPTIONS", format!("{broker}/token")), 405),
            (Call::new("GET", format!("{management}/livez")), 200),
        ] {
            let answer = call.header("host", host).send().await;
            let expected = if refused { 403 } else { status };
            assert_eq!(answer.status, expected, "{host} {answer:?}");
            if refused {
                assert_eq!(answer.outcome(), "403 Forbidden");
                assert_eq!(answer.header("access-control-allow-origin"), None);
            }
        }
    }
}

#[tokio::test]
async fn a_deployed_broker_answers_to_any_name() {
    let stack = crate::support::stack::Stack::start().await;
    let answer = Call::new("POST", stack.url("/token"))
        .header("host", "broker.contoso.com")
        .send()
        .await;
    assert_eq!(answer.outcome(), "401 AuthenticationRequired");
}
