//! Stage four: from a permitted caller's Entra token to an ACS token.

mod error;
mod key;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use tokio::time::Instant;

pub use self::error::ExchangeError;
pub use self::key::ExchangeKey;
use crate::authorize::Permit;
use crate::cache;
use crate::clock::SharedClock;
use crate::secret::{AcsToken, BearerToken};
use crate::upstream::acs::{self, AcsExchange, Granted};
use crate::upstream::pause::Pause;
use crate::upstream::retry::{self, CallError};
use crate::upstream::{Response, SendError, retry_after};

/// An ACS access token with its identity: what callers get.
#[derive(Debug)]
pub struct IssuedToken {
    granted: Granted,
}

impl IssuedToken {
    /// The ACS identity (`identity.id`).
    #[must_use]
    pub fn identity_id(&self) -> &str {
        &self.granted.identity_id
    }

    /// The token.
    #[must_use]
    pub fn token(&self) -> &AcsToken {
        &self.granted.token
    }

    /// When it ends, as ACS wrote it.
    #[must_use]
    pub fn expires_on_text(&self) -> &str {
        &self.granted.expires_on_text
    }
}

impl cache::Token for IssuedToken {
    fn expires_on(&self) -> Timestamp {
        self.granted.expires_on
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.granted.identity_id.len()
            + self.granted.token.expose().len()
            + self.granted.expires_on_text.len()
    }
}

/// Exchanges tokens at one ACS resource.
pub struct Exchanger {
    acs: AcsExchange,
    endpoint: Arc<str>,
    timeout: Duration,
    pause: Pause,
    clock: SharedClock,
}

impl Exchanger {
    /// An exchanger that sends the caller's token as it is to `acs` at `endpoint`; one exchange in all takes at
    /// most `timeout`.
    #[must_use]
    pub fn passthrough(acs: AcsExchange, endpoint: &str, timeout: Duration, clock: SharedClock) -> Self {
        Self {
            acs,
            endpoint: endpoint.into(),
            timeout,
            pause: Pause::new(Arc::clone(&clock)),
            clock,
        }
    }

    /// The key under which the outcome for `permit` is cached.
    #[must_use]
    pub fn key(&self, permit: &Permit) -> ExchangeKey {
        ExchangeKey::new(permit, &self.endpoint)
    }

    /// Exchanges the token that `permit` was given for. `deadline` is that of the request that waits, if one does.
    pub async fn exchange(
        &self,
        permit: &Permit,
        token: &BearerToken,
        deadline: Option<Instant>,
    ) -> Result<IssuedToken, ExchangeError> {
        let limit = Instant::now() + self.timeout;
        let deadline = deadline.map_or(limit, |deadline| deadline.min(limit));
        let attempt = || self.acs.send(token, deadline);
        let called = retry::call(&self.pause, &*self.clock, deadline, attempt).await;
        self.read(called, permit)
    }

    fn read(&self, called: Result<Response, CallError>, permit: &Permit) -> Result<IssuedToken, ExchangeError> {
        let now = self.clock.now();
        let granted = classify(called, now)?;
        if granted.expires_on > now {
            Ok(IssuedToken { granted })
        } else if permit.caller().token_expires_on() <= now {
            Err(ExchangeError::TokenOver)
        } else {
            Err(ExchangeError::PastExpiry)
        }
    }
}

/// What ACS's answer means.
fn classify(called: Result<Response, CallError>, now: Timestamp) -> Result<Granted, ExchangeError> {
    let response = called.map_err(|error| match error {
        CallError::Paused(retry_after) => ExchangeError::Limited { retry_after },
        CallError::Send(SendError::Connection(cause)) => ExchangeError::Unavailable {
            cause,
            retry_after: retry_after::SHORTEST,
        },
        CallError::Send(SendError::Timeout) => ExchangeError::Timeout,
        CallError::Send(SendError::TooLarge(limit)) => ExchangeError::TooLarge(limit),
    })?;
    let asked = || response.asks_to_wait(now);
    match response.status {
        StatusCode::OK => acs::read_grant(&response).map_err(ExchangeError::NotAGrant),
        StatusCode::UNAUTHORIZED => Err(ExchangeError::Rejected(acs::read_error(&response))),
        StatusCode::FORBIDDEN => Err(ExchangeError::Forbidden(acs::read_error(&response))),
        StatusCode::TOO_MANY_REQUESTS => Err(ExchangeError::Limited { retry_after: asked() }),
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => {
            Err(ExchangeError::Unavailable {
                cause: format!("status {}", response.status.as_u16()),
                retry_after: asked(),
            })
        }
        StatusCode::GATEWAY_TIMEOUT => Err(ExchangeError::Timeout),
        status => Err(ExchangeError::UnexpectedStatus {
            status,
            error: acs::read_error(&response),
        }),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "what a call gives")]
    fn response(status: u16, headers: &[(&'static str, &str)], body: &str) -> Result<Response, CallError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Ok(Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: map,
            body: body.to_owned().into(),
        })
    }

    fn outcome(called: Result<Response, CallError>) -> &'static str {
        match classify(called, Timestamp::UNIX_EPOCH) {
            Ok(_) => "granted",
            Err(ExchangeError::Rejected(_)) => "rejected",
            Err(ExchangeError::Forbidden(_)) => "forbidden",
            Err(ExchangeError::Limited { .. }) => "limited",
            Err(ExchangeError::Unavailable { .. }) => "unavailable",
            Err(ExchangeError::Timeout) => "timeout",
            Err(ExchangeError::UnexpectedStatus { .. } | ExchangeError::NotAGrant(_) | ExchangeError::TooLarge(_)) => {
                "invalid"
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn each_answer_has_one_meaning() {
        for (status, meaning) in [
            (201, "invalid"),
            (204, "invalid"),
            (301, "invalid"),
            (307, "invalid"),
            (400, "invalid"),
            (401, "rejected"),
            (403, "forbidden"),
            (404, "invalid"),
            (409, "invalid"),
            (429, "limited"),
            (500, "unavailable"),
            (501, "invalid"),
            (502, "unavailable"),
            (503, "unavailable"),
            (504, "timeout"),
        ] {
            assert_eq!(outcome(response(status, &[], "<html>")), meaning, "{status}");
        }
        let json = [("content-type", "application/json")];
        let body = r#"{"identity":{"id":"i"},"accessToken":{"token":"t","expiresOn":"2030-01-01T00:00:00Z"}}"#;
        assert_eq!(outcome(response(200, &json, body)), "granted");
        assert_eq!(outcome(response(200, &[], body)), "invalid");
        assert_eq!(outcome(Err(SendError::Connection(String::new()).into())), "unavailable");
        assert_eq!(outcome(Err(SendError::Timeout.into())), "timeout");
        assert_eq!(outcome(Err(SendError::TooLarge(1).into())), "invalid");
    }

    #[test]
    fn a_limit_always_says_how_long() {
        for (headers, seconds) in [
            (&[][..], 1),
            (&[("retry-after", "20")][..], 20),
            (&[("retry-after", "9999")][..], 300),
        ] {
            assert_eq!(
                classify(response(429, headers, ""), Timestamp::UNIX_EPOCH).unwrap_err(),
                ExchangeError::Limited {
                    retry_after: Duration::from_secs(seconds)
                }
            );
        }
    }
}
