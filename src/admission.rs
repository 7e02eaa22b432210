//! The limit on requests, and on exchanges, that are in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Admits at most a fixed number at once, of requests or of exchanges. Nobody waits for a permit, so it is a number.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Bound>);

#[derive(Debug)]
struct Bound {
    limit: usize,
    in_flight: AtomicUsize,
    exceeded: Overloaded,
}

/// A limit is reached. Callers learn no more than that; operators learn which limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(test, derive(strum::EnumCount))]
pub enum Overloaded {
    /// `server.max_in_flight`
    #[error("too many requests in flight")]
    Requests,
    /// As many exchanges as `server.max_in_flight`, including those for which no request waits.
    #[error("too many exchanges under way")]
    Exchanges,
    /// A part of the memory that `server.max_connections` sets aside.
    #[error("too much memory in use for heads and bodies")]
    Memory,
}

/// Permission to be in flight. It can be released for a while, so that waiting does not take it from others.
#[derive(Debug)]
pub struct InFlightPermit {
    admission: Admission,
    is_held: bool,
}

impl Admission {
    /// Admits up to `limit`; beyond that it fails with `exceeded`.
    #[must_use]
    pub fn new(limit: usize, exceeded: Overloaded) -> Self {
        Self(Arc::new(Bound {
            limit,
            in_flight: AtomicUsize::new(0),
            exceeded,
        }))
    }

    /// How many may be in flight.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// How many are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::Relaxed)
    }

    /// Acquires a permit, or fails at once.
    pub fn acquire(&self) -> Result<InFlightPermit, Overloaded> {
        self.enter()?;
        Ok(InFlightPermit {
            admission: self.clone(),
            is_held: true,
        })
    }

    fn enter(&self) -> Result<(), Overloaded> {
        let Bound {
            limit,
            in_flight,
            exceeded,
        } = &*self.0;
        let entered = in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            (now < *limit).then_some(now + 1)
        });
        entered.map(drop).map_err(|_| *exceeded)
    }
}

impl InFlightPermit {
    /// Leaves the permit to others until [`reacquire`](Self::reacquire).
    pub fn release(&mut self) {
        if std::mem::take(&mut self.is_held) {
            self.admission.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Acquires a permit again, or fails at once.
    pub fn reacquire(&mut self) -> Result<(), Overloaded> {
        if !self.is_held {
            self.admission.enter()?;
            self.is_held = true;
        }
        Ok(())
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_permit_is_free_for_others() {
        let admission = Admission::new(1, Overloaded::Exchanges);
        let mut permit = admission.acquire().unwrap();
        assert_eq!(admission.acquire().unwrap_err(), Overloaded::Exchanges);
        assert_eq!((admission.in_flight(), admission.limit()), (1, 1));
        permit.release();
        assert_eq!(admission.in_flight(), 0);
        let other = admission.acquire().unwrap();
        assert_eq!(permit.reacquire(), Err(Overloaded::Exchanges));
        drop(other);
        assert_eq!(permit.reacquire(), Ok(()));
        drop(permit);
        assert!(admission.acquire().is_ok());
    }

    #[test]
    fn each_limit_has_a_message_of_its_own() {
        use Overloaded::{Exchanges, Memory, Requests};
        let words: std::collections::BTreeSet<String> =
            [Requests, Exchanges, Memory].map(|bound| bound.to_string()).into();
        assert_eq!(words.len(), 3);
        // Operators are sent to them.
        let runbook = include_str!("../deploy/observability/runbook.md");
        for words in words {
            assert!(runbook.contains(&words), "{words}");
        }
    }
}
