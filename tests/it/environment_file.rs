//! A file of variables as Windows writes it and `docker run --env-file` passes it on: carriage returns, quotes, blanks.

use azure_emulator::TokenRequest;

use crate::support::eventually;
use crate::support::http::Call;
use crate::support::process::{Process, address, emulator, write_configuration};

#[tokio::test]
async fn the_broker_starts_with_it() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    write_configuration(folder.path(), &emulator, None);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("key"), format!("\u{feff}{}\r\n", "k".repeat(32))).unwrap();
    let origin = emulator.origin();
    let tenants: Vec<String> = emulator
        .scenario()
        .tenants
        .iter()
        .map(|tenant| format!("{{id = \"{}\", name = \"{}\"}}", tenant.id, tenant.name))
        .collect();
    let tenants = format!("[{}]", tenants.join(", "));
    let (assignments, key) = (path("assignments.toml"), path("key"));
    let settings = [
        ("SERVER__LISTEN", "127.0.0.1:0"),
        ("SERVER__REQUEST_TIMEOUT", "10s"),
        ("SERVER__MAX_IN_FLIGHT", "100"),
        ("SERVER__MAX_CONNECTIONS", "200"),
        ("SERVER__DRAIN_TIMEOUT", "11s"),
        ("SERVER__API_VERSIONS", "2025-03-02-preview"),
        ("SERVER__DIAGNOSTIC_HEADERS", "true"),
        (
            "SERVER__CORS__ALLOWED_ORIGINS",
            "https://app.contoso.com,http://localhost:3000",
        ),
        ("MANAGEMENT__LISTEN", "127.0.0.1:0"),
        ("ENTRA__AUTHORITY", &origin),
        ("ENTRA__TENANTS", &tenants),
        ("ENTRA__CLOCK_SKEW", "30s"),
        ("EXCHANGE__MODE", "passthrough"),
        ("EXCHANGE__ENDPOINT", &origin),
        ("UPSTREAM__MAX_RESPONSE_BYTES", "1MiB"),
        ("ASSIGNMENTS__SOURCES", "file"),
        ("ASSIGNMENTS__FILE", &assignments),
        ("ASSIGNMENTS__UNKNOWN_GROUPS", "acs"),
        ("CACHE__MAX_ENTRIES", "1000"),
        ("CACHE__MAX_BYTES", "16MiB"),
        ("TELEMETRY__LOG_FORMAT", "json"),
        ("TELEMETRY__LOG_LEVEL", "info,acs_token_broker=debug"),
        ("TELEMETRY__USER_HASH_KEY_FILE", &key),
        ("TELEMETRY__AUDIT", "true"),
    ];
    for (before, behind) in [("", "\r"), ("", " \r"), ("\"", "\"\r"), ("'", "'"), ("\u{a0}", "\t")] {
        let variables: Vec<(String, String)> = settings
            .iter()
            .map(|(name, value)| (format!("ACS_TOKEN_BROKER__{name}"), format!("{before}{value}{behind}")))
            // Standard ones, and one that is set to nothing.
            .chain([
                ("HTTPS_PROXY".to_owned(), format!("{before}http://127.0.0.1:9{behind}")),
                ("ACS_TOKEN_BROKER_CONFIG".to_owned(), "\r".to_owned()),
            ])
            .collect();
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let process = Process::start(&["serve"], &variables);
        let public = process
            .line("the address is logged", |line| address(line, "public"))
            .await
            + "/token";
        let token = emulator.issue_token("alex", &TokenRequest::default()).unwrap();
        eventually("it serves", async || {
            let answer = Call::new("POST", public.clone()).bearer(&token).send().await;
            answer.status == 200 && answer.header("x-cache").is_some()
        })
        .await;
    }
}

#[tokio::test]
async fn a_path_with_a_carriage_return_names_the_file_that_is_meant() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let file = write_configuration(folder.path(), &emulator, None) + "\r";
    for (arguments, environment) in [
        (vec!["check-config", "--config", &file], vec![]),
        (vec!["check-config"], vec![("ACS_TOKEN_BROKER_CONFIG", file.as_str())]),
    ] {
        let ended = Process::run(&arguments, &environment).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}
