//! What is done at the store without anybody waiting for it: leases and places that are given back, pauses, and deletions that
//! could not be made at once. What cannot be done now is tried again for as long as it is of use.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::script;
use crate::store::{Asker, Fault, Store};

/// How many may wait. What is lost beyond that ends by itself: leases and places have an end.
const WAITING: usize = 8192;
/// How many are done at once.
const AT_ONCE: usize = 64;
/// How many are kept that could not be done, the latest.
const KEPT: usize = 4096;
/// How often these are tried again.
const RETRY: Duration = Duration::from_millis(250);
/// For how long: after that leases and places have ended by themselves. Deletions are never given up.
const OF_USE: Duration = Duration::from_secs(90);

/// Something to be done.
#[derive(Debug, PartialEq, Eq)]
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

/// A chore, and since when it is one.
struct Due {
    chore: Chore,
    since: Instant,
}

/// Takes chores from anywhere, without waiting.
#[derive(Debug, Clone)]
pub(crate) struct Chores {
    sender: mpsc::Sender<Due>,
    // How many are not done.
    undone: Arc<watch::Sender<usize>>,
}

/// Where the work takes them from.
pub(crate) struct Waiting {
    receiver: mpsc::Receiver<Due>,
    undone: Arc<watch::Sender<usize>>,
}

impl std::fmt::Debug for Due {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.chore.fmt(f)
    }
}

impl Chores {
    pub(crate) fn new() -> (Self, Waiting) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let undone = Arc::new(watch::Sender::new(0));
        let waiting = Waiting {
            receiver,
            undone: Arc::clone(&undone),
        };
        (Self { sender, undone }, waiting)
    }

    pub(crate) fn add(&self, chore: Chore) {
        self.undone.send_modify(|undone| *undone += 1);
        let due = Due {
            chore,
            since: Instant::now(),
        };
        if self.sender.try_send(due).is_err() {
            self.undone.send_modify(|undone| *undone -= 1);
            tracing::debug!("a chore at the shared cache is left undone");
        }
    }

    /// Waits until all are done.
    pub(crate) async fn done(&self) {
        // The sender is ours.
        let _ = self.undone.subscribe().wait_for(|undone| *undone == 0).await;
    }
}

/// Works until the last sender is gone.
pub(crate) async fn work(store: Weak<Store>, waiting: Waiting) {
    let Waiting { mut receiver, undone } = waiting;
    let mut batch = Vec::with_capacity(AT_ONCE);
    let mut kept: VecDeque<Due> = VecDeque::new();
    let mut retry = interval(RETRY);
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let received = tokio::select! {
            received = receiver.recv_many(&mut batch, AT_ONCE) => received,
            _ = retry.tick(), if !kept.is_empty() => {
                batch.extend(kept.drain(..kept.len().min(AT_ONCE)));
                batch.len()
            }
        };
        let Some(store) = store.upgrade().filter(|_| received > 0) else {
            return;
        };
        let before = batch.len() + kept.len();
        let tried = join_all(batch.drain(..).map(|due| attempt(&store, due))).await;
        kept.extend(tried.into_iter().flatten());
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
        undone.send_modify(|undone| *undone -= before - kept.len());
    }
}

/// Does it, with the time that connecting has: nobody waits. It comes back if it is to be tried again.
async fn attempt(store: &Arc<Store>, due: Due) -> Option<Due> {
    let limit = store.settings.connect_timeout;
    let is_done = matches!(timeout(limit, perform(store, &due)).await, Ok(Ok(())));
    let is_of_use = matches!(due.chore, Chore::Delete { .. }) || due.since.elapsed() < OF_USE;
    (!is_done && is_of_use).then_some(due)
}

async fn perform(store: &Store, due: &Due) -> Result<(), Fault> {
    let age = due.since.elapsed();
    match &due.chore {
        Chore::Release { lease, owner } => {
            store
                .run::<i64>(Asker::Chore, &script::RELEASE, &[lease], &[owner.as_bytes()])
                .await?
        }
        Chore::End { places, ids, window } => {
            let (window, age) = (window.as_micros().to_string(), age.as_micros().to_string());
            let mut arguments = vec![window.as_bytes(), age.as_bytes()];
            arguments.extend(ids.iter().map(String::as_bytes));
            store
                .run::<i64>(Asker::Chore, &script::END, &[places], &arguments)
                .await?
        }
        Chore::GiveBack { places, id } => {
            let command = redis::cmd("ZREM").arg(places).arg(id).take();
            store.ask(Asker::Chore, places, &command).await?
        }
        Chore::Pause {
            pause,
            length,
            is_new,
            window,
        } => {
            let (length, window) = (
                length.saturating_sub(age).as_micros().to_string(),
                window.as_micros().to_string(),
            );
            let is_new: &[u8] = if *is_new { b"1" } else { b"0" };
            let arguments = [length.as_bytes(), is_new, window.as_bytes()];
            store
                .run::<i64>(Asker::Chore, &script::PAUSE, &[pause], &arguments)
                .await?
        }
        Chore::Delete { values } => {
            for value in values {
                let command = redis::cmd("DEL").arg(value).take();
                store.ask::<i64>(Asker::Chore, value, &command).await?;
            }
            0
        }
    };
    Ok(())
}
