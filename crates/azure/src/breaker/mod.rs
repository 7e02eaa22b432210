//! Circuit breakers: an upstream that fails is left alone for a while.
//!
//! `circuit` is the rule. It is our own: of the crates at hand (`failsafe`, `recloser`, `tower-resilience`) none has a
//! window in time, a fixed number of probes that are never repeated, and a clock that is given to it.

mod circuit;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::circuit::CircuitState;
use self::circuit::{Admitted, Circuit, Verdict};
use super::retry::Withheld;
use super::{Response, SendError};
use base::clock::SharedClock;
use config::BreakerConfig;

/// A timeout says nothing of the upstream where less time was allowed.
const LEAST_ALLOWED: Duration = Duration::from_secs(1);

/// The circuit of one upstream.
#[derive(Debug)]
pub struct Breaker {
    // `None`: it never opens.
    circuit: Option<Mutex<Circuit>>,
    upstream: &'static str,
    // Which of several; for the log.
    subject: String,
    clock: SharedClock,
}

/// An attempt under way. Dropped without an outcome it says nothing of the upstream.
#[derive(Debug)]
pub(super) struct Attempt<'b> {
    breaker: &'b Breaker,
    admitted: Option<Admitted>,
}

impl Breaker {
    /// A closed circuit. `upstream` and `subject` name it in the log.
    #[must_use]
    pub fn new(config: Option<BreakerConfig>, upstream: &'static str, subject: String, clock: SharedClock) -> Self {
        Self {
            circuit: config.map(Circuit::new).map(Mutex::new),
            upstream,
            subject,
            clock,
        }
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> CircuitState {
        self.lock().map_or(CircuitState::Closed, |circuit| circuit.state())
    }

    /// Why nothing is sent now, if nothing is.
    #[must_use]
    pub fn withholds(&self) -> Option<Withheld> {
        let wait = self.lock()?.refusal(self.clock.monotonic())?;
        Some(Withheld::CircuitOpen(wait))
    }

    /// Whether an attempt may be made now.
    pub(super) fn admit(&self) -> Result<Attempt<'_>, Withheld> {
        let Some(mut circuit) = self.lock() else {
            return Ok(Attempt {
                breaker: self,
                admitted: None,
            });
        };
        let before = circuit.state();
        let admitted = circuit.admit(self.clock.monotonic()).map_err(Withheld::CircuitOpen)?;
        let after = circuit.state();
        drop(circuit);
        self.log(before, after);
        Ok(Attempt {
            breaker: self,
            admitted: Some(admitted),
        })
    }

    fn record(&self, admitted: Admitted, verdict: Verdict) {
        let Some(mut circuit) = self.lock() else { return };
        let before = circuit.state();
        circuit.record(admitted, verdict, self.clock.monotonic());
        let after = circuit.state();
        drop(circuit);
        self.log(before, after);
    }

    fn lock(&self) -> Option<MutexGuard<'_, Circuit>> {
        let circuit = self.circuit.as_ref()?;
        Some(circuit.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn log(&self, before: CircuitState, after: CircuitState) {
        let (upstream, subject) = (self.upstream, &*self.subject);
        if before == after {
            return;
        }
        match after {
            CircuitState::Open => tracing::warn!(
                acs_broker.upstream = upstream,
                subject,
                "circuit open: the upstream fails and is left alone for a while"
            ),
            CircuitState::HalfOpen => tracing::info!(
                acs_broker.upstream = upstream,
                subject,
                "circuit half-open: a few calls show whether the upstream is well again"
            ),
            CircuitState::Closed => {
                tracing::info!(acs_broker.upstream = upstream, subject, "circuit closed");
            }
        }
    }
}

impl Attempt<'_> {
    /// Whether it is one of the few by which an open circuit is tried.
    pub(super) fn is_probe(&self) -> bool {
        self.admitted.is_some_and(|admitted| admitted.is_probe)
    }

    /// It ended so, having been allowed to take `allowed`. `None`: nothing was sent.
    pub(super) fn end(mut self, outcome: Option<Result<&Response, &SendError>>, allowed: Duration) {
        if let Some(admitted) = self.admitted.take() {
            self.breaker.record(admitted, verdict(outcome, allowed));
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(admitted) = self.admitted.take() {
            self.breaker.record(admitted, Verdict::Neither);
        }
    }
}

fn verdict(outcome: Option<Result<&Response, &SendError>>, allowed: Duration) -> Verdict {
    match outcome {
        None => Verdict::Neither,
        Some(Err(SendError::Timeout)) if allowed < LEAST_ALLOWED => Verdict::Neither,
        Some(Err(SendError::NotConnected(_) | SendError::Connection(_) | SendError::Timeout)) => Verdict::Bad,
        Some(Ok(response)) if response.status.is_server_error() => Verdict::Bad,
        Some(Ok(_) | Err(SendError::TooLarge(_))) => Verdict::Good,
    }
}

/// A circuit of its own for each of a few things, such as the listed tenants.
#[derive(Debug)]
pub struct Breakers<K> {
    by_key: Mutex<BTreeMap<K, Arc<Breaker>>>,
    config: Option<BreakerConfig>,
    upstream: &'static str,
    clock: SharedClock,
}

impl<K: Ord + Copy + std::fmt::Display> Breakers<K> {
    /// No circuits yet. `upstream` names them in the log.
    #[must_use]
    pub fn new(config: Option<BreakerConfig>, upstream: &'static str, clock: SharedClock) -> Self {
        Self {
            by_key: Mutex::default(),
            config,
            upstream,
            clock,
        }
    }

    /// The circuit of `key`. What it was asked for stays: keys must not come from outside.
    pub fn get(&self, key: K) -> Arc<Breaker> {
        let mut breakers = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = breakers.entry(key).or_insert_with(|| {
            let clock = Arc::clone(&self.clock);
            Arc::new(Breaker::new(self.config, self.upstream, key.to_string(), clock))
        });
        Arc::clone(breaker)
    }

    /// Those that were asked for, with their states.
    #[must_use]
    pub fn states(&self) -> Vec<(K, CircuitState)> {
        let breakers = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.iter().map(|(key, breaker)| (*key, breaker.state())).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    #[test]
    fn what_an_attempt_says() {
        let long = Duration::from_secs(1);
        let said = |status: u16| {
            let response = Response {
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                body: bytes::Bytes::new(),
            };
            verdict(Some(Ok(&response)), long)
        };
        for status in [200, 201, 301, 400, 401, 403, 404, 429] {
            assert_eq!(said(status), Verdict::Good, "{status}");
        }
        for status in [500, 501, 502, 503, 504] {
            assert_eq!(said(status), Verdict::Bad, "{status}");
        }
        let failed = |error: &SendError, allowed| verdict(Some(Err(error)), allowed);
        assert_eq!(
            failed(&SendError::Connection(String::new()), Duration::ZERO),
            Verdict::Bad
        );
        assert_eq!(failed(&SendError::Timeout, long), Verdict::Bad);
        assert_eq!(
            failed(&SendError::Timeout, Duration::from_millis(999)),
            Verdict::Neither
        );
        assert_eq!(failed(&SendError::TooLarge(1), long), Verdict::Good);
        assert_eq!(verdict(None, long), Verdict::Neither);
    }
}
