//! What is done at the store without anybody waiting for it: leases and places that are given back, pauses, and deletions that
//! could not be made at once.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::script;
use crate::store::{Fault, Store};

/// How many may wait. What is lost beyond that ends by itself: leases and places have an end.
const WAITING: usize = 8192;
/// How many are done at once.
const AT_ONCE: usize = 64;
/// How many deletions are kept while the store is away, the latest.
const KEPT: usize = 4096;
/// How often these are tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chore {
    /// Ends a lease, if it is still this owner's.
    Release { lease: String, owner: String },
    /// Lets places count for one window more.
    End {
        places: String,
        ids: Vec<String>,
        window: Duration,
    },
    /// Gives a place back that was not used.
    GiveBack { places: String, id: String },
    /// The service wants to be left alone.
    Pause {
        pause: String,
        length: Duration,
        is_new: bool,
        window: Duration,
    },
    /// Forgets values.
    Delete { values: Vec<String> },
}

/// Takes chores from anywhere, without waiting.
#[derive(Debug, Clone)]
pub(crate) struct Chores(mpsc::Sender<Chore>);

impl Chores {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Chore>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    pub(crate) fn add(&self, chore: Chore) {
        if self.0.try_send(chore).is_err() {
            tracing::debug!("a chore at the shared cache is left undone");
        }
    }
}

/// Works until the last sender is gone.
pub(crate) async fn work(store: Weak<Store>, mut chores: mpsc::Receiver<Chore>) {
    let mut batch = Vec::with_capacity(AT_ONCE);
    let mut kept = VecDeque::new();
    let mut retry = interval(RETRY);
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let received = tokio::select! {
            received = chores.recv_many(&mut batch, AT_ONCE) => received,
            _ = retry.tick(), if !kept.is_empty() => {
                batch.extend(kept.drain(..kept.len().min(AT_ONCE)));
                batch.len()
            }
        };
        let Some(store) = store.upgrade().filter(|_| received > 0) else {
            return;
        };
        let done = join_all(batch.drain(..).map(|chore| attempt(&store, chore)));
        kept.extend(done.await.into_iter().flatten());
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }
}

/// Does it, with the time that connecting has: nobody waits. What must not be forgotten comes back.
async fn attempt(store: &Arc<Store>, chore: Chore) -> Option<Chore> {
    let limit = store.settings.connect_timeout;
    let is_done = matches!(timeout(limit, perform(store, &chore)).await, Ok(Ok(())));
    (!is_done && matches!(chore, Chore::Delete { .. })).then_some(chore)
}

async fn perform(store: &Store, chore: &Chore) -> Result<(), Fault> {
    match chore {
        Chore::Release { lease, owner } => store.run(&script::RELEASE, &[lease], &[owner.as_bytes()]).await,
        Chore::End { places, ids, window } => {
            let window = window.as_micros().to_string();
            let mut arguments = vec![window.as_bytes()];
            arguments.extend(ids.iter().map(String::as_bytes));
            store.run(&script::END, &[places], &arguments).await
        }
        Chore::GiveBack { places, id } => {
            let command = redis::cmd("ZREM").arg(places).arg(id).take();
            store.ask::<i64>(places, &command).await.map(drop)
        }
        Chore::Pause {
            pause,
            length,
            is_new,
            window,
        } => {
            let (length, window) = (length.as_micros().to_string(), window.as_micros().to_string());
            let is_new: &[u8] = if *is_new { b"1" } else { b"0" };
            let arguments = [length.as_bytes(), is_new, window.as_bytes()];
            store.run(&script::PAUSE, &[pause], &arguments).await
        }
        Chore::Delete { values } => {
            for value in values {
                let command = redis::cmd("DEL").arg(value).take();
                store.ask::<i64>(value, &command).await?;
            }
            Ok(())
        }
    }
}
