//! How a call is made: not while the upstream is left alone, within its budget, and with one retry on a lost connection
//! or a 503, within the deadline; none on any 4xx.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use tokio::time::Instant;

use super::breaker::{Attempt, Breaker};
use super::budget::{Budget, Place};
use super::pause::Pause;
use super::{Response, SendError, retry_after};
use base::clock::Clock;

/// Pause before the one retry; jittered, so that replicas do not return together.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A 503 that asks for a longer wait is passed on to the caller instead of being retried.
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(1);

tokio::task_local! {
    // How many attempts went before the one that runs here.
    static RESENDS: i64;
}

/// For the attribute `http.request.resend_count`, which first attempts do not have.
pub(super) fn resends() -> Option<i64> {
    RESENDS.try_with(|resends| *resends).ok().filter(|resends| *resends > 0)
}

/// Why nothing is sent to an upstream now, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// It limits the broker.
    #[error("not asked while it limits the broker, for {}s", .0.as_secs())]
    Paused(Duration),
    /// It failed too often.
    #[error("not asked while its circuit is open, for {}s", .0.as_secs())]
    CircuitOpen(Duration),
}

/// A call that brought no complete response, or was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E = SendError> {
    /// Nothing was sent.
    #[error(transparent)]
    Withheld(#[from] Withheld),
    /// No complete response.
    #[error(transparent)]
    Send(E),
}

impl From<SendError> for CallError {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

/// What says whether an upstream may be called.
#[derive(Clone, Copy)]
pub struct Guards<'g> {
    /// While it lasts nothing is sent; a 429 extends it.
    pub pause: &'g Pause,
    /// The upstream's circuit, if it has one.
    pub breaker: Option<&'g Breaker>,
    /// The budget that a retry takes a place of, if there is one and the first attempt took its own.
    pub budget: Option<&'g Arc<Budget>>,
}

impl Guards<'_> {
    /// Why nothing is sent now, if nothing is.
    #[must_use]
    pub fn withhold(&self) -> Option<Withheld> {
        let paused = self.pause.remaining().map(Withheld::Paused);
        paused.or_else(|| self.breaker.and_then(Breaker::withholds))
    }
}

/// Why an attempt brought no response.
pub trait Attempted {
    /// What the transport says, if it got that far.
    fn send_error(&self) -> Option<&SendError>;
}

impl Attempted for SendError {
    fn send_error(&self) -> Option<&SendError> {
        Some(self)
    }
}

/// Makes a call by `attempt`, and once more where that is worth it; none while `guards` withhold it. `place` is the one in
/// the budget for the first attempt.
pub async fn call<F, E>(
    guards: Guards<'_>,
    mut place: Option<Place>,
    clock: &dyn Clock,
    deadline: Instant,
    attempt: impl Fn() -> F,
) -> Result<Response, CallError<E>>
where
    F: Future<Output = Result<Response, E>>,
    E: Attempted + std::fmt::Display,
{
    let mut retried = false;
    loop {
        // Before the retry too: another call may have been limited meanwhile.
        if let Some(left) = guards.pause.remaining() {
            return Err(Withheld::Paused(left).into());
        }
        let admitted = guards.breaker.map(Breaker::admit).transpose()?;
        if let Some(place) = &mut place {
            place.set_sent(true);
        }
        let allowed = deadline.saturating_duration_since(Instant::now());
        let sent = RESENDS.scope(i64::from(retried), attempt()).await;
        let outcome = match &sent {
            Ok(response) => Some(Ok(response)),
            Err(error) => error.send_error().map(Err),
        };
        // It failed on this side already, or there was no connection: the service has counted nothing.
        let was_sent = !matches!(outcome, None | Some(Err(SendError::NotConnected(_))));
        if let Some(place) = &mut place {
            place.set_sent(was_sent);
        }
        let mut kept = place.take().filter(|_| !was_sent);
        let is_probe = admitted.as_ref().is_some_and(Attempt::is_probe);
        if let Some(attempt) = admitted {
            attempt.end(outcome, allowed);
        }
        if let (Some(budget), Some(withheld)) = (guards.budget, guards.breaker.and_then(Breaker::withholds)) {
            budget.refuse_waiting(withheld);
        }
        if let Some(wait) = wait(&sent, clock.now()).filter(|_| !retried && !is_probe)
            && Instant::now() + wait < deadline
        {
            place = match (kept.take(), guards.budget) {
                (None, Some(budget)) => budget.place().await,
                (kept, _) => kept,
            };
            // A retry counts as any request does.
            if guards.budget.is_none() || place.is_some() {
                retried = true;
                tracing::warn!(outcome = %describe(&sent), "call failed, retrying once");
                tokio::time::sleep(wait).await;
                continue;
            }
        }
        if let Ok(response) = &sent
            && response.status == StatusCode::TOO_MANY_REQUESTS
        {
            let (is_new, until) = guards.pause.extend(response.asks_to_wait(clock.now()));
            if let Some(budget) = guards.budget {
                budget.pause(is_new, until);
            }
        }
        return sent.map_err(CallError::Send);
    }
}

/// The same for a call that is made a second time: it counts as any does, and is made only if there is a place at once.
/// `None`: there is none.
pub async fn call_again<F, E>(
    guards: Guards<'_>,
    clock: &dyn Clock,
    deadline: Instant,
    attempt: impl Fn() -> F,
) -> Option<Result<Response, CallError<E>>>
where
    F: Future<Output = Result<Response, E>>,
    E: Attempted + std::fmt::Display,
{
    let place = match guards.budget {
        Some(budget) => Some(budget.place().await?),
        None => None,
    };
    Some(call(guards, place, clock, deadline, attempt).await)
}

/// Whether, and after how long, to try once more.
fn wait<E: Attempted>(sent: &Result<Response, E>, now: Timestamp) -> Option<Duration> {
    let jittered = || RETRY_PAUSE.mul_f64(0.5 + fastrand::f64());
    match sent.as_ref().map_err(Attempted::send_error) {
        Err(Some(SendError::NotConnected(_) | SendError::Connection(_))) => Some(jittered()),
        Ok(response) if response.status == StatusCode::SERVICE_UNAVAILABLE => {
            let asked = retry_after::read(&response.headers, now);
            asked
                .is_none_or(|asked| asked <= LONGEST_RETRY_PAUSE)
                .then(|| asked.unwrap_or_else(jittered))
        }
        Ok(_) | Err(Some(SendError::Timeout | SendError::TooLarge(_)) | None) => None,
    }
}

fn describe(sent: &Result<Response, impl std::fmt::Display>) -> String {
    match sent {
        Ok(response) => response.status.to_string(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use http::HeaderMap;

    use super::*;
    use base::clock::ManualClock;

    #[expect(clippy::unnecessary_wraps, reason = "what `send` gives")]
    fn response(status: u16, headers: &[(&'static str, &str)]) -> Result<Response, SendError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Ok(Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: map,
            body: bytes::Bytes::new(),
        })
    }

    #[test]
    fn only_lost_connections_and_503_are_retried() {
        let retried = |sent| wait(&sent, Timestamp::UNIX_EPOCH).is_some();
        assert!(retried(Err(SendError::NotConnected(String::new()))));
        assert!(retried(Err(SendError::Connection(String::new()))));
        assert!(retried(response(503, &[])));
        assert!(retried(response(503, &[("retry-after", "1")])));
        assert!(!retried(response(503, &[("retry-after", "2")])));
        assert!(!retried(Err(SendError::Timeout)));
        assert!(!retried(Err(SendError::TooLarge(1))));
        for status in [200, 302, 400, 401, 403, 404, 408, 429, 500, 502, 504] {
            assert!(!retried(response(status, &[])), "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_without_a_connection_keeps_its_place_for_the_retry() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let shared = || Arc::clone(&clock) as base::clock::SharedClock;
        let pause = Pause::new(shared());
        let rate = config::Rate {
            count: 1,
            window: Duration::from_secs(30),
        };
        let settings = super::super::budget::BudgetSettings {
            rate,
            queue: 0,
            renewal_share: 1.0,
        };
        let none = SendError::NotConnected(String::new());
        let lost = SendError::Connection(String::new());
        // How each attempt fails; how many are made, and what is left of a budget of one.
        for (failures, attempts, free) in [
            (&[&none][..], 2, 0),
            (&[&lost], 1, 0),
            (&[&none, &lost], 2, 0),
            (&[&none, &none], 2, 1),
        ] {
            let budget = Budget::new(settings, shared());
            let calls = Cell::new(0);
            let attempt = || {
                calls.set(calls.get() + 1);
                let failure = failures.get(calls.get() - 1);
                std::future::ready(failure.map_or_else(|| response(200, &[]), |failure| Err((*failure).clone())))
            };
            let guards = Guards {
                pause: &pause,
                breaker: None,
                budget: Some(&budget),
            };
            let place = budget.place().await;
            assert!(place.is_some());
            let deadline = Instant::now() + Duration::from_secs(5);
            let answered = call(guards, place, &*clock, deadline, attempt).await;
            assert_eq!(calls.get(), attempts);
            assert_eq!(answered.is_ok(), attempts > failures.len());
            assert_eq!(budget.status().free, free, "{attempts}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_retry_within_the_deadline_and_none_during_a_pause() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let pause = Pause::new(Arc::clone(&clock) as base::clock::SharedClock);
        let calls = Cell::new(0);
        let answer = async |status, headers: &[(&'static str, &str)], seconds| {
            calls.set(0);
            let deadline = Instant::now() + Duration::from_secs(seconds);
            let attempt = || {
                calls.set(calls.get() + 1);
                std::future::ready(response(status, headers))
            };
            let guards = Guards {
                pause: &pause,
                breaker: None,
                budget: None,
            };
            call(guards, None, &*clock, deadline, attempt)
                .await
                .map(|response| response.status.as_u16())
        };
        assert_eq!((answer(503, &[], 5).await, calls.get()), (Ok(503), 2));
        assert_eq!((answer(503, &[], 0).await, calls.get()), (Ok(503), 1));
        assert_eq!((answer(400, &[], 5).await, calls.get()), (Ok(400), 1));
        assert_eq!(
            (answer(429, &[("retry-after", "20")], 5).await, calls.get()),
            (Ok(429), 1)
        );
        let paused = Err(CallError::Withheld(Withheld::Paused(Duration::from_secs(20))));
        assert_eq!((answer(200, &[], 5).await, calls.get()), (paused, 0));
        clock.advance(Duration::from_secs(20));
        assert_eq!((answer(200, &[], 5).await, calls.get()), (Ok(200), 1));
    }
}
