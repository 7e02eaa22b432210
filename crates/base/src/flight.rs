//! One piece of work per key at a time, however many wait for it.
//!
//! The work runs in a task of its own: the caller who started it may go away, the others still get the outcome.
//! (moka's own `try_get_with` runs the work inside the first caller and starts over when that caller leaves.)

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// The work in flight, by key.
pub struct Flights<K, L, T> {
    in_flight: Arc<Mutex<Table<K, L, T>>>,
}

type Table<K, L, T> = HashMap<K, Flight<L, T>>;
type Flight<L, T> = (L, watch::Receiver<Option<T>>);

/// A caller's claim on the outcome of a flight. `L` identifies the leader to those who join.
pub struct Waiter<L, T> {
    /// Whether the flight runs this caller's work.
    pub is_leader: bool,
    /// What identifies the leader.
    pub leader: L,
    outcome: watch::Receiver<Option<T>>,
}

/// The work ended without an outcome: it panicked, or the broker is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the work that this caller waited for ended without an outcome")]
pub struct Lost;

impl<L: Clone, T: Clone> Waiter<L, T> {
    fn follower((leader, outcome): &Flight<L, T>) -> Self {
        Self {
            is_leader: false,
            leader: leader.clone(),
            outcome: outcome.clone(),
        }
    }

    /// Waits for the outcome.
    pub async fn outcome(mut self) -> Result<T, Lost> {
        let outcome = self.outcome.wait_for(Option::is_some).await.map_err(|_| Lost)?;
        outcome.clone().ok_or(Lost)
    }
}

impl<K, L, T> Default for Flights<K, L, T> {
    fn default() -> Self {
        Self {
            in_flight: Arc::default(),
        }
    }
}

impl<K, L, T> Flights<K, L, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    L: Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Joins the flight of `key`, if there is one.
    pub fn join_existing(&self, key: &K) -> Option<Waiter<L, T>> {
        let in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        in_flight.get(key).map(Waiter::follower)
    }

    /// Joins the flight of `key`, or starts one with `work`, whose leader is `leader`.
    pub fn join<F>(&self, key: K, leader: L, work: impl FnOnce() -> F) -> Waiter<L, T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = in_flight.get(&key) {
            return Waiter::follower(flight);
        }
        let (sender, outcome) = watch::channel(None);
        in_flight.insert(key.clone(), (leader.clone(), outcome.clone()));
        drop(in_flight);
        let remove_on_drop = RemoveOnDrop {
            in_flight: Arc::clone(&self.in_flight),
            key,
        };
        let work = work();
        // Detached: it outlives its caller, and its own deadline bounds it.
        tokio::spawn(async move {
            let outcome = work.await;
            // Removed first: a caller that comes after the outcome starts a new flight.
            drop(remove_on_drop);
            sender.send_replace(Some(outcome));
        });
        Waiter {
            is_leader: true,
            leader,
            outcome,
        }
    }
}

/// Removes the flight from the table, however it ended.
struct RemoveOnDrop<K: Eq + Hash, L, T> {
    in_flight: Arc<Mutex<Table<K, L, T>>>,
    key: K,
}

impl<K: Eq + Hash, L, T> Drop for RemoveOnDrop<K, L, T> {
    fn drop(&mut self) {
        self.in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}

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
}
