//! Stage four: from a permitted caller's Entra token to an ACS token.

mod error;
mod key;
mod pause;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use tokio::time::Instant;

pub use self::error::ExchangeError;
pub use self::key::ExchangeKey;
use self::pause::Pause;
use crate::authorize::Permit;
use crate::cache;
use crate::clock::SharedClock;
use crate::secret::{AcsToken, BearerToken};
use crate::upstream::acs::{self, AcsExchange, Granted};
use crate::upstream::{Response, SendError, retry_after};

/// Pause before the one retry; jittered, so that replicas do not return together.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A 503 that asks for a longer wait is told to the caller instead of being retried.
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(1);

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
        let mut retried = false;
        loop {
            if let Some(retry_after) = self.pause.left() {
                return Err(ExchangeError::Limited { retry_after });
            }
            let sent = self.acs.send(token, deadline).await;
            if let Some(pause) = retry_pause(&sent, self.clock.now()).filter(|_| !retried)
                && Instant::now() + pause < deadline
            {
                retried = true;
                tracing::warn!(outcome = %told(&sent), "exchange failed, retrying once");
                tokio::time::sleep(pause).await;
                continue;
            }
            let outcome = self.read(sent, permit);
            if let Err(ExchangeError::Limited { retry_after }) = &outcome {
                self.pause.extend(*retry_after);
            }
            return outcome;
        }
    }

    fn read(&self, sent: Result<Response, SendError>, permit: &Permit) -> Result<IssuedToken, ExchangeError> {
        let now = self.clock.now();
        let granted = classify(sent, now)?;
        if granted.expires_on > now {
            Ok(IssuedToken { granted })
        } else if permit.caller().token_expires_on() <= now {
            Err(ExchangeError::TokenOver)
        } else {
            Err(ExchangeError::PastExpiry)
        }
    }
}

/// Whether, and after how long, to try once more: on a lost connection or a 503 only.
fn retry_pause(sent: &Result<Response, SendError>, now: Timestamp) -> Option<Duration> {
    let jittered = || RETRY_PAUSE.mul_f64(0.5 + fastrand::f64());
    match sent {
        Err(SendError::Connection(_)) => Some(jittered()),
        Ok(response) if response.status == StatusCode::SERVICE_UNAVAILABLE => {
            let asked = retry_after::read(&response.headers, now);
            asked
                .is_none_or(|asked| asked <= LONGEST_RETRY_PAUSE)
                .then(|| asked.unwrap_or_else(jittered))
        }
        Ok(_) | Err(SendError::Timeout | SendError::TooLarge(_)) => None,
    }
}

fn told(sent: &Result<Response, SendError>) -> String {
    match sent {
        Ok(response) => response.status.to_string(),
        Err(error) => error.to_string(),
    }
}

/// What ACS's answer means.
fn classify(sent: Result<Response, SendError>, now: Timestamp) -> Result<Granted, ExchangeError> {
    let response = sent.map_err(|error| match error {
        SendError::Connection(cause) => ExchangeError::Unavailable {
            cause,
            retry_after: retry_after::SHORTEST,
        },
        SendError::Timeout => ExchangeError::Timeout,
        SendError::TooLarge(limit) => ExchangeError::TooLarge(limit),
    })?;
    let asked = || retry_after::read(&response.headers, now).unwrap_or(retry_after::SHORTEST);
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

    #[expect(clippy::unnecessary_wraps, reason = "what `send` gives")]
    fn response(status: u16, headers: &[(&'static str, &str)], body: &str) -> Result<Response, SendError> {
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

    fn outcome(sent: Result<Response, SendError>) -> &'static str {
        match classify(sent, Timestamp::UNIX_EPOCH) {
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
        assert_eq!(outcome(Err(SendError::Connection(String::new()))), "unavailable");
        assert_eq!(outcome(Err(SendError::Timeout)), "timeout");
        assert_eq!(outcome(Err(SendError::TooLarge(1))), "invalid");
    }

    #[test]
    fn only_lost_connections_and_503_are_retried() {
        let retried = |sent| retry_pause(&sent, Timestamp::UNIX_EPOCH).is_some();
        assert!(retried(Err(SendError::Connection(String::new()))));
        assert!(retried(response(503, &[], "")));
        assert!(retried(response(503, &[("retry-after", "1")], "")));
        assert!(!retried(response(503, &[("retry-after", "2")], "")));
        assert!(!retried(Err(SendError::Timeout)));
        assert!(!retried(Err(SendError::TooLarge(1))));
        for status in [200, 302, 400, 401, 403, 404, 408, 429, 500, 502, 504] {
            assert!(!retried(response(status, &[], "")), "{status}");
        }
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
