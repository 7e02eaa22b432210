//! Collectors over TLS: trusted by the file that the standard variables name and by nothing else, and shown the
//! broker's certificate.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::eventually;
use crate::support::otlp::Collector;
use crate::support::process::Served;
use crate::tls::write_certificates;

/// Ends TLS before a collector, and wants to see a certificate if there is an anchor for it. Gives the address.
async fn before(collector: &Collector, folder: &Path, clients: Option<&Path>) -> String {
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(&read("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(&read("server-key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(anchor) => {
            let mut anchors = RootCertStore::empty();
            anchors.add(CertificateDer::from_pem_file(anchor).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(anchors), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let target = collector.origin().trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (acceptor, target) = (acceptor.clone(), target.clone());
            tokio::spawn(async move {
                let Ok(mut near) = acceptor.accept(near).await else {
                    return;
                };
                let mut far = TcpStream::connect(target).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    endpoint
}

/// Writes `client.pem` and `client-key.pem`, and what vouches for them, `clients.pem`.
fn write_client(folder: &Path) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    std::fs::write(folder.join("clients.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let leaf = CertificateParams::new(vec!["broker".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    std::fs::write(folder.join("client.pem"), leaf.pem()).unwrap();
    std::fs::write(folder.join("client-key.pem"), key.serialize_pem()).unwrap();
}

async fn started(endpoint: &str, protocol: &str, files: &[(&str, &str)]) -> Served {
    let mut environment = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "50"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
    ];
    environment.extend_from_slice(files);
    let served = Served::start(None, &environment).await;
    assert_eq!(served.post_token(&served.token("alex")).await.status, 200);
    served
}

/// Whether spans, log records and metrics have come.
fn came(collector: &Collector) -> [bool; 3] {
    [
        !collector.spans().is_empty(),
        !collector.logs().is_empty(),
        !collector.metrics().is_empty(),
    ]
}

async fn all_come(collector: &Collector, what: &str) {
    eventually(what, async || came(collector) == [true; 3]).await;
}

/// Nothing comes, and the log says so.
async fn none_comes(served: &Served, collector: &Collector, what: &str) {
    let failed = |line: &str| line.contains("the collector does not take telemetry now").then_some(());
    served.process.line(what, failed).await;
    assert_eq!(came(collector), [false; 3], "{what}");
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_certificates(folder.path());
        write_client(folder.path());
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}

const CA: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
const KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";

async fn is_trusted(protocol: &str) {
    let (files, others) = (Files::new(), Files::new());
    let (ca, other) = (files.path("ca.pem"), others.path("ca.pem"));
    let collector = Collector::start().await;
    let endpoint = before(&collector, files.folder.path(), None).await;
    // Another anchor, none, and a file that is not there: the system's anchors do not vouch for this one.
    for variables in [&[(CA, other.as_str())][..], &[], &[(CA, "/nowhere/ca.pem")]] {
        let served = started(&endpoint, protocol, variables).await;
        none_comes(&served, &collector, "an anchor that does not vouch for it").await;
        let said = served.process.stdout().contains("OTEL_EXPORTER_OTLP_CERTIFICATE: ");
        assert_eq!(said, variables.iter().any(|(_, file)| file.contains("nowhere")));
    }
    let _served = started(&endpoint, protocol, &[(CA, &ca)]).await;
    all_come(&collector, "all signals come").await;
    // One signal's own goes before the general one.
    let collector = Collector::start().await;
    let endpoint = before(&collector, files.folder.path(), None).await;
    let own = ("OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", ca.as_str());
    let _served = started(&endpoint, protocol, &[(CA, &other), own]).await;
    eventually("log records come", async || came(&collector)[1]).await;
    assert_eq!(came(&collector), [false, true, false]);
}

#[tokio::test]
async fn the_file_that_is_named_is_trusted_and_nothing_else_over_http() {
    is_trusted("http/protobuf").await;
}

#[tokio::test]
async fn the_file_that_is_named_is_trusted_and_nothing_else_over_grpc() {
    is_trusted("grpc").await;
}

async fn shows_itself(protocol: &str) {
    let (files, others) = (Files::new(), Files::new());
    let ca = files.path("ca.pem");
    let [certificate, key] = ["client.pem", "client-key.pem"].map(|name| files.path(name));
    let [other, other_key] = ["client.pem", "client-key.pem"].map(|name| others.path(name));
    let collector = Collector::start().await;
    let clients = files.folder.path().join("clients.pem");
    let endpoint = before(&collector, files.folder.path(), Some(&clients)).await;
    for variables in [
        &[(CA, ca.as_str())][..],
        &[(CA, &ca), (CERTIFICATE, &other), (KEY, &other_key)],
        // A key that does not fit is said, and no certificate shown.
        &[(CA, &ca), (CERTIFICATE, &certificate), (KEY, &other_key)],
    ] {
        let served = started(&endpoint, protocol, variables).await;
        none_comes(&served, &collector, "no certificate that the collector knows").await;
    }
    let own = [(CA, ca.as_str()), (CERTIFICATE, &certificate), (KEY, &key)];
    let _served = started(&endpoint, protocol, &own).await;
    all_come(&collector, "all signals come").await;
}

#[tokio::test]
async fn the_broker_shows_its_certificate_over_http() {
    shows_itself("http/protobuf").await;
}

#[tokio::test]
async fn the_broker_shows_its_certificate_over_grpc() {
    shows_itself("grpc").await;
}
