//! Proxies, and what goes by none: a real CONNECT proxy that alone knows where the made-up ACS is.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use ::serve::ReloadingCertificate;
use azure_emulator::{Emulator, EmulatorOptions, Scenario};
use base::clock::SharedClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::support::stack::{Builder, Stack, clock};
use crate::tls::write_certificates_for;

/// A name that nobody but the proxy resolves (RFC 6761 section 6.2).
const ACS: &str = "acs.broker.test";

/// A proxy that leads every tunnel to one address and remembers what it was asked.
struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: AbortHandle,
}

impl Proxy {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(tunnel(stream, target, Arc::clone(&seen)));
            }
        });
        Self {
            address,
            asked,
            task: task.abort_handle(),
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn tunnel(mut near: TcpStream, target: SocketAddr, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(near.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let allowed = head
        .to_ascii_lowercase()
        .contains("proxy-authorization: basic dxnlcjpodw50zxiy");
    asked.lock().unwrap().push(head.lines().next().unwrap().to_owned());
    if !allowed {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        near.write_all(refusal).await.unwrap();
        return;
    }
    near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let mut far = TcpStream::connect(target).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
}

async fn through_proxy(user_info: &str, change: impl FnOnce(Builder) -> Builder) -> (String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    write_certificates_for(folder.path(), &["localhost", ACS]);
    let file = |name: &str| folder.path().join(name);
    let certificate = ReloadingCertificate::load(&file("server.pem"), &file("server-key.pem")).unwrap();
    let clock = clock();
    let shared: SharedClock = Arc::clone(&clock) as SharedClock;
    let tls = Some(certificate.server_config());
    // Behind the proxy it has a name that is not this machine's.
    let options = EmulatorOptions {
        tls,
        origins: vec![format!("https://{ACS}")],
        ..EmulatorOptions::new(([127, 0, 0, 1], 0).into(), shared)
    };
    let emulator = Emulator::start_with(Scenario::demo(), options).await.unwrap();
    let target = emulator.origin().trim_start_matches("http://").parse().unwrap();
    let authority = emulator.tls_origin().unwrap();
    let proxy = Proxy::start(target).await;
    let builder = Stack::builder()
        .emulator(emulator, &clock)
        .authority(&authority)
        .endpoint(&format!("https://{ACS}"))
        .set("upstream.ca_file", file("ca.pem").to_str().unwrap())
        .set("upstream.proxy", format!("http://{user_info}{}", proxy.address));
    // The authority is on loopback: the keys are there without the proxy.
    let stack = change(builder).start().await;
    let answer = stack.user("alex").post().await;
    assert!(!String::from_utf8_lossy(&answer.body).contains("hunter2"));
    (answer.outcome(), proxy.asked())
}

#[tokio::test]
async fn calls_go_by_the_proxy_unless_they_are_excepted() {
    let by_proxy = vec![format!("CONNECT {ACS}:443 HTTP/1.1")];
    let with_password = "user:hunter2@";
    assert_eq!(
        through_proxy(with_password, |builder| builder).await,
        ("200".to_owned(), by_proxy.clone())
    );
    let other = |builder: Builder| builder.set("upstream.no_proxy", "other.test");
    assert_eq!(through_proxy(with_password, other).await, ("200".to_owned(), by_proxy));
    for (setting, variable) in [("*.broker.test", ""), ("", "acs.broker.test:443, other.test")] {
        let (outcome, asked) = through_proxy(with_password, |builder| {
            let builder = builder.variable("no_proxy", variable);
            builder.set("upstream.no_proxy", setting)
        })
        .await;
        // Without the proxy the name leads nowhere.
        assert!(outcome.starts_with("50"), "{outcome}");
        assert_eq!(asked, Vec::<String>::new(), "{setting} {variable}");
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_is_an_upstream_that_is_away() {
    let (outcome, asked) = through_proxy("user:wrong@", |builder| builder).await;
    assert_eq!(outcome, "503 UpstreamUnavailable");
    assert!(!asked.is_empty());
}
