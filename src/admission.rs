//! The bound on requests being worked on.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Admits at most a fixed number at once, of requests or of exchanges.
#[derive(Debug, Clone)]
pub struct Admission {
    places: Arc<Semaphore>,
    limit: usize,
    beyond: Overloaded,
}

/// There is as much under way as may be. Callers learn no more than that; operators learn which bound it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overloaded {
    /// `server.max_in_flight`
    #[error("too many requests in flight")]
    Requests,
    /// As many exchanges as `server.max_in_flight`, those included for which no request waits.
    #[error("too many exchanges under way")]
    Exchanges,
    /// A part of the memory that `server.max_connections` sets aside.
    #[error("too much memory in use for heads and bodies")]
    Memory,
}

/// A request's place. It can be left for a while, so that waiting does not take it from others.
#[derive(Debug)]
pub struct Place {
    admission: Admission,
    permit: Option<OwnedSemaphorePermit>,
}

impl Admission {
    /// Admits up to `limit`; beyond that it is `beyond`.
    #[must_use]
    pub fn new(limit: usize, beyond: Overloaded) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(limit)),
            limit,
            beyond,
        }
    }

    /// How many may be admitted.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many are.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.limit.saturating_sub(self.places.available_permits())
    }

    /// Takes a place, if there is one.
    pub fn enter(&self) -> Result<Place, Overloaded> {
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| self.beyond)?;
        Ok(Place {
            admission: self.clone(),
            permit: Some(permit),
        })
    }
}

impl Place {
    /// Gives the place to others until [`return_to`](Self::return_to).
    pub fn leave(&mut self) {
        self.permit = None;
    }

    /// Takes a place again, if there is one.
    pub fn return_to(&mut self) -> Result<(), Overloaded> {
        self.permit = self.admission.enter()?.permit;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_left_is_free_for_others() {
        let admission = Admission::new(1, Overloaded::Exchanges);
        let mut place = admission.enter().unwrap();
        assert_eq!(admission.enter().unwrap_err(), Overloaded::Exchanges);
        assert_eq!((admission.taken(), admission.limit()), (1, 1));
        place.leave();
        assert_eq!(admission.taken(), 0);
        let other = admission.enter().unwrap();
        assert_eq!(place.return_to(), Err(Overloaded::Exchanges));
        drop(other);
        assert_eq!(place.return_to(), Ok(()));
        drop(place);
        assert!(admission.enter().is_ok());
    }

    #[test]
    fn each_bound_has_words_of_its_own() {
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
