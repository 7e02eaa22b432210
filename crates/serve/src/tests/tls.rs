//! Handshakes and certificate files.

use std::path::PathBuf;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use super::*;
use certificates::FileError;

const ENCRYPTED_KEY: &str = include_str!("../../../certificates/src/testdata/encrypted-key.pem");
const VERSION_1: &str = include_str!("../../../certificates/src/testdata/version-1.pem");
const VERSION_1_KEY: &str = include_str!("../../../certificates/src/testdata/version-1-key.pem");

/// A folder with a certificate and its key, signed by an authority of its own.
pub(super) struct Files {
    folder: PathBuf,
    authority: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Files {
    pub(super) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("acs-token-broker-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertifiedIssuer::self_signed(parameters, key).unwrap();
        let files = Self { folder, authority };
        let (certificate, key) = files.issue();
        files.write(&certificate, &key);
        files
    }

    /// A new certificate and key in PEM.
    fn issue(&self) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(["broker.test".to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.authority).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn write(&self, certificate: &str, key: &str) {
        std::fs::write(self.certificate(), certificate).unwrap();
        std::fs::write(self.key(), key).unwrap();
    }

    fn certificate(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    pub(super) fn load(&self) -> Result<ReloadingCertificate, TlsError> {
        ReloadingCertificate::load(&self.certificate(), &self.key())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A new connection with TLS.
pub(super) async fn connect(server: &Server, files: &Files) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(files.authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("broker.test").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, server.connect().await).await.unwrap()
}

/// The certificate that a new connection is shown.
async fn shown(server: &Server, files: &Files) -> CertificateDer<'static> {
    let stream = connect(server, files).await;
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[tokio::test]
async fn tls_serves_both_versions_by_alpn() {
    let files = Files::new();
    let tls = ServeOptions {
        tls: Some(Arc::new(files.load().unwrap())),
        ..options()
    };
    let server = Server::start(hello(), tls).await;
    let authority = reqwest::Certificate::from_pem(files.authority.pem().as_bytes()).unwrap();
    let url = format!("https://broker.test:{}/", server.address.port());
    let trusting = |builder: reqwest::ClientBuilder| {
        builder
            .resolve("broker.test", server.address)
            .tls_certs_only([authority.clone()])
    };
    let (version, body) = fetch(&client(trusting), &url).await;
    assert_eq!((version, body.as_str()), (Version::HTTP_2, "hello over https"));
    let (version, body) = fetch(&client(|builder| trusting(builder).http1_only()), &url).await;
    assert_eq!((version, body.as_str()), (Version::HTTP_11, "hello over https"));
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_closed() {
    let files = Files::new();
    let hasty = ServeOptions {
        head_timeout: Duration::from_millis(100),
        tls: Some(Arc::new(files.load().unwrap())),
        ..options()
    };
    let server = Server::start(hello(), hasty).await;
    let mut client = server.connect().await;
    assert_eq!(read_to_end(&mut client).await, "");
}

#[tokio::test]
async fn a_new_certificate_is_served_and_a_bad_one_is_not() {
    let files = Files::new();
    let certificate = Arc::new(files.load().unwrap());
    let tls = ServeOptions {
        tls: Some(Arc::clone(&certificate)),
        ..options()
    };
    let server = Server::start(hello(), tls).await;
    let first = certificate.leaf();
    assert_eq!(shown(&server, &files).await, first);
    assert!(!certificate.reload_if_changed().unwrap(), "nothing changed");

    // Half of a renewal: reported once, not again.
    let (new_certificate, new_key) = files.issue();
    std::fs::write(files.certificate(), &new_certificate).unwrap();
    let refused = certificate.reload_if_changed();
    assert!(matches!(refused, Err(TlsError::Unusable { .. })), "{refused:?}");
    assert!(!certificate.reload_if_changed().unwrap());
    std::fs::remove_file(files.key()).unwrap();
    let refused = certificate.reload_if_changed();
    assert!(
        matches!(refused, Err(TlsError::File(FileError::Unreadable { .. }))),
        "{refused:?}"
    );
    assert!(!certificate.reload_if_changed().unwrap());
    assert_eq!(shown(&server, &files).await, first);

    // The other half.
    std::fs::write(files.key(), &new_key).unwrap();
    assert!(certificate.reload_if_changed().unwrap());
    let second = CertificateDer::from_pem_slice(new_certificate.as_bytes()).unwrap();
    assert_eq!(shown(&server, &files).await, second);
    assert!(!certificate.reload_if_changed().unwrap());
}

#[tokio::test]
async fn changed_files_are_found_without_being_asked_for() {
    let files = Files::new();
    let certificate = Arc::new(files.load().unwrap());
    let first = certificate.leaf();
    let stop = CancellationToken::new();
    let watch = tokio::spawn(Arc::clone(&certificate).watch(Duration::from_millis(1), stop.clone()));
    let (new_certificate, new_key) = files.issue();
    files.write(&new_certificate, &new_key);
    timeout(SOON, async {
        while certificate.leaf() == first {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    stop.cancel();
    timeout(SOON, watch).await.unwrap().unwrap();
}

#[test]
fn files_that_cannot_be_served_are_refused() {
    let files = Files::new();
    let (certificate, key) = files.issue();
    let (_, other_key) = files.issue();
    for (certificate, key, expected) in [
        (
            certificate.as_str(),
            other_key.as_str(),
            "cannot be served with the key of",
        ),
        (
            certificate.as_str(),
            other_key.as_str(),
            "belongs to none of its certificates",
        ),
        (certificate.as_str(), "nothing", "key.pem is neither PEM nor DER"),
        (certificate.as_str(), "", "key.pem is empty"),
        (
            certificate.as_str(),
            ENCRYPTED_KEY,
            "key.pem holds an encrypted private key, and there is no password",
        ),
        ("nothing", key.as_str(), "certificate.pem is neither PEM nor DER"),
        (
            key.as_str(),
            key.as_str(),
            "certificate.pem holds no certificate, but a private key",
        ),
    ] {
        files.write(certificate, key);
        let reported = files.load().unwrap_err().to_string();
        assert!(reported.contains(expected), "{reported}");
    }
    std::fs::remove_file(files.certificate()).unwrap();
    let reported = files.load().unwrap_err().to_string();
    assert!(
        reported.contains("certificate.pem cannot be read: No such file"),
        "{reported}"
    );
}

#[tokio::test]
async fn files_as_platforms_leave_them_are_served() {
    let files = Files::new();
    let (certificate, key) = files.issue();
    let leaf = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let authority = files.authority.pem();
    let marked = |text: &str| format!("\u{feff}{}", text.replace('\n', "\r\n"));
    for (certificate, key) in [
        (marked(&certificate), marked(&key)),
        // The authority first, with words between.
        (format!("{authority}Bag Attributes\n  x: y\n{certificate}"), key.clone()),
        // Both in one file.
        (format!("{key}{certificate}"), format!("{key}{certificate}")),
    ] {
        files.write(&certificate, &key);
        let tls = ServeOptions {
            tls: Some(Arc::new(files.load().unwrap())),
            ..options()
        };
        let server = Server::start(hello(), tls).await;
        assert_eq!(shown(&server, &files).await, leaf);
    }
    // Whether a certificate of version 1 does is for its callers to say.
    files.write(VERSION_1, VERSION_1_KEY);
    let validity = files.load().unwrap().validity().unwrap();
    assert!(validity.is_version_1);
}
