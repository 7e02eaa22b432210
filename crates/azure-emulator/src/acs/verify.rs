//! The emulated ACS's own check of an Entra token.

use jiff::Timestamp;
use uuid::Uuid;

use crate::entra::apis::{ACS_CLIENTS_APP, ACS_CLIENTS_URI, TEAMS_EXTENSION_APP, TEAMS_EXTENSION_URI};
use crate::entra::signed::{InvalidToken, Lifetime, TokenReader};

/// Which tokens an exchange accepts.
#[derive(Debug)]
pub(super) struct Accepts {
    /// The audience of v2 tokens.
    app: Uuid,
    /// The audience of v1 tokens.
    uri: &'static str,
    /// Any one of them will do.
    scopes: &'static [&'static str],
}

/// The exchange for ACS Clients; in the preview without Chat.
pub(super) const CLIENTS: Accepts = Accepts {
    app: ACS_CLIENTS_APP,
    uri: ACS_CLIENTS_URI,
    scopes: &["VoIP", "VoIP.Join"],
};
/// The exchange for Teams Phone extension.
pub(super) const TEAMS_EXTENSION: Accepts = Accepts {
    app: TEAMS_EXTENSION_APP,
    uri: TEAMS_EXTENSION_URI,
    scopes: &["TeamsExtension.ManageCalls"],
};

/// The exchange for Teams users.
pub(super) const TEAMS_USER: Accepts = Accepts {
    app: TEAMS_EXTENSION_APP,
    uri: TEAMS_EXTENSION_URI,
    scopes: &["Teams.ManageCalls", "Teams.ManageChats"],
};

/// Who a verified token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) tenant: Uuid,
    pub(super) object_id: Uuid,
    pub(super) client: Uuid,
    /// The accepted scopes it carries.
    pub(super) scopes: Vec<&'static str>,
    pub(super) expires_on: Timestamp,
}

/// Why a token is refused; the name is the error's `innererror.code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
pub(super) enum Refusal {
    #[error("The access token is malformed.")]
    Malformed,
    #[error("The access token's signing algorithm is not accepted.")]
    UnsupportedAlgorithm,
    #[error("The access token's signing key was not found among its tenant's.")]
    UnknownKey,
    #[error("The access token's signature is invalid.")]
    InvalidSignature,
    #[error("The access token's issuer is invalid.")]
    InvalidIssuer,
    #[error("The access token's audience is invalid.")]
    InvalidAudience,
    #[error("The access token has expired.")]
    Expired,
    #[error("The access token is not valid yet.")]
    NotYetValid,
    #[error("The access token is not a delegated user token.")]
    NotDelegated,
    #[error("The access token lacks a required claim.")]
    MissingClaim,
    #[error("The access token does not have any of the required scopes.")]
    MissingScope,
}

impl From<InvalidToken> for Refusal {
    fn from(fault: InvalidToken) -> Self {
        match fault {
            InvalidToken::Malformed => Self::Malformed,
            InvalidToken::UnsupportedAlgorithm => Self::UnsupportedAlgorithm,
            InvalidToken::UnknownKey => Self::UnknownKey,
            InvalidToken::InvalidSignature => Self::InvalidSignature,
            InvalidToken::InvalidIssuer => Self::InvalidIssuer,
            InvalidToken::MissingClaim => Self::MissingClaim,
        }
    }
}

/// Verifies a user's token against the keys that its tenant publishes now.
pub(super) fn verify(text: &str, tokens: &TokenReader, now: Timestamp, accepts: &Accepts) -> Result<Verified, Refusal> {
    let token = tokens.read(text, None)?;
    if !token.is_for(Some(accepts.app), accepts.uri) {
        return Err(Refusal::InvalidAudience);
    }
    let expires_on = match token.lifetime(now) {
        Lifetime::Current(end) => end,
        Lifetime::Expired => return Err(Refusal::Expired),
        Lifetime::NotYetValid => return Err(Refusal::NotYetValid),
        Lifetime::Missing => return Err(Refusal::MissingClaim),
    };
    if !token.is_delegated() {
        return Err(Refusal::NotDelegated);
    }
    let object_id = token.guid("oid").ok_or(Refusal::MissingClaim)?;
    let client = token.client().ok_or(Refusal::MissingClaim)?;
    let scope = token.text("scp").unwrap_or_default();
    let scopes: Vec<&'static str> = accepts
        .scopes
        .iter()
        .copied()
        .filter(|accepted| scope.split_whitespace().any(|name| name == *accepted))
        .collect();
    if scopes.is_empty() {
        return Err(Refusal::MissingScope);
    }
    Ok(Verified {
        tenant: token.tenant,
        object_id,
        client,
        scopes,
        expires_on,
    })
}
