//! The server's certificate: loaded from PEM files and taken anew when they change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use certificates::{Bundle, Fault, Validity, pair};

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} {fault}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The two do not belong together, or are of a kind that TLS cannot use.
    #[error("the certificate of {} cannot be served with the key of {}: {fault}", certificate.display(), private_key.display())]
    Unusable {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        private_key: PathBuf,
        /// Why not, in words that fit a file with both.
        fault: Fault,
    },
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Protocol(rustls::Error),
}

/// A certificate chain and its key that follow their files.
///
/// A pair that cannot be used (half written, not belonging together) leaves the last good one in use.
pub struct ReloadingCertificate {
    certificate_file: PathBuf,
    private_key_file: PathBuf,
    config: Arc<ServerConfig>,
    current: Arc<Current>,
    // Digest of the contents last looked at, good or bad: the same bad pair is reported once.
    // `None` while the files cannot be read.
    seen: Mutex<Option<Digest>>,
}

type Digest = [u8; digest::SHA256_OUTPUT_LEN];

impl ReloadingCertificate {
    /// Loads the pair: the server's certificate with its chain, in any order, and its key; see [`certificates`](certificates).
    pub fn load(certificate_file: &Path, private_key_file: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let (contents, seen) = read(certificate_file, private_key_file)?;
        let key = contents.parse(certificate_file, private_key_file)?;
        let current = Arc::new(Current(ArcSwap::from_pointee(key)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Protocol)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            certificate_file: certificate_file.to_owned(),
            private_key_file: private_key_file.to_owned(),
            config: Arc::new(config),
            current,
            seen: Mutex::new(Some(seen)),
        })
    }

    /// TLS 1.2 and 1.3 without client certificates; HTTP/2 and HTTP/1.1 by ALPN (RFC 7301).
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Looks at the files and takes the pair they hold if it is another one. Returns whether it did.
    ///
    /// Contents are compared rather than modification times: a mounted Kubernetes secret swaps symbolic links,
    /// and a restored file may be older than the one it replaces. An error is reported once for the same contents.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let mut last = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (contents, seen) = match read(&self.certificate_file, &self.private_key_file) {
            Ok(read) => read,
            Err(error) => return if last.take().is_some() { Err(error) } else { Ok(false) },
        };
        if last.replace(seen) == Some(seen) {
            return Ok(false);
        }
        let key = contents.parse(&self.certificate_file, &self.private_key_file)?;
        if key.cert == self.current.0.load().cert {
            return Ok(false);
        }
        self.current.0.store(Arc::new(key));
        Ok(true)
    }

    /// Keeps looking, every `interval`, until `stop`.
    pub async fn watch(self: Arc<Self>, interval: Duration, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
            let own = Arc::clone(&self);
            // File systems can block, network ones for long.
            match tokio::task::spawn_blocking(move || own.reload_if_changed()).await {
                Ok(Ok(true)) => tracing::info!("server certificate reloaded"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::error!(
                    %error,
                    "server certificate not reloaded; the last good one stays in use"
                ),
                Err(error) => tracing::error!(%error, "server certificate not looked at"),
            }
        }
    }

    /// When the certificate in use is good.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        Validity::from_certificate(self.current.0.load().cert.first()?)
    }

    #[cfg(test)]
    pub(super) fn leaf(&self) -> rustls_pki_types::CertificateDer<'static> {
        self.current.0.load().cert[0].clone()
    }
}

impl fmt::Debug for ReloadingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadingCertificate")
            .field("certificate_file", &self.certificate_file)
            .finish_non_exhaustive()
    }
}

/// Answers every handshake with the pair in use at its start.
struct Current(ArcSwap<CertifiedKey>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Both files as they were read.
struct Contents {
    certificate: Vec<u8>,
    private_key: Vec<u8>,
}

fn read(certificate_file: &Path, private_key_file: &Path) -> Result<(Contents, Digest), TlsError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| TlsError::Unreadable {
            path: path.to_owned(),
            error,
        })
    };
    let contents = Contents {
        certificate: read(certificate_file)?,
        private_key: read(private_key_file)?,
    };
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [&contents.certificate, &contents.private_key] {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut seen = Digest::default();
    seen.copy_from_slice(context.finish().as_ref());
    Ok((contents, seen))
}

impl Contents {
    fn parse(&self, certificate_file: &Path, private_key_file: &Path) -> Result<CertifiedKey, TlsError> {
        let of = |path: &Path| {
            let path = path.to_owned();
            move |fault| TlsError::Content { path, fault }
        };
        let read = |content: &[u8]| Bundle::read(content, None);
        let chain = read(&self.certificate)
            .and_then(Bundle::certificates)
            .map_err(of(certificate_file))?;
        let keys = read(&self.private_key)
            .and_then(Bundle::keys)
            .map_err(of(private_key_file))?;
        // rustls checks the key against certificates of version 3 alone.
        let paired = pair(&chain, keys).map_err(|fault| TlsError::Unusable {
            certificate: certificate_file.to_owned(),
            private_key: private_key_file.to_owned(),
            fault,
        })?;
        Ok(CertifiedKey::new(paired.chain, paired.signer))
    }
}
