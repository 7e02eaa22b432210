//! What callers get instead of a token: status, code, message and headers.

use std::time::Duration;

use http::StatusCode;

use base::ids::TenantId;

/// What the caller gets for an [`ApiError`](super::error::ApiError).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    /// HTTP status of the Azure form.
    pub status: StatusCode,
    /// `error.code` and `x-ms-error-code`.
    pub code: &'static str,
    /// `error.innererror.code`
    pub inner: Option<&'static str>,
    /// `error.message`: what to do next.
    pub message: &'static str,
    /// `error.target`
    pub target: Option<&'static str>,
    /// `Retry-After`
    pub retry_after: Option<Duration>,
    /// What `WWW-Authenticate` says (RFC 6750 section 3).
    pub challenge: Option<Challenge>,
    /// `error` of the RFC 6749 form.
    pub oauth: &'static str,
}

/// `WWW-Authenticate`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// No credentials came, so no error is named (RFC 6750 section 3.1).
    NoToken,
    /// `error="invalid_token"`
    InvalidToken,
    /// `error="insufficient_scope"`
    InsufficientScope,
    /// A client's own credentials came, where none are accepted (RFC 6749 section 5.2).
    ClientAuthentication,
    /// Another sign-in is wanted: `error="insufficient_claims"` with the claims request that Entra sent, a JSON object.
    /// Without one `error="invalid_token"`, since `insufficient_claims` must have `claims` (Microsoft identity
    /// platform, "Claims challenges").
    InsufficientClaims {
        /// The claims request.
        claims: Option<Box<str>>,
        /// The user's tenant, which says where to sign in.
        tenant: TenantId,
    },
}

/// `Retry-After` where another attempt may succeed at once.
pub(super) const AT_ONCE: Duration = Duration::from_secs(1);

impl ErrorResponse {
    pub(super) fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self {
            status,
            code,
            inner: None,
            message,
            target: None,
            retry_after: None,
            challenge: None,
            oauth: "invalid_request",
        }
    }

    pub(super) fn invalid_token(inner: &'static str, message: &'static str) -> Self {
        Self {
            inner: Some(inner),
            challenge: Some(Challenge::InvalidToken),
            ..Self::new(StatusCode::UNAUTHORIZED, "InvalidToken", message)
        }
    }

    pub(super) fn unavailable(code: &'static str, retry_after: Duration, message: &'static str) -> Self {
        Self {
            retry_after: Some(retry_after),
            oauth: "temporarily_unavailable",
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
        }
    }

    /// A failure of the broker or of a service that it calls.
    pub(super) fn server_error(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self {
            oauth: "server_error",
            ..Self::new(status, code, message)
        }
    }

    /// A bug of ours; the caller learns nothing of it.
    pub(super) fn internal() -> Self {
        Self::server_error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "Something failed here. Try again, and report the x-ms-request-id if it stays.",
        )
    }

    /// Whether the fault is the broker's or an upstream's, not the caller's.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.status.is_server_error()
    }

    /// Whether the rest of the body is still on its way, so that the connection cannot go on.
    #[must_use]
    pub fn leaves_body_unread(&self) -> bool {
        matches!(self.status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT)
    }

    /// The status of the RFC 6749 form: refusals of a subject token are 400 (RFC 6749 section 5.2, RFC 8693 section
    /// 2.2.2), the rest keeps its own.
    #[must_use]
    pub fn oauth_status(&self) -> StatusCode {
        match self.status {
            status if self.challenge == Some(Challenge::ClientAuthentication) => status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => StatusCode::BAD_REQUEST,
            status => status,
        }
    }
}
