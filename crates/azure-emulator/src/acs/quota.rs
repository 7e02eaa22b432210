//! How many tokens a resource issues in a while; off until it is set.
//!
//! Over its limit ACS answers 429, and every request counts, refused ones and retries too.
//! <https://learn.microsoft.com/azure/communication-services/concepts/service-limits>

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base::clock::Clock as _;
use http::{StatusCode, header};
use serde_json::json;

use super::state::Acs;
use crate::clock::MovableClock;
use crate::lock::lock;

/// So many requests in any window of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    /// The most requests.
    pub(crate) requests: usize,
    /// The window.
    pub(crate) window: Duration,
}

/// It is no quota such as `500/30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`quota` must be \"off\" or a number of requests and a duration, such as \"500/30s\"")]
pub(crate) struct InvalidQuota;

impl Quota {
    /// Reads a quota as the broker's configuration writes its budget; `off` is none.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, InvalidQuota> {
        if text == "off" {
            return Ok(None);
        }
        let (requests, window) = text.split_once('/').ok_or(InvalidQuota)?;
        let requests = requests
            .parse()
            .ok()
            .filter(|requests| *requests > 0)
            .ok_or(InvalidQuota)?;
        let window = MovableClock::parse_advance(window)
            .ok()
            .filter(|window| !window.is_zero());
        let window = window.ok_or(InvalidQuota)?;
        Ok(Some(Self { requests, window }))
    }

    /// As it is read.
    pub(crate) fn text(quota: Option<Self>) -> String {
        quota.map_or_else(
            || "off".to_owned(),
            |quota| format!("{}/{}s", quota.requests, quota.window.as_secs_f64()),
        )
    }
}

/// The requests of the last window.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    state: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    quota: Option<Quota>,
    /// When each came, oldest first.
    requests: VecDeque<Duration>,
}

impl Counted {
    /// Another quota, with an empty window.
    pub(crate) fn set(&self, quota: Option<Quota>) {
        *lock(&self.state) = Window {
            quota,
            ..Window::default()
        };
    }

    pub(crate) fn quota(&self) -> Option<Quota> {
        lock(&self.state).quota
    }

    /// Counts a request; how long until there is room, if it is over the quota.
    fn take(&self, now: Duration) -> Result<(), Duration> {
        let mut state = lock(&self.state);
        let Some(quota) = state.quota else { return Ok(()) };
        while state.requests.front().is_some_and(|came| *came + quota.window <= now) {
            state.requests.pop_front();
        }
        state.requests.push_back(now);
        let over = state.requests.len().saturating_sub(quota.requests);
        if over == 0 {
            return Ok(());
        }
        // There is room for one once all but one less than the quota have left the window.
        let last = state.requests.get(over).copied().unwrap_or(now);
        Err((last + quota.window).saturating_sub(now))
    }
}

/// Answers 429 to what is over the quota.
pub(super) async fn hold(State(acs): State<Arc<Acs>>, request: Request, next: Next) -> Response {
    match acs.counted.take(acs.site.clock.monotonic()) {
        Ok(()) => next.run(request).await,
        Err(wait) => {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let message = "Too many requests. Please retry after some time.";
            let error = json!({"error": {"code": "TooManyRequests", "message": message}});
            let retry_after = [(header::RETRY_AFTER, seconds.max(1).to_string())];
            (StatusCode::TOO_MANY_REQUESTS, retry_after, Json(error)).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_over_the_quota_counts_too() {
        let counted = Counted::default();
        let seconds = Duration::from_secs;
        assert_eq!(counted.take(seconds(0)), Ok(()), "off");
        counted.set(Quota::parse("2/30s").unwrap());
        assert_eq!(counted.take(seconds(0)), Ok(()));
        assert_eq!(counted.take(seconds(10)), Ok(()));
        // Room for one when those of 0 s and 10 s have left.
        assert_eq!(counted.take(seconds(12)), Err(seconds(28)));
        assert_eq!(counted.take(seconds(40)), Ok(()));
        assert_eq!(counted.take(seconds(42)), Ok(()), "that of 12 s has left");
    }

    #[test]
    fn quotas_as_they_are_written() {
        for text in ["off", "500/30s", "1/0.5s"] {
            assert_eq!(Quota::text(Quota::parse(text).unwrap()), text);
        }
        assert_eq!(Quota::parse("500/1m").unwrap().unwrap().window, Duration::from_secs(60));
        for text in ["", "500", "0/30s", "500/0s", "-1/30s", "500/-30s", "500/soon"] {
            assert_eq!(Quota::parse(text), Err(InvalidQuota), "{text}");
        }
    }
}
