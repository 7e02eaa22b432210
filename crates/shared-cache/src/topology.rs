//! The connections to the store's servers, and which one a key is asked for.

use std::sync::Arc;

use crate::link::Link;
use crate::settings::Node;
use crate::slots;

/// A connection, with a key by which it is probed.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) link: Arc<Link>,
    pub(crate) probe_key: String,
}

/// What the store consists of, as far as connections are there.
#[derive(Default)]
pub(crate) struct Topology {
    pub(crate) servers: Vec<Server>,
    // By their first slot: ends, and the place in `servers`. A store that is no cluster is one range.
    ranges: Vec<(u16, u16, usize)>,
}

impl Topology {
    /// One server for all keys.
    pub(crate) fn single(server: Server) -> Self {
        Self {
            servers: vec![server],
            ranges: vec![(0, slots::SLOTS - 1, 0)],
        }
    }

    /// A cluster: each server with its ranges of slots.
    pub(crate) fn cluster(shares: Vec<(Server, Vec<(u16, u16)>)>) -> Self {
        let mut topology = Self::default();
        for (index, (server, ranges)) in shares.into_iter().enumerate() {
            topology.servers.push(server);
            topology
                .ranges
                .extend(ranges.iter().map(|(first, last)| (*first, *last, index)));
        }
        topology.ranges.sort_unstable();
        topology
    }

    /// The connection to the server of a key, if there is one.
    pub(crate) fn for_key(&self, key: &str) -> Option<&Arc<Link>> {
        let slot = slots::slot(key);
        let after = self.ranges.partition_point(|(first, ..)| *first <= slot);
        let (_, last, index) = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= *last)
            .then(|| self.servers.get(*index))
            .flatten()
            .map(|server| &server.link)
    }

    /// The connection to a server that is named by another.
    pub(crate) fn to(&self, node: &Node) -> Option<&Arc<Link>> {
        self.servers
            .iter()
            .map(|server| &server.link)
            .find(|link| link.node == *node)
    }

    /// An earlier connection to that server that is not lost. By which host the server was known then does not matter: which of
    /// several seeds or sentinels names it is chance.
    pub(crate) fn existing(&self, node: &Node) -> Option<Arc<Link>> {
        self.to(node).filter(|link| !link.is_lost()).cloned()
    }

    pub(crate) fn is_well(&self) -> bool {
        !self.servers.is_empty() && self.servers.iter().all(|server| server.link.is_well())
    }
}
