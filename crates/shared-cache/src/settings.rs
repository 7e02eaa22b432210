//! What a shared cache is started with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Host;

use crate::credentials::TokenSource;
use base::untrusted::Escaped;
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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

/// The host is what a server says, if it is not configured.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = Escaped(&self.host);
        if self.host.contains(':') {
            write!(f, "[{host}]:{}", self.port)
        } else {
            write!(f, "{host}:{}", self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_shown_as_one_short_line() {
        let node = |host: &str| Node {
            host: host.to_owned(),
            port: 6379,
            is_tls: true,
        };
        let shown = |host: &str| node(host).to_string();
        assert_eq!(shown("cache.contoso.com"), "cache.contoso.com:6379");
        assert_eq!(shown("2001:db8::1"), "[2001:db8::1]:6379");
        assert_eq!(shown("a\nINFO all is well"), "a\\nINFO all is well:6379");
        assert!(shown(&"h".repeat(10_000)).chars().count() < 150);
    }
}
