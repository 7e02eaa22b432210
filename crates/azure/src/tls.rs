//! What upstreams are trusted by: the system's anchors, and those of `upstream.ca_file`.
//!
//! Made once, since reading the system's anchors takes a while, and shared by every client. Made here rather than by
//! reqwest, whose errors say "builder error" alone.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

use super::{CaFileError, UpstreamSetupError};
use certificates::Bundle;

/// TLS with the system's trust anchors and, if there is one, those of `ca_file`.
pub(super) fn with_trust_anchors(ca_file: Option<&Path>) -> Result<ClientConfig, UpstreamSetupError> {
    let extra = ca_file.map_or(Ok(Vec::new()), anchors)?;
    let provider = Arc::new(default_provider());
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(extra, Arc::clone(&provider))
        .map_err(UpstreamSetupError::Tls)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(UpstreamSetupError::Tls)?
        // What is "dangerous" is a verifier of one's own. This is the platform's, which reqwest takes too.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(with_alpn(config))
}

/// TLS that trusts nobody: for plain http alone.
pub(super) fn without_trust_anchors() -> Result<ClientConfig, UpstreamSetupError> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(UpstreamSetupError::Tls)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(with_alpn(config))
}

fn with_alpn(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// The trust anchors in a file, each of which rustls must be able to use.
fn anchors(file: &Path) -> Result<Vec<CertificateDer<'static>>, UpstreamSetupError> {
    let failed = |error| UpstreamSetupError::CaFile {
        path: file.to_owned(),
        error,
    };
    let content = std::fs::read(file).map_err(|error| failed(CaFileError::Unreadable(error)))?;
    let certificates = Bundle::read(&content, None)
        .and_then(Bundle::certificates)
        .map_err(|fault| failed(CaFileError::Content(fault)))?;
    for (index, certificate) in certificates.iter().enumerate() {
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| failed(CaFileError::NoAnchor(index + 1, error)))?;
    }
    Ok(certificates)
}
