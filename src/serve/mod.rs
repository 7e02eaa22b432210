//! The accept loop: connection limits, TLS, read limits and drain.
//!
//! An own loop on hyper-util, because neither ready-made server fits: `axum::serve` has no TLS and no limits,
//! and axum-server accepts a connection before anything could refuse it and has no hook to bound how many are
//! open or how long a client may say nothing on one. Here a connection needs a permit *before* it is accepted,
//! so those in excess wait in the kernel's backlog, where they cost the broker nothing.
//!
//! Limits on what a client can hold without asking for anything:
//!
//! - the TLS handshake, the first request on a connection and (in HTTP/1.1) every further head, the wait for it
//!   included, must each be complete within [`ServeOptions::head_timeout`];
//! - an HTTP/2 connection without a stream is told to go after a minute, and one whose peer answers no ping
//!   after 40 seconds;
//! - bodies are bounded by the router's own deadline;
//! - what still comes of a body after its answer is thrown away for at most two seconds.

mod connection;
mod descriptors;
mod linger;
mod shutdown;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::connection::{Cut, Scheme};
pub use self::descriptors::{Clamped, OpenFiles, Room, TooFewFiles, Wanted};
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

/// How many connections of a listener are open. Clones count the same.
#[derive(Debug, Clone, Default)]
pub struct OpenConnections(Arc<AtomicUsize>);

impl OpenConnections {
    /// How many there are now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn one_more(&self) -> OpenConnection {
        self.0.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self.clone())
    }
}

/// A connection that counts until it is dropped.
struct OpenConnection(OpenConnections);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Limits of one listener.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Open connections; further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// Counts the connections that are open.
    pub open: OpenConnections,
    /// Limit for the TLS handshake and for a request's head.
    pub head_timeout: Duration,
    /// How long requests in flight may still take once draining began.
    pub drain_timeout: Duration,
    /// Serves TLS with this certificate; plain http without.
    pub tls: Option<Arc<ReloadingCertificate>>,
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
    // Ends whatever is still open.
    cut: CancellationToken,
    cut_connections: AtomicUsize,
}

/// Serves `router` on `listener` until `signals.draining`, then drains; ends with the last connection.
///
/// Every request carries [`axum::extract::ConnectInfo`] with the peer's [`SocketAddr`], a [`Scheme`] and a [`Cut`] as
/// extensions.
///
/// Draining closes the listener first, so that a load balancer's next connection is refused rather than stuck,
/// then closes idle connections at once and those in use after the request in flight (`Connection: close`,
/// or GOAWAY in HTTP/2, RFC 9113 section 6.8). What is left after `drain_timeout`, or at `signals.abort`, is cut.
pub async fn run(listener: Listener, router: Router, options: ServeOptions, signals: ShutdownSignals) -> Drained {
    let permits = Arc::new(Semaphore::new(options.max_connections.min(Semaphore::MAX_PERMITS)));
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
        cut: CancellationToken::new(),
        cut_connections: AtomicUsize::new(0),
    });

    loop {
        let accepted = tokio::select! {
            biased;
            () = signals.draining.cancelled() => break,
            () = signals.abort.cancelled() => break,
            accepted = accept(&listener.socket, &permits) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            continue;
        };
        let (shared, router) = (Arc::clone(&shared), router.clone());
        let open = shared.options.open.one_more();
        connections.spawn(async move {
            connection::serve(stream, peer, router, &shared).await;
            drop(open);
            drop(permit);
        });
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

/// Waits for a permit, then for a connection. `None` after an error, which was dealt with.
async fn accept(
    socket: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, peer)) => {
            // Answers are small and written at once: Nagle's algorithm could only delay them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY not set");
            }
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
