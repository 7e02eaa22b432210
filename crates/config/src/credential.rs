//! The broker's own credentials, wherever a section has one.

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

use base::ids::{ClientAppId, TenantId};

/// An app registration and how the broker proves to be it.
#[derive(Debug, Clone, PartialEq)]
pub struct AppConfig {
    /// `client_id`
    pub client_id: ClientAppId,
    /// The proof.
    pub credential: CredentialConfig,
}

/// Whose Entra tokens the broker uses in its own name.
#[derive(Debug, Clone, PartialEq)]
pub enum ServiceIdentity {
    /// An app's.
    App {
        /// The tenant that they come from.
        tenant_id: TenantId,
        /// The app.
        app: AppConfig,
    },
    /// A managed identity's own.
    ManagedIdentity {
        /// A user-assigned identity's client id; the system-assigned one if absent.
        client_id: Option<ClientAppId>,
    },
}

/// `credential` with the settings of its own.
#[derive(Debug, Clone, PartialEq)]
pub enum CredentialConfig {
    /// `client_secret`
    Secret(SecretSource),
    /// A client assertion signed with a certificate's key.
    Certificate {
        /// PEM (certificate and key in one file) or PFX.
        file: PathBuf,
        /// The password of a PFX.
        password: Option<SecretSource>,
    },
    /// A token of the platform's own issuer, such as AKS workload identity's, as client assertion.
    WorkloadIdentity {
        /// The file that holds it, which is written anew before the token ends.
        federated_token_file: PathBuf,
    },
    /// A managed identity's token as client assertion.
    ManagedIdentity {
        /// A user-assigned identity's client id; the system-assigned one if absent.
        client_id: Option<ClientAppId>,
    },
}

/// Where a secret is read from.
#[derive(Clone)]
pub enum SecretSource {
    /// The environment: fixed while the broker runs.
    Value(SecretString),
    /// A file, read again when it changes. Whitespace around its content and a byte order mark do not count.
    File(PathBuf),
}

impl PartialEq for SecretSource {
    fn eq(&self, other: &Self) -> bool {
        use secrecy::ExposeSecret as _;
        match (self, other) {
            (Self::Value(one), Self::Value(other)) => one.expose_secret() == other.expose_secret(),
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Value(_), Self::File(_)) | (Self::File(_), Self::Value(_)) => false,
        }
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value([redacted])"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}
