//! What guards one ACS endpoint, whichever resources stand there: ACS counts by endpoint.

use std::sync::Arc;

use super::breaker::Breaker;
use super::budget::Budget;
use super::pause::Pause;
use super::retry::Guards;

/// The guards of one endpoint (an origin).
#[derive(Debug)]
pub struct Endpoint {
    /// While ACS limits the broker nothing is sent.
    pub pause: Arc<Pause>,
    /// Its circuit.
    pub breaker: Breaker,
    /// How many requests it is sent; `None`: any number.
    pub budget: Option<Arc<Budget>>,
}

impl Endpoint {
    /// All of them.
    #[must_use]
    pub fn guards(&self) -> Guards<'_> {
        Guards {
            pause: &self.pause,
            breaker: Some(&self.breaker),
            budget: self.budget.as_ref(),
        }
    }
}
