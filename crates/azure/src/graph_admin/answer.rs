//! What Graph's answers to an administrator's calls mean.

use http::StatusCode;
use jiff::Timestamp;

use crate::azure_error::{AzureError, appended, read_error};
use crate::{Response, UpstreamFailure};

/// Why an operation did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// 401: the token is not accepted.
    #[error("Graph rejected the token{}", appended(.0.as_ref()))]
    Unauthorized(Option<AzureError>),
    /// 403: the token lacks a permission.
    #[error("Graph refused the operation{}", appended(.0.as_ref()))]
    Forbidden(Option<AzureError>),
    /// 404: the tenant has no such object.
    #[error("Graph knows no such object")]
    NotFound,
    /// Another 4xx.
    #[error("Graph answered {}{}", status.as_u16(), appended(error.as_ref()))]
    Refused {
        /// The status.
        status: StatusCode,
        /// What Graph says.
        error: Option<AzureError>,
    },
    /// The call failed in a way that is not Graph's own.
    #[error("{}", .0.describe("Graph", "this tenant"))]
    Upstream(UpstreamFailure),
}

impl AdminError {
    pub(super) fn invalid(fault: &str) -> Self {
        Self::Upstream(UpstreamFailure::invalid(fault))
    }
}

/// What a status other than success means.
pub(super) fn failure(response: &Response, now: Timestamp) -> AdminError {
    let error = || read_error(response);
    match response.status {
        StatusCode::UNAUTHORIZED => AdminError::Unauthorized(error()),
        StatusCode::FORBIDDEN => AdminError::Forbidden(error()),
        StatusCode::NOT_FOUND => AdminError::NotFound,
        status => match UpstreamFailure::from_response(response, now) {
            Some(failure) => AdminError::Upstream(failure),
            None if status.is_client_error() => AdminError::Refused { status, error: error() },
            None => AdminError::Upstream(UpstreamFailure::unavailable(response, now)),
        },
    }
}
