//! How a call fails at any upstream, and which statuses say so.
//!
//! Each peer's own error has this as one variant, and further variants for what only its contract says.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;

use super::retry::{CallError, Withheld};
use super::{Response, SendError, retry_after};

/// A call that failed in a way that every upstream knows.
#[derive(Debug, Clone, PartialEq, Eq, strum::EnumCount)]
pub enum UpstreamFailure {
    /// Too many requests (429), now or a moment ago.
    Limited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The upstream cannot be reached, or cannot serve now (500, 502, 503).
    Unavailable {
        /// What was seen.
        cause: String,
        /// How long it asks to wait, if it says.
        retry_after: Option<Duration>,
    },
    /// No complete answer in time, by the broker's clock or by a 504.
    Timeout,
    /// An answer that the contract does not name.
    InvalidResponse(String),
}

impl UpstreamFailure {
    /// The failure that the status names at every upstream; `None` where the contract of the operation decides.
    #[must_use]
    pub fn from_response(response: &Response, now: Timestamp) -> Option<Self> {
        match response.status {
            StatusCode::TOO_MANY_REQUESTS => Some(Self::limited(response, now)),
            StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => {
                Some(Self::unavailable(response, now))
            }
            StatusCode::GATEWAY_TIMEOUT => Some(Self::Timeout),
            _ => None,
        }
    }

    pub(super) fn limited(response: &Response, now: Timestamp) -> Self {
        let retry_after = response.asks_to_wait(now);
        Self::Limited { retry_after }
    }

    pub(super) fn unavailable(response: &Response, now: Timestamp) -> Self {
        Self::Unavailable {
            cause: format!("status {}", response.status.as_u16()),
            retry_after: retry_after::read(&response.headers, now),
        }
    }

    pub(super) fn invalid(fault: impl Into<String>) -> Self {
        Self::InvalidResponse(fault.into())
    }

    /// The failure for messages: `peer` is who failed, `limited` is what that peer limits.
    #[must_use]
    pub fn describe(&self, peer: &str, limited: &str) -> String {
        match self {
            Self::Limited { retry_after } => format!("{peer} limits {limited} for {}s", retry_after.as_secs()),
            Self::Unavailable { cause, .. } => format!("{peer} is unavailable: {cause}"),
            Self::Timeout => format!("no answer from {peer} in time"),
            Self::InvalidResponse(fault) => format!("{peer} broke its contract: {fault}"),
        }
    }

    /// The same failure, explained by `text` where it has an explanation.
    #[must_use]
    pub fn explained(self, text: String) -> Self {
        match self {
            Self::Unavailable { retry_after, .. } => Self::Unavailable {
                cause: text,
                retry_after,
            },
            Self::InvalidResponse(_) => Self::InvalidResponse(text),
            other => other,
        }
    }
}

impl From<SendError> for UpstreamFailure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NotConnected(cause) | SendError::Connection(cause) => Self::Unavailable {
                cause,
                retry_after: None,
            },
            SendError::Timeout => Self::Timeout,
            SendError::TooLarge(_) => Self::InvalidResponse(error.to_string()),
        }
    }
}

impl From<CallError> for UpstreamFailure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Withheld(withheld) => withheld.into(),
            CallError::Send(error) => error.into(),
        }
    }
}

impl From<Withheld> for UpstreamFailure {
    fn from(withheld: Withheld) -> Self {
        match withheld {
            Withheld::Paused(retry_after) => Self::Limited { retry_after },
            Withheld::CircuitOpen(retry_after) => Self::Unavailable {
                cause: withheld.to_string(),
                retry_after: Some(retry_after),
            },
        }
    }
}
