//! `[shared_cache]`: the store that replicas share.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Host;

use super::{SecretSource, ServiceIdentity};

/// `[shared_cache]`
#[derive(Debug, Clone, PartialEq)]
pub struct SharedCacheConfig {
    /// The server; of a cluster or of sentinels, those that are asked first.
    pub servers: Vec<StoreServer>,
    /// Whether connections are TLS (`rediss`).
    pub tls: bool,
    /// What stands there.
    pub kind: StoreKind,
    /// How the broker shows who it is.
    pub auth: StoreAuth,
    /// File with trust anchors beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The name that certificates must have, in place of the server's host.
    pub tls_name: Option<String>,
    /// File with the keys that seal values. It need not be readable.
    pub encryption_keys_file: PathBuf,
    /// Limit for opening a connection, which no request waits for.
    pub connect_timeout: Duration,
    /// Limit for each operation.
    pub timeout: Duration,
    /// What all names in the store begin with; it holds no braces, which mark a hash tag.
    pub prefix: String,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoreServer {
    /// Its name or address.
    pub host: Host,
    /// Its port.
    pub port: u16,
}

impl StoreServer {
    /// Whether it is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        }
    }
}

impl fmt::Display for StoreServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// `shared_cache.kind`, with what only one of them has.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreKind {
    /// One server, or one address for several.
    Single,
    /// A cluster, whose nodes announce each other.
    Cluster,
    /// Servers of which sentinels say which one takes writes.
    Sentinel(SentinelConfig),
}

/// How sentinels are asked.
#[derive(Debug, Clone, PartialEq)]
pub struct SentinelConfig {
    /// `sentinel_master`: the name of what they watch.
    pub master: String,
    /// Who asks; the default user if absent.
    pub username: Option<String>,
    /// Their password.
    pub password: Option<SecretSource>,
}

/// How the broker shows the store who it is.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreAuth {
    /// By a password, if at all.
    Password {
        /// The default user if absent.
        username: Option<String>,
        /// The password.
        password: Option<SecretSource>,
    },
    /// By an access token, as Azure Managed Redis takes it.
    Token {
        /// The object id of the token's identity if absent.
        username: Option<String>,
        /// Whose token.
        identity: ServiceIdentity,
    },
}
