//! Why an exchange brought no token.

use std::fmt;
use std::time::Duration;

use crate::admission::Overloaded;
use crate::cache::RefusalScope;
use crate::cache::flight::Lost;
use azure::SendError;
use azure::acs_signing::{ServiceTokenError, SignedSendError};
use azure::azure_error::{AzureError, appended};
use azure::credential::{AppError, CredentialError, ManagedIdentityError};
use azure::entra::EntraError;
use azure::retry::CallError;
use azure::retry_after;

/// A failed exchange: one variant per distinct cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// ACS answered 401 to the caller's token.
    #[error("ACS rejected the Entra token{}", appended(.0.as_ref()))]
    Rejected(Option<AzureError>),
    /// ACS answered 403.
    #[error("ACS refused this caller{}", appended(.0.as_ref()))]
    Forbidden(Option<AzureError>),
    /// The presented token has expired; only the clock skew let it in.
    #[error("the Entra token ended before ACS's token would begin")]
    TokenExpired,
    /// Entra refused the user's token, or the user.
    #[error("on behalf of the caller: {0}")]
    OnBehalfOf(EntraError),
    /// ACS or Entra gave nothing, for a reason that is not the caller's.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The assignment that covers the caller allows nothing that this resource grants.
    #[error("the assignment that covers this user allows none of exchange.identity.scopes")]
    NoScope,
    /// The token is for another API than this resource's mode takes.
    #[error("the token is for another API than this resource takes")]
    WrongAudience,
    /// The path is that of another exchange than this resource makes.
    #[error("the path is that of another exchange than this resource makes")]
    WrongPath,
    /// The limit on exchanges in flight is reached.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// A bug of ours.
    #[error(transparent)]
    Lost(#[from] Lost),
}

/// A service of Azure's gave nothing, for a reason that is not the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamError {
    /// What it means for the caller.
    pub failure: UpstreamFailure,
    /// Its name in spans and metrics, with the service's: of low cardinality.
    name: &'static str,
    /// What the operator reads.
    text: Box<str>,
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for UpstreamError {}

/// What can be wrong at a service of Azure's, whichever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// The broker's own credential cannot be used, or was refused.
    BrokerRejected,
    /// Too many requests, now or a moment ago.
    Limited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// It cannot serve now.
    Unavailable {
        /// How long to wait.
        retry_after: Duration,
    },
    /// No answer in time, by our clock or by the service's 504.
    Timeout,
    /// An answer that its contract does not name.
    InvalidResponse,
}

impl ExchangeError {
    fn upstream(failure: UpstreamFailure, name: &'static str, text: impl fmt::Display) -> Self {
        let text = text.to_string().into();
        Self::Upstream(UpstreamError { failure, name, text })
    }

    /// ACS answered 429, now or a moment ago.
    pub(crate) fn acs_limited(retry_after: Duration) -> Self {
        let text = format_args!("ACS limits this resource for {}s", retry_after.as_secs());
        Self::upstream(UpstreamFailure::Limited { retry_after }, "acs_limited", text)
    }

    /// ACS cannot serve now. `cause` is what was seen.
    pub(crate) fn acs_unavailable(cause: impl fmt::Display, retry_after: Duration) -> Self {
        let text = format_args!("ACS is unavailable: {cause}");
        Self::upstream(UpstreamFailure::Unavailable { retry_after }, "acs_unavailable", text)
    }

    /// No answer from ACS in time, by our clock or by its 504.
    pub(crate) fn acs_timeout() -> Self {
        Self::upstream(UpstreamFailure::Timeout, "acs_timeout", "no answer from ACS in time")
    }

    /// ACS's answer is none that its contract names.
    pub(crate) fn acs_invalid_response(text: impl fmt::Display) -> Self {
        Self::upstream(UpstreamFailure::InvalidResponse, "acs_invalid_response", text)
    }

    /// The broker's own credential cannot be used, or was refused.
    pub(crate) fn broker_rejected(cause: impl fmt::Display) -> Self {
        let text = format_args!("the broker's own credential: {cause}");
        Self::upstream(UpstreamFailure::BrokerRejected, "broker_refused", text)
    }

    /// Its name in spans: of low cardinality.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rejected(_) => "acs_unauthorized",
            Self::Forbidden(_) => "acs_forbidden",
            Self::TokenExpired => "token_over",
            Self::OnBehalfOf(error) => error.name(),
            Self::Upstream(error) => error.name,
            Self::NoScope => "not_assigned",
            Self::WrongAudience => "wrong_audience",
            Self::WrongPath => "wrong_path",
            Self::Overloaded(_) => "overloaded",
            Self::Lost(_) => "internal",
        }
    }

    /// What it refuses, if it is a refusal that another attempt would meet again.
    pub(crate) fn refusal_scope(&self) -> Option<RefusalScope> {
        match self {
            Self::Rejected(_) | Self::TokenExpired => Some(RefusalScope::Token),
            Self::Forbidden(_) => Some(RefusalScope::User),
            // What Entra refuses now it refuses to that very token, and so it does what was obtained with it.
            Self::OnBehalfOf(_) => Some(RefusalScope::Session),
            _ => None,
        }
    }
}

impl<E: Into<ExchangeError>> From<CallError<E>> for ExchangeError {
    fn from(error: CallError<E>) -> Self {
        match error {
            CallError::Paused(retry_after) => Self::acs_limited(retry_after),
            CallError::Send(error) => error.into(),
        }
    }
}

impl From<SendError> for ExchangeError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Connection(cause) => Self::acs_unavailable(cause, retry_after::SHORTEST),
            SendError::Timeout => Self::acs_timeout(),
            SendError::TooLarge(limit) => {
                Self::acs_invalid_response(format_args!("ACS's response is over {limit} bytes"))
            }
        }
    }
}

impl From<SignedSendError> for ExchangeError {
    fn from(error: SignedSendError) -> Self {
        match error {
            SignedSendError::Send(error) => error.into(),
            SignedSendError::AccessKey(error) => Self::broker_rejected(error),
            SignedSendError::ServiceToken(error) => match error {
                ServiceTokenError::Timeout => Self::acs_timeout(),
                ServiceTokenError::Unavailable(cause) => Self::acs_unavailable(cause, retry_after::SHORTEST),
                ServiceTokenError::Refused(_) | ServiceTokenError::InvalidResponse(_) => Self::broker_rejected(error),
            },
        }
    }
}

impl From<EntraError> for ExchangeError {
    fn from(error: EntraError) -> Self {
        let failure = match error {
            EntraError::ClaimsChallenge { .. }
            | EntraError::ConsentRequired(_)
            | EntraError::UserForbidden { .. }
            | EntraError::TokenRejected(_) => return Self::OnBehalfOf(error),
            EntraError::BrokerRejected(_) => UpstreamFailure::BrokerRejected,
            EntraError::Limited { retry_after } => UpstreamFailure::Limited { retry_after },
            EntraError::Unavailable { retry_after, .. } => UpstreamFailure::Unavailable { retry_after },
            EntraError::Timeout => UpstreamFailure::Timeout,
            EntraError::InvalidResponse(_) | EntraError::NoTokenEndpoint => UpstreamFailure::InvalidResponse,
        };
        Self::upstream(failure, error.name(), format_args!("on behalf of the caller: {error}"))
    }
}

impl From<AppError> for ExchangeError {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Entra(error) => error.into(),
            AppError::Credential(CredentialError::ManagedIdentity(ManagedIdentityError::Timeout)) => {
                Self::acs_timeout()
            }
            AppError::Credential(CredentialError::ManagedIdentity(
                error @ ManagedIdentityError::InvalidResponse(_),
            )) => EntraError::InvalidResponse(error.to_string()).into(),
            AppError::Credential(error) if error.is_temporary() => Self::acs_unavailable(error, retry_after::SHORTEST),
            AppError::Credential(error) => Self::broker_rejected(error),
        }
    }
}
