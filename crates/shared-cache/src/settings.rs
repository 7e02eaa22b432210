//! What a shared cache is started with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Host;

use crate::credentials::TokenSource;
use config::{SharedCacheConfig, StoreServer};

/// What a shared cache is started with.
#[derive(Clone)]
pub struct Settings {
    /// Where the store is, how it is reached, and what is kept there.
    pub config: SharedCacheConfig,
    /// Where access tokens come from, if the store is to have them.
    pub tokens: Option<Arc<dyn TokenSource>>,
    /// What a value's life in the store is shorter than its token's.
    pub expiry_margin: Duration,
    /// How far ahead of this clock another replica's may be.
    pub clock_skew: Duration,
}

/// A server: one that is configured, or one that these announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// A name or an address, without brackets.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: u16,
    /// Whether it is spoken to over TLS (`rediss`).
    pub(crate) is_tls: bool,
}

impl Node {
    /// Those that are configured.
    pub(crate) fn configured(config: &SharedCacheConfig) -> Vec<Self> {
        let node = |StoreServer { host, port }: &StoreServer| Self {
            host: match host {
                Host::Ipv6(address) => address.to_string(),
                host => host.to_string(),
            },
            port: *port,
            is_tls: config.tls,
        };
        config.servers.iter().map(node).collect()
    }
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
