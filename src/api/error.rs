//! The only place with status codes and `error.code`s: from a typed cause to what the caller is told.
//!
//! Messages tell a front-end developer what to do next, and an attacker no more than the code does. The exact
//! cause goes to the log, by way of the response's extensions.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::admission::Overloaded;
use crate::authenticate::Rejection;
use crate::authorize::Denied;
use crate::exchange::ExchangeError;
use crate::ids::Scopes;
use crate::pipeline::{CallerIds, IssueError};

/// Everything that can become of a request instead of a token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// A malformed header, body or parameter.
    #[error("invalid request: {0}")]
    InvalidRequest(&'static str),
    /// No `api-version` on the ACS path.
    #[error("no api-version")]
    MissingApiVersion,
    /// An `api-version` that is not among `server.api_versions`.
    #[error("api-version `{0}` is not among server.api_versions")]
    UnsupportedApiVersion(crate::untrusted::Untrusted),
    /// No bearer token.
    #[error("no bearer token")]
    AuthenticationRequired,
    /// The token was refused, or could not be decided.
    #[error(transparent)]
    Token(Rejection),
    /// No assignment, or none loaded.
    #[error("{denied}: {caller}")]
    Denied {
        /// Why.
        denied: Denied,
        /// Who.
        caller: CallerIds,
    },
    /// The exchange failed.
    #[error("{error}: {caller}")]
    Exchange {
        /// Why.
        error: ExchangeError,
        /// For whom.
        caller: CallerIds,
    },
    /// RFC 6749 section 5.2: `unsupported_grant_type`.
    #[error("grant_type is not token-exchange")]
    UnsupportedGrantType,
    /// RFC 8693 section 2.2.2: `invalid_target`.
    #[error("resource or audience is not the ACS resource")]
    InvalidTarget,
    /// RFC 6749 section 5.2: `invalid_scope`.
    #[error("requested scope is not the token's, which is `{0}`")]
    InvalidScope(Scopes),
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
    /// The header section is over the limit.
    #[error("header section over the limit")]
    HeadersTooLarge,
    /// The body did not come in time.
    #[error("the body did not come in time")]
    RequestTimeout,
    /// The request's deadline passed while an upstream was asked.
    #[error("the request's deadline passed while an upstream was asked")]
    DeadlineExceeded,
    /// As many requests are being worked on as may be.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The broker is stopping.
    #[error("shutting down")]
    ShuttingDown,
    /// A bug of ours.
    #[error("internal error")]
    Internal,
}

impl From<IssueError> for ApiError {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::Overloaded(overloaded) => Self::Overloaded(overloaded),
            IssueError::Rejected(rejection) => Self::Token(rejection),
            IssueError::ScopeMismatch(scopes) => Self::InvalidScope(scopes),
            IssueError::Denied { denied, caller } => Self::Denied { denied, caller },
            IssueError::Exchange { error, caller } => Self::Exchange { error, caller },
            IssueError::DeadlineExceeded => Self::DeadlineExceeded,
        }
    }
}

/// What the caller is told of an [`ApiError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
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

/// `WWW-Authenticate: Bearer …`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// No credentials came, so no error is told (RFC 6750 section 3.1).
    NoToken,
    /// `error="invalid_token"`
    InvalidToken,
    /// `error="insufficient_scope"`
    InsufficientScope,
}

/// What is waited for is refreshed within seconds.
const SOON: Duration = Duration::from_secs(5);
const AT_ONCE: Duration = Duration::from_secs(1);

impl Told {
    const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
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

    const fn invalid_token(inner: &'static str, message: &'static str) -> Self {
        Self {
            inner: Some(inner),
            challenge: Some(Challenge::InvalidToken),
            ..Self::new(StatusCode::UNAUTHORIZED, "InvalidToken", message)
        }
    }

    const fn unavailable(code: &'static str, retry_after: Duration, message: &'static str) -> Self {
        Self {
            retry_after: Some(retry_after),
            oauth: "temporarily_unavailable",
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
        }
    }

    const fn upstream(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self {
            oauth: "server_error",
            ..Self::new(status, code, message)
        }
    }

    /// Whether the fault is the broker's or an upstream's, not the caller's.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.status.is_server_error()
    }

    /// The status of the RFC 6749 form: refusals are 400 (RFC 6749 section 5.2, RFC 8693 section 2.2.2), the rest
    /// keeps its own.
    #[must_use]
    pub fn oauth_status(&self) -> StatusCode {
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => StatusCode::BAD_REQUEST,
            status => status,
        }
    }
}

impl ApiError {
    /// What the caller is told.
    #[must_use]
    pub fn told(&self) -> Told {
        use StatusCode as S;
        match self {
            Self::InvalidRequest(message) => Told::new(S::BAD_REQUEST, "InvalidRequest", message),
            Self::MissingApiVersion => Told {
                target: Some("api-version"),
                ..Told::new(
                    S::BAD_REQUEST,
                    "MissingApiVersionParameter",
                    "Add the query parameter api-version, for example ?api-version=2025-03-02-preview.",
                )
            },
            Self::UnsupportedApiVersion(_) => Told {
                target: Some("api-version"),
                ..Told::new(
                    S::BAD_REQUEST,
                    "UnsupportedApiVersionValue",
                    "This api-version is not supported. Use 2025-03-02-preview, or ask the operator which ones are.",
                )
            },
            Self::AuthenticationRequired => Told {
                challenge: Some(Challenge::NoToken),
                ..Told::new(
                    S::UNAUTHORIZED,
                    "AuthenticationRequired",
                    "Send the signed-in user's Entra access token as `Authorization: Bearer <token>`.",
                )
            },
            Self::Token(rejection) => rejected(rejection),
            Self::Denied { denied, .. } => self::denied(*denied),
            Self::Exchange { error, .. } => exchange(error),
            Self::UnsupportedGrantType => Told {
                oauth: "unsupported_grant_type",
                target: Some("grant_type"),
                ..Told::new(
                    S::BAD_REQUEST,
                    "InvalidRequest",
                    "grant_type must be urn:ietf:params:oauth:grant-type:token-exchange.",
                )
            },
            Self::InvalidTarget => Told {
                oauth: "invalid_target",
                ..Told::new(
                    S::BAD_REQUEST,
                    "InvalidRequest",
                    "resource and audience, if given, must name the one ACS resource that this broker serves.",
                )
            },
            Self::InvalidScope(_) => Told {
                oauth: "invalid_scope",
                target: Some("scope"),
                ..Told::new(
                    S::BAD_REQUEST,
                    "InvalidRequest",
                    "scope, if given, must be exactly the scopes of the subject token.",
                )
            },
            Self::NotFound => Told::new(
                S::NOT_FOUND,
                "NotFound",
                "There is nothing here. Use POST /token or POST /access/entra/:exchangeAccessToken.",
            ),
            Self::MethodNotAllowed => Told::new(S::METHOD_NOT_ALLOWED, "MethodNotAllowed", "Use POST."),
            Self::PayloadTooLarge => Told::new(
                S::PAYLOAD_TOO_LARGE,
                "PayloadTooLarge",
                "The body may have 64 KiB at most.",
            ),
            Self::UnsupportedMediaType => Told::new(
                S::UNSUPPORTED_MEDIA_TYPE,
                "UnsupportedMediaType",
                "Send no body, or application/json; POST /token also takes application/x-www-form-urlencoded.",
            ),
            Self::HeadersTooLarge => Told::new(
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "HeadersTooLarge",
                "The header section may have 32 KiB at most.",
            ),
            Self::RequestTimeout => Told::new(
                S::REQUEST_TIMEOUT,
                "RequestTimeout",
                "The body did not come in time. Try again.",
            ),
            Self::DeadlineExceeded => upstream_timeout(),
            Self::Overloaded(_) => Told::unavailable(
                "Overloaded",
                AT_ONCE,
                "Too many requests at once. Try again after Retry-After.",
            ),
            Self::ShuttingDown => Told::unavailable("ShuttingDown", AT_ONCE, "This instance is stopping. Try again."),
            Self::Internal => internal(),
        }
    }

    /// The scopes to name in an `insufficient_scope` challenge are the policy's, not the cause's; everything else
    /// is in [`told`](Self::told).
    pub(crate) fn cause_of(response: &Response) -> Option<Arc<ApiError>> {
        response.extensions().get::<Arc<ApiError>>().cloned()
    }
}

/// The rendering needs to know the request; it happens in the outermost layer, from this extension.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.told().status.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

fn internal() -> Told {
    Told::upstream(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalError",
        "Something failed here. Try again, and report the x-ms-request-id if it stays.",
    )
}

fn upstream_timeout() -> Told {
    Told {
        oauth: "temporarily_unavailable",
        ..Told::upstream(
            StatusCode::GATEWAY_TIMEOUT,
            "UpstreamTimeout",
            "Azure did not answer in time. Try again.",
        )
    }
}

fn rejected(rejection: &Rejection) -> Told {
    match rejection {
        Rejection::Malformed(_) => {
            Told::invalid_token("Malformed", "The token is not a well-formed Entra access token.")
        }
        Rejection::UnsupportedAlgorithm(_) => {
            Told::invalid_token("UnsupportedAlgorithm", "The token must be signed with RS256.")
        }
        Rejection::UnknownTenant(_) => Told::invalid_token(
            "UnknownTenant",
            "Users of this tenant are not served here. Ask the operator to list the tenant.",
        ),
        Rejection::KeysUnavailable(_) => Told::unavailable(
            "KeysUnavailable",
            SOON,
            "The tenant's signing keys cannot be had right now. Try again after Retry-After.",
        ),
        Rejection::NoKeyId | Rejection::UnknownKey { .. } => Told::invalid_token(
            "UnknownKey",
            "The token was signed with a key that its tenant does not publish. Get a new token.",
        ),
        Rejection::InvalidSignature { .. } => {
            Told::invalid_token("InvalidSignature", "The token's signature is not valid.")
        }
        Rejection::MissingClaim(_) => Told::invalid_token(
            "MissingClaim",
            "The token lacks a claim that every Entra user token has.",
        ),
        Rejection::InvalidIssuer { .. } => {
            Told::invalid_token("InvalidIssuer", "The token's issuer is not its tenant's.")
        }
        Rejection::InvalidAudience(_) => Told::invalid_token(
            "InvalidAudience",
            "The token is for another API. Ask Entra for a token with the scopes that this broker requires.",
        ),
        Rejection::Expired { .. } => Told::invalid_token("Expired", "The token has expired. Get a new one."),
        Rejection::NotYetValid { .. } => {
            Told::invalid_token("NotYetValid", "The token is not valid yet. Check the clocks.")
        }
        Rejection::NotDelegated(_) => Told::invalid_token(
            "NotDelegated",
            "The token is not a user's. Sign a user in and send the access token, not an ID token or an app-only one.",
        ),
        Rejection::InsufficientScope(_) => Told {
            challenge: Some(Challenge::InsufficientScope),
            ..Told::new(
                StatusCode::FORBIDDEN,
                "InsufficientScope",
                "The token has none of the required scopes. Ask Entra for one of those in WWW-Authenticate.",
            )
        },
    }
}

fn denied(denied: Denied) -> Told {
    let not_assigned = |inner, message| Told {
        inner: Some(inner),
        ..Told::new(StatusCode::FORBIDDEN, "NotAssigned", message)
    };
    match denied {
        Denied::NotLoaded => Told::unavailable(
            "AssignmentsUnavailable",
            SOON,
            "The assignments are not loaded yet. Try again after Retry-After.",
        ),
        Denied::NoAssignment => not_assigned(
            "NoAssignment",
            "No assignment covers this user with this client app. Ask the operator for one.",
        ),
        Denied::GroupsUnknown => not_assigned(
            "GroupsUnknown",
            "Only a group's assignment could cover this user, and the token does not tell groups. Ask the operator.",
        ),
    }
}

fn exchange(error: &ExchangeError) -> Told {
    match error {
        ExchangeError::Rejected(_) => Told::invalid_token(
            "RejectedUpstream",
            "Azure Communication Services rejected the token. Get a new one.",
        ),
        ExchangeError::TokenOver => Told::invalid_token("Expired", "The token has expired. Get a new one."),
        ExchangeError::Forbidden(_) => Told::new(
            StatusCode::FORBIDDEN,
            "ExchangeForbidden",
            "Azure Communication Services refused this user with this client app. Ask the operator to assign him there.",
        ),
        ExchangeError::Limited { retry_after } => Told {
            inner: Some("UpstreamLimit"),
            retry_after: Some(*retry_after),
            oauth: "temporarily_unavailable",
            ..Told::new(
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequests",
                "Azure Communication Services limits this resource. Try again after Retry-After.",
            )
        },
        ExchangeError::Unavailable { retry_after, .. } => Told::unavailable(
            "UpstreamUnavailable",
            *retry_after,
            "Azure Communication Services is not available. Try again after Retry-After.",
        ),
        ExchangeError::Timeout => upstream_timeout(),
        ExchangeError::UnexpectedStatus { .. }
        | ExchangeError::NotAGrant(_)
        | ExchangeError::PastExpiry
        | ExchangeError::TooLarge(_) => Told::upstream(
            StatusCode::BAD_GATEWAY,
            "UpstreamInvalidResponse",
            "Azure Communication Services gave an answer that makes no sense. Report the x-ms-request-id.",
        ),
        ExchangeError::Lost(_) => internal(),
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
