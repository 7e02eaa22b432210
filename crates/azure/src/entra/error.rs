//! Why Entra gave no token.

use std::fmt;

use super::codes::Refusal;
use crate::UpstreamFailure;
use base::untrusted::Untrusted;

/// A failed token request: one variant per thing that somebody can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, strum::EnumCount)]
pub enum EntraError {
    /// The user must do something interactively first, such as a second factor.
    #[error("Entra wants the user to sign in interactively: {response}")]
    ClaimsChallenge {
        /// What to ask for then: a JSON object, if Entra sent one. It is for the client app.
        claims: Option<Box<str>>,
        /// Entra's answer.
        response: EntraErrorResponse,
    },
    /// Neither the user nor an administrator of their tenant has let the app do this.
    #[error("consent is missing: {0}")]
    ConsentRequired(EntraErrorResponse),
    /// The user may not: not assigned to the app, disabled, or blocked by a policy. Another sign-in changes nothing.
    #[error("Entra refused this user: {response}")]
    UserForbidden {
        /// Of what kind the refusal is.
        refusal: Refusal,
        /// Entra's answer.
        response: EntraErrorResponse,
    },
    /// The user's token is not accepted any more; another sign-in gives a good one.
    #[error("Entra rejected the user's token: {0}")]
    TokenRejected(EntraErrorResponse),
    /// The broker's own app, its credential or its settings are refused.
    #[error("Entra refused the broker: {0}")]
    BrokerRejected(EntraErrorResponse),
    /// The call failed in a way that is not Entra's own.
    #[error("{}", .0.describe("Entra", "requests"))]
    Upstream(UpstreamFailure),
    /// The tenant's discovery document is not known yet, or names no token endpoint at the authority.
    #[error("the tenant's token endpoint is not known")]
    NoTokenEndpoint,
}

/// Entra's error object, as far as an operator wants to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntraErrorResponse {
    /// `error`
    pub error: Untrusted,
    /// The number of the AADSTS code that decided what it means; the first one where none did.
    pub code: Option<u32>,
    /// `error_description`, its beginning.
    pub description: Untrusted,
    /// What an administrator or operator can do.
    // Boxed: errors are moved about, and this is for the log alone.
    pub advice: Option<Box<Advice>>,
}

/// What our table of codes adds to Entra's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// Microsoft's name of the code, if the table lists it.
    pub name: Option<&'static str>,
    /// Who can do what about it.
    pub to_do: &'static str,
}

impl fmt::Display for EntraErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        if let Some(code) = self.code {
            write!(f, ", AADSTS{code}")?;
        }
        write!(f, " ({})", self.description)?;
        match self.advice.as_deref() {
            Some(Advice {
                name: Some(name),
                to_do,
            }) => write!(f, "; {name}; to do: {to_do}"),
            Some(Advice { name: None, to_do }) => write!(f, "; to do: {to_do}"),
            None => Ok(()),
        }
    }
}

impl EntraError {
    /// Its name in spans: of low cardinality.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ClaimsChallenge { .. } => "entra_claims_challenge",
            Self::ConsentRequired(_) => "entra_consent_required",
            Self::UserForbidden { .. } => "entra_user_forbidden",
            Self::TokenRejected(_) => "entra_token_rejected",
            Self::BrokerRejected(_) => "entra_broker_rejected",
            Self::Upstream(UpstreamFailure::Limited { .. }) => "entra_limited",
            Self::Upstream(UpstreamFailure::Unavailable { .. }) => "entra_unavailable",
            Self::Upstream(UpstreamFailure::Timeout) => "entra_timeout",
            Self::Upstream(UpstreamFailure::InvalidResponse(_)) => "entra_invalid_response",
            Self::NoTokenEndpoint => "entra_no_token_endpoint",
        }
    }

    /// The same where no user is concerned: whatever is refused is the broker.
    pub(super) fn without_user(self) -> Self {
        match self {
            Self::ClaimsChallenge { response, .. }
            | Self::ConsentRequired(response)
            | Self::UserForbidden { response, .. }
            | Self::TokenRejected(response) => Self::BrokerRejected(response),
            other => other,
        }
    }
}
