//! What servers are trusted by: the system's anchors, and those of a file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

use super::Bundle;
use super::file::{FileError, part_of_file};

/// Why TLS towards servers cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file of trust anchors cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// TLS itself; most likely the system has no trust anchors.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// TLS with the system's trust anchors and, if there is one, those of `ca_file`; without ALPN.
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let extra = ca_file.map_or(Ok(Vec::new()), |file| anchors(file, std::fs::read(file)))?;
    let provider = Arc::new(default_provider());
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(extra, Arc::clone(&provider))?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        // What is "dangerous" is a verifier of one's own. This is the platform's, which reqwest takes too.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// The trust anchors in what was read of `file`, each of which rustls must be able to use.
pub fn anchors(file: &Path, content: io::Result<impl AsRef<[u8]>>) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let certificates = part_of_file(file, content, Bundle::certificates)?;
    for (index, certificate) in certificates.iter().enumerate() {
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| FileError::NoAnchor {
                path: file.to_owned(),
                number: index + 1,
                error,
            })?;
    }
    Ok(certificates)
}
