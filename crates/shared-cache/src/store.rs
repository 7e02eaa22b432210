//! Operations on the store: each within its limit of time, and none while the store is away.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::credentials::Authentication;
use crate::failure::Failure;
use crate::link::{Dialer, Link};
use crate::observer::{Observer, Operation, Outcome};
use crate::script::Script;
use crate::settings::{Node, Settings};
use crate::slots;
use crate::topology::Topology;
use base::clock::SharedClock;
use config::SharedCacheConfig;

/// How long nothing is asked after an operation took too long: nobody pays for the next one who has paid for this.
pub(crate) const QUIET: Duration = Duration::from_secs(1);

/// The store as operations see it. `supervisor` keeps the connections.
pub(crate) struct Store {
    pub(crate) settings: SharedCacheConfig,
    pub(crate) nodes: Vec<Node>,
    pub(crate) authentication: Authentication,
    pub(crate) expiry_margin: Duration,
    pub(crate) clock_skew: Duration,
    pub(crate) clock: SharedClock,
    pub(crate) dialer: Dialer,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) topology: ArcSwap<Topology>,
    // Why it is not reachable, if it is not.
    pub(crate) failure: Mutex<Option<Failure>>,
    // How often the connections were looked after.
    pub(crate) rounds: watch::Sender<u64>,
    pub(crate) changed: Arc<Notify>,
    started: Instant,
    // Milliseconds from `started`.
    quiet_until: AtomicU64,
}

/// No answer that can be used; it is counted already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Away {
    /// Nothing was sent.
    NotAsked,
    /// Something was sent, and may have been done.
    Unanswered,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A request, which goes to servers that answer in time alone.
    Request,
    /// Work that nobody waits for, which goes to slow ones too.
    Chore,
}

impl Asker {
    fn may_ask(self, link: &Link) -> bool {
        link.is_well() || (self == Self::Chore && !link.is_lost())
    }
}

/// Why an operation brought nothing.
#[derive(Debug)]
pub(crate) enum Fault {
    /// There is no connection that is worth asking.
    NotAsked,
    /// The answer was an error, or the connection was lost.
    Answer(RedisError),
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        Self::Answer(error)
    }
}

impl Store {
    pub(crate) fn new(
        settings: Settings,
        clock: SharedClock,
        dialer: Dialer,
        observer: Arc<dyn Observer>,
        changed: Arc<Notify>,
    ) -> Self {
        Self {
            nodes: Node::configured(&settings.config),
            authentication: Authentication::new(&settings),
            expiry_margin: settings.expiry_margin,
            clock_skew: settings.clock_skew,
            settings: settings.config,
            clock,
            dialer,
            observer,
            topology: ArcSwap::default(),
            failure: Mutex::new(Some(Failure::Connecting)),
            rounds: watch::Sender::new(0),
            changed,
            started: Instant::now(),
            quiet_until: AtomicU64::new(0),
        }
    }

    /// One operation that a request waits for.
    pub(crate) async fn operate<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Away> {
        if self.is_quiet() || self.topology.load().servers.is_empty() {
            self.observer.outcome(operation, Outcome::Skipped);
            return Err(Away::NotAsked);
        }
        let start = Instant::now();
        let outcome = match timeout(self.settings.timeout, work).await {
            Ok(Ok(answer)) => {
                self.observer.took(operation, start.elapsed());
                return Ok(answer);
            }
            Ok(Err(Fault::NotAsked)) => Outcome::Skipped,
            Ok(Err(Fault::Answer(error))) => {
                tracing::debug!(
                    operation = <&str>::from(operation),
                    kind = ?error.kind(),
                    "the shared cache answered with an error"
                );
                Outcome::Error
            }
            Err(_) => {
                self.be_quiet();
                Outcome::Timeout
            }
        };
        self.observer.outcome(operation, outcome);
        if outcome == Outcome::Skipped {
            return Err(Away::NotAsked);
        }
        self.observer.took(operation, start.elapsed());
        Err(Away::Unanswered)
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.started.elapsed() < Duration::from_millis(self.quiet_until.load(Ordering::Acquire))
    }

    /// Asks nothing for a while, and then only servers that were probed meanwhile.
    fn be_quiet(&self) {
        let until = (self.started.elapsed() + QUIET).as_millis();
        let until = u64::try_from(until).unwrap_or(u64::MAX);
        self.quiet_until.fetch_max(until, Ordering::AcqRel);
        for server in &self.topology.load().servers {
            server.link.doubt();
        }
    }

    /// Whether operations are made now, on whichever key. A cluster that lacks a server has connections that are well.
    pub(crate) fn is_reachable(&self) -> bool {
        !self.is_quiet() && self.topology.load().is_well() && self.failure().is_none()
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A command about one key.
    pub(crate) async fn ask<T: FromRedisValue>(&self, asker: Asker, key: &str, command: &Cmd) -> Result<T, Fault> {
        self.route(asker, key, |link, moving| async move {
            if moving {
                link.ask_moving(command).await
            } else {
                link.ask(command).await
            }
        })
        .await
    }

    /// A script over keys that have one hash tag.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        asker: Asker,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<T, Fault> {
        let first = keys.first().copied().unwrap_or_default();
        self.route(asker, first, |link, moving| async move {
            if moving {
                link.ask_moving(&script.call_whole(keys, arguments)).await
            } else {
                link.run(script, keys, arguments).await
            }
        })
        .await
    }

    /// Asks the server of `key`, and the one that it names if the key has moved.
    async fn route<T, W>(&self, asker: Asker, key: &str, ask: impl Fn(Arc<Link>, bool) -> W) -> Result<T, Fault>
    where
        W: Future<Output = Result<T, RedisError>>,
    {
        let topology = self.topology.load_full();
        let link = topology
            .for_key(key)
            .filter(|link| asker.may_ask(link))
            .ok_or(Fault::NotAsked)?;
        let error = match ask(Arc::clone(link), false).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let moving = match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => false,
            ErrorKind::Server(ServerErrorKind::Ask) => true,
            _ => return Err(error.into()),
        };
        // What is known of the cluster is old, or is about to be.
        self.changed.notify_one();
        let target = error
            .redirect_node()
            .and_then(|(address, _)| slots::redirect(address, &link.node));
        match target
            .and_then(|node| topology.to(&node))
            .filter(|link| asker.may_ask(link))
        {
            Some(link) => Ok(ask(Arc::clone(link), moving).await?),
            None => Err(error.into()),
        }
    }
}
