//! The bound on requests being worked on.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Admits at most a fixed number of requests at once.
#[derive(Debug, Clone)]
pub struct Admission {
    places: Arc<Semaphore>,
    limit: usize,
}

/// As many requests are being worked on as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests in flight")]
pub struct Overloaded;

/// A request's place. It can be left for a while, so that waiting does not take it from others.
#[derive(Debug)]
pub struct Place {
    admission: Admission,
    permit: Option<OwnedSemaphorePermit>,
}

impl Admission {
    /// Admits up to `max_in_flight` requests.
    #[must_use]
    pub fn new(max_in_flight: usize) -> Self {
        let limit = max_in_flight.min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(limit)),
            limit,
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
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Overloaded)?;
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
        let admission = Admission::new(1);
        let mut place = admission.enter().unwrap();
        assert_eq!(admission.enter().unwrap_err(), Overloaded);
        assert_eq!((admission.taken(), admission.limit()), (1, 1));
        place.leave();
        assert_eq!(admission.taken(), 0);
        let other = admission.enter().unwrap();
        assert_eq!(place.return_to(), Err(Overloaded));
        drop(other);
        assert_eq!(place.return_to(), Ok(()));
        drop(place);
        assert!(admission.enter().is_ok());
    }
}
