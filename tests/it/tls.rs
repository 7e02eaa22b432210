//! TLS to Azure with an extra trust anchor, TLS at the public listener, and proxies that are for others.

use std::path::Path;
use std::sync::Arc;

use ::serve::ReloadingCertificate;
use azure_emulator::{Emulator, Scenario};
use base::clock::SharedClock;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::support::eventually;
use crate::support::http::{Call, client};
use crate::support::stack::{Builder, Stack, clock};

/// Writes `ca.pem`, `server.pem` and `server-key.pem` for localhost.
pub(crate) fn write_certificates(folder: &Path) {
    write_certificates_for(folder, &["localhost", "127.0.0.1"]);
}

/// The same for these hosts.
pub(crate) fn write_certificates_for(folder: &Path, hosts: &[&str]) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    std::fs::write(folder.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let hosts: Vec<String> = hosts.iter().copied().map(str::to_owned).collect();
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(hosts).unwrap();
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key)).unwrap();
    std::fs::write(folder.join("server.pem"), leaf.pem()).unwrap();
    std::fs::write(folder.join("server-key.pem"), leaf_key.serialize_pem()).unwrap();
}

/// A broker whose Azure side speaks TLS.
async fn over_tls(folder: &Path) -> Builder {
    write_certificates(folder);
    let certificate = ReloadingCertificate::load(&folder.join("server.pem"), &folder.join("server-key.pem")).unwrap();
    let clock = clock();
    let shared: SharedClock = Arc::clone(&clock) as SharedClock;
    let any_port = ([127, 0, 0, 1], 0).into();
    let tls = Some(certificate.server_config());
    let emulator = Emulator::start(Scenario::demo(), any_port, tls, shared).await.unwrap();
    let origin = emulator.tls_origin().unwrap();
    Stack::builder()
        .emulator(emulator, &clock)
        .authority(&origin)
        .endpoint(&origin)
}

#[tokio::test]
async fn azure_is_trusted_by_the_extra_anchor_only() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let trusting = over_tls(folder.path())
        .await
        .set("upstream.ca_file", ca.to_str().unwrap());
    let stack = trusting.start().await;
    assert_eq!(stack.user("alex").post().await.outcome(), "200");
    drop(stack);

    let stack = over_tls(folder.path()).await.not_awaiting_readiness().start().await;
    eventually("keys were tried", async || {
        let outcome = stack.probe("/readyz").await.json()["reasons"].to_string();
        outcome.contains("no tenant has usable signing keys")
    })
    .await;
    assert_eq!(stack.user("alex").post().await.outcome(), "503 KeysUnavailable");
    assert_eq!(
        stack.emulator.journal().len(),
        0,
        "nothing was said to one that is not trusted"
    );
}

#[tokio::test]
async fn the_public_listener_speaks_tls() {
    let folder = tempfile::tempdir().unwrap();
    write_certificates(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let stack = Stack::builder()
        .set("server.tls.certificate_file", file("server.pem"))
        .set("server.tls.private_key_file", file("server-key.pem"))
        .start()
        .await;
    let pem = std::fs::read(file("ca.pem")).unwrap();
    let certificate = reqwest::Certificate::from_pem(&pem).unwrap();
    let client = client(|builder| builder.tls_certs_only([certificate]));
    let url = format!("https://localhost:{}/token", stack.public.port());
    let token = stack.user("alex").token();
    let answer = Call::new("POST", url.clone())
        .bearer(&token)
        .send_with(&client)
        .await
        .unwrap();
    assert_eq!(answer.outcome(), "200");
    assert!(
        Call::new("POST", url).try_send().await.is_err(),
        "not trusted by others"
    );
    assert!(
        Call::new("POST", stack.url("/token")).try_send().await.is_err(),
        "and not served in the clear"
    );
}

#[tokio::test]
async fn loopback_is_never_proxied() {
    let stack = Stack::builder()
        .set("upstream.proxy", "http://127.0.0.1:9")
        .start()
        .await;
    assert_eq!(stack.user("alex").post().await.outcome(), "200");
}
