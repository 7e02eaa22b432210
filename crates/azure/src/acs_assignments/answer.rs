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
use crate::{Response, SendError, retry_after};

/// Why an assignment operation did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentsError {
    /// There is no assignment of that object.
    #[error("ACS has no such assignment")]
    NotFound,
    /// ACS refused the broker's own credential.
    #[error("ACS refused the broker's own credential with {}{}", status.as_u16(), told(error.as_ref()))]
    Refused {
        /// 401 or 403.
        status: StatusCode,
        /// What ACS says.
        error: Option<AzureError>,
    },
    /// ACS limits the resource.
    #[error("ACS limits its resource; it asks to wait {} s", retry_after.as_secs())]
    Limited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// ACS is away.
    #[error("ACS is away: {cause}")]
    Unavailable {
        /// What happened.
        cause: String,
        /// How long ACS asks to wait, if it says.
        retry_after: Option<Duration>,
    },
    /// No answer in time.
    #[error("ACS did not answer in time")]
    Timeout,
    /// The answer is not what the contract says.
    #[error("ACS's answer is not what the contract says: {0}")]
    InvalidResponse(String),
    /// Another status.
    #[error("ACS answered {}{}", status.as_u16(), told(error.as_ref()))]
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
            Self::Limited { retry_after } => Some(*retry_after),
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<SignedSendError> for AssignmentsError {
    fn from(error: SignedSendError) -> Self {
        match error {
            SignedSendError::AccessKey(error) => Self::AccessKey(error),
            SignedSendError::ServiceToken(error) => Self::ServiceToken(error),
            SignedSendError::Send(SendError::Connection(cause)) => Self::Unavailable {
                cause,
                retry_after: None,
            },
            SignedSendError::Send(SendError::Timeout) => Self::Timeout,
            SignedSendError::Send(error @ SendError::TooLarge(_)) => {
                Self::InvalidResponse(format!("{error} (upstream.max_response_bytes)"))
            }
        }
    }
}

fn told(error: Option<&AzureError>) -> String {
    match error {
        Some(error) => format!(" ({}): {}", error.code, error.message),
        None => String::new(),
    }
}

/// What a status other than those hoped for means. `by_object` where the address names an assignment, so that 404
/// is about that.
pub(super) fn failure(response: &Response, by_object: bool, now: Timestamp) -> AssignmentsError {
    let status = response.status;
    let asked = retry_after::read(&response.headers, now);
    match status {
        StatusCode::NOT_FOUND if by_object => AssignmentsError::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => AssignmentsError::Refused {
            status,
            error: read_error(response),
        },
        StatusCode::TOO_MANY_REQUESTS => AssignmentsError::Limited {
            retry_after: asked.unwrap_or(retry_after::SHORTEST),
        },
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => {
            AssignmentsError::Unavailable {
                cause: format!("status {}", status.as_u16()),
                retry_after: asked,
            }
        }
        StatusCode::GATEWAY_TIMEOUT => AssignmentsError::Timeout,
        _ => AssignmentsError::UnexpectedStatus {
            status,
            error: read_error(response),
        },
    }
}

/// Reads JSON of an answer.
pub(super) fn read<T: DeserializeOwned>(response: &Response) -> Result<T, AssignmentsError> {
    let invalid = AssignmentsError::InvalidResponse;
    if !response.is_json() {
        return Err(invalid("content type is not application/json".to_owned()));
    }
    // The message can quote what it found.
    serde_json::from_slice(&response.body).map_err(|error| invalid(harmless(&error.to_string()).to_string()))
}

/// Ids and names are always JSON.
pub(super) fn write(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
