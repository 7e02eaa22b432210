//! Why a request gets no token. With `issue_error`, the only place with status codes and
//! `error.code`s: from a typed cause to what the caller gets.
//!
//! Messages say what a front-end developer can do next, and no more to an attacker than the code does. The exact
//! cause goes to the log, by way of the response's extensions.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::error_response::{AT_ONCE, Challenge, ErrorResponse};
use super::issue_error;
use crate::admission::Overloaded;
use crate::pipeline::IssueError;
use base::untrusted::Untrusted;

/// Why a request gets no token.
#[derive(Debug, Clone, thiserror::Error)]
#[cfg_attr(test, derive(strum::EnumCount))]
pub enum ApiError {
    /// A malformed header, body or parameter.
    #[error("invalid request: {0}")]
    InvalidRequest(&'static str),
    /// No `api-version` on the ACS path.
    #[error("no api-version")]
    MissingApiVersion,
    /// An `api-version` that is not among `server.api_versions`, or `server.teams_api_versions` on that path.
    #[error("api-version `{version}` is not among server.{setting}")]
    UnsupportedApiVersion {
        /// The version.
        version: Untrusted,
        /// The setting that lists those of the path.
        setting: &'static str,
    },
    /// No bearer token.
    #[error("no bearer token")]
    AuthenticationRequired,
    /// The pipeline issued no token.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// RFC 6749 section 5.2: `invalid_client`.
    #[error("a client's own credentials beside the form")]
    InvalidClient,
    /// RFC 6749 section 5.2: `unsupported_grant_type`.
    #[error("grant_type is not token-exchange")]
    UnsupportedGrantType,
    /// RFC 8693 section 2.2.2: `invalid_target`.
    #[error("resource or audience names no ACS resource served here")]
    InvalidTarget,
    /// No such path.
    #[error("no such path")]
    NotFound,
    /// A path of ours, with a method that it does not have.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The body is over the limit.
    #[error("body over the limit")]
    PayloadTooLarge,
    /// A body of a kind that the path does not take.
    #[error("unsupported media type")]
    UnsupportedMediaType,
    /// A body that is no form, where nothing else is accepted.
    #[error("unsupported media type")]
    FormRequired,
    /// The header section has too many bytes or fields.
    #[error("header section over the limit")]
    HeadersTooLarge,
    /// The body did not come in time.
    #[error("the body did not come in time")]
    RequestTimeout,
    /// The broker is stopping.
    #[error("shutting down")]
    ShuttingDown,
    /// A bug of ours.
    #[error("internal error")]
    Internal,
}

impl From<Overloaded> for ApiError {
    fn from(overloaded: Overloaded) -> Self {
        IssueError::from(overloaded).into()
    }
}

impl ApiError {
    /// What the caller gets.
    #[must_use]
    pub fn response(&self) -> ErrorResponse {
        use StatusCode as S;
        match self {
            Self::InvalidRequest(message) => ErrorResponse::new(S::BAD_REQUEST, "InvalidRequest", message),
            Self::MissingApiVersion => ErrorResponse {
                target: Some("api-version"),
                ..ErrorResponse::new(
                    S::BAD_REQUEST,
                    "MissingApiVersionParameter",
                    "Add the query parameter api-version, for example ?api-version=2025-03-02-preview.",
                )
            },
            Self::UnsupportedApiVersion { .. } => ErrorResponse {
                target: Some("api-version"),
                ..ErrorResponse::new(
                    S::BAD_REQUEST,
                    "UnsupportedApiVersionValue",
                    "This api-version is not supported here. Use 2025-03-02-preview, or 2025-06-30 for the Teams Phone extension.",
                )
            },
            Self::AuthenticationRequired => ErrorResponse {
                challenge: Some(Challenge::NoToken),
                ..ErrorResponse::new(
                    S::UNAUTHORIZED,
                    "AuthenticationRequired",
                    "Send the signed-in user's Entra access token as `Authorization: Bearer <token>`.",
                )
            },
            Self::Issue(error) => issue_error::response(error),
            Self::InvalidClient => ErrorResponse {
                oauth: "invalid_client",
                challenge: Some(Challenge::ClientAuthentication),
                ..ErrorResponse::new(
                    S::UNAUTHORIZED,
                    "InvalidRequest",
                    "No client is authenticated here. Choose the client authentication method none.",
                )
            },
            Self::UnsupportedGrantType => ErrorResponse {
                oauth: "unsupported_grant_type",
                target: Some("grant_type"),
                ..ErrorResponse::new(
                    S::BAD_REQUEST,
                    "InvalidRequest",
                    "grant_type must be urn:ietf:params:oauth:grant-type:token-exchange.",
                )
            },
            Self::InvalidTarget => ErrorResponse {
                oauth: "invalid_target",
                ..ErrorResponse::new(
                    S::BAD_REQUEST,
                    "InvalidRequest",
                    "resource and audience, if given, must name one ACS resource that this broker serves.",
                )
            },
            Self::NotFound => ErrorResponse::new(
                S::NOT_FOUND,
                "NotFound",
                "There is nothing here. Use POST /token or POST /access/entra/:exchangeAccessToken.",
            ),
            Self::MethodNotAllowed => ErrorResponse::new(S::METHOD_NOT_ALLOWED, "MethodNotAllowed", "Use POST."),
            Self::PayloadTooLarge => ErrorResponse::new(
                S::PAYLOAD_TOO_LARGE,
                "PayloadTooLarge",
                "The body may have 64 KiB at most.",
            ),
            Self::UnsupportedMediaType => ErrorResponse::new(
                S::UNSUPPORTED_MEDIA_TYPE,
                "UnsupportedMediaType",
                "Send no body, or application/json; POST /token also takes application/x-www-form-urlencoded.",
            ),
            Self::FormRequired => ErrorResponse::new(
                S::UNSUPPORTED_MEDIA_TYPE,
                "UnsupportedMediaType",
                "Send application/x-www-form-urlencoded.",
            ),
            Self::HeadersTooLarge => ErrorResponse::new(
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "HeadersTooLarge",
                "The header section may have 32 KiB and 100 fields at most.",
            ),
            Self::RequestTimeout => ErrorResponse::new(
                S::REQUEST_TIMEOUT,
                "RequestTimeout",
                "The body did not come in time. Try again.",
            ),
            Self::ShuttingDown => {
                ErrorResponse::unavailable("ShuttingDown", AT_ONCE, "This instance is stopping. Try again.")
            }
            Self::Internal => ErrorResponse::internal(),
        }
    }

    /// The error that a response stands for, if it does.
    pub(crate) fn cause_of(response: &Response) -> Option<Arc<ApiError>> {
        response.extensions().get::<Arc<ApiError>>().cloned()
    }
}

/// The rendering needs to know the request; it happens in the outermost layer, from this extension.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.response().status.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
