//! The limit on requests, and on exchanges, that are in flight.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Admits at most a fixed number at once, of requests or of exchanges.
#[derive(Debug, Clone)]
pub struct Admission {
    permits: Arc<Semaphore>,
    limit: usize,
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
    permit: Option<OwnedSemaphorePermit>,
}

impl Admission {
    /// Admits up to `limit`; beyond that it fails with `exceeded`.
    #[must_use]
    pub fn new(limit: usize, exceeded: Overloaded) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(limit)),
            limit,
            exceeded,
        }
    }

    /// How many may be in flight.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.limit.saturating_sub(self.permits.available_permits())
    }

    /// Acquires a permit, or fails at once.
    pub fn acquire(&self) -> Result<InFlightPermit, Overloaded> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        Ok(InFlightPermit {
            admission: self.clone(),
            permit: Some(permit.map_err(|_| self.exceeded)?),
        })
    }
}

impl InFlightPermit {
    /// Leaves the permit to others until [`reacquire`](Self::reacquire).
    pub fn release(&mut self) {
        self.permit = None;
    }

    /// Acquires a permit again, or fails at once.
    pub fn reacquire(&mut self) -> Result<(), Overloaded> {
        self.permit = self.admission.acquire()?.permit;
        Ok(())
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
