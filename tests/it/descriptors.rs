//! However many connect, there are open files left for probes and exchanges.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use azure_emulator::TokenRequest;

use crate::support::eventually;
use crate::support::http::{Call, client};
use crate::support::process::{Process, address, emulator, write_configuration};
use crate::support::scrape::Scrape;

#[tokio::test]
async fn probes_and_exchanges_go_on_while_all_connections_are_taken() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let file = write_configuration(folder.path(), &emulator, None);
    let process = Process::start_with_files(64, 256, &["serve", "--config", &file], &[]);
    let (public, management) = process
        .line("the addresses are logged", |line| {
            line.contains("listening").then_some(())?;
            Some((address(line, "public")?, address(line, "management")?))
        })
        .await;
    let probe = async |path: &str| {
        let call = Call::new("GET", format!("{management}{path}"));
        call.try_send().await.map(|answer| answer.status).ok()
    };
    eventually("ready", async || probe("/readyz").await == Some(200)).await;
    let said = process.stdout();
    let said: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("server.max_connections"))
        .collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("WARN") && said[0].contains("RLIMIT_NOFILE"),
        "{said:?}"
    );
    assert!(
        said[0].contains("64 instead of 4096") && said[0].contains("256"),
        "{said:?}"
    );

    // A caller who came first keeps a connection.
    let caller = client(|builder| builder.pool_max_idle_per_host(1));
    let exchange = async |user: &str| {
        let token = emulator.issue_token(user, &TokenRequest::default()).unwrap();
        let call = Call::new("POST", format!("{public}/token")).bearer(&token);
        call.send_with(&caller).await.unwrap().outcome()
    };
    assert_eq!(exchange("alex").await, "200");
    let mut held = Vec::new();
    for _ in 0..250 {
        let mut stream = TcpStream::connect(public.trim_start_matches("http://")).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        held.push(stream);
    }
    let connections = async || {
        let told = Scrape::of(management.trim_start_matches("http://")).await;
        told.sum("acs_broker_connections_open", &[])
    };
    eventually("all connections are taken", async || connections().await >= 64.0).await;
    assert_eq!(probe("/livez").await, Some(200));
    assert_eq!(probe("/readyz").await, Some(200));
    assert_eq!(exchange("diego").await, "200");
    let connections = connections().await;
    assert!(connections <= 64.0, "{connections} connections are open");
    // Nobody but root counts a broker's files.
    if let Ok(files) = std::fs::read_dir(format!("/proc/{}/fd", process.id())) {
        let files = files.count();
        assert!(files < 192, "{files} files are open");
    }
    assert!(!process.stdout().contains("cannot accept"), "{}", process.stdout());
    drop(held);
}

#[tokio::test]
async fn without_room_for_callers_it_does_not_start() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let file = write_configuration(folder.path(), &emulator, None);
    let ended = Process::start_with_files(32, 32, &["serve", "--config", &file], &[])
        .end()
        .await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("RLIMIT_NOFILE"), "{ended:?}");
    assert!(ended.stderr.contains("at least 160"), "{ended:?}");

    // Where it is checked need not be where it will run: a warning.
    for (limit, expected) in [(32, "at least 160"), (1024, "448 instead of 4096")] {
        let ended = Process::start_with_files(limit, limit, &["check-config", "--config", &file], &[])
            .end()
            .await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(
            ended.stderr.contains("warning: ") && ended.stderr.contains(expected),
            "{ended:?}"
        );
    }
}
