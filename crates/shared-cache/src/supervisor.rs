//! Keeps the connections to the store: finds its servers, connects, probes, authenticates anew. Nothing else connects.

use std::mem::discriminant;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::cluster::cluster;
use crate::connect::{Logins, RENEW_BEFORE, connected};
use crate::failure::Failure;
use crate::link::Link;
use crate::sentinels::Sentinels;
use crate::settings::Node;
use crate::store::Store;
use crate::topology::{Server, Topology};
use config::StoreKind;

/// How often connections that are well are probed, and the servers of the store looked up.
const CHECK: Duration = Duration::from_secs(5);
/// How long after a failure connecting is tried again, and a random part of half of it more.
const RETRY: Duration = Duration::from_millis(700);
/// Changes that are reported one after the other are looked after together.
const GATHER: Duration = Duration::from_millis(50);

/// Works until the store is dropped.
pub(crate) async fn supervise(store: Weak<Store>, changed: Arc<Notify>) {
    let mut sentinels = Sentinels::default();
    loop {
        let Some(store) = store.upgrade() else { return };
        let outcome = refresh(&store, &mut sentinels).await;
        let wait = if outcome.is_ok() {
            next_check(&store)
        } else {
            retry_in()
        };
        report(&store, outcome.as_ref().err());
        drop(store);
        if outcome.is_ok() {
            // Whatever is wrong now is looked after at once.
            let _ = timeout(wait, changed.notified()).await;
            tokio::time::sleep(GATHER).await;
        } else {
            tokio::time::sleep(wait).await;
        }
    }
}

fn retry_in() -> Duration {
    RETRY.mul_f64(1.0 + fastrand::f64() / 2.0)
}

/// When connections are looked at again, if nothing happens: in time for the end of their credentials.
fn next_check(store: &Store) -> Duration {
    let now = store.clock.now();
    let topology = store.topology.load();
    let ends = topology.servers.iter().filter_map(|server| server.link.login_ends());
    let renewals = ends.filter_map(|end| Duration::try_from(end.duration_since(now)).ok());
    let next = renewals.filter_map(|left| left.checked_sub(RENEW_BEFORE)).min();
    next.map_or(CHECK, |next| next.min(CHECK))
}

/// Keeps why the store cannot be used, and tells the log of a change.
fn report(store: &Store, failure: Option<&Failure>) {
    let before = {
        let mut held = store.failure.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, failure.cloned())
    };
    match (&before, failure) {
        (Some(_), None) => tracing::info!("the shared cache is reachable"),
        (None | Some(Failure::Connecting), Some(failure)) => {
            tracing::warn!(%failure, "the shared cache is away; each replica goes on by itself");
        }
        // Of the same kind, it differs by a number or a server.
        (Some(before), Some(failure)) if discriminant(before) != discriminant(failure) => {
            tracing::info!(%failure, "the shared cache is still away");
        }
        _ => {}
    }
    store.rounds.send_modify(|rounds| *rounds += 1);
}

/// Looks after all connections once.
async fn refresh(store: &Store, sentinels: &mut Sentinels) -> Result<(), Failure> {
    let before = store.topology.load_full();
    let logins = Logins::new(&store.authentication);
    let outcome = match &store.settings.kind {
        StoreKind::Single => match store.nodes.first() {
            Some(node) => single(store, &before, node, &node.host, &logins).await,
            None => Err(Failure::NoServers),
        },
        StoreKind::Sentinel(config) => {
            match sentinels.master(store, config).await {
                Ok((node, known_as)) => single(store, &before, &node, &known_as, &logins).await,
                // Sentinels that are away do not keep anybody from a server that is there.
                Err(failure) => match before.servers.first().filter(|server| !server.link.is_lost()) {
                    Some(server) => {
                        let link = &server.link;
                        single(store, &before, &link.node, &link.known_as, &logins).await
                    }
                    None => Err(failure),
                },
            }
        }
        StoreKind::Cluster => cluster(store, &before, &logins).await,
    };
    let topology = store.topology.load();
    if outcome.is_ok() {
        renew_logins(store, &topology, &logins).await;
    }
    outcome
}

/// One server for all keys.
async fn single(
    store: &Store,
    before: &Topology,
    node: &Node,
    known_as: &str,
    logins: &Logins<'_>,
) -> Result<(), Failure> {
    let probe_key = format!("{}probe", store.settings.prefix);
    match connected(store, before, node, known_as, &probe_key, logins).await {
        Ok(link) => {
            store
                .topology
                .store(Arc::new(Topology::single(Server { link, probe_key })));
            store
                .topology
                .load()
                .servers
                .first()
                .map_or(Err(Failure::NoServers), |_| Ok(()))
        }
        Err((link, failure)) => {
            let topology = link.map(|link| Topology::single(Server { link, probe_key }));
            store.topology.store(Arc::new(topology.unwrap_or_default()));
            Err(failure)
        }
    }
}

/// Authenticates connections anew whose credential ends soon.
async fn renew_logins(store: &Store, topology: &Topology, logins: &Logins<'_>) {
    let now = store.clock.now();
    let ends_soon = |link: &Link| {
        link.login_ends()
            .is_some_and(|end| Duration::try_from(end.duration_since(now)).unwrap_or_default() <= RENEW_BEFORE)
    };
    let links: Vec<_> = topology
        .servers
        .iter()
        .map(|server| &server.link)
        .filter(|link| ends_soon(link))
        .collect();
    if links.is_empty() {
        return;
    }
    let login = match logins.get().await {
        Ok(Some(login)) => login,
        Ok(None) => return,
        Err(failure) => {
            tracing::warn!(%failure, "the credential for the shared cache ends soon and cannot be renewed yet");
            return;
        }
    };
    for link in links {
        if link.login_ends() == login.expires_on {
            continue;
        }
        if let Err(failure) = link.log_in(login, store.settings.connect_timeout).await {
            tracing::warn!(%failure, "the credential for the shared cache ends soon and cannot be renewed yet");
        }
    }
}
