//! One piece of work per key at a time, however many wait for it.
//!
//! The work runs in a task of its own: the caller who started it may go away, the others still get the outcome.
//! (moka's own `try_get_with` runs the work inside the first caller and starts over when that caller leaves.)

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

/// The work in flight, by key.
pub struct Flights<K, L, T> {
    in_flight: Arc<Mutex<Table<K, L, T>>>,
}

struct Table<K, L, T> {
    flights: HashMap<K, Flight<L, T>>,
    // Flights begun so far: a flight of the same key may follow one that was given up.
    begun: u64,
}

struct Flight<L, T> {
    number: u64,
    leader: L,
    progress: watch::Sender<Progress<T>>,
}

/// How far a flight is.
enum Progress<T> {
    At(Stage),
    Ended(T),
}

/// What a flight does before it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Working,
    // It waits for something that is not its own work.
    Waiting,
    // It waits for its turn to begin.
    Queued,
}

/// A caller's claim on the outcome of a flight. `L` identifies the leader to those who join.
pub struct Waiter<L, T> {
    /// Whether the flight runs this caller's work.
    pub is_leader: bool,
    /// What identifies the leader.
    pub leader: L,
    progress: watch::Receiver<Progress<T>>,
}

/// Why a caller has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoOutcome {
    /// There will be none.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The work has not begun, and the caller can wait no longer.
    #[error("the turn of the work that this caller waited for has not come in time")]
    NotBegun,
}

/// The work ended without an outcome: it panicked, or the broker is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the work that this caller waited for ended without an outcome")]
pub struct Lost;

impl<L: Clone, T: Clone> Waiter<L, T> {
    fn follower(flight: &Flight<L, T>) -> Self {
        Self {
            is_leader: false,
            leader: flight.leader.clone(),
            progress: flight.progress.subscribe(),
        }
    }

    /// Waits for the outcome.
    pub async fn outcome(mut self) -> Result<T, Lost> {
        self.outcome_or_stage(|_| false).await?.ok_or(Lost)
    }

    /// Waits for the outcome. If the flight itself waits first, `on_wait` is called once. It says until when the flight may
    /// wait for its turn: after that this caller has no use for its work.
    pub async fn outcome_or_wait(mut self, on_wait: impl FnOnce() -> Instant) -> Result<T, NoOutcome> {
        if let Some(outcome) = self.outcome_or_stage(|stage| stage != Stage::Working).await? {
            return Ok(outcome);
        }
        let outcome = match tokio::time::timeout_at(on_wait(), self.outcome_or_stage(|_| false)).await {
            Ok(outcome) => outcome?,
            Err(_) => self.outcome_or_stage(|stage| stage == Stage::Queued).await?,
        };
        outcome.ok_or(NoOutcome::NotBegun)
    }

    /// Waits until the flight has ended, or is at a stage that is `enough`: then there is no outcome yet.
    async fn outcome_or_stage(&mut self, enough: impl Fn(Stage) -> bool) -> Result<Option<T>, Lost> {
        let reached = self.progress.wait_for(|progress| match progress {
            Progress::At(stage) => enough(*stage),
            Progress::Ended(_) => true,
        });
        match &*reached.await.map_err(|_| Lost)? {
            Progress::Ended(outcome) => Ok(Some(outcome.clone())),
            Progress::At(_) => Ok(None),
        }
    }
}

impl<K, L, T> Default for Flights<K, L, T> {
    fn default() -> Self {
        Self {
            in_flight: Arc::new(Mutex::new(Table {
                flights: HashMap::new(),
                begun: 0,
            })),
        }
    }
}

impl<K, L, T> Flights<K, L, T>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    L: Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Joins the flight of `key`, if there is one.
    pub fn join_existing(&self, key: &K) -> Option<Waiter<L, T>> {
        lock(&self.in_flight).flights.get(key).map(Waiter::follower)
    }

    /// Joins the flight of `key`, or starts one with `work`, whose leader is `leader`.
    pub fn join<F>(&self, key: K, leader: L, work: impl FnOnce() -> F) -> Waiter<L, T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.join_with(key, leader, |_| work())
    }

    /// The same for work that may have to wait for something else than itself, by its ticket.
    pub fn join_with<F>(&self, key: K, leader: L, work: impl FnOnce(Ticket) -> F) -> Waiter<L, T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut in_flight = lock(&self.in_flight);
        if let Some(flight) = in_flight.flights.get(&key) {
            return Waiter::follower(flight);
        }
        let (sender, progress) = watch::channel(Progress::At(Stage::Working));
        in_flight.begun += 1;
        let own = Own {
            in_flight: Arc::clone(&self.in_flight),
            key: key.clone(),
            number: in_flight.begun,
            progress: sender.clone(),
        };
        let flight = Flight {
            number: own.number,
            leader: leader.clone(),
            progress: sender.clone(),
        };
        in_flight.flights.insert(key, flight);
        drop(in_flight);
        let own = Arc::new(own);
        let remove_on_drop = RemoveOnDrop(Arc::clone(&own));
        let work = work(Ticket(own));
        // Detached: it outlives its caller, and its own deadline bounds it.
        tokio::spawn(async move {
            let outcome = work.await;
            // Removed first: a caller that comes after the outcome starts a new flight.
            drop(remove_on_drop);
            sender.send_replace(Progress::Ended(outcome));
        });
        Waiter {
            is_leader: true,
            leader,
            progress,
        }
    }
}

/// What the work of a flight waits by.
#[derive(Clone)]
pub struct Ticket(Arc<dyn Hold>);

impl Ticket {
    /// Waits for `wait`. Callers know of it, and once the last of them has gone the flight is given up: `None`.
    pub async fn wait_for<F: Future>(&self, wait: F) -> Option<F::Output> {
        self.wait_as(Stage::Waiting, wait).await
    }

    /// The same where `turn` is what the work needs to begin: callers leave for whom it would come too late.
    pub async fn wait_for_turn<F: Future>(&self, turn: F) -> Option<F::Output> {
        self.wait_as(Stage::Queued, turn).await
    }

    async fn wait_as<F: Future>(&self, stage: Stage, wait: F) -> Option<F::Output> {
        self.0.set_stage(stage);
        tokio::select! {
            biased;
            outcome = wait => {
                self.0.set_stage(Stage::Working);
                Some(outcome)
            }
            () = self.abandoned() => None,
        }
    }

    async fn abandoned(&self) {
        loop {
            self.0.unattended().await;
            if self.0.give_up() {
                return;
            }
        }
    }
}

/// A flight as its own work sees it.
trait Hold: Send + Sync {
    fn set_stage(&self, stage: Stage);
    /// Waits until no caller waits any more.
    fn unattended(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// Ends the flight for newcomers, unless one has joined meanwhile.
    fn give_up(&self) -> bool;
}

struct Own<K, L, T> {
    in_flight: Arc<Mutex<Table<K, L, T>>>,
    key: K,
    number: u64,
    progress: watch::Sender<Progress<T>>,
}

impl<K: Eq + Hash, L, T> Own<K, L, T> {
    fn remove_from(&self, table: &mut Table<K, L, T>) {
        if table
            .flights
            .get(&self.key)
            .is_some_and(|flight| flight.number == self.number)
        {
            table.flights.remove(&self.key);
        }
    }
}

impl<K, L, T> Hold for Own<K, L, T>
where
    K: Eq + Hash + Send + Sync,
    L: Send + Sync,
    T: Send + Sync,
{
    fn set_stage(&self, stage: Stage) {
        self.progress.send_replace(Progress::At(stage));
    }

    fn unattended(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.progress.closed())
    }

    fn give_up(&self) -> bool {
        // Callers join under this lock.
        let mut table = lock(&self.in_flight);
        let is_unattended = self.progress.is_closed();
        if is_unattended {
            self.remove_from(&mut table);
        }
        is_unattended
    }
}

/// Removes the flight from the table, however it ended.
struct RemoveOnDrop<K: Eq + Hash, L, T>(Arc<Own<K, L, T>>);

impl<K: Eq + Hash, L, T> Drop for RemoveOnDrop<K, L, T> {
    fn drop(&mut self) {
        let mut table = lock(&self.0.in_flight);
        self.0.remove_from(&mut table);
    }
}

fn lock<K, L, T>(in_flight: &Mutex<Table<K, L, T>>) -> MutexGuard<'_, Table<K, L, T>> {
    in_flight.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn waiters_share_one_outcome_when_the_leader_leaves() {
        let flights = Flights::<&str, u8, u32>::default();
        let runs = Arc::new(AtomicUsize::new(0));
        let (go, gate) = oneshot::channel::<()>();
        let counted = Arc::clone(&runs);
        let leader = flights.join("k", 1, || async move {
            counted.fetch_add(1, Ordering::SeqCst);
            gate.await.unwrap();
            7
        });
        assert!(leader.is_leader);
        let waiters: Vec<_> = (0..50)
            .map(|_| flights.join("k", 2, || async { unreachable!() }))
            .collect();
        assert!(waiters.iter().all(|waiter| !waiter.is_leader && waiter.leader == 1));
        let existing = flights.join_existing(&"k").unwrap();
        assert!(!existing.is_leader && existing.leader == 1);
        assert!(flights.join_existing(&"other").is_none());
        drop(leader);
        go.send(()).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.outcome().await, Ok(7));
        }
        assert_eq!(existing.outcome().await, Ok(7));
        assert!(flights.join_existing(&"k").is_none());
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        let next = flights.join("k", 3, || async { 8 });
        assert!(next.is_leader);
        assert_eq!(next.outcome().await, Ok(8));
    }

    #[tokio::test]
    async fn a_panic_gives_lost_and_frees_the_key() {
        let flights = Flights::<&str, (), u32>::default();
        let waiter = flights.join("k", (), || async { panic!("on purpose") });
        assert_eq!(waiter.outcome().await, Err(Lost));
        assert_eq!(flights.join("k", (), || async { 1 }).outcome().await, Ok(1));
    }

    #[tokio::test]
    async fn keys_do_not_wait_for_each_other() {
        let flights = Flights::<&str, (), u32>::default();
        let _never = flights.join("a", (), std::future::pending);
        assert_eq!(flights.join("b", (), || async { 2 }).outcome().await, Ok(2));
    }

    #[tokio::test]
    async fn a_flight_that_waits_tells_its_callers_and_is_given_up_with_the_last() {
        let flights = Flights::<&str, u8, u32>::default();
        let (go, gate) = oneshot::channel::<()>();
        let leader = flights.join_with("k", 1, |ticket| async move {
            match ticket.wait_for(gate).await {
                Some(_) => 7,
                None => unreachable!("somebody waits"),
            }
        });
        let follower = flights.join("k", 2, || async { unreachable!() });
        drop(leader);
        let mut waited = false;
        let outcome = follower.outcome_or_wait(|| {
            waited = true;
            go.send(()).unwrap();
            Instant::now()
        });
        assert_eq!(outcome.await, Ok(7), "it may wait for what is not its turn");
        assert!(waited);

        let (ended, end) = oneshot::channel();
        let leader = flights.join_with("k", 1, |ticket| async move {
            ended.send(ticket.wait_for(std::future::pending::<()>()).await).unwrap();
            8
        });
        drop(leader);
        assert_eq!(end.await.unwrap(), None);
        let next = flights.join("k", 3, || async { 9 });
        assert!(next.is_leader, "whoever comes next begins anew");
        assert_eq!(next.outcome().await, Ok(9));
    }

    #[tokio::test(start_paused = true)]
    async fn callers_leave_a_flight_whose_turn_comes_too_late_for_them() {
        let seconds = |seconds| Instant::now() + std::time::Duration::from_secs(seconds);
        let flights = Flights::<&str, u8, u32>::default();
        let (ten, eleven, half) = (seconds(10), seconds(11), std::time::Duration::from_millis(500));
        let first = flights.join_with("k", 1, |ticket| async move {
            ticket.wait_for_turn(tokio::time::sleep_until(ten)).await.unwrap();
            tokio::time::sleep_until(eleven).await;
            7
        });
        let late = flights.join("k", 2, || async { unreachable!() });
        let (first, late) = tokio::join!(
            first.outcome_or_wait(|| seconds(9)),
            late.outcome_or_wait(|| ten + half)
        );
        assert_eq!(first, Err(NoOutcome::NotBegun));
        assert_eq!(late, Ok(7), "it had begun");
        assert_eq!(Instant::now(), eleven);
    }
}
