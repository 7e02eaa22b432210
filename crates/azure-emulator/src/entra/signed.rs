//! Tokens of the emulated Entra, as Azure's services read and verify them.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::issuer::{v1_issuer, v2_issuer};
use super::keys::KeyStore;
use crate::jwt::decode;
use crate::site::Site;

/// Microsoft's token validators allow clocks to differ by five minutes.
const CLOCK_SKEW_SECONDS: i64 = 300;

/// The claims of a token whose signature and issuer hold. Audience and lifetime are for the reader to check.
#[derive(Debug)]
pub(crate) struct SignedToken {
    claims: Map<String, Value>,
    pub(crate) tenant: Uuid,
    client_claim: &'static str,
}

/// Why a token is not one of Entra's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidToken {
    Malformed,
    UnsupportedAlgorithm,
    UnknownKey,
    InvalidSignature,
    InvalidIssuer,
    MissingClaim,
}

/// Whether now is within a token's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// It is; with the end.
    Current(Timestamp),
    Expired,
    NotYetValid,
    /// There is no end.
    Missing,
}

/// Reads Entra's tokens; all that a service needs to know of Entra to verify one.
#[derive(Debug, Clone)]
pub(crate) struct TokenReader {
    keys: Arc<KeyStore>,
    site: Arc<Site>,
}

impl TokenReader {
    pub(crate) fn new(keys: Arc<KeyStore>, site: Arc<Site>) -> Self {
        Self { keys, site }
    }

    /// Verifies signature and issuer against the keys that the token's tenant publishes now, and, for an app that
    /// signs with keys of its own, that app's.
    pub(crate) fn read(&self, token: &str, app: Option<Uuid>) -> Result<SignedToken, InvalidToken> {
        read(token, &self.keys, self.site.issuer_origin(), app)
    }
}

fn read(token: &str, keys: &KeyStore, origin: &str, app: Option<Uuid>) -> Result<SignedToken, InvalidToken> {
    let decoded = decode(token).ok_or(InvalidToken::Malformed)?;
    if decoded.header_text("alg") != Some("RS256") {
        return Err(InvalidToken::UnsupportedAlgorithm);
    }
    // An extension that must be understood is not (RFC 7515 4.1.11).
    if decoded.header.contains_key("crit") {
        return Err(InvalidToken::Malformed);
    }
    let tenant = guid(&decoded.claims, "tid").ok_or(InvalidToken::MissingClaim)?;
    // Only the id of a key is taken from the header; a key, or where to get one, never is.
    let key = decoded
        .header_text("kid")
        .and_then(|kid| keys.find(tenant, kid).or_else(|| keys.find_of_app(tenant, app?, kid)))
        .ok_or(InvalidToken::UnknownKey)?;
    if !key.verifies(&decoded) {
        return Err(InvalidToken::InvalidSignature);
    }
    let (issuer, client_claim) = match decoded.text("ver") {
        Some("2.0") => (v2_issuer(origin, tenant), "azp"),
        Some("1.0") => (v1_issuer(origin, tenant), "appid"),
        _ => return Err(InvalidToken::MissingClaim),
    };
    if decoded.text("iss") != Some(&issuer) {
        return Err(InvalidToken::InvalidIssuer);
    }
    Ok(SignedToken {
        claims: decoded.claims,
        tenant,
        client_claim,
    })
}

impl SignedToken {
    pub(crate) fn lifetime(&self, now: Timestamp) -> Lifetime {
        let number = |name: &str| self.claims.get(name).and_then(Value::as_i64);
        let Some((exp, end)) = number("exp").and_then(|exp| Some((exp, Timestamp::from_second(exp).ok()?))) else {
            return Lifetime::Missing;
        };
        if now.as_second() >= exp.saturating_add(CLOCK_SKEW_SECONDS) {
            Lifetime::Expired
        } else if number("nbf").is_some_and(|nbf| nbf > now.as_second() + CLOCK_SKEW_SECONDS) {
            Lifetime::NotYetValid
        } else {
            Lifetime::Current(end)
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.claims.get(name)?.as_i64()
    }

    pub(crate) fn guid(&self, name: &str) -> Option<Uuid> {
        guid(&self.claims, name)
    }

    /// A claim that is a list of texts.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        let list = self.claims.get(name).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The client app that the token was issued to.
    pub(crate) fn client(&self) -> Option<Uuid> {
        self.guid(self.client_claim)
    }

    /// Whether it speaks for a user: it has scopes, and does not call itself an app's.
    pub(crate) fn is_delegated(&self) -> bool {
        self.text("scp").is_some_and(|scopes| !scopes.trim().is_empty())
            && self.text("idtyp").is_none_or(|kind| kind == "user")
    }

    /// Whether it has this audience. A GUID's letter case does not matter.
    pub(crate) fn is_for(&self, app: Option<Uuid>, uri: &str) -> bool {
        let Some(audience) = self.text("aud") else {
            return false;
        };
        audience == uri || app.is_some_and(|id| audience.eq_ignore_ascii_case(&id.to_string()))
    }
}

fn guid(claims: &Map<String, Value>, name: &str) -> Option<Uuid> {
    Uuid::try_parse(claims.get(name)?.as_str()?).ok()
}
