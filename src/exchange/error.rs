//! Why an exchange brought no token.

use std::time::Duration;

use crate::admission::Overloaded;
use crate::cache::RefusalScope;
use crate::limits::{Exceeded, Limit};
use azure::acs_signing::{ServiceTokenError, SignedSendError};
use azure::azure_error::{AzureError, appended};
use azure::budget::NoPlace;
use azure::credential::{AppError, CredentialError, ManagedIdentityError};
use azure::entra::EntraError;
use azure::retry::{CallError, Withheld};
use azure::{SendError, UpstreamFailure};
use base::flight::{Lost, NoOutcome};

/// A failed exchange: one variant per distinct cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(test, derive(strum::EnumCount))]
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
    /// The call to ACS failed as one to any service can.
    #[error("{}", .0.describe("ACS", "this resource"))]
    Upstream(UpstreamFailure),
    /// ACS's answer is none that its contract names.
    #[error("{0}")]
    InvalidResponse(String),
    /// Entra gave the broker no token on the caller's behalf.
    #[error("on behalf of the caller: {0}")]
    OnBehalfOf(#[from] EntraError),
    /// The broker's own credential cannot be used, or was refused.
    #[error("the broker's own credential: {0}")]
    BrokerRejected(String),
    /// The assignment that covers the caller allows nothing that this resource grants.
    #[error("the assignment that covers this user allows none of exchange.identity.scopes")]
    NoScope,
    /// The token is for another API than this resource's mode takes.
    #[error("the token is for another API than this resource takes")]
    WrongAudience,
    /// The path is that of another exchange than this resource makes.
    #[error("the path is that of another exchange than this resource makes")]
    WrongPath,
    /// The user may start no more upstream work now.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// There is no room for a renewal, which does not wait.
    #[error("there is no room for a renewal")]
    RenewalSkipped,
    /// The caller's place in the budget of the ACS endpoint would come too late.
    #[error("the budget of this ACS endpoint is used up, for {}s", .0.as_secs())]
    BudgetExhausted(Duration),
    /// As many callers wait for a place in that budget as may.
    #[error("the queue for the budget of this ACS endpoint is full, for {}s", .0.as_secs())]
    QueueFull(Duration),
    /// The caller's place in that budget has not come in time.
    #[error("the turn in the budget of this ACS endpoint has not come in time")]
    TurnMissed,
    /// All who waited for a place in the budget have gone.
    #[error("nobody waits for the exchange any more")]
    Abandoned,
    /// The limit on exchanges in flight is reached.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// A bug of ours.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl ExchangeError {
    /// Its name in spans: of low cardinality.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rejected(_) => "acs_unauthorized",
            Self::Forbidden(_) => "acs_forbidden",
            Self::TokenExpired => "token_over",
            Self::Upstream(UpstreamFailure::Limited { .. }) => "acs_limited",
            Self::Upstream(UpstreamFailure::Unavailable { .. }) => "acs_unavailable",
            Self::Upstream(UpstreamFailure::Timeout) => "acs_timeout",
            Self::Upstream(UpstreamFailure::InvalidResponse(_)) | Self::InvalidResponse(_) => "acs_invalid_response",
            Self::OnBehalfOf(error) => error.name(),
            Self::BrokerRejected(_) => "broker_refused",
            Self::NoScope => "not_assigned",
            Self::WrongAudience => "wrong_audience",
            Self::WrongPath => "wrong_path",
            Self::Exceeded(_) => "user_limited",
            Self::RenewalSkipped => "renewal_skipped",
            Self::BudgetExhausted(_) | Self::TurnMissed => "budget_exhausted",
            Self::QueueFull(_) => "queue_full",
            Self::Abandoned => "abandoned",
            Self::Overloaded(_) => "overloaded",
            Self::Lost(_) => "internal",
        }
    }

    /// The limit that refused the exchange, if one did.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Self::Exceeded(exceeded) => Some(exceeded.limit),
            Self::BudgetExhausted(_) | Self::TurnMissed => Some(Limit::UpstreamExchanges),
            Self::QueueFull(_) => Some(Limit::Queue),
            _ => None,
        }
    }

    /// What it refuses, if it is a refusal that another attempt would meet again.
    pub(crate) fn refusal_scope(&self) -> Option<RefusalScope> {
        match self {
            Self::Rejected(_) | Self::TokenExpired => Some(RefusalScope::Token),
            Self::Forbidden(_) => Some(RefusalScope::User),
            // What Entra refuses now it refuses to that very token, and so it does what was obtained with it.
            Self::OnBehalfOf(
                EntraError::ClaimsChallenge { .. }
                | EntraError::ConsentRequired(_)
                | EntraError::UserForbidden { .. }
                | EntraError::TokenRejected(_),
            ) => Some(RefusalScope::Session),
            _ => None,
        }
    }
}

impl<E: Into<ExchangeError>> From<CallError<E>> for ExchangeError {
    fn from(error: CallError<E>) -> Self {
        match error {
            CallError::Withheld(withheld) => withheld.into(),
            CallError::Send(error) => error.into(),
        }
    }
}

impl From<Withheld> for ExchangeError {
    fn from(withheld: Withheld) -> Self {
        Self::Upstream(withheld.into())
    }
}

impl From<NoOutcome> for ExchangeError {
    fn from(none: NoOutcome) -> Self {
        match none {
            NoOutcome::Lost(lost) => lost.into(),
            NoOutcome::NotBegun => Self::TurnMissed,
        }
    }
}

impl From<NoPlace> for ExchangeError {
    fn from(no_place: NoPlace) -> Self {
        match no_place {
            NoPlace::Withheld(withheld) => withheld.into(),
            NoPlace::TooLate(retry_after) => Self::BudgetExhausted(retry_after),
            NoPlace::QueueFull(retry_after) => Self::QueueFull(retry_after),
        }
    }
}

impl From<SendError> for ExchangeError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::TooLarge(limit) => Self::InvalidResponse(format!("ACS's response is over {limit} bytes")),
            error => Self::Upstream(error.into()),
        }
    }
}

impl From<SignedSendError> for ExchangeError {
    fn from(error: SignedSendError) -> Self {
        match error {
            SignedSendError::Send(error) => error.into(),
            SignedSendError::AccessKey(error) => Self::BrokerRejected(error.to_string()),
            SignedSendError::ServiceToken(error) => match error {
                ServiceTokenError::Refused(_) => Self::BrokerRejected(error.to_string()),
                ServiceTokenError::Timeout => Self::Upstream(UpstreamFailure::Timeout),
                ServiceTokenError::Failed(cause) => Self::Upstream(UpstreamFailure::Unavailable {
                    cause,
                    retry_after: None,
                }),
            },
        }
    }
}

impl From<AppError> for ExchangeError {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Entra(error) => error.into(),
            AppError::Credential(CredentialError::ManagedIdentity(
                ref error @ ManagedIdentityError::Upstream(ref failure),
            )) => match failure.clone().explained(error.to_string()) {
                failure @ UpstreamFailure::InvalidResponse(_) => EntraError::Upstream(failure).into(),
                failure => Self::Upstream(failure),
            },
            AppError::Credential(error) => Self::BrokerRejected(error.to_string()),
        }
    }
}
