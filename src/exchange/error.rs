//! Why an exchange brought no token.

use http::StatusCode;

use crate::admission::Overloaded;
use crate::cache::Failure;
use crate::cache::flight::Lost;
use azure::UpstreamFailure;
use azure::azure_error::{AzureError, appended};
use azure::credential::{AppError, CredentialError, ManagedIdentityError};
use azure::entra::EntraError;

/// A failed exchange: one variant per distinct cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// ACS said 401 to the caller's token.
    #[error("ACS rejected the Entra token{}", appended(.0.as_ref()))]
    Rejected(Option<AzureError>),
    /// ACS said 403.
    #[error("ACS refused this caller{}", appended(.0.as_ref()))]
    Forbidden(Option<AzureError>),
    /// The presented token is over; only the clock skew let it in.
    #[error("the Entra token ended before ACS's token would begin")]
    TokenOver,
    /// The call failed in a way that is not this operation's own.
    #[error("{}", .0.describe("ACS", "this resource"))]
    Upstream(UpstreamFailure),
    /// A status that the contract does not name.
    #[error("ACS answered {status}{}", appended(.error.as_ref()))]
    UnexpectedStatus {
        /// The status.
        status: StatusCode,
        /// The error object, if there was one.
        error: Option<AzureError>,
    },
    /// A token that has ended already.
    #[error("ACS's token has ended already")]
    PastExpiry,
    /// A body over `upstream.max_response_bytes`.
    #[error("ACS's response is over {0} bytes")]
    TooLarge(usize),
    /// Entra gave the broker no token on the caller's behalf.
    #[error("on behalf of the caller: {0}")]
    OnBehalfOf(#[from] EntraError),
    /// The broker's own credential cannot be used, or was refused.
    #[error("the broker's own credential: {0}")]
    BrokerRefused(String),
    /// The assignment that covers the caller allows nothing that this resource grants.
    #[error("the assignment that covers this user allows none of exchange.identity.scopes")]
    NoScope,
    /// The token is for another API than this resource's mode takes.
    #[error("the token is for another API than this resource takes")]
    WrongAudience,
    /// The path is that of another exchange than this resource makes.
    #[error("the path is that of another exchange than this resource makes")]
    WrongPath,
    /// A bug of ours: a plan of another exchanger's.
    #[error("the plan was made by another exchanger")]
    ForeignPlan,
    /// As many exchanges are under way as may be.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// A bug of ours.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl From<AppError> for ExchangeError {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Entra(error) => Self::OnBehalfOf(error),
            AppError::Credential(CredentialError::ManagedIdentity(
                ref error @ ManagedIdentityError::Upstream(ref failure),
            )) => match failure.clone().explained(error.to_string()) {
                failure @ UpstreamFailure::InvalidResponse(_) => Self::OnBehalfOf(EntraError::Upstream(failure)),
                failure => Self::Upstream(failure),
            },
            AppError::Credential(error) => Self::BrokerRefused(error.to_string()),
        }
    }
}

impl ExchangeError {
    /// Its name in spans: of low cardinality.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rejected(_) => "acs_unauthorized",
            Self::Forbidden(_) => "acs_forbidden",
            Self::TokenOver => "token_over",
            Self::Upstream(UpstreamFailure::Limited { .. }) => "acs_limited",
            Self::Upstream(UpstreamFailure::Unavailable { .. }) => "acs_unavailable",
            Self::Upstream(UpstreamFailure::Timeout) => "acs_timeout",
            Self::Upstream(UpstreamFailure::InvalidResponse(_))
            | Self::UnexpectedStatus { .. }
            | Self::PastExpiry
            | Self::TooLarge(_) => "acs_invalid_response",
            Self::OnBehalfOf(error) => error.name(),
            Self::BrokerRefused(_) => "broker_refused",
            Self::NoScope => "not_assigned",
            Self::WrongAudience => "wrong_audience",
            Self::WrongPath => "wrong_path",
            Self::Overloaded(_) => "overloaded",
            Self::Lost(_) | Self::ForeignPlan => "internal",
        }
    }
}

impl Failure for ExchangeError {
    fn is_definite_refusal(&self) -> bool {
        match self {
            Self::Rejected(_) | Self::Forbidden(_) | Self::TokenOver => true,
            Self::OnBehalfOf(error) => matches!(
                error,
                EntraError::ClaimsChallenge { .. }
                    | EntraError::ConsentRequired(_)
                    | EntraError::UserForbidden { .. }
                    | EntraError::TokenRejected(_)
            ),
            _ => false,
        }
    }

    fn forbids(&self) -> bool {
        matches!(self, Self::Forbidden(_))
    }

    fn ends(&self) -> bool {
        // What Entra refuses now it refuses to that very token, and so it does what was obtained with it.
        matches!(self, Self::OnBehalfOf(_)) && self.is_definite_refusal()
    }
}
