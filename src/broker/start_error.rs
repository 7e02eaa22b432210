//! Why a broker cannot start.

use std::net::SocketAddr;

use super::telemetry::UserNamesError;
use azure::UpstreamSetupError;
use azure::acs_signing::AccessKeyError;
use azure::credential::CredentialError;
use serve::TlsError;

/// Why a broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("{key} = {address}: {source}")]
    Bind {
        /// The setting.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The certificate or key of `server.tls` cannot be used.
    #[error("server.tls: {0}")]
    Tls(#[from] TlsError),
    /// The client for upstream calls cannot be made.
    #[error(transparent)]
    Upstream(#[from] UpstreamSetupError),
    /// A credential of the broker's cannot be used.
    #[error("{key}: {source}")]
    Credential {
        /// The section.
        key: String,
        /// Why not.
        source: CredentialError,
    },
    /// An access key cannot be used.
    #[error("{key}: {source}")]
    AccessKey {
        /// The setting.
        key: String,
        /// Why not.
        source: AccessKeyError,
    },
    /// TLS to the store that replicas share cannot be set up.
    #[error("shared_cache.ca_file: {0}")]
    StoreTls(#[from] shared_cache::TrustError),
    /// Users cannot be named in logs and traces as the configuration says.
    #[error("telemetry.user_hash_key: {0}")]
    UserHashKey(#[from] UserNamesError),
}
