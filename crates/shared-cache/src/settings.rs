//! What a shared cache is started with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use config::SecretSource;

use crate::credentials::TokenSource;

/// Where the store is, how it is reached, and what is kept there.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server; the seeds of a cluster; the sentinels. At least one.
    pub nodes: Vec<Node>,
    /// How these make up the store.
    pub kind: Kind,
    /// How the broker shows who it is.
    pub authentication: Authentication,
    /// Trust anchors beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The name in the servers' certificates, in place of the host of the node: that of nodes which are announced, too.
    pub tls_name: Option<String>,
    /// Lines `name base64-of-32-bytes`, read again when it changes.
    pub encryption_keys_file: PathBuf,
    /// How long connecting and authenticating to one server may take, in the background.
    pub connect_timeout: Duration,
    /// How long an operation may take that a request waits for.
    pub timeout: Duration,
    /// What every name in the store begins with.
    pub prefix: String,
    /// What a value's life in the store is shorter than its token's.
    pub expiry_margin: Duration,
    /// How far ahead of this clock another replica's may be.
    pub clock_skew: Duration,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether it is spoken to over TLS (`rediss`).
    pub is_tls: bool,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How servers make up a store.
#[derive(Debug, Clone)]
pub enum Kind {
    /// One server, or what looks like one.
    Single,
    /// A cluster: the nodes are seeds.
    Cluster,
    /// The nodes are sentinels, which know the server.
    Sentinel {
        /// What they call it.
        master: String,
        /// How the broker shows the sentinels who it is.
        authentication: Authentication,
    },
}

/// How the broker shows a server who it is.
#[derive(Clone)]
pub enum Authentication {
    /// Not at all.
    None,
    /// By a password.
    Password {
        /// The user; the default one if absent.
        username: Option<String>,
        /// Read anew for each connection.
        password: SecretSource,
    },
    /// By an access token, as Azure Managed Redis takes them.
    Token {
        /// The user; the token's `oid` if absent.
        username: Option<String>,
        /// Where tokens come from.
        tokens: Arc<dyn TokenSource>,
    },
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password { .. } => "Password([redacted])",
            Self::Token { .. } => "Token([redacted])",
        })
    }
}
