//! What the store's servers are trusted by: the system's anchors, and those of `shared_cache.ca_file`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use certificates::{Bundle, Fault};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

/// Why TLS to the store cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of trust anchors cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It does not hold certificates.
    #[error("{} {fault}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// One of its certificates cannot be a trust anchor.
    #[error("{} holds a certificate, number {number}, that cannot be trusted: {error}", path.display())]
    NoAnchor {
        /// The file.
        path: PathBuf,
        /// Which certificate, counted from 1.
        number: usize,
        /// Why not.
        error: rustls::Error,
    },
    /// TLS itself; most likely the system has no trust anchors.
    #[error("TLS to the shared cache cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// TLS with the system's trust anchors and, if there is one, those of `ca_file`.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let extra = ca_file.map_or(Ok(Vec::new()), anchors)?;
    let provider = Arc::new(default_provider());
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(extra, Arc::clone(&provider))
        .map_err(TlsError::Setup)?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        // What is "dangerous" is a verifier of one's own. This is the platform's, as towards other upstreams.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// The trust anchors in a file, each of which rustls must be able to use.
fn anchors(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = || file.to_owned();
    let content = std::fs::read(file).map_err(|error| TlsError::Unreadable { path: path(), error })?;
    let certificates = Bundle::read(&content, None)
        .and_then(Bundle::certificates)
        .map_err(|fault| TlsError::Content { path: path(), fault })?;
    for (index, certificate) in certificates.iter().enumerate() {
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| TlsError::NoAnchor {
                path: path(),
                number: index + 1,
                error,
            })?;
    }
    Ok(certificates)
}
