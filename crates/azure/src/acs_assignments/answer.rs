//! What ACS's answers to assignment operations mean.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::acs_signing::{AccessKeyError, ServiceTokenError, SignedSendError};
use crate::azure_error::{AzureError, read_error};
use crate::redact::harmless;
use crate::{Response, SendError, UpstreamFailure};

/// Why an assignment operation did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentsError {
    /// There is no assignment of that object.
    #[error("ACS has no such assignment")]
    NotFound,
    /// ACS refused the broker's own credential.
    #[error("ACS refused the broker's own credential with {}{}", status.as_u16(), parenthesized(error.as_ref()))]
    Refused {
        /// 401 or 403.
        status: StatusCode,
        /// What ACS says.
        error: Option<AzureError>,
    },
    /// The call failed in a way that is not this operation's own.
    #[error("{}", described(.0))]
    Upstream(UpstreamFailure),
    /// Another status.
    #[error("ACS answered {}{}", status.as_u16(), parenthesized(error.as_ref()))]
    UnexpectedStatus {
        /// The status.
        status: StatusCode,
        /// What ACS says.
        error: Option<AzureError>,
    },
    /// Nothing could be signed.
    #[error(transparent)]
    AccessKey(AccessKeyError),
    /// There is no token of the broker's own.
    #[error(transparent)]
    ServiceToken(ServiceTokenError),
}

impl AssignmentsError {
    /// How long ACS asks to wait, if it does.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Upstream(UpstreamFailure::Limited { retry_after }) => Some(*retry_after),
            Self::Upstream(UpstreamFailure::Unavailable { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }
}

impl From<SignedSendError> for AssignmentsError {
    fn from(error: SignedSendError) -> Self {
        match error {
            SignedSendError::AccessKey(error) => Self::AccessKey(error),
            SignedSendError::ServiceToken(error) => Self::ServiceToken(error),
            SignedSendError::Send(error @ SendError::TooLarge(_)) => {
                invalid(format!("{error} (upstream.max_response_bytes)"))
            }
            SignedSendError::Send(error) => Self::Upstream(error.into()),
        }
    }
}

pub(super) fn invalid(fault: impl Into<String>) -> AssignmentsError {
    AssignmentsError::Upstream(UpstreamFailure::invalid(fault))
}

/// In words for the administrator who runs a command.
fn described(failure: &UpstreamFailure) -> String {
    match failure {
        UpstreamFailure::Limited { retry_after } => {
            format!("ACS limits its resource; it asks to wait {} s", retry_after.as_secs())
        }
        UpstreamFailure::Unavailable { cause, .. } => format!("ACS is away: {cause}"),
        UpstreamFailure::Timeout => "ACS did not answer in time".to_owned(),
        UpstreamFailure::InvalidResponse(fault) => format!("ACS's answer is not what the contract says: {fault}"),
    }
}

fn parenthesized(error: Option<&AzureError>) -> String {
    match error {
        Some(error) => format!(" ({}): {}", error.code, error.message),
        None => String::new(),
    }
}

/// The response, if its status is one of those hoped for.
pub(super) fn expect(
    response: Response,
    wanted: &[StatusCode],
    by_object: bool,
    now: Timestamp,
) -> Result<Response, AssignmentsError> {
    if wanted.contains(&response.status) {
        Ok(response)
    } else {
        Err(failure(&response, by_object, now))
    }
}

/// What a status other than those hoped for means. `by_object` where the address names an assignment, so that 404
/// is about that.
pub(super) fn failure(response: &Response, by_object: bool, now: Timestamp) -> AssignmentsError {
    let status = response.status;
    if let Some(failure) = UpstreamFailure::from_response(response, now) {
        return AssignmentsError::Upstream(failure);
    }
    let error = read_error(response);
    match status {
        StatusCode::NOT_FOUND if by_object => AssignmentsError::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => AssignmentsError::Refused { status, error },
        _ => AssignmentsError::UnexpectedStatus { status, error },
    }
}

/// Reads JSON of an answer.
pub(super) fn read<T: DeserializeOwned>(response: &Response) -> Result<T, AssignmentsError> {
    if !response.is_json() {
        return Err(invalid("content type is not application/json"));
    }
    // The message can quote what it found.
    serde_json::from_slice(&response.body).map_err(|error| invalid(harmless(&error.to_string()).to_string()))
}

/// Ids and names are always JSON.
pub(super) fn write(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
