//! One piece of work per key at a time, however many wait for it.
//!
//! The work runs in a task of its own: the caller who started it may go away, the others still get the outcome.
//! (moka's own `try_get_with` runs the work inside the first caller and starts over when that caller leaves.)

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Work under way, by key.
pub struct Flights<K, L, T> {
    under_way: Arc<Mutex<Table<K, L, T>>>,
}

type Table<K, L, T> = HashMap<K, (L, watch::Receiver<Option<T>>)>;

/// A place in a flight. `L` is what its leader left for those who join: who the leader is.
pub struct Seat<L, T> {
    /// Whether this caller's work is what is under way.
    pub leads: bool,
    /// The leader's mark.
    pub leader: L,
    outcome: watch::Receiver<Option<T>>,
}

/// The work ended without an outcome: it panicked, or the broker is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the work that this caller waited for ended without an outcome")]
pub struct Lost;

impl<L, T: Clone> Seat<L, T> {
    /// Waits for the outcome.
    pub async fn outcome(mut self) -> Result<T, Lost> {
        let outcome = self.outcome.wait_for(Option::is_some).await.map_err(|_| Lost)?;
        outcome.clone().ok_or(Lost)
    }
}

impl<K, L, T> Default for Flights<K, L, T> {
    fn default() -> Self {
        Self {
            under_way: Arc::default(),
        }
    }
}

impl<K, L, T> Flights<K, L, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    L: Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Joins the flight of `key`, or starts one with `work`, marked by `leader`.
    pub fn join<F>(&self, key: K, leader: L, work: impl FnOnce() -> F) -> Seat<L, T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((leader, outcome)) = under_way.get(&key) {
            return Seat {
                leads: false,
                leader: leader.clone(),
                outcome: outcome.clone(),
            };
        }
        let (sender, outcome) = watch::channel(None);
        under_way.insert(key.clone(), (leader.clone(), outcome.clone()));
        drop(under_way);
        let landing = Landing {
            under_way: Arc::clone(&self.under_way),
            key,
        };
        let work = work();
        // Owned by nobody: it outlives its caller, and its own deadline bounds it.
        tokio::spawn(async move {
            let outcome = work.await;
            // Off the table first: who comes after the outcome starts anew.
            drop(landing);
            sender.send_replace(Some(outcome));
        });
        Seat {
            leads: true,
            leader,
            outcome,
        }
    }
}

/// Takes the flight off the table, whatever became of it.
struct Landing<K: Eq + Hash, L, T> {
    under_way: Arc<Mutex<Table<K, L, T>>>,
    key: K,
}

impl<K: Eq + Hash, L, T> Drop for Landing<K, L, T> {
    fn drop(&mut self) {
        self.under_way
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
    async fn many_wait_for_one_and_the_leader_may_leave() {
        let flights = Flights::<&str, u8, u32>::default();
        let runs = Arc::new(AtomicUsize::new(0));
        let (go, gate) = oneshot::channel::<()>();
        let counted = Arc::clone(&runs);
        let leader = flights.join("k", 1, || async move {
            counted.fetch_add(1, Ordering::SeqCst);
            gate.await.unwrap();
            7
        });
        assert!(leader.leads);
        let waiters: Vec<_> = (0..50)
            .map(|_| flights.join("k", 2, || async { unreachable!() }))
            .collect();
        assert!(waiters.iter().all(|seat| !seat.leads && seat.leader == 1));
        drop(leader);
        go.send(()).unwrap();
        for seat in waiters {
            assert_eq!(seat.outcome().await, Ok(7));
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        let next = flights.join("k", 3, || async { 8 });
        assert!(next.leads);
        assert_eq!(next.outcome().await, Ok(8));
    }

    #[tokio::test]
    async fn a_panic_is_told_and_leaves_nothing_behind() {
        let flights = Flights::<&str, (), u32>::default();
        let seat = flights.join("k", (), || async { panic!("on purpose") });
        assert_eq!(seat.outcome().await, Err(Lost));
        assert_eq!(flights.join("k", (), || async { 1 }).outcome().await, Ok(1));
    }

    #[tokio::test]
    async fn keys_do_not_wait_for_each_other() {
        let flights = Flights::<&str, (), u32>::default();
        let _never = flights.join("a", (), std::future::pending);
        assert_eq!(flights.join("b", (), || async { 2 }).outcome().await, Ok(2));
    }
}
