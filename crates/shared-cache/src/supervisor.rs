//! Keeps the connections to the store: finds its servers, connects, probes, authenticates anew. Nothing else connects.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, OnceCell};
use tokio::time::timeout;

use crate::credentials::Login;
use crate::failure::Failure;
use crate::link::Link;
use crate::settings::{Authentication, Kind, Node};
use crate::slots::{self, SlotRange};
use crate::store::Store;
use crate::topology::{Server, Topology};

/// How often connections that are well are probed, and the servers of the store looked up.
const CHECK: Duration = Duration::from_secs(5);
/// How long after a failure connecting is tried again, and a random part of half of it more.
const RETRY: Duration = Duration::from_millis(700);
/// Changes that are reported one after the other are looked after together.
const GATHER: Duration = Duration::from_millis(50);
/// How long before its end an access token is replaced on connections that live.
const RENEW_BEFORE: Duration = Duration::from_secs(180);

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
        (Some(before), Some(failure)) if before != failure => {
            tracing::info!(%failure, "the shared cache is still away");
        }
        _ => {}
    }
    store.rounds.send_modify(|rounds| *rounds += 1);
}

/// Looks after all connections once.
async fn refresh(store: &Store, sentinels: &mut Sentinels) -> Result<(), Failure> {
    let before = store.topology.load_full();
    let settings = &store.settings;
    let logins = Logins::new(&settings.authentication);
    let outcome = match &settings.kind {
        Kind::Single => match settings.nodes.first() {
            Some(node) => single(store, &before, node, &node.host, &logins).await,
            None => Err(Failure::NoServers),
        },
        Kind::Sentinel { master, authentication } => {
            match sentinels.master(store, master, authentication).await {
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
        Kind::Cluster => cluster(store, &before, &logins).await,
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

/// Each master of a cluster for its slots.
async fn cluster(store: &Store, before: &Topology, logins: &Logins<'_>) -> Result<(), Failure> {
    let (ranges, known_as) = slot_ranges(store, before, logins).await?;
    let mut shares: BTreeMap<String, (Node, Vec<(u16, u16)>)> = BTreeMap::new();
    for SlotRange { first, last, master } in ranges {
        let share = shares.entry(master.to_string()).or_insert_with(|| (master, Vec::new()));
        share.1.push((first, last));
    }
    let covered: u32 = shares
        .values()
        .flat_map(|(_, ranges)| ranges)
        .map(|(first, last)| u32::from(last - first) + 1)
        .sum();
    let connecting = shares.into_values().map(|(node, ranges)| {
        let known_as = known_as.as_str();
        async move {
            let (first, last) = ranges.first().copied().unwrap_or_default();
            let existing = before.servers.iter().find(|server| server.link.is_to(&node, known_as));
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
    let mut failure = (covered < u32::from(slots::SLOTS)).then_some(Failure::Uncovered);
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
    let mut seeds: Vec<_> = store.settings.nodes.iter().collect();
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

/// A connection to that server that is well: the one that there is, or a new one. Beside a failure a connection may be left
/// that is worth another probe.
async fn connected(
    store: &Store,
    before: &Topology,
    node: &Node,
    known_as: &str,
    probe_key: &str,
    logins: &Logins<'_>,
) -> Result<Arc<Link>, (Option<Arc<Link>>, Failure)> {
    let (allowed, limit) = (store.settings.timeout, store.settings.connect_timeout);
    if let Some(link) = before.existing(node, known_as) {
        match link.probe(probe_key, allowed, limit).await {
            Ok(()) => return Ok(link),
            Err(failure) if !link.is_lost() => return Err((Some(link), failure)),
            // What is to be told is why a new connection fails, too.
            Err(_) => {}
        }
    }
    let login = logins.get().await.map_err(|failure| (None, failure))?;
    let link = store
        .dialer
        .dial(node, known_as, login)
        .await
        .map_err(|failure| (None, failure))?;
    let link = Arc::new(link);
    match link.probe(probe_key, allowed, limit).await {
        Ok(()) => Ok(link),
        Err(failure) => Err((Some(link).filter(|link| !link.is_lost()), failure)),
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

/// The credential of one round, had once and only if it is needed.
struct Logins<'a> {
    authentication: &'a Authentication,
    held: OnceCell<Option<Login>>,
}

impl<'a> Logins<'a> {
    fn new(authentication: &'a Authentication) -> Self {
        Self {
            authentication,
            held: OnceCell::new(),
        }
    }

    async fn get(&self) -> Result<Option<&Login>, Failure> {
        let login = self
            .held
            .get_or_try_init(|| self.authentication.login(RENEW_BEFORE))
            .await?;
        Ok(login.as_ref())
    }
}

/// The sentinels, with the connection to the one that answered last.
#[derive(Default)]
struct Sentinels {
    answered: Option<Link>,
}

impl Sentinels {
    /// Where the server is that takes writes, and the host that certificates are verified by.
    async fn master(
        &mut self,
        store: &Store,
        name: &str,
        authentication: &Authentication,
    ) -> Result<(Node, String), Failure> {
        if let Some(link) = self.answered.take()
            && !link.is_lost()
            && let Ok(found) = ask_sentinel(store, &link, name).await
        {
            self.answered = Some(link);
            return Ok(found);
        }
        let logins = Logins::new(authentication);
        let mut failure = Failure::NoMaster(name.to_owned());
        for sentinel in &store.settings.nodes {
            let link = match logins.get().await {
                Ok(login) => store.dialer.dial(sentinel, &sentinel.host, login).await,
                Err(why) => Err(why),
            };
            match link {
                Ok(link) => match ask_sentinel(store, &link, name).await {
                    Ok(found) => {
                        self.answered = Some(link);
                        return Ok(found);
                    }
                    Err(why) => failure = why,
                },
                Err(why) => failure = why,
            }
        }
        Err(failure)
    }
}

async fn ask_sentinel(store: &Store, sentinel: &Link, name: &str) -> Result<(Node, String), Failure> {
    let node = || sentinel.node.to_string();
    let command = redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).take();
    let answer = timeout(
        store.settings.connect_timeout,
        sentinel.ask::<Option<(String, u16)>>(&command),
    );
    match answer.await {
        Err(_) => Err(Failure::NoAnswer { node: node() }),
        Ok(Err(error)) => Err(Failure::of(node(), &error)),
        Ok(Ok(None)) => Err(Failure::NoMaster(name.to_owned())),
        Ok(Ok(Some((host, port)))) => {
            let master = Node {
                host,
                port,
                is_tls: sentinel.node.is_tls,
            };
            Ok((master, sentinel.known_as.clone()))
        }
    }
}
