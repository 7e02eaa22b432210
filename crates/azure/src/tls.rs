//! TLS towards upstreams.
//!
//! Made once, since reading the system's anchors takes a while, and shared by every client. Made here rather than by
//! reqwest, whose errors say "builder error" alone.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};

use super::UpstreamSetupError;

/// TLS with the system's trust anchors and, if there is one, those of `ca_file`.
pub(super) fn with_trust_anchors(ca_file: Option<&Path>) -> Result<ClientConfig, UpstreamSetupError> {
    Ok(with_alpn(certificates::client_config(ca_file)?))
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
