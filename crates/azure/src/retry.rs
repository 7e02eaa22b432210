//! The one retry: on a lost connection or a 503, within the deadline; none on any 4xx.

use std::future::Future;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use tokio::time::Instant;

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

/// A call that brought no complete response, or was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E = SendError> {
    /// Nothing was sent: the upstream limits the broker, and for so long yet.
    #[error("not asked while it limits the broker, for {}s", .0.as_secs())]
    Paused(Duration),
    /// No complete response.
    #[error(transparent)]
    Send(E),
}

impl From<SendError> for CallError {
    fn from(error: SendError) -> Self {
        Self::Send(error)
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

/// Makes a call by `attempt`, and once more where that is worth it; none while `pause` lasts. A 429 extends it.
pub async fn call<F, E>(
    pause: &Pause,
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
        if let Some(left) = pause.remaining() {
            return Err(CallError::Paused(left));
        }
        let sent = RESENDS.scope(i64::from(retried), attempt()).await;
        if let Some(wait) = wait(&sent, clock.now()).filter(|_| !retried)
            && Instant::now() + wait < deadline
        {
            retried = true;
            tracing::warn!(outcome = %describe(&sent), "call failed, retrying once");
            tokio::time::sleep(wait).await;
            continue;
        }
        if let Ok(response) = &sent
            && response.status == StatusCode::TOO_MANY_REQUESTS
        {
            pause.extend(response.asks_to_wait(clock.now()));
        }
        return sent.map_err(CallError::Send);
    }
}

/// Whether, and after how long, to try once more.
fn wait<E: Attempted>(sent: &Result<Response, E>, now: Timestamp) -> Option<Duration> {
    let jittered = || RETRY_PAUSE.mul_f64(0.5 + fastrand::f64());
    match sent.as_ref().map_err(Attempted::send_error) {
        Err(Some(SendError::Connection(_))) => Some(jittered()),
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
            call(&pause, &*clock, deadline, attempt)
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
        let paused = Err(CallError::Paused(Duration::from_secs(20)));
        assert_eq!((answer(200, &[], 5).await, calls.get()), (paused, 0));
        clock.advance(Duration::from_secs(20));
        assert_eq!((answer(200, &[], 5).await, calls.get()), (Ok(200), 1));
    }
}
