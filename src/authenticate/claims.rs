//! The rules for claims: pure functions of the signed claims, the policy and the time.
//!
//! Claim semantics: RFC 7519 section 4.1 and the Microsoft identity platform's access token claims reference.

mod signed;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub(super) use self::signed::SignedClaims;
use super::caller::{Caller, Groups};
use super::rejection::{NotDelegated, Rejection};
use base::ids::{ClientAppId, Scopes, TenantId};
use base::untrusted::Untrusted;
use config::Addressee;

/// Which tokens are accepted, apart from their tenant and key.
#[derive(Debug, Clone)]
pub struct Policy {
    audiences: Vec<Audience>,
    required_scopes: Vec<String>,
    clock_skew: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Audience {
    // GUIDs compare without regard to case.
    AppId(ClientAppId),
    Uri(String),
}

impl Audience {
    fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Uri(text.to_owned()), Self::AppId)
    }
}

impl Policy {
    /// A policy that accepts `audiences`, any one of `required_scopes`, and clocks apart by `clock_skew`.
    #[must_use]
    pub fn new(audiences: &[String], required_scopes: &[String], clock_skew: Duration) -> Self {
        Self {
            audiences: audiences.iter().map(|audience| Audience::parse(audience)).collect(),
            required_scopes: required_scopes.to_vec(),
            clock_skew,
        }
    }

    fn accepts(&self, audience: &str) -> bool {
        self.audiences.contains(&Audience::parse(audience))
    }
}

/// What is known of a token when its audience is checked.
#[derive(Debug, Clone, Copy)]
pub struct TokenContext {
    /// `tid`
    pub tenant: TenantId,
    /// `azp` or `appid`, if the token has one.
    pub client_app: Option<ClientAppId>,
    /// Who the token is for.
    pub addressee: Addressee,
}

/// Checks signed claims in the published order; the first failure counts. `is_wanted` says whether a token for that
/// addressee may be presented in this way; it is asked once the audience is an accepted one.
pub(super) fn check(
    claims: &SignedClaims,
    tenant: TenantId,
    issuers: &[Box<str>],
    policy: &Policy,
    is_wanted: &dyn Fn(TokenContext) -> bool,
    now: Timestamp,
) -> Result<Caller, Rejection> {
    let issuer = claims.iss.as_deref().ok_or(Rejection::MissingClaim("iss"))?;
    let audiences = claims.aud.as_ref().ok_or(Rejection::MissingClaim("aud"))?;
    let expires_on = claims.exp.ok_or(Rejection::MissingClaim("exp"))?;
    // A tenant's id may be in either letter case; everything else of an issuer is lower-case at Entra.
    if !issuers.iter().any(|accepted| accepted.eq_ignore_ascii_case(issuer)) {
        return Err(Rejection::InvalidIssuer {
            tenant,
            issuer: Untrusted::new(issuer),
        });
    }
    let context = TokenContext {
        tenant,
        client_app: claims.client_app,
        addressee: Addressee::from_audiences(audiences),
    };
    let shown = || Untrusted::new(&audiences.join(" "));
    if !audiences.iter().any(|audience| policy.accepts(audience)) {
        return Err(Rejection::InvalidAudience(shown()));
    }
    if !is_wanted(context) {
        return Err(Rejection::ForOtherPath(shown()));
    }
    check_lifetime(expires_on, claims.nbf, claims.iat, policy.clock_skew, now)?;
    let scopes = Scopes::parse(claims.scp.as_deref().unwrap_or_default());
    if scopes.is_empty() {
        return Err(Rejection::NotDelegated(NotDelegated::NoScopes));
    }
    if let Some(idtyp) = claims.idtyp.as_deref().filter(|idtyp| *idtyp != "user") {
        return Err(Rejection::NotDelegated(NotDelegated::IdentityType(Untrusted::new(
            idtyp,
        ))));
    }
    if claims.bound {
        return Err(Rejection::NotDelegated(NotDelegated::Bound));
    }
    let object_id = claims.oid.ok_or(Rejection::MissingClaim("oid"))?;
    let client_app = claims.client_app.ok_or(Rejection::MissingClaim("azp"))?;
    let addressee = context.addressee;
    let mut required = policy.required_scopes.iter();
    if !required.any(|scope| addressee.has_scope(scope) && scopes.contains(scope)) {
        return Err(Rejection::InsufficientScope(Untrusted::new(&scopes.to_string())));
    }
    let listed = claims.groups.clone();
    let groups = match listed {
        Some(groups) if !claims.groups_overage => Groups::Known(groups),
        listed => Groups::Unknown {
            listed: listed.unwrap_or_default(),
        },
    };
    Ok(Caller {
        tenant,
        object_id,
        client_app,
        scopes,
        groups,
        token_expires_on: expires_on,
        groups_by_name: claims.groups_by_name,
        audience: as_text(audiences),
        addressee,
    })
}

/// All audiences of a token as one text, the same for tokens that differ in their order or in the letter case of ids.
fn as_text(audiences: &[String]) -> Arc<str> {
    let mut texts: Vec<String> = audiences
        .iter()
        .map(|audience| match Audience::parse(audience) {
            Audience::AppId(id) => id.to_string(),
            Audience::Uri(uri) => uri,
        })
        .collect();
    texts.sort_unstable();
    texts.dedup();
    // One of several is quoted, so that no text stands for two sets.
    match &texts[..] {
        [one] => Arc::from(one.as_str()),
        several => Arc::from(format!("{several:?}")),
    }
}

/// RFC 7519 sections 4.1.4 to 4.1.6; `iat` in the future means a clock that cannot be trusted.
fn check_lifetime(
    expires_on: Timestamp,
    not_before: Option<Timestamp>,
    issued_at: Option<Timestamp>,
    skew: Duration,
    now: Timestamp,
) -> Result<(), Rejection> {
    let latest = now.checked_add(skew).unwrap_or(Timestamp::MAX);
    let earliest = now.checked_sub(skew).unwrap_or(Timestamp::MIN);
    if expires_on <= earliest {
        return Err(Rejection::Expired {
            expired_at: expires_on,
            now,
        });
    }
    for (claim, instant) in [("nbf", not_before), ("iat", issued_at)] {
        if let Some(valid_from) = instant.filter(|instant| *instant > latest) {
            return Err(Rejection::NotYetValid { claim, valid_from, now });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
