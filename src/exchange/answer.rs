//! What ACS's answers mean.

use http::StatusCode;
use jiff::Timestamp;

use super::ExchangeError;
use azure::acs::{self, Granted};
use azure::acs_identities;
use azure::acs_signing::SignedSendError;
use azure::acs_teams_users;
use azure::azure_error::{appended, read_error};
use azure::retry::CallError;
use azure::{Response, UpstreamFailure};

/// The answer to an exchange: 401 and 403 are about the caller's token.
pub(super) fn from_exchange(called: Result<Response, CallError>, now: Timestamp) -> Result<Granted, ExchangeError> {
    let response = called?;
    match response.status {
        StatusCode::OK => read_grant(&response),
        StatusCode::UNAUTHORIZED => Err(ExchangeError::Rejected(read_error(&response))),
        StatusCode::FORBIDDEN => Err(ExchangeError::Forbidden(read_error(&response))),
        _ => Err(from_status(&response, now)),
    }
}

/// The answer to a request in the broker's own name: 401 and 403 are about its key or its app, and nothing in it is the
/// caller's.
pub(super) fn from_identity_request(
    called: Result<Response, CallError<SignedSendError>>,
    now: Timestamp,
) -> Result<Granted, ExchangeError> {
    let response = called?;
    match response.status {
        status if acs_identities::is_grant(status) => read_grant(&response),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            let said = appended(read_error(&response).as_ref());
            let status = status.as_u16();
            Err(ExchangeError::BrokerRejected(format!(
                "ACS answered {status} to the credential of exchange.identity{said}"
            )))
        }
        _ => Err(from_status(&response, now)),
    }
}

/// The answer to a Teams user's exchange: a 401 is about the user's token, unless ACS refuses what shows who asks.
pub(super) fn from_teams_user_exchange(
    called: Result<Response, CallError<SignedSendError>>,
    identity: &str,
    now: Timestamp,
) -> Result<Granted, ExchangeError> {
    let response = called?;
    match response.status {
        StatusCode::OK => acs::read_access_token(&response, identity).map_err(ExchangeError::Upstream),
        StatusCode::UNAUTHORIZED if acs_teams_users::is_denied(&response) => {
            let said = appended(read_error(&response).as_ref());
            Err(ExchangeError::BrokerRejected(format!(
                "ACS answered 401 to the credential of exchange.teams_user{said}"
            )))
        }
        StatusCode::UNAUTHORIZED => Err(ExchangeError::Rejected(read_error(&response))),
        StatusCode::FORBIDDEN => Err(ExchangeError::Forbidden(read_error(&response))),
        _ => Err(from_status(&response, now)),
    }
}

fn read_grant(response: &Response) -> Result<Granted, ExchangeError> {
    acs::read_grant(response).map_err(ExchangeError::Upstream)
}

/// Statuses that mean the same for every request.
fn from_status(response: &Response, now: Timestamp) -> ExchangeError {
    UpstreamFailure::from_response(response, now).map_or_else(
        || {
            let said = appended(read_error(response).as_ref());
            ExchangeError::InvalidResponse(format!("ACS answered {}{said}", response.status))
        },
        ExchangeError::Upstream,
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;

    use super::*;
    use azure::SendError;

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
        match from_exchange(called, Timestamp::UNIX_EPOCH) {
            Ok(_) => "granted",
            Err(ExchangeError::Rejected(_)) => "rejected",
            Err(ExchangeError::Forbidden(_)) => "forbidden",
            Err(ExchangeError::Upstream(UpstreamFailure::Limited { .. })) => "limited",
            Err(ExchangeError::Upstream(UpstreamFailure::Unavailable { .. })) => "unavailable",
            Err(ExchangeError::Upstream(UpstreamFailure::Timeout)) => "timeout",
            Err(ExchangeError::Upstream(UpstreamFailure::InvalidResponse(_)) | ExchangeError::InvalidResponse(_)) => {
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
    fn each_answer_to_a_teams_users_exchange_has_one_meaning() {
        let json = [("content-type", "application/json")];
        let denied = r#"{"error":{"code":"Denied","message":"m"}}"#;
        let refused = r#"{"error":{"code":"Unauthorized","message":"m"}}"#;
        let grant = r#"{"token":"t","expiresOn":"2030-01-01T00:00:00Z"}"#;
        for (status, body, meaning) in [
            (200, grant, "granted"),
            (200, r#"{"token":"t"}"#, "acs_invalid_response"),
            (200, r#"{"expiresOn":"2030-01-01T00:00:00Z"}"#, "acs_invalid_response"),
            (400, refused, "acs_invalid_response"),
            (401, refused, "acs_unauthorized"),
            (401, "", "acs_unauthorized"),
            (401, denied, "broker_refused"),
            (403, refused, "acs_forbidden"),
            (404, refused, "acs_invalid_response"),
            (429, "", "acs_limited"),
            (500, "", "acs_unavailable"),
            (503, "", "acs_unavailable"),
            (504, "", "acs_timeout"),
        ] {
            let called = response(status, &json, body).map_err(|_| unreachable!());
            let outcome = from_teams_user_exchange(called, "8:orgid:1", Timestamp::UNIX_EPOCH);
            let found = outcome.as_ref().map_or_else(ExchangeError::name, |granted| {
                assert_eq!(&*granted.identity_id, "8:orgid:1");
                "granted"
            });
            assert_eq!(found, meaning, "{status} {body}");
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
                from_exchange(response(429, headers, ""), Timestamp::UNIX_EPOCH).unwrap_err(),
                ExchangeError::Upstream(UpstreamFailure::Limited {
                    retry_after: Duration::from_secs(seconds)
                })
            );
        }
    }
}
