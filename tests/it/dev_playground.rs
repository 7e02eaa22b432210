//! What `dev` gives front-end developers: the playground, its clock, its certificates, and who may call.

use crate::support::http::Call;
use crate::support::process::Process;

const ANY: &str = "127.0.0.1:0";

fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "dev",
        "--listen",
        ANY,
        "--management-listen",
        ANY,
        "--emulator-listen",
        ANY,
    ];
    [&usual[..], more].concat()
}

async fn address(process: &Process, name: &'static str) -> String {
    process
        .line(name, |line| {
            line.strip_prefix(name)?.split_whitespace().next().map(str::to_owned)
        })
        .await
}

async fn token(emulator: &str) -> String {
    let call = Call::new("POST", format!("{emulator}/_emulator/users/adele/token"));
    call.send().await.json()["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_playground_comes_first_and_lets_nothing_else_in() {
    let process = Process::start(&arguments(&[]), &[]);
    let playground = address(&process, "playground ").await;
    // Not even a log line stands before it. Those that follow are at the level that is set.
    let stdout = process.stdout();
    assert!(stdout.starts_with("playground "), "{stdout}");
    let is_there = |line: &str| line.contains("fetched signing keys").then_some(());
    process.line("a log line", is_there).await;

    let page = Call::new("GET", playground.clone()).send().await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("referrer-policy"), Some("same-origin"));

    let settings = Call::new("GET", format!("{playground}_emulator/playground"))
        .send()
        .await
        .json();
    let modes: Vec<&str> = settings["modes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|mode| mode["name"].as_str())
        .collect();
    assert_eq!(modes, ["passthrough", "identity", "on_behalf_of", "teams_user"]);
    assert_eq!(
        settings["modes"][1]["broker"],
        serde_json::Value::Null,
        "not started yet"
    );

    let start = |mode: &str| Call::new("PUT", format!("{playground}_emulator/playground/modes/{mode}"));
    let identity = start("identity").send().await.json()["broker"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(start("identity").send().await.json()["broker"], identity, "once");
    assert_eq!(start("other").send().await.status, 404);
    let answer = Call::new("POST", format!("{identity}/token")).send().await;
    assert_eq!(answer.outcome(), "401 AuthenticationRequired");
}

#[tokio::test]
async fn pages_of_this_machine_and_of_added_origins_may_read_answers() {
    let process = Process::start(&arguments(&["--origin", "https://app.contoso.com"]), &[]);
    let (broker, emulator) = (address(&process, "broker ").await, address(&process, "emulator ").await);
    for (origin, allowed) in [
        (emulator.as_str(), true),
        ("http://localhost:5173", true),
        ("https://app.localhost", true),
        ("https://app.contoso.com", true),
        ("https://attacker.example", false),
        ("http://localhost.attacker.example", false),
        ("null", false),
    ] {
        let preflight = Call::new("OPTIONS", format!("{broker}/token"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .send()
            .await;
        let allowed_origin = preflight.header("access-control-allow-origin");
        assert_eq!(allowed_origin == Some(origin), allowed, "{origin} {preflight:?}");
        let users = Call::new("GET", format!("{emulator}/_emulator/users"))
            .header("origin", origin)
            .send()
            .await;
        assert_eq!(users.status == 200, allowed, "{origin} {users:?}");
    }
    for (host, status) in [("app.contoso.com", 401), ("other.contoso.com", 403)] {
        let call = Call::new("POST", format!("{broker}/token")).header("host", host);
        assert_eq!(call.send().await.status, status, "{host}");
    }
    let ended = Process::run(&arguments(&["--origin", "app.contoso.com"]), &[]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_there_is_not_is_answered_with_those_that_there_are() {
    let ended = Process::run(&arguments(&["--undo", "consent,licences"]), &[]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for step in azure_emulator::Step::ALL {
        assert!(ended.stderr.contains(step.name()), "{step:?}: {ended:?}");
    }
}

#[tokio::test]
async fn time_moves_on_for_the_emulator_and_the_broker_together() {
    let process = Process::start(&arguments(&[]), &[]);
    let (broker, emulator) = (address(&process, "broker ").await, address(&process, "emulator ").await);
    let first = token(&emulator).await;
    let ask = async |token: &str| {
        let call = Call::new("POST", format!("{broker}/token")).bearer(token);
        call.send().await.outcome()
    };
    assert_eq!(ask(&first).await, "200");
    let advance =
        Call::new("POST", format!("{emulator}/_emulator/clock")).body("application/json", r#"{"advance":"3h"}"#);
    assert_eq!(advance.send().await.status, 200);
    assert_eq!(ask(&first).await, "401 InvalidToken/Expired");
    assert_eq!(ask(&token(&emulator).await).await, "200");
}

#[tokio::test]
async fn an_assignment_that_is_taken_away_is_gone_for_the_broker_too() {
    let process = Process::start(&arguments(&[]), &[]);
    let (emulator, file) = (
        address(&process, "emulator ").await,
        address(&process, "assignments ").await,
    );
    let count = |text: &str| text.matches("[[assignments]]").count();
    assert_eq!(count(&std::fs::read_to_string(&file).unwrap()), 3);
    for (assigned, left) in [(false, 2), (true, 3)] {
        let body = format!("{{\"assigned\":{assigned}}}");
        let call = Call::new("PUT", format!("{emulator}/_emulator/users/adele")).body("application/json", body);
        assert_eq!(call.send().await.status, 200);
        assert_eq!(count(&std::fs::read_to_string(&file).unwrap()), left);
    }
}

#[tokio::test]
async fn a_kept_certificate_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let process = Process::start(&arguments(&["--tls", "--ca-dir", path]), &[]);
        let playground = address(&process, "playground ").await;
        assert!(playground.starts_with("https://localhost:"), "{playground}");
        assert_eq!(address(&process, "CA file ").await, format!("{path}/ca.pem"));
        process.signal("TERM");
        assert_eq!(process.end().await.code, Some(0));
        seen.push(
            ["ca.pem", "server.pem", "server-key.pem"].map(|name| std::fs::read(folder.path().join(name)).unwrap()),
        );
    }
    assert_eq!(seen[0], seen[1]);
    // One that cannot be used is made anew.
    std::fs::write(folder.path().join("server.pem"), "nothing").unwrap();
    let process = Process::start(&arguments(&["--tls", "--ca-dir", path]), &[]);
    address(&process, "playground ").await;
    assert_ne!(std::fs::read(folder.path().join("ca.pem")).unwrap(), seen[0][0]);

    let own = [
        "--tls",
        "--tls-certificate",
        &format!("{path}/server.pem"),
        "--tls-private-key",
        &format!("{path}/server-key.pem"),
    ];
    let process = Process::start(&arguments(&own), &[]);
    assert!(address(&process, "playground ").await.starts_with("https://"));
    assert!(!process.stdout().contains("CA file"));
    for wrong in [&["--ca-dir", path][..], &["--tls", "--tls-certificate", "x.pem"]] {
        assert_eq!(Process::run(&arguments(wrong), &[]).await.code, Some(2), "{wrong:?}");
    }
}
