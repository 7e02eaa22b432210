//! The server's certificate: loaded from PEM files and taken anew when they change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use base::changing_file::{ChangingFile, Look};
use certificates::{Bundle, Fault, FileError, Validity, pair, part_of_file};

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
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

/// No chain and no key is as large.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A certificate chain and its key that follow their files.
///
/// A pair that cannot be used (half written, not belonging together) leaves the last good one in use.
pub struct ReloadingCertificate {
    files: Files,
    config: Arc<ServerConfig>,
    current: Arc<Current>,
}

impl ReloadingCertificate {
    /// Loads the pair: the server's certificate with its chain, in any order, and its key; see [`certificates`](certificates).
    pub fn load(certificate_file: &Path, private_key_file: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let files = Files {
            certificate: ChangingFile::new(certificate_file.to_owned(), MAX_FILE_BYTES),
            private_key: ChangingFile::new(private_key_file.to_owned(), MAX_FILE_BYTES),
        };
        let key = files.pair(files.certificate.look(), files.private_key.look())?;
        let current = Arc::new(Current(ArcSwap::from_pointee(key)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Protocol)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            files,
            config: Arc::new(config),
            current,
        })
    }

    /// TLS 1.2 and 1.3 without client certificates; HTTP/2 and HTTP/1.1 by ALPN (RFC 7301).
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Looks at the files and takes the pair they hold if it is another one. Returns whether it did. An error is
    /// reported once for the same contents.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let (certificate, private_key) = (self.files.certificate.look(), self.files.private_key.look());
        if !certificate.is_new && !private_key.is_new {
            return Ok(false);
        }
        let key = self.files.pair(certificate, private_key)?;
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
            .field("certificate_file", &self.files.certificate.path())
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

/// The certificate and its key.
struct Files {
    certificate: ChangingFile,
    private_key: ChangingFile,
}

impl Files {
    fn pair(&self, certificate: Look, private_key: Look) -> Result<CertifiedKey, TlsError> {
        let chain = part_of_file(self.certificate.path(), certificate.content, Bundle::certificates)?;
        let keys = part_of_file(self.private_key.path(), private_key.content, Bundle::keys)?;
        // rustls checks the key against certificates of version 3 alone.
        let paired = pair(&chain, keys).map_err(|fault| TlsError::Unusable {
            certificate: self.certificate.path().to_owned(),
            private_key: self.private_key.path().to_owned(),
            fault,
        })?;
        Ok(CertifiedKey::new(paired.chain, paired.signer))
    }
}
