//! Why a token was not accepted: one variant per distinct cause, with the values an operator needs.

use std::time::Duration;

use jiff::Timestamp;

use base::document::JsonFault;
use base::ids::TenantId;
use base::untrusted::Untrusted;
use telemetry::metrics::labels::Authentication;

/// A presented token that was refused, or could not be decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(test, derive(strum::EnumCount))]
pub enum Rejection {
    /// Not a signed JWT in compact form that this broker reads at all.
    #[error("malformed token: {0}")]
    Malformed(Malformed),
    /// A well-formed token whose `alg` is not RS256.
    #[error("algorithm `{0}` is not RS256")]
    UnsupportedAlgorithm(Untrusted),
    /// `tid` names a tenant that no configuration lists.
    #[error("tenant `{0}` is not listed under entra.tenants")]
    UnknownTenant(Untrusted),
    /// A listed tenant without keys young enough to decide.
    #[error("no usable signing keys of tenant {tenant}")]
    KeysUnavailable {
        /// The tenant.
        tenant: TenantId,
        /// How long until asking again can help.
        retry_after: Duration,
    },
    /// The header names no key.
    #[error("the token's header has no `kid`")]
    NoKeyId,
    /// The tenant's keys are known and this one is not among them.
    #[error("tenant {tenant} has no key `{kid}`")]
    UnknownKey {
        /// The tenant whose keys were searched.
        tenant: TenantId,
        /// The key asked for.
        kid: Untrusted,
    },
    /// The signature does not verify under the key.
    #[error("the signature does not verify under key `{kid}` of tenant {tenant}")]
    InvalidSignature {
        /// The tenant whose key was used.
        tenant: TenantId,
        /// The key used.
        kid: Untrusted,
    },
    /// A required claim is absent.
    #[error("claim `{0}` is missing")]
    MissingClaim(&'static str),
    /// `iss` is none of those that the tenant's discovery documents state.
    #[error("issuer `{issuer}` is not one of tenant {tenant}")]
    InvalidIssuer {
        /// The tenant that `tid` names.
        tenant: TenantId,
        /// The issuer in the token.
        issuer: Untrusted,
    },
    /// `aud` is none of the accepted audiences.
    #[error("audience `{0}` is not accepted")]
    InvalidAudience(Untrusted),
    /// `aud` is accepted, but not on this path for the resource that serves the token's user.
    #[error("audience `{0}` is not taken on this path by the resource that serves the user")]
    ForOtherPath(Untrusted),
    /// `exp` lies in the past by more than the clock skew.
    #[error("expired at {expired_at}, now {now}")]
    Expired {
        /// The token's `exp`.
        expired_at: Timestamp,
        /// The instant of the check.
        now: Timestamp,
    },
    /// `nbf` or `iat` lies in the future by more than the clock skew.
    #[error("`{claim}` is {valid_from}, now {now}")]
    NotYetValid {
        /// Which of the two.
        claim: &'static str,
        /// The claim's instant.
        valid_from: Timestamp,
        /// The instant of the check.
        now: Timestamp,
    },
    /// Not a delegated user token that any bearer may present.
    #[error("not a delegated user token: {0}")]
    NotDelegated(NotDelegated),
    /// None of the required scopes.
    #[error("scopes `{0}` hold none of the required ones")]
    InsufficientScope(Untrusted),
}

impl Rejection {
    /// What is counted: the code that the caller gets.
    #[must_use]
    pub fn counted(&self) -> Authentication {
        match self {
            Self::Malformed(_) => Authentication::Malformed,
            Self::UnsupportedAlgorithm(_) => Authentication::UnsupportedAlgorithm,
            Self::UnknownTenant(_) => Authentication::UnknownTenant,
            Self::KeysUnavailable { .. } => Authentication::KeysUnavailable,
            Self::NoKeyId | Self::UnknownKey { .. } => Authentication::UnknownKey,
            Self::InvalidSignature { .. } => Authentication::InvalidSignature,
            Self::MissingClaim(_) => Authentication::MissingClaim,
            Self::InvalidIssuer { .. } => Authentication::InvalidIssuer,
            Self::InvalidAudience(_) | Self::ForOtherPath(_) => Authentication::InvalidAudience,
            Self::Expired { .. } => Authentication::Expired,
            Self::NotYetValid { .. } => Authentication::NotYetValid,
            Self::NotDelegated(_) => Authentication::NotDelegated,
            Self::InsufficientScope(_) => Authentication::InsufficientScope,
        }
    }
}

/// What made a token malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Beyond the size that a token may have.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// Not three parts.
    #[error("not three parts")]
    Parts,
    /// A part that is not base64url without padding (RFC 7515 section 2).
    #[error("the {0} is not base64url")]
    Base64(&'static str),
    /// A part that is not one JSON object, or that names a member twice.
    #[error("the {part} is not an acceptable JSON object: {reason}")]
    Json {
        /// Header or payload.
        part: &'static str,
        /// What the parser says.
        reason: JsonFault,
    },
    /// No `alg`.
    #[error("the header has no `alg`")]
    NoAlgorithm,
    /// `crit` lists extensions; this broker implements none (RFC 7515 section 4.1.11).
    #[error("critical header extensions are not supported")]
    Critical,
    /// A header parameter or claim of another type than its definition says.
    #[error("`{0}` has the wrong type or form")]
    Mistyped(&'static str),
    /// `azp` and `appid` name different client apps.
    #[error("`azp` and `appid` differ")]
    AmbiguousClient,
}

/// What made a token not a delegated user token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDelegated {
    /// No `scp`, or an empty one: an app-only token or an ID token.
    #[error("no `scp`")]
    NoScopes,
    /// `idtyp` is there and is not `user`.
    #[error("`idtyp` is `{0}`")]
    IdentityType(Untrusted),
    /// `cnf` binds the token to a key that a bearer does not prove (RFC 7800).
    #[error("bound to a key by `cnf`")]
    Bound,
}
