//! The emulated ACS's own check of an Entra token.

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{ACS_CLIENTS_APP, ACS_CLIENTS_URI};
use crate::emulator::entra::discovery::{v1_issuer, v2_issuer};
use crate::emulator::entra::keys::KeyStore;
use crate::emulator::jwt::decode;

/// Microsoft's token validators allow clocks to differ by five minutes.
const CLOCK_SKEW_SECONDS: i64 = 300;
/// The scopes that the exchange accepts in the preview; any one of them will do.
const ACCEPTED_SCOPES: [&str; 2] = ["VoIP", "VoIP.Join"];

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
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

impl Refusal {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Malformed => "Malformed",
            Self::UnsupportedAlgorithm => "UnsupportedAlgorithm",
            Self::UnknownKey => "UnknownKey",
            Self::InvalidSignature => "InvalidSignature",
            Self::InvalidIssuer => "InvalidIssuer",
            Self::InvalidAudience => "InvalidAudience",
            Self::Expired => "Expired",
            Self::NotYetValid => "NotYetValid",
            Self::NotDelegated => "NotDelegated",
            Self::MissingClaim => "MissingClaim",
            Self::MissingScope => "MissingScope",
        }
    }
}

/// Verifies a token against the keys that its tenant publishes now.
pub(super) fn verify(token: &str, keys: &KeyStore, origin: &str, now: Timestamp) -> Result<Verified, Refusal> {
    let decoded = decode(token).ok_or(Refusal::Malformed)?;
    if text(&decoded.header, "alg") != Some("RS256") {
        return Err(Refusal::UnsupportedAlgorithm);
    }
    // An extension that must be understood is not (RFC 7515 4.1.11).
    if decoded.header.contains_key("crit") {
        return Err(Refusal::Malformed);
    }
    let claims = &decoded.claims;
    let tenant = guid(claims, "tid").ok_or(Refusal::MissingClaim)?;
    // Only the id of a key is taken from the header; a key, or where to get one, never is.
    let key = text(&decoded.header, "kid")
        .and_then(|kid| keys.find(tenant, kid))
        .ok_or(Refusal::UnknownKey)?;
    if !key.verifies(&decoded) {
        return Err(Refusal::InvalidSignature);
    }

    let (issuer, client_claim) = match text(claims, "ver") {
        Some("2.0") => (v2_issuer(origin, tenant), "azp"),
        Some("1.0") => (v1_issuer(origin, tenant), "appid"),
        _ => return Err(Refusal::MissingClaim),
    };
    if text(claims, "iss") != Some(&issuer) {
        return Err(Refusal::InvalidIssuer);
    }
    let for_acs = text(claims, "aud")
        .is_some_and(|aud| aud == ACS_CLIENTS_URI || aud.eq_ignore_ascii_case(&ACS_CLIENTS_APP.to_string()));
    if !for_acs {
        return Err(Refusal::InvalidAudience);
    }
    let exp = number(claims, "exp").ok_or(Refusal::MissingClaim)?;
    if now.as_second() >= exp.saturating_add(CLOCK_SKEW_SECONDS) {
        return Err(Refusal::Expired);
    }
    if number(claims, "nbf").is_some_and(|nbf| nbf > now.as_second() + CLOCK_SKEW_SECONDS) {
        return Err(Refusal::NotYetValid);
    }
    let scopes = text(claims, "scp").unwrap_or_default();
    if scopes.trim().is_empty() || text(claims, "idtyp").is_some_and(|kind| kind != "user") {
        return Err(Refusal::NotDelegated);
    }
    let object_id = guid(claims, "oid").ok_or(Refusal::MissingClaim)?;
    let client = guid(claims, client_claim).ok_or(Refusal::MissingClaim)?;
    let scopes: Vec<&'static str> = ACCEPTED_SCOPES
        .into_iter()
        .filter(|accepted| scopes.split_whitespace().any(|scope| scope == *accepted))
        .collect();
    if scopes.is_empty() {
        return Err(Refusal::MissingScope);
    }
    Ok(Verified {
        tenant,
        object_id,
        client,
        scopes,
        expires_on: Timestamp::from_second(exp).map_err(|_| Refusal::MissingClaim)?,
    })
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str()
}

fn guid(object: &Map<String, Value>, name: &str) -> Option<Uuid> {
    Uuid::try_parse(text(object, name)?).ok()
}

fn number(object: &Map<String, Value>, name: &str) -> Option<i64> {
    object.get(name)?.as_i64()
}
