//! The rules for claims: pure functions of the signed claims, the policy and the time.
//!
//! Claim semantics: RFC 7519 section 4.1 and the Microsoft identity platform's access token claims reference.

pub(super) mod gates;
mod signed;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub(super) use self::signed::{CheckedAgain, SignedClaims};
use super::caller::{Accepted, Caller, Groups, Principal};
use super::rejection::{NotDelegated, Rejection};
use base::ids::{ClientAppId, ObjectId, Scopes, TenantId};
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

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AppId(id) => id.fmt(f),
            Self::Uri(uri) => uri.fmt(f),
        }
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

/// What may be done with a token where it is presented: what the resource that serves its user takes.
pub trait Acceptance {
    /// Whether a token for that addressee may be presented in this way. It is asked once the audience is an accepted one.
    fn takes(&self, context: TokenContext) -> bool;

    /// Whether a scope of that name, which is among the required ones, counts for what is done with the token.
    fn counts(&self, context: TokenContext, scope: &str) -> bool;
}

/// A rule for addressees alone: every required scope counts.
impl<F: Fn(TokenContext) -> bool> Acceptance for F {
    fn takes(&self, context: TokenContext) -> bool {
        self(context)
    }

    fn counts(&self, _: TokenContext, _: &str) -> bool {
        true
    }
}

/// Checks signed claims in the published order; the first failure counts.
pub(super) fn check(
    claims: &SignedClaims,
    tenant: TenantId,
    issuers: &[Box<str>],
    policy: &Policy,
    acceptance: &dyn Acceptance,
    now: Timestamp,
) -> Result<Caller, Rejection> {
    for (claim, is_there) in [
        ("iss", claims.iss.is_some()),
        ("aud", claims.aud.is_some()),
        ("exp", claims.exp.is_some()),
    ] {
        if !is_there {
            return Err(Rejection::MissingClaim(claim));
        }
    }
    check_issuer(claims, tenant, issuers)?;
    let audiences = check_audience(claims, policy)?;
    let context = context(claims, tenant);
    if !acceptance.takes(context) {
        return Err(Rejection::ForOtherPath(shown(audiences)));
    }
    let token_expires_on = check_lifetime(claims, policy, now)?;
    let scopes = Scopes::parse(claims.scp.as_deref().unwrap_or_default());
    let object_id = check_delegated(claims, &scopes)?;
    let client_app = check_client_app(claims)?;
    check_scopes(&scopes, context, acceptance, policy)?;
    Ok(Caller::from(Accepted {
        principal: principal(claims, tenant, object_id, client_app),
        scopes,
        token_expires_on,
        audience: as_text(audiences),
        addressee: context.addressee,
    }))
}

/// The same for claims that were accepted as `caller`, with the same policy and issuers: what depends on the time and on the
/// way in which the token is presented, in the same order.
pub(super) fn check_again(
    claims: &CheckedAgain,
    caller: &Caller,
    policy: &Policy,
    acceptance: &dyn Acceptance,
    now: Timestamp,
) -> Result<Caller, Rejection> {
    let context = TokenContext {
        tenant: caller.tenant(),
        client_app: Some(caller.client_app()),
        addressee: caller.addressee(),
    };
    if !acceptance.takes(context) {
        return Err(Rejection::ForOtherPath(Untrusted::new(&claims.audiences(caller))));
    }
    let valid_from = [("nbf", claims.nbf), ("iat", claims.iat)];
    check_times(caller.token_expires_on(), valid_from, policy, now)?;
    check_scopes(caller.scopes(), context, acceptance, policy)?;
    Ok(caller.clone())
}

/// What is known of a token whatever else is wrong with it.
fn context(claims: &SignedClaims, tenant: TenantId) -> TokenContext {
    TokenContext {
        tenant,
        client_app: claims.client_app,
        addressee: Addressee::from_audiences(claims.aud.as_deref().unwrap_or_default()),
    }
}

fn principal(claims: &SignedClaims, tenant: TenantId, object_id: ObjectId, client_app: ClientAppId) -> Principal {
    let groups = match claims.groups.clone() {
        Some(groups) if !claims.groups_overage => Groups::Known(groups),
        listed => Groups::Unknown {
            listed: listed.unwrap_or_default(),
        },
    };
    Principal {
        tenant,
        object_id,
        client_app,
        groups,
        groups_by_name: claims.groups_by_name,
    }
}

fn shown(audiences: &[String]) -> Untrusted {
    Untrusted::new(&audiences.join(" "))
}

/// A tenant's id may be in either letter case; everything else of an issuer is lower-case at Entra.
fn check_issuer<'c>(claims: &'c SignedClaims, tenant: TenantId, issuers: &[Box<str>]) -> Result<&'c str, Rejection> {
    let issuer = claims.iss.as_deref().ok_or(Rejection::MissingClaim("iss"))?;
    if issuers.iter().any(|accepted| accepted.eq_ignore_ascii_case(issuer)) {
        Ok(issuer)
    } else {
        Err(Rejection::InvalidIssuer {
            tenant,
            issuer: Untrusted::new(issuer),
        })
    }
}

fn check_audience<'c>(claims: &'c SignedClaims, policy: &Policy) -> Result<&'c [String], Rejection> {
    let audiences = claims.aud.as_deref().ok_or(Rejection::MissingClaim("aud"))?;
    if audiences.iter().any(|audience| policy.accepts(audience)) {
        Ok(audiences)
    } else {
        Err(Rejection::InvalidAudience(shown(audiences)))
    }
}

/// Whether it is a user's, and one that any bearer may present.
fn check_delegated(claims: &SignedClaims, scopes: &Scopes) -> Result<ObjectId, Rejection> {
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
    claims.oid.ok_or(Rejection::MissingClaim("oid"))
}

fn check_client_app(claims: &SignedClaims) -> Result<ClientAppId, Rejection> {
    claims.client_app.ok_or(Rejection::MissingClaim("azp"))
}

/// One of the required scopes that counts for the API that the token is for, and for what is done with it.
fn check_scopes<'p>(
    scopes: &Scopes,
    context: TokenContext,
    acceptance: &dyn Acceptance,
    policy: &'p Policy,
) -> Result<&'p str, Rejection> {
    let mut required = policy.required_scopes.iter();
    let counts = |scope: &str| context.addressee.has_scope(scope) && acceptance.counts(context, scope);
    required
        .find(|scope| counts(scope) && scopes.contains(scope))
        .map(String::as_str)
        .ok_or_else(|| Rejection::InsufficientScope(Untrusted::new(&scopes.to_string())))
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
fn check_lifetime(claims: &SignedClaims, policy: &Policy, now: Timestamp) -> Result<Timestamp, Rejection> {
    let expires_on = claims.exp.ok_or(Rejection::MissingClaim("exp"))?;
    check_times(expires_on, [("nbf", claims.nbf), ("iat", claims.iat)], policy, now)?;
    Ok(expires_on)
}

fn check_times(
    expires_on: Timestamp,
    valid_from: [(&'static str, Option<Timestamp>); 2],
    policy: &Policy,
    now: Timestamp,
) -> Result<(), Rejection> {
    let skew = policy.clock_skew;
    let latest = now.checked_add(skew).unwrap_or(Timestamp::MAX);
    let earliest = now.checked_sub(skew).unwrap_or(Timestamp::MIN);
    if expires_on <= earliest {
        return Err(Rejection::Expired {
            expired_at: expires_on,
            now,
        });
    }
    for (claim, instant) in valid_from {
        if let Some(valid_from) = instant.filter(|instant| *instant > latest) {
            return Err(Rejection::NotYetValid { claim, valid_from, now });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
