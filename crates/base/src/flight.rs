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
    Working,
    // It waits for something that is not its own work.
    Waiting,
    Ended(T),
}

/// A caller's claim on the outcome of a flight. `L` identifies the leader to those who join.
pub struct Waiter<L, T> {
    /// Whether the flight runs this caller's work.
    pub is_leader: bool,
    /// What identifies the leader.
    pub leader: L,
    progress: watch::Receiver<Progress<T>>,
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
    pub async fn outcome(self) -> Result<T, Lost> {
        self.outcome_or_wait(|| {}).await
    }

    /// Waits for the outcome. `on_wait` is called once if the flight itself waits first.
    pub async fn outcome_or_wait(mut self, on_wait: impl FnOnce()) -> Result<T, Lost> {
        let begun = self
            .progress
            .wait_for(|progress| !matches!(progress, Progress::Working));
        if matches!(*begun.await.map_err(|_| Lost)?, Progress::Waiting) {
            on_wait();
        }
        let ended = self
            .progress
            .wait_for(|progress| matches!(progress, Progress::Ended(_)));
        match &*ended.await.map_err(|_| Lost)? {
            Progress::Ended(outcome) => Ok(outcome.clone()),
            Progress::Working | Progress::Waiting => Err(Lost),
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
        let (sender, progress) = watch::channel(Progress::Working);
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
        self.0.set_waiting(true);
        tokio::select! {
            biased;
            outcome = wait => {
                self.0.set_waiting(false);
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
    fn set_waiting(&self, waits: bool);
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
    fn set_waiting(&self, waits: bool) {
        let progress = if waits { Progress::Waiting } else { Progress::Working };
        self.progress.send_replace(progress);
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
        });
        assert_eq!(outcome.await, Ok(7));
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
}
