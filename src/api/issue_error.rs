//! From a stage's refusal to what the caller gets.

use std::time::Duration;

use http::StatusCode;

use super::error_response::{AT_ONCE, Challenge, ErrorResponse};
use crate::authenticate::Rejection;
use crate::authorize::Denied;
use crate::authorize::membership::MembershipError;
use crate::exchange::{EntraError, ExchangeError, Refusal};
use crate::limits::Exceeded;
use crate::pipeline::IssueError;
use azure::UpstreamFailure;
use base::ids::TenantId;

/// `Retry-After` where what is missing is loaded within seconds.
const SOON: Duration = Duration::from_secs(5);

/// What the caller gets where the pipeline issued no token.
pub(super) fn response(error: &IssueError) -> ErrorResponse {
    match error {
        IssueError::Overloaded(_) => overloaded(),
        IssueError::Exceeded(exceeded) => too_many(exceeded),
        IssueError::Rejected(rejection) => rejected(rejection),
        IssueError::ScopeMismatch(_) => ErrorResponse {
            oauth: "invalid_scope",
            target: Some("scope"),
            ..ErrorResponse::new(
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                "scope, if given, must be exactly the scopes of the subject token.",
            )
        },
        IssueError::TargetMismatch(_) => ErrorResponse {
            oauth: "invalid_target",
            ..ErrorResponse::new(
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                "resource and audience, if given, must name the ACS resource that serves this user and client app.",
            )
        },
        IssueError::Denied { denied: cause, .. } => denied(cause),
        IssueError::Exchange { error, caller } => exchange(error, caller.tenant()),
        IssueError::DeadlineExceeded => upstream_timeout(),
    }
}

fn overloaded() -> ErrorResponse {
    ErrorResponse::unavailable(
        "Overloaded",
        AT_ONCE,
        "Too many requests at once. Try again after Retry-After.",
    )
}

fn too_many(exceeded: &Exceeded) -> ErrorResponse {
    ErrorResponse {
        inner: Some("BrokerLimit"),
        retry_after: Some(exceeded.retry_after),
        oauth: "temporarily_unavailable",
        ..ErrorResponse::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequests",
            "More requests than this broker allows one user or address. Try again after Retry-After.",
        )
    }
}

fn wrong_audience() -> ErrorResponse {
    ErrorResponse::invalid_token(
        "InvalidAudience",
        "The token is for another API. Ask Entra for a token with the scopes that this broker requires.",
    )
}

fn rejected(rejection: &Rejection) -> ErrorResponse {
    match rejection {
        Rejection::Malformed(_) => {
            ErrorResponse::invalid_token("Malformed", "The token is not a well-formed Entra access token.")
        }
        Rejection::UnsupportedAlgorithm(_) => {
            ErrorResponse::invalid_token("UnsupportedAlgorithm", "The token must be signed with RS256.")
        }
        Rejection::UnknownTenant(_) => ErrorResponse::invalid_token(
            "UnknownTenant",
            "Users of this tenant are not served here. Ask the operator to list the tenant.",
        ),
        Rejection::KeysUnavailable { retry_after, .. } => ErrorResponse::unavailable(
            "KeysUnavailable",
            *retry_after,
            "The tenant's signing keys cannot be had right now. Try again after Retry-After.",
        ),
        Rejection::NoKeyId | Rejection::UnknownKey { .. } => ErrorResponse::invalid_token(
            "UnknownKey",
            "The token was signed with a key that its tenant does not publish. Get a new token.",
        ),
        Rejection::InvalidSignature { .. } => {
            ErrorResponse::invalid_token("InvalidSignature", "The token's signature is not valid.")
        }
        Rejection::MissingClaim(_) => ErrorResponse::invalid_token(
            "MissingClaim",
            "The token lacks a claim that every Entra user token has.",
        ),
        Rejection::InvalidIssuer { .. } => {
            ErrorResponse::invalid_token("InvalidIssuer", "The token's issuer is not its tenant's.")
        }
        Rejection::InvalidAudience(_) => wrong_audience(),
        Rejection::ForOtherPath(_) => ErrorResponse::invalid_token(
            "InvalidAudience",
            "The token is for an API that is not taken here. ACS's paths are for one API each, access/entra and access/teamsExtension; POST /token knows by the token what to do.",
        ),
        Rejection::Expired { .. } => ErrorResponse::invalid_token("Expired", "The token has expired. Get a new one."),
        Rejection::NotYetValid { .. } => {
            ErrorResponse::invalid_token("NotYetValid", "The token is not valid yet. Check the clocks.")
        }
        Rejection::NotDelegated(_) => ErrorResponse::invalid_token(
            "NotDelegated",
            "The token is not a user's. Sign a user in and send the access token, not an ID token or an app-only one.",
        ),
        Rejection::InsufficientScope(_) => ErrorResponse {
            challenge: Some(Challenge::InsufficientScope),
            ..ErrorResponse::new(
                StatusCode::FORBIDDEN,
                "InsufficientScope",
                "The token has none of the required scopes. Ask Entra for one of those in WWW-Authenticate.",
            )
        },
    }
}

fn denied(denied: &Denied) -> ErrorResponse {
    let not_assigned = |inner, message| ErrorResponse {
        inner: Some(inner),
        ..ErrorResponse::new(StatusCode::FORBIDDEN, "NotAssigned", message)
    };
    match denied {
        Denied::NotLoaded => ErrorResponse::unavailable(
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
            "Only a group's assignment could cover this user, and the token does not list groups. Ask the operator.",
        ),
        Denied::MembershipUnknown(error) => membership(error),
    }
}

/// Microsoft Graph, or Entra on the way to it, did not say whether a group's assignment covers the caller.
fn membership(error: &MembershipError) -> ErrorResponse {
    match error {
        MembershipError::Exceeded(exceeded) => too_many(exceeded),
        MembershipError::BrokerRejected(_) => MEMBERSHIPS.broker_rejected(),
        MembershipError::Upstream(UpstreamFailure::Timeout) | MembershipError::Unfinished => {
            MEMBERSHIPS.unavailable(AT_ONCE)
        }
        MembershipError::Upstream(failure) => MEMBERSHIPS.upstream(failure),
        MembershipError::Lost(_) => ErrorResponse::internal(),
    }
}

fn exchange(error: &ExchangeError, tenant: TenantId) -> ErrorResponse {
    match error {
        ExchangeError::Rejected(_) => ErrorResponse::invalid_token(
            "RejectedUpstream",
            "Azure Communication Services rejected the token. Get a new one.",
        ),
        ExchangeError::TokenExpired => ErrorResponse::invalid_token("Expired", "The token has expired. Get a new one."),
        ExchangeError::Forbidden(_) => forbidden(
            "Azure Communication Services refused this user with this client app. Ask the operator to assign them there.",
        ),
        ExchangeError::NoScope => denied(&Denied::NoAssignment),
        ExchangeError::WrongAudience => wrong_audience(),
        ExchangeError::WrongPath => ErrorResponse::new(
            StatusCode::BAD_REQUEST,
            "InvalidRequest",
            "The ACS resource that serves this user is not reached by this path. Use POST /token.",
        ),
        ExchangeError::Exceeded(exceeded) => too_many(exceeded),
        ExchangeError::BudgetExhausted(retry_after) | ExchangeError::QueueFull(retry_after) => {
            EXCHANGES.limited(*retry_after)
        }
        // None comes to a caller: a skipped renewal leaves a cached token, who misses a turn learns of the next, and nobody waits
        // for what is abandoned.
        ExchangeError::RenewalSkipped | ExchangeError::TurnMissed | ExchangeError::Abandoned => {
            EXCHANGES.limited(AT_ONCE)
        }
        ExchangeError::Upstream(failure) => EXCHANGES.upstream(failure),
        ExchangeError::InvalidResponse(_) => EXCHANGES.invalid_response(),
        ExchangeError::BrokerRejected(_) => EXCHANGES.broker_rejected(),
        ExchangeError::OnBehalfOf(error) => on_behalf_of(error, tenant),
        ExchangeError::Overloaded(_) => overloaded(),
        ExchangeError::Lost(_) => ErrorResponse::internal(),
    }
}

/// Entra gave no token: what the user, an administrator or the operator can do about it.
fn on_behalf_of(error: &EntraError, tenant: TenantId) -> ErrorResponse {
    match error {
        EntraError::ClaimsChallenge { claims, .. } => ErrorResponse {
            challenge: Some(Challenge::InsufficientClaims {
                claims: claims.as_deref().map(Box::from),
                tenant,
            }),
            oauth: "interaction_required",
            ..ErrorResponse::new(
                StatusCode::UNAUTHORIZED,
                "InsufficientClaims",
                match claims {
                    Some(_) => {
                        "Microsoft Entra ID wants the user to sign in again. Pass the claims that came with this answer to the sign-in."
                    }
                    None => {
                        "Microsoft Entra ID wants the user to sign in again, interactively. Then call with the new token."
                    }
                },
            )
        },
        EntraError::ConsentRequired(_) => forbidden(
            "Consent is missing: an administrator of the user's tenant must grant this broker's app its permissions.",
        ),
        EntraError::UserForbidden { refusal, .. } => forbidden(refusal_message(*refusal)),
        EntraError::TokenRejected(_) => ErrorResponse::invalid_token(
            "RejectedUpstream",
            "Microsoft Entra ID rejected the token. Sign the user in again and get a new one.",
        ),
        EntraError::BrokerRejected(_) => EXCHANGES.broker_rejected(),
        EntraError::Upstream(failure) => EXCHANGES.upstream(failure),
        EntraError::NoTokenEndpoint => EXCHANGES.invalid_response(),
    }
}

/// Why another sign-in would change nothing, and who can change that.
fn refusal_message(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Policy => {
            "A policy of the organization does not allow this user access from here. Ask an administrator of the user's tenant."
        }
        Refusal::Device => {
            "A policy of the organization does not allow access from this device. Use one that the organization manages, or ask an administrator of the user's tenant."
        }
        Refusal::App => {
            "A policy of the organization does not allow access with this app. Ask an administrator of the user's tenant which apps it allows."
        }
        Refusal::Account => {
            "Microsoft Entra ID has disabled, locked or blocked this user's account. Ask an administrator of the user's tenant."
        }
        Refusal::Guest => {
            "This account is not let into the tenant. Sign in with another account, or ask an administrator of the tenant to invite it."
        }
        Refusal::Assignment => {
            "The user is not assigned to this broker's app in Microsoft Entra ID. Ask an administrator of the user's tenant."
        }
        Refusal::AppDisabled => {
            "An app that is needed here is disabled in the user's tenant. Ask an administrator of the user's tenant to enable it."
        }
    }
}

fn forbidden(message: &'static str) -> ErrorResponse {
    ErrorResponse::new(StatusCode::FORBIDDEN, "ExchangeForbidden", message)
}

/// What a failure of a service of Azure's is called to callers.
struct Messages {
    broker_rejected: &'static str,
    limited: &'static str,
    unavailable: &'static str,
    invalid_response: &'static str,
}

const EXCHANGES: Messages = Messages {
    broker_rejected: "A service of Azure refused the broker's own credential. Report the x-ms-request-id to the operator.",
    limited: "Azure limits requests for now. Try again after Retry-After.",
    unavailable: "A service of Azure is not available. Try again after Retry-After.",
    invalid_response: "A service of Azure gave an answer that makes no sense. Report the x-ms-request-id.",
};

const MEMBERSHIPS: Messages = Messages {
    broker_rejected: "Microsoft Graph does not let this broker look up group memberships. Report the x-ms-request-id.",
    limited: "Microsoft Graph limits the looking up of group memberships. Try again after Retry-After.",
    unavailable: "Group memberships cannot be looked up at Microsoft Graph right now. Try again after Retry-After.",
    invalid_response: "Microsoft Graph gave an answer about group memberships that makes no sense. Report the x-ms-request-id.",
};

/// Nothing of this is the caller's fault.
impl Messages {
    fn upstream(&self, failure: &UpstreamFailure) -> ErrorResponse {
        match failure {
            UpstreamFailure::Limited { retry_after } => self.limited(*retry_after),
            UpstreamFailure::Unavailable { retry_after, .. } => self.unavailable(retry_after.unwrap_or(AT_ONCE)),
            UpstreamFailure::Timeout => upstream_timeout(),
            UpstreamFailure::InvalidResponse(_) => self.invalid_response(),
        }
    }

    fn limited(&self, retry_after: Duration) -> ErrorResponse {
        ErrorResponse {
            inner: Some("UpstreamLimit"),
            retry_after: Some(retry_after),
            oauth: "temporarily_unavailable",
            ..ErrorResponse::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", self.limited)
        }
    }

    fn unavailable(&self, retry_after: Duration) -> ErrorResponse {
        ErrorResponse::unavailable("UpstreamUnavailable", retry_after, self.unavailable)
    }

    fn invalid_response(&self) -> ErrorResponse {
        ErrorResponse::server_error(
            StatusCode::BAD_GATEWAY,
            "UpstreamInvalidResponse",
            self.invalid_response,
        )
    }

    /// The operator must look at the broker's credential.
    fn broker_rejected(&self) -> ErrorResponse {
        ErrorResponse::server_error(StatusCode::BAD_GATEWAY, "UpstreamRejectedBroker", self.broker_rejected)
    }
}

fn upstream_timeout() -> ErrorResponse {
    ErrorResponse {
        oauth: "temporarily_unavailable",
        ..ErrorResponse::server_error(
            StatusCode::GATEWAY_TIMEOUT,
            "UpstreamTimeout",
            "Azure did not answer in time. Try again.",
        )
    }
}
