//! The connections to the store's servers, and which one a key is asked for.

use std::sync::Arc;

use crate::link::Link;
use crate::settings::Node;
use crate::slots::{self, SlotTable};

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
    // Of the places in `servers`. A store that is no cluster is one range.
    table: SlotTable,
}

impl Topology {
    /// One server for all keys.
    pub(crate) fn single(server: Server) -> Self {
        Self {
            servers: vec![server],
            table: SlotTable::new([&[(0, slots::SLOTS - 1)][..]]),
        }
    }

    /// A cluster: each server with its ranges of slots.
    pub(crate) fn cluster(shares: Vec<(Server, Vec<(u16, u16)>)>) -> Self {
        let table = SlotTable::new(shares.iter().map(|(_, ranges)| ranges.as_slice()));
        Self {
            servers: shares.into_iter().map(|(server, _)| server).collect(),
            table,
        }
    }

    /// The connection to the server of a key, if there is one.
    pub(crate) fn for_key(&self, key: &str) -> Option<&Arc<Link>> {
        let server = self.servers.get(self.table.server(slots::slot(key))?)?;
        Some(&server.link)
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
