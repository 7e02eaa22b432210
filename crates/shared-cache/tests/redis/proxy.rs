//! A TCP proxy before a server, which can be slow, hold everything back, or close every connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use config::StoreServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::local;

pub(crate) struct Proxy {
    pub(crate) server: StoreServer,
    state: Arc<State>,
    _work: JoinSet<()>,
}

struct State {
    // Before each piece that the server says, in milliseconds.
    delay: AtomicU64,
    // Whether nothing passes.
    held: watch::Sender<bool>,
    // Raised to close all connections.
    cut: watch::Sender<u64>,
    accepted: AtomicUsize,
}

impl Proxy {
    pub(crate) async fn before(server: &StoreServer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            delay: AtomicU64::new(0),
            held: watch::Sender::new(false),
            cut: watch::Sender::new(0),
            accepted: AtomicUsize::new(0),
        });
        let mut work = JoinSet::new();
        let (target, shared) = (server.port, Arc::clone(&state));
        work.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                connections.spawn(connection(client, target, Arc::clone(&shared)));
            }
        });
        Self {
            server: local(port),
            state,
            _work: work,
        }
    }

    pub(crate) fn delay(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap();
        self.state.delay.store(delay, Ordering::Relaxed);
    }

    /// A partition: nothing passes, and nobody is told.
    pub(crate) fn hold(&self, held: bool) {
        self.state.held.send_replace(held);
    }

    pub(crate) fn cut(&self) {
        self.state.cut.send_modify(|cuts| *cuts += 1);
    }

    pub(crate) fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }
}

async fn connection(client: TcpStream, target: u16, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else {
        return;
    };
    let mut cut = state.cut.subscribe();
    cut.mark_unchanged();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass(from_client, to_server, &state, false) => {}
        () = pass(from_server, to_client, &state, true) => {}
        _ = cut.changed() => {}
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    state: &State,
    is_delayed: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let delay = Duration::from_millis(state.delay.load(Ordering::Relaxed));
        if is_delayed && !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let _ = state.held.subscribe().wait_for(|held| !held).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
