//! The budget of an ACS endpoint in the store.

use std::fmt;
use std::time::Duration;

use azure::budget::{SharedBudget, SharedPlace, SharedStatus, SharedTurn};
use config::Rate;
use futures_util::future::BoxFuture;
use shared_cache::{Ask, SharedWindow, Taken};

/// The budget of one endpoint, for all replicas.
pub struct StoreBudget {
    window: SharedWindow,
    // The whole.
    rate: Rate,
    longest: Duration,
}

impl StoreBudget {
    /// The budget `rate` in `window`. `longest` is how long a request may be on its way.
    #[must_use]
    pub fn new(window: SharedWindow, rate: Rate, longest: Duration) -> Self {
        Self { window, rate, longest }
    }
}

impl SharedBudget for StoreBudget {
    fn take(&self, share: Option<f64>, ahead: usize) -> BoxFuture<'_, SharedTurn> {
        Box::pin(async move {
            let ask = Ask {
                rate: self.rate,
                share,
                longest: self.longest,
                ahead: u32::try_from(ahead).unwrap_or(u32::MAX),
            };
            match self.window.take(&ask).await {
                Taken::Place(place) => SharedTurn::Place(Box::new(StorePlace(place))),
                Taken::Full { next_free_in } => SharedTurn::Full(next_free_in),
                Taken::Paused { remaining } => SharedTurn::Paused(remaining),
                Taken::Away => SharedTurn::Away,
            }
        })
    }

    fn pause(&self, length: Duration, is_new: bool) {
        self.window.pause(length, is_new, self.rate.window);
    }

    fn count(&self, requests: u32) {
        self.window.count(requests, self.rate.window);
    }

    fn last_known(&self) -> Option<SharedStatus> {
        self.window.last_known().map(|known| SharedStatus {
            used: known.used,
            limit: known.limit,
        })
    }

    fn look(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.window.status(self.rate).await;
        })
    }
}

impl fmt::Debug for StoreBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreBudget")
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct StorePlace(shared_cache::SharedPlace);

impl SharedPlace for StorePlace {
    fn end(self: Box<Self>) {
        self.0.end();
    }

    fn give_back(self: Box<Self>) {
        self.0.give_back();
    }
}
