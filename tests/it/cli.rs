//! The command line: exit codes, what is said, and `dev` as a newcomer meets it.

use base::build_info;

use crate::support::eventually;
use crate::support::http::{Call, client};
use crate::support::otlp::Collector;
use crate::support::process::{Process, Served, address, emulator, serving, write_configuration};

#[tokio::test]
async fn usage() {
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["help"], 0),
        (&["check-config", "--help"], 0),
        (&["no-such-command"], 2),
        (&["--no-such-option"], 2),
        (&["serve", "--config"], 2),
        (&["healthcheck", "--url", "not a url"], 2),
        (&["dev", "--listen", "nowhere"], 2),
        (&["dev", "--emulator-listen", "0.0.0.0:0"], 2),
        (&["serve", "--config", "/no/such/file.toml"], 2),
        (&["check-config", "--config", "/no/such/file.toml"], 2),
        // No file, and an environment that does not do.
        (&[], 2),
        (&["serve"], 2),
        (&["check-config"], 2),
    ] {
        let ended = Process::run(arguments, &[]).await;
        assert_eq!(ended.code, Some(code), "{arguments:?} {ended:?}");
        let said = if code == 0 { &ended.stdout } else { &ended.stderr };
        assert!(!said.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn the_version_and_the_commit_are_shown() {
    let version = Process::run(&["--version"], &[]).await.stdout;
    let built = format!(
        "acs-token-broker {} (commit {})\n",
        build_info::VERSION,
        build_info::COMMIT
    );
    assert_eq!(version, built);
}

#[tokio::test]
async fn check_config_tells_every_problem_by_key() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let file = write_configuration(folder.path(), &emulator, None);
    let good = Process::run(&["check-config", "--config", &file], &[]).await;
    assert_eq!(good.code, Some(0), "{good:?}");
    // The variable names the file as well as the argument does.
    let named = Process::run(&["check-config"], &[("ACS_TOKEN_BROKER_CONFIG", &file)]).await;
    assert_eq!(named.code, Some(0), "{named:?}");
    let bad = std::fs::read_to_string(&file).unwrap()
        + "unknown_groups = \"maybe\"\nfiel = \"x\"\n[cache]\nexpiry_margin = \"0s\"\nmin_remaining = \"soon\"\n\
           [telemtry]\nlog_level = \"info\"\n";
    std::fs::write(&file, bad).unwrap();
    let environment = [
        ("ACS_TOKEN_BROKER__SERVER__MAX_IN_FLIHGT", "5"),
        (
            "ACS_TOKEN_BROKER__EXCHANGE__ENDPOINT",
            "http://contoso.communication.azure.com",
        ),
    ];
    for command in ["check-config", "serve"] {
        let ended = Process::run(&[command, "--config", &file], &environment).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        for key in [
            "assignments.unknown_groups",
            "assignments.fiel",
            "cache.expiry_margin",
            "cache.min_remaining",
            "telemtry",
            "ACS_TOKEN_BROKER__SERVER__MAX_IN_FLIHGT",
            "exchange.endpoint",
        ] {
            assert!(ended.stderr.contains(key), "{command} {key}: {}", ended.stderr);
        }
    }
    let insecure = [environment[1], ("ACS_TOKEN_BROKER__ALLOW_INSECURE_UPSTREAMS", "true")];
    let file = write_configuration(folder.path(), &emulator, None);
    let allowed = Process::run(&["check-config", "--config", &file], &insecure).await;
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
}

/// As the specification of OpenTelemetry wants it: a service that was only moved here starts.
#[tokio::test]
async fn standard_variables_that_cannot_be_served_are_warnings_at_start_and_in_check_config() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let file = write_configuration(folder.path(), &emulator, None);
    let standard = [
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret-key"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_METRICS_EXPORTER", "otlp,prometheus,console"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_SAMPLER", "parentbased_jaeger_remote"),
        (
            "OTEL_TRACES_SAMPLER_ARG",
            "endpoint=http://j:14250,pollingIntervalMs=5000,initialSamplingRate=0.25",
        ),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_CONFIG_FILE", "/etc/otel.yaml"),
        ("OTEL_LOG_LEVEL", "debug"),
    ];
    // One line each; the argument goes with its sampler.
    let names = standard
        .map(|(name, _)| name)
        .into_iter()
        .filter(|name| !name.ends_with("_ARG"));
    let names: Vec<&str> = names.collect();
    let ended = Process::run(&["check-config", "--config", &file], &standard).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let warnings: Vec<&str> = ended
        .stderr
        .lines()
        .filter(|line| line.contains("warning: OTEL_"))
        .collect();
    assert_eq!(warnings.len(), names.len(), "{warnings:#?}");
    let (mut process, ..) = serving(&file, &standard).await;
    let written = process.stdout();
    assert!(!process.has_ended());
    for name in names {
        assert!(
            warnings.iter().any(|line| line.contains(&format!("{name}: "))),
            "{name}: {warnings:#?}"
        );
        let said = written.lines().filter(|line| line.contains(&format!("{name}: ")));
        let said: Vec<&str> = said.collect();
        assert!(said.len() == 1 && said[0].contains("WARN"), "{name}: {said:?}");
    }
    for output in [written, ended.stderr] {
        assert!(!output.contains("s3cret") && !output.contains("/nowhere"), "{output}");
    }
}

#[tokio::test]
async fn check_config_looks_into_files_though_settings_are_wrong() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let file = write_configuration(folder.path(), &emulator, None);
    std::fs::write(folder.path().join("broker.pem"), "no certificate").unwrap();
    std::fs::write(
        folder.path().join("assignments.toml"),
        "[[assignments]]\nobjectId = 'x'\n",
    )
    .unwrap();
    let certificate = folder.path().join("broker.pem").display().to_string();
    let environment = [
        ("ACS_TOKEN_BROKER__ZZ", "1"),
        ("ACS_TOKEN_BROKER__ENTRA__AUDIENCES", "api://broker"),
        ("ACS_TOKEN_BROKER__ENTRA__REQUIRED_SCOPES", "access"),
        ("ACS_TOKEN_BROKER__EXCHANGE__MODE", "on_behalf_of"),
        (
            "ACS_TOKEN_BROKER__EXCHANGE__ON_BEHALF_OF__CLIENT_ID",
            "b0b00000-0000-4000-8000-000000000005",
        ),
        ("ACS_TOKEN_BROKER__EXCHANGE__ON_BEHALF_OF__CREDENTIAL", "certificate"),
        (
            "ACS_TOKEN_BROKER__EXCHANGE__ON_BEHALF_OF__CERTIFICATE_FILE",
            &certificate,
        ),
    ];
    let ended = Process::run(&["check-config", "--config", &file], &environment).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for expected in [
        "ACS_TOKEN_BROKER__ZZ: unknown variable",
        "exchange.on_behalf_of.certificate_file: ",
        "assignments.toml: assignments[0].objectId",
    ] {
        assert!(ended.stderr.contains(expected), "{expected}: {}", ended.stderr);
    }
    // And serve names the file once.
    let ended = Process::run(&["serve", "--config", &file], &environment[1..]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let line = ended
        .stderr
        .lines()
        .find(|line| line.contains("certificate_file"))
        .unwrap();
    assert_eq!(line.matches("broker.pem").count(), 1, "{line}");
}

#[tokio::test]
async fn check_config_warns() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let file = write_configuration(folder.path(), &emulator, None);
    std::fs::write(folder.path().join("assignments.toml"), "assignments = []\n").unwrap();
    let environment = [(
        "ACS_TOKEN_BROKER__SERVER__CORS__ALLOWED_ORIGINS",
        "http://app.contoso.com",
    )];
    let ended = Process::run(&["check-config", "--config", &file], &environment).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("there are no assignments"), "{ended:?}");
    assert!(ended.stderr.contains("http://app.contoso.com"), "{ended:?}");
}

#[tokio::test]
async fn the_environment_alone_will_do() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    write_configuration(folder.path(), &emulator, None);
    let assignments = folder.path().join("assignments.toml");
    let origin = emulator.origin();
    let tenants: Vec<String> = emulator
        .scenario()
        .tenants
        .iter()
        .map(|tenant| format!("{{id = \"{}\"}}", tenant.id))
        .collect();
    let tenants = format!("[{}]", tenants.join(", "));
    let process = Process::start(
        &[],
        &[
            ("ACS_TOKEN_BROKER__SERVER__LISTEN", "127.0.0.1:0"),
            ("ACS_TOKEN_BROKER__MANAGEMENT__LISTEN", "127.0.0.1:0"),
            ("ACS_TOKEN_BROKER__ENTRA__AUTHORITY", &origin),
            ("ACS_TOKEN_BROKER__ENTRA__TENANTS", &tenants),
            ("ACS_TOKEN_BROKER__EXCHANGE__ENDPOINT", &origin),
            ("ACS_TOKEN_BROKER__ASSIGNMENTS__FILE", assignments.to_str().unwrap()),
        ],
    );
    let public = process
        .line("the address is logged", |line| address(line, "public"))
        .await
        + "/token";
    let token = emulator
        .issue_token("alex", &azure_emulator::TokenRequest::default())
        .unwrap();
    eventually("it serves", async || {
        Call::new("POST", public.clone()).bearer(&token).send().await.status == 200
    })
    .await;
    let answer = Call::new("POST", public.clone()).bearer(&token).send().await;
    assert_eq!(answer.header("x-cache"), None, "diagnostic headers are off by default");
}

#[tokio::test]
async fn a_port_in_use_is_a_failure() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let file = write_configuration(folder.path(), &emulator, None);
    let taken = emulator.address().to_string();
    for key in ["SERVER", "MANAGEMENT"] {
        let environment = [(format!("ACS_TOKEN_BROKER__{key}__LISTEN"), taken.clone())];
        let environment: Vec<(&str, &str)> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let ended = Process::run(&["serve", "--config", &file], &environment).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.stderr.contains(&format!("{}.listen", key.to_lowercase())),
            "{ended:?}"
        );
        assert!(ended.stderr.contains(&taken), "{ended:?}");
    }
}

#[tokio::test]
async fn check_config_looks_into_the_files_that_serve_needs() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let file = write_configuration(folder.path(), &emulator, None);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("no.pem"), "no certificate in here\n").unwrap();
    let no = path("no.pem");
    let tls = format!("{{certificate_file = \"{no}\", private_key_file = \"{no}\"}}");
    for (variable, value, key) in [
        ("ACS_TOKEN_BROKER__UPSTREAM__CA_FILE", no.as_str(), "upstream.ca_file: "),
        ("ACS_TOKEN_BROKER__SERVER__TLS", tls.as_str(), "server.tls: "),
    ] {
        for command in ["check-config", "serve"] {
            let ended = Process::run(&[command, "--config", &file], &[(variable, value)]).await;
            assert_eq!(ended.code, Some(2), "{command} {ended:?}");
            assert!(ended.stderr.contains(key), "{command} {ended:?}");
        }
    }
}

#[tokio::test]
async fn healthcheck_asks_readyz() {
    let served = Served::start(None, &[]).await;
    let ready = format!("{}/readyz", served.management);
    let ended = Process::run(&["healthcheck", "--url", &ready], &[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // By the configuration: there management.listen has the real port.
    let file = served.folder.path().join("broker.toml");
    let file = file.to_str().unwrap();
    let listen = served.management.trim_start_matches("http://");
    let environment = [("ACS_TOKEN_BROKER__MANAGEMENT__LISTEN", listen)];
    let ended = Process::run(&["healthcheck", "--config", file], &environment).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // That alone is enough: a probe does not depend on the rest.
    let ended = Process::run(&["healthcheck"], &environment).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let elsewhere = format!("{}/nowhere", served.management);
    let ended = Process::run(&["healthcheck", "--url", &elsewhere], &[]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    served.process.signal("TERM");
    served.process.end().await;
    let ended = Process::run(&["healthcheck", "--url", &ready], &[]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
}

#[tokio::test]
async fn dev_prints_where_it_is_and_works() {
    // A terminal that is closed sends the second signal.
    for (tls, signal) in [(false, "TERM"), (true, "HUP")] {
        let any = "127.0.0.1:0";
        let mut arguments = vec![
            "dev",
            "--listen",
            any,
            "--management-listen",
            any,
            "--emulator-listen",
            any,
        ];
        if tls {
            arguments.push("--tls");
        }
        let temporary = tempfile::tempdir().unwrap();
        let process = Process::start(&arguments, &[("TMPDIR", temporary.path().to_str().unwrap())]);
        let printed = async |name: &'static str| {
            process
                .line(name, |line| {
                    line.strip_prefix(name)?.split_whitespace().next().map(str::to_owned)
                })
                .await
        };
        let (broker, management, emulator) = (
            printed("broker ").await,
            printed("management ").await,
            printed("emulator ").await,
        );
        let client = if tls {
            let pem = std::fs::read(printed("CA file ").await).unwrap();
            client(|builder| builder.tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()]))
        } else {
            client(|builder| builder)
        };
        assert_eq!(
            (broker.starts_with("https:"), emulator.starts_with("https:")),
            (tls, tls)
        );
        let ready = async || {
            let call = Call::new("GET", format!("{management}/readyz"));
            call.send_with(&client).await.is_ok_and(|answer| answer.status == 200)
        };
        eventually("dev is ready", ready).await;
        let output = process.stdout();
        assert!(!output.contains(" ERROR "), "a good start tells of no error: {output}");
        for (user, outcome) in [("adele", "200"), ("diego", "200"), ("megan", "403 ExchangeForbidden")] {
            let url = format!("{emulator}/_emulator/users/{user}/token");
            let token = Call::new("POST", url).send_with(&client).await.unwrap().json()["access_token"].clone();
            let call = Call::new("POST", format!("{broker}/token")).bearer(token.as_str().unwrap());
            let answer = call.clone().send_with(&client).await.unwrap();
            assert_eq!(answer.outcome(), outcome, "{user} tls={tls}");
            if outcome == "200" {
                assert_eq!(answer.cache(), "miss", "diagnostic headers are on");
                assert_eq!(call.send_with(&client).await.unwrap().cache(), "hit");
            }
        }
        process.signal(signal);
        let ended = process.end().await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let left = std::fs::read_dir(temporary.path()).unwrap().count();
        assert_eq!(left, 0, "nothing is left behind");
    }
}

#[tokio::test]
async fn dev_works_though_nobody_can_read_where_it_is() {
    let collector = Collector::start().await;
    let endpoint = collector.origin();
    let temporary = tempfile::tempdir().unwrap();
    let environment = [
        ("TMPDIR", temporary.path().to_str().unwrap()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BLRP_SCHEDULE_DELAY", "20"),
    ];
    let any = "127.0.0.1:0";
    let arguments = [
        "dev",
        "--listen",
        any,
        "--management-listen",
        any,
        "--emulator-listen",
        any,
    ];
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let process = Process::start_writing_to(full.into(), &arguments, &environment);
    eventually("it runs", async || collector.bytes().contains("fetched signing keys")).await;
    process.signal("TERM");
    let ended = process.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn serve_warns_of_what_is_probably_not_meant() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let file = write_configuration(folder.path(), &emulator, None);
    let environment = [
        (
            "ACS_TOKEN_BROKER__ENTRA__TENANTS",
            "[{id = \"c0a50000-0000-4000-8000-000000000001\"}]",
        ),
        (
            "ACS_TOKEN_BROKER__SERVER__CORS__ALLOWED_ORIGINS",
            "http://app.contoso.com",
        ),
    ];
    let process = Process::start(&["serve", "--config", &file], &environment);
    process
        .line("a tenant that is not listed", |line| {
            (line.contains("WARN") && line.contains("fab00000")).then_some(())
        })
        .await;
    process
        .line("an origin over http", |line| {
            (line.contains("WARN") && line.contains("http://app.contoso.com")).then_some(())
        })
        .await;
    std::fs::write(folder.path().join("assignments.toml"), "assignments = []\n").unwrap();
    let process = Process::start(&["serve", "--config", &file], &environment);
    process
        .line("no assignments", |line| {
            (line.contains("WARN") && line.contains("assignments")).then_some(())
        })
        .await;
}
