//! What callers get: status, code, words and headers of every refusal of the stages.

use std::time::Duration;

use http::StatusCode;

use crate::authenticate::Rejection;
use crate::authorize::Denied;
use crate::authorize::membership::MembershipError;
use crate::exchange::{EntraError, ExchangeError, Refusal};
use crate::pipeline::IssueError;
use azure::UpstreamFailure;
use base::ids::TenantId;

/// What the caller gets for an [`ApiError`](super::error::ApiError).
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// No credentials came, so no error is named (RFC 6750 section 3.1).
    NoToken,
    /// `error="invalid_token"`
    InvalidToken,
    /// `error="insufficient_scope"`
    InsufficientScope,
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

/// What is waited for is refreshed within seconds.
const SOON: Duration = Duration::from_secs(5);
pub(super) const AT_ONCE: Duration = Duration::from_secs(1);

impl Told {
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

    pub(super) fn upstream(status: StatusCode, code: &'static str, message: &'static str) -> Self {
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

    /// Whether the rest of the body is still on its way, so that the connection cannot go on.
    #[must_use]
    pub fn leaves_body_unread(&self) -> bool {
        matches!(self.status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT)
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

pub(super) fn internal() -> Told {
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

/// What the caller gets where the pipeline issued no token.
pub(super) fn not_issued(error: &IssueError) -> Told {
    match error {
        IssueError::Overloaded(_) => overloaded(),
        IssueError::Rejected(rejection) => rejected(rejection),
        IssueError::ScopeMismatch(_) => Told {
            oauth: "invalid_scope",
            target: Some("scope"),
            ..Told::new(
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                "scope, if given, must be exactly the scopes of the subject token.",
            )
        },
        IssueError::TargetMismatch(_) => Told {
            oauth: "invalid_target",
            ..Told::new(
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

fn overloaded() -> Told {
    Told::unavailable(
        "Overloaded",
        AT_ONCE,
        "Too many requests at once. Try again after Retry-After.",
    )
}

fn wrong_audience() -> Told {
    Told::invalid_token(
        "InvalidAudience",
        "The token is for another API. Ask Entra for a token with the scopes that this broker requires.",
    )
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
        Rejection::KeysUnavailable { retry_after, .. } => Told::unavailable(
            "KeysUnavailable",
            *retry_after,
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
        Rejection::InvalidAudience(_) => wrong_audience(),
        Rejection::ForOtherPath(_) => Told::invalid_token(
            "InvalidAudience",
            "The token is for the other of ACS's two paths, access/entra and access/teamsExtension. Send it there, or to POST /token.",
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

fn denied(denied: &Denied) -> Told {
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
        Denied::MembershipUnknown(error) => membership(error),
    }
}

/// Microsoft Graph, or Entra on the way to it, did not say whether a group's assignment covers the caller.
fn membership(error: &MembershipError) -> Told {
    match error {
        MembershipError::BrokerRejected(_) => Told::upstream(
            StatusCode::BAD_GATEWAY,
            "UpstreamRejectedBroker",
            "Microsoft Graph does not let this broker look up group memberships. Report the x-ms-request-id.",
        ),
        MembershipError::Upstream(UpstreamFailure::Limited { retry_after }) => Told {
            inner: Some("UpstreamLimit"),
            retry_after: Some(*retry_after),
            oauth: "temporarily_unavailable",
            ..Told::new(
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequests",
                "Microsoft Graph limits the looking up of group memberships. Try again after Retry-After.",
            )
        },
        MembershipError::Upstream(UpstreamFailure::Unavailable { retry_after, .. }) => {
            membership_unavailable(retry_after.unwrap_or(AT_ONCE))
        }
        MembershipError::Upstream(UpstreamFailure::Timeout) => membership_unavailable(AT_ONCE),
        MembershipError::Upstream(UpstreamFailure::InvalidResponse(_)) => Told::upstream(
            StatusCode::BAD_GATEWAY,
            "UpstreamInvalidResponse",
            "Microsoft Graph gave an answer about group memberships that makes no sense. Report the x-ms-request-id.",
        ),
        MembershipError::Lost(_) => internal(),
    }
}

fn membership_unavailable(retry_after: Duration) -> Told {
    Told::unavailable(
        "UpstreamUnavailable",
        retry_after,
        "Group memberships cannot be looked up at Microsoft Graph right now. Try again after Retry-After.",
    )
}

fn exchange(error: &ExchangeError, tenant: TenantId) -> Told {
    match error {
        ExchangeError::Rejected(_) => Told::invalid_token(
            "RejectedUpstream",
            "Azure Communication Services rejected the token. Get a new one.",
        ),
        ExchangeError::TokenOver => Told::invalid_token("Expired", "The token has expired. Get a new one."),
        ExchangeError::Forbidden(_) => forbidden(
            "Azure Communication Services refused this user with this client app. Ask the operator to assign them there.",
        ),
        ExchangeError::NoScope => denied(&Denied::NoAssignment),
        ExchangeError::WrongAudience => wrong_audience(),
        ExchangeError::WrongPath => Told::new(
            StatusCode::BAD_REQUEST,
            "InvalidRequest",
            "The ACS resource that serves this user is not reached by this path. Use POST /token.",
        ),
        ExchangeError::Upstream(failure) => upstream_failure(failure),
        ExchangeError::UnexpectedStatus { .. } | ExchangeError::PastExpiry | ExchangeError::TooLarge(_) => {
            invalid_response()
        }
        ExchangeError::OnBehalfOf(error) => on_behalf_of(error, tenant),
        ExchangeError::BrokerRefused(_) => rejected_broker(),
        ExchangeError::Overloaded(_) => overloaded(),
        ExchangeError::Lost(_) | ExchangeError::ForeignPlan => internal(),
    }
}

/// What the user, their administrator, the operator or nobody can do about it.
fn on_behalf_of(error: &EntraError, tenant: TenantId) -> Told {
    match error {
        EntraError::ClaimsChallenge { claims, .. } => Told {
            challenge: Some(Challenge::InsufficientClaims {
                claims: claims.as_deref().map(Box::from),
                tenant,
            }),
            oauth: "interaction_required",
            ..Told::new(
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
        EntraError::UserForbidden { refusal, .. } => forbidden(refused(*refusal)),
        EntraError::TokenRejected(_) => Told::invalid_token(
            "RejectedUpstream",
            "Microsoft Entra ID rejected the token. Sign the user in again and get a new one.",
        ),
        EntraError::BrokerRejected(_) => rejected_broker(),
        EntraError::Upstream(failure) => upstream_failure(failure),
        EntraError::NoTokenEndpoint => invalid_response(),
    }
}

/// What failed at ACS, or at Entra on the way to it.
fn upstream_failure(failure: &UpstreamFailure) -> Told {
    match failure {
        UpstreamFailure::Limited { retry_after } => limited(*retry_after),
        UpstreamFailure::Unavailable { retry_after, .. } => unavailable(retry_after.unwrap_or(AT_ONCE)),
        UpstreamFailure::Timeout => upstream_timeout(),
        UpstreamFailure::InvalidResponse(_) => invalid_response(),
    }
}

/// Why signing in again would change nothing, and who can change it.
fn refused(refusal: Refusal) -> &'static str {
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

fn forbidden(message: &'static str) -> Told {
    Told::new(StatusCode::FORBIDDEN, "ExchangeForbidden", message)
}

fn limited(retry_after: Duration) -> Told {
    Told {
        inner: Some("UpstreamLimit"),
        retry_after: Some(retry_after),
        oauth: "temporarily_unavailable",
        ..Told::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequests",
            "Azure limits requests for now. Try again after Retry-After.",
        )
    }
}

fn unavailable(retry_after: Duration) -> Told {
    Told::unavailable(
        "UpstreamUnavailable",
        retry_after,
        "A service of Azure is not available. Try again after Retry-After.",
    )
}

fn invalid_response() -> Told {
    Told::upstream(
        StatusCode::BAD_GATEWAY,
        "UpstreamInvalidResponse",
        "A service of Azure gave an answer that makes no sense. Report the x-ms-request-id.",
    )
}

/// Nothing that the caller could do: the operator must look at the broker's credential.
fn rejected_broker() -> Told {
    Told::upstream(
        StatusCode::BAD_GATEWAY,
        "UpstreamRejectedBroker",
        "A service of Azure refused the broker's own credential. Report the x-ms-request-id to the operator.",
    )
}
