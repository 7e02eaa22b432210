//! A forwarder on the way to an upstream, of the kind that forgets connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// A running forwarder; dropping it cuts its connections.
pub(crate) struct Forwarder {
    address: SocketAddr,
    opened: Arc<AtomicUsize>,
    fates: watch::Sender<Fates>,
    task: AbortHandle,
}

/// What becomes of the connections below a number; those that come later are served.
#[derive(Debug, Clone, Copy, Default)]
struct Fates {
    swallowed: usize,
    broken: usize,
}

impl Forwarder {
    /// Forwards from `listen` to `target`, both on loopback.
    pub(crate) async fn start(listen: SocketAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fates, watched) = watch::channel(Fates::default());
        let opened = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&opened);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                // While nobody listens there, whoever comes is cut off.
                let Ok(far) = TcpStream::connect(target).await else {
                    continue;
                };
                connections.spawn(forward(near, far, number, watched.clone()));
            }
        });
        Self {
            address,
            opened,
            fates,
            task: task.abort_handle(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there have been.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// From now on the bytes of the connections that are open go nowhere, and nobody says so.
    pub(crate) fn swallow(&self) {
        let opened = self.opened();
        self.fates.send_modify(|fates| fates.swallowed = opened);
    }

    /// The connections that are open end as soon as something is sent on them.
    pub(crate) fn break_at_next_use(&self) {
        let opened = self.opened();
        self.fates.send_modify(|fates| fates.broken = opened);
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(near: TcpStream, far: TcpStream, number: usize, fates: watch::Receiver<Fates>) {
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::select! {
        () = pump(near_in, far_out, number, &fates) => {}
        () = pump(far_in, near_out, number, &fates) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    number: usize,
    fates: &watch::Receiver<Fates>,
) {
    let mut bytes = [0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await;
        let Fates { swallowed, broken } = *fates.borrow();
        match read {
            Ok(0) | Err(_) if number < swallowed => std::future::pending().await,
            Ok(_) if number < swallowed => {}
            Ok(0) | Err(_) => return,
            Ok(_) if number < broken => return,
            Ok(length) => {
                if to.write_all(&bytes[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
