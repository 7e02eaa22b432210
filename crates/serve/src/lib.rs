//! The accept loop: connection limits, TLS, read limits and drain.
//!
//! An own loop on hyper-util, because neither ready-made server fits: `axum::serve` has no TLS and no limits,
//! and axum-server accepts a connection before anything could refuse it and has no hook to bound how many are
//! open or how long a client may say nothing on one. Here a connection needs a permit (`limiter`) before it is served.
//! At most one waits for it; the others wait in the kernel's backlog, where they cost the broker nothing.
//!
//! Limits on what a client can hold:
//!
//! - the TLS handshake, the first request on a connection and every further head from its first byte on must each be
//!   complete within [`ServeOptions::head_timeout`];
//! - a connection without a request is closed after [`ServeOptions::keep_alive_timeout`] over HTTP/1.1 and after
//!   [`ServeOptions::http2_idle_timeout`] over HTTP/2, one whose peer answers no ping after 40 seconds, and when permits
//!   are short the one that has been silent for longest;
//! - one address has at most [`ServeOptions::max_connections_per_address`] connections;
//! - what connections, heads and bodies take in memory comes from budgets (`memory`). hyper and h2 keep some of it out
//!   of sight, so that the bytes are looked at on their way to them (`meter`);
//! - bodies are bounded by the router's own deadline;
//! - what still comes of a body after its answer is thrown away for at most two seconds.

mod activity;
mod connection;
mod descriptors;
mod dumps;
mod frames;
mod handler;
mod handshake;
mod head;
mod informational;
mod limiter;
mod lines;
mod linger;
mod memory;
mod meter;
mod next_body;
mod resets;
mod rest;
mod service;
mod shutdown;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::descriptors::{Capacity, Clamped, OpenFiles, TooFewFiles, Wanted};
pub use self::dumps::forbid_dumps;
pub use self::handler::Handler;
pub use self::head::{Excess, HeadLimits};
use self::limiter::{ConnectionLimiter, ConnectionPermit, Rules};
pub use self::limiter::{Eviction, OpenConnections};
pub use self::memory::{Budget, Memory, Share};
pub use self::service::{Connected, Scheme};
pub use self::shutdown::{ShutdownSignals, on_hangup, signals};
pub use self::tls::{ReloadingCertificate, TlsError};

/// Pause after an accept error that will not go away by itself, such as too many open files.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(500);

/// How often certificate files are compared with what is in use.
const CERTIFICATE_POLL: Duration = Duration::from_secs(10);

/// A bound socket, not accepting yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`; port 0 picks a free one. Clients can connect from here on and wait until [`run`] starts.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// The address that was bound, with its real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Limits of one listener.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Open connections; further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// Those of them that one address may have: one of IPv4, or a /64 of IPv6. Further ones are closed at once.
    pub max_connections_per_address: Option<usize>,
    /// Addresses that may have any number, since others stand behind them.
    pub trusted_proxies: Vec<IpNet>,
    /// Which connections can be closed for newcomers.
    pub eviction: Eviction,
    /// Counts the connections that are open.
    pub open: OpenConnections,
    /// What connections, heads and bodies take in memory.
    pub memory: Memory,
    /// What of a head is served.
    pub head: HeadLimits,
    /// Limit for the TLS handshake and for a request's head.
    pub head_timeout: Duration,
    /// How long an HTTP/1.1 connection is kept without a request.
    pub keep_alive_timeout: Duration,
    /// The same of an HTTP/2 connection.
    pub http2_idle_timeout: Duration,
    /// Concurrent streams of one HTTP/2 connection. RFC 9113 section 6.5.2 recommends at least 100, so that parallelism
    /// is not limited; some clients open no second connection.
    pub http2_streams: u32,
    /// From here on an HTTP/1.1 connection is closed with its next answer, which says so: a pool of connections moves to
    /// other replicas before draining closes what is idle, on which a request may just be on its way.
    pub leaving: CancellationToken,
    /// How long requests in flight may still take once draining began.
    pub drain_timeout: Duration,
    /// Serves TLS with this certificate; plain http without.
    pub tls: Option<Arc<ReloadingCertificate>>,
}

impl ServeOptions {
    /// Those of a listener for `max_connections` connections, of whose heads `head` is served.
    #[must_use]
    pub fn new(max_connections: usize, head: HeadLimits) -> Self {
        Self {
            max_connections,
            max_connections_per_address: None,
            trusted_proxies: Vec::new(),
            eviction: Eviction::Idle,
            open: OpenConnections::default(),
            memory: Memory::new(max_connections),
            head,
            head_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            http2_idle_timeout: Duration::from_mins(1),
            http2_streams: 100,
            leaving: CancellationToken::new(),
            drain_timeout: Duration::from_secs(20),
            tls: None,
        }
    }
}

/// How a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because they outlived `drain_timeout` or the abort.
    pub cut: usize,
}

/// What every connection of a listener shares.
struct Shared {
    options: ServeOptions,
    acceptor: Option<TlsAcceptor>,
    draining: CancellationToken,
    // Ends whatever is still open. Every request has it, and a token's own clones take a lock that all share.
    cut: Arc<CancellationToken>,
    cut_connections: AtomicUsize,
}

/// Has `handler` answer what comes on `listener` until `signals.draining`, then drains; ends with the last connection.
///
/// Every request carries a [`Connected`] as an extension.
///
/// Draining closes the listener first, so that a load balancer's next connection is refused rather than stuck,
/// then closes idle connections at once and those in use after the request in flight (`Connection: close`,
/// or GOAWAY in HTTP/2, RFC 9113 section 6.8). What is left after `drain_timeout`, or at `signals.abort`, is cut.
pub async fn run(
    listener: Listener,
    handler: impl Into<Handler>,
    options: ServeOptions,
    signals: ShutdownSignals,
) -> Drained {
    let handler = handler.into();
    let rules = Rules {
        limit: options.max_connections,
        by_address: options.max_connections_per_address,
        exempt: options.trusted_proxies.clone(),
        eviction: options.eviction,
        memory: options.memory.connections.clone(),
        bytes: memory::CONNECTION + if options.tls.is_some() { memory::TLS } else { 0 },
    };
    let limiter = ConnectionLimiter::new(rules, options.open.clone());
    let connections = TaskTracker::new();
    let watcher = options.tls.clone().map(|certificate| {
        let stop = signals.draining.clone();
        tokio::spawn(async move { certificate.watch(CERTIFICATE_POLL, stop).await })
    });
    let shared = Arc::new(Shared {
        acceptor: options
            .tls
            .clone()
            .map(|certificate| TlsAcceptor::from(certificate.server_config())),
        options,
        draining: signals.draining.child_token(),
        cut: Arc::new(CancellationToken::new()),
        cut_connections: AtomicUsize::new(0),
    });

    loop {
        let accepted = tokio::select! {
            biased;
            () = signals.draining.cancelled() => break,
            () = signals.abort.cancelled() => break,
            accepted = accept(&listener.socket, &limiter) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            continue;
        };
        connections.spawn(connection::serve(
            stream,
            peer,
            handler.clone(),
            Arc::clone(&shared),
            permit,
        ));
    }
    drop(listener);

    // Also where only `abort` fired: every connection learns that it is over.
    shared.draining.cancel();
    connections.close();
    tokio::select! {
        () = connections.wait() => {}
        () = signals.abort.cancelled() => {}
        () = tokio::time::sleep(shared.options.drain_timeout) => {}
    }
    shared.cut.cancel();
    connections.wait().await;
    if let Some(watcher) = watcher {
        watcher.abort();
    }
    Drained {
        cut: shared.cut_connections.load(Ordering::Relaxed),
    }
}

/// Waits for a connection, then for a permit for it. `None` if it has none, or after an error, which was dealt with.
async fn accept(
    socket: &TcpListener,
    limiter: &Arc<ConnectionLimiter>,
) -> Option<(TcpStream, SocketAddr, Arc<ConnectionPermit>)> {
    match socket.accept().await {
        Ok((stream, peer)) => {
            // Answers are small and written at once: Nagle's algorithm could only delay them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY not set");
            }
            let permit = limiter.take(peer.ip()).await?;
            Some((stream, peer, permit))
        }
        // The client gave up between the kernel's handshake and ours.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
            ) =>
        {
            None
        }
        Err(error) => {
            // Mostly EMFILE or ENFILE: accepting again at once would spin, while open connections may soon close.
            tracing::warn!(%error, "cannot accept connections");
            tokio::time::sleep(ACCEPT_BACK_OFF).await;
            None
        }
    }
}
