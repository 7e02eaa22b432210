//! What stands between a client and a server: it can be cut and mended, and lose what it carries without a sign.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A forwarder that keeps its address.
pub(crate) struct Wire {
    address: SocketAddr,
    target: SocketAddr,
    // What was there when this was raised is swallowed.
    swallowed: watch::Sender<usize>,
    accepted: Arc<AtomicUsize>,
    // Dropping it closes the listener and every connection.
    running: Option<JoinSet<()>>,
}

impl Wire {
    /// To `origin`, which is a URL.
    pub(crate) async fn to(origin: &str) -> Self {
        let target = origin.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut wire = Self {
            address: listener.local_addr().unwrap(),
            target,
            swallowed: watch::Sender::new(0),
            accepted: Arc::default(),
            running: None,
        };
        wire.run(listener);
        wire
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections there were.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Nobody listens any more, and every connection is closed.
    pub(crate) async fn cut(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.shutdown().await;
        }
    }

    /// Listens again, at the same address.
    pub(crate) async fn mend(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.run(listener);
    }

    /// What comes on the connections that there are goes nowhere from now on; new ones work.
    pub(crate) fn swallow(&self) {
        self.swallowed.send_replace(self.accepted());
    }

    fn run(&mut self, listener: TcpListener) {
        let (target, accepted, swallowed) = (self.target, Arc::clone(&self.accepted), self.swallowed.clone());
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let number = accepted.fetch_add(1, Ordering::SeqCst);
                let far = TcpStream::connect(target).await.unwrap();
                connections.spawn(carry(near, far, number, swallowed.subscribe()));
            }
        });
        self.running = Some(running);
    }
}

/// Carries both ways until an end closes, or what comes is swallowed: then it is read and nothing more.
async fn carry(mut near: TcpStream, mut far: TcpStream, number: usize, mut swallowed: watch::Receiver<usize>) {
    let begins = async {
        let _ = swallowed.wait_for(|swallowed| number < *swallowed).await;
    };
    tokio::select! {
        biased;
        () = begins => {}
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {
            let _ = near.shutdown().await;
            return;
        }
    }
    let mut nowhere = [0; 4096];
    while let Ok(1..) = near.read(&mut nowhere).await {}
}
