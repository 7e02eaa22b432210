//! The servers of a cluster: which ones there are, by what one of them says, and a connection to each.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::connect::{Logins, connected};
use crate::failure::Failure;
use crate::link::Link;
use crate::permissions;
use crate::slots::{self, SlotRange};
use crate::store::Store;
use crate::topology::{Server, Topology};

/// Each master of a cluster for its slots.
pub(crate) async fn cluster(store: &Store, before: &Topology, logins: &Logins<'_>) -> Result<(), Failure> {
    let (ranges, known_as) = slot_ranges(store, before, logins).await?;
    let is_covered = slots::covers_all(&ranges);
    let connecting = slots::by_master(ranges).into_iter().map(|(node, ranges)| {
        let known_as = known_as.as_str();
        async move {
            let (first, last) = ranges.first().copied().unwrap_or_default();
            let existing = before.servers.iter().find(|server| server.link.node == node);
            let probe_key = existing
                .map(|server| server.probe_key.clone())
                .filter(|key| {
                    ranges
                        .iter()
                        .any(|(first, last)| (*first..=*last).contains(&slots::slot(key)))
                })
                .or_else(|| slots::key_in(&store.settings.prefix, first, last))
                .unwrap_or_default();
            let link = connected(store, before, &node, known_as, &probe_key, logins).await;
            (link, probe_key, ranges)
        }
    });
    let mut failure = (!is_covered).then_some(Failure::Uncovered);
    let mut servers = Vec::new();
    for (link, probe_key, ranges) in join_all(connecting).await {
        let link = match link {
            Ok(link) => Some(link),
            Err((link, why)) => {
                failure = Some(why);
                link
            }
        };
        if let Some(link) = link {
            servers.push((Server { link, probe_key }, ranges));
        }
    }
    store.topology.store(Arc::new(Topology::cluster(servers)));
    failure.map_or(Ok(()), Err)
}

/// What the cluster says of itself, and the host that certificates are verified by.
async fn slot_ranges(
    store: &Store,
    before: &Topology,
    logins: &Logins<'_>,
) -> Result<(Vec<SlotRange>, String), Failure> {
    let limit = store.settings.connect_timeout;
    let ask = async |link: &Link| {
        let node = || link.node.to_string();
        let command = redis::cmd("CLUSTER").arg("SLOTS").take();
        match timeout(limit, link.ask::<redis::Value>(&command)).await {
            Err(_) => Err(Failure::NoAnswer { node: node() }),
            Ok(Err(error)) if permissions::is_refused(&error) => Err(Failure::NotPermitted {
                node: node(),
                permissions: "+cluster|slots".to_owned(),
            }),
            Ok(Err(error)) => Err(Failure::of(node(), &error)),
            Ok(Ok(answer)) => match slots::read(&answer, &link.node) {
                Some(ranges) if !ranges.is_empty() => Ok((ranges, link.known_as.clone())),
                Some(_) => Err(Failure::NoServers),
                None => Err(Failure::Nonsense { node: node() }),
            },
        }
    };
    // Any of them: one that is cut off from the others would go on telling what was.
    let mut well: Vec<_> = before
        .servers
        .iter()
        .map(|server| &server.link)
        .filter(|link| link.is_well())
        .collect();
    fastrand::shuffle(&mut well);
    let mut failure = Failure::NoServers;
    for link in well {
        match ask(link).await {
            Ok(ranges) => return Ok(ranges),
            Err(why) => failure = why,
        }
    }
    let mut seeds: Vec<_> = store.nodes.iter().collect();
    fastrand::shuffle(&mut seeds);
    for seed in seeds {
        let link = match logins.get().await {
            Ok(login) => store.dialer.dial(seed, &seed.host, login).await,
            Err(why) => Err(why),
        };
        let ranges = match link {
            Ok(link) => ask(&link).await,
            Err(why) => Err(why),
        };
        match ranges {
            Ok(ranges) => return Ok(ranges),
            Err(why) => failure = why,
        }
    }
    Err(failure)
}
