//! The rules for claims: pure functions of the signed claims, the policy and the time.
//!
//! Claim semantics: RFC 7519 section 4.1 and the Microsoft identity platform's access token claims reference.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::caller::{Addressee, Caller, Groups};
use super::rejection::{Malformed, NotDelegated, Rejection};
use crate::ids::{ClientAppId, ObjectId, Scopes, TenantId};
use crate::untrusted::Untrusted;

/// ACS's client interfaces: the application id (v2 tokens), and what its name begins with in every cloud (v1 tokens).
const ACS_CLIENTS_APP: &str = "2a04943b-b6a7-4f65-8786-2bb6131b59f6";
const ACS_CLIENTS_URI: &str = "https://communication.azure.";
/// The same of its Teams Phone extension.
const TEAMS_EXTENSION_APP: &str = "1fd5118e-2576-4263-8130-9503064c837a";
const TEAMS_EXTENSION_URI: &str = "https://auth.msft.communication.azure.";

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

    /// The place of an accepted audience among the configured ones.
    fn place_of(&self, audience: &str) -> Option<usize> {
        let audience = Audience::parse(audience);
        self.audiences.iter().position(|accepted| *accepted == audience)
    }
}

/// The claims this broker reads, each of the type that its definition says.
#[derive(Debug, Default)]
pub(super) struct SignedClaims {
    pub(super) tid: Option<String>,
    iss: Option<String>,
    aud: Option<Vec<String>>,
    exp: Option<Timestamp>,
    nbf: Option<Timestamp>,
    iat: Option<Timestamp>,
    oid: Option<ObjectId>,
    client_app: Option<ClientAppId>,
    scp: Option<String>,
    idtyp: Option<String>,
    groups: Option<Vec<ObjectId>>,
    groups_overage: bool,
    groups_by_name: bool,
    bound: bool,
}

impl SignedClaims {
    /// Bytes held, roughly.
    pub(super) fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let audiences: usize = self.aud.iter().flatten().map(String::len).sum();
        let groups = self.groups.as_ref().map_or(0, |groups| size_of_val(groups.as_slice()));
        size_of::<Self>()
            + audiences
            + groups
            + [&self.tid, &self.iss, &self.scp, &self.idtyp]
                .map(text)
                .iter()
                .sum::<usize>()
    }

    /// Reads the payload's members by type; which of them must be there is [`check`]'s business.
    pub(super) fn read(payload: &Map<String, Value>) -> Result<Self, Malformed> {
        let azp = guid::<ClientAppId>(payload, "azp")?;
        let appid = guid::<ClientAppId>(payload, "appid")?;
        if let (Some(azp), Some(appid)) = (azp, appid)
            && azp != appid
        {
            return Err(Malformed::AmbiguousClient);
        }
        // Checked though unused: a token with a mistyped claim was not made by Entra.
        text(payload, "ver")?;
        text_list(payload, "roles")?;
        // Entra can be told to emit group names instead of ids; such entries match no assignment.
        let told = text_list(payload, "groups")?;
        let groups: Option<Vec<ObjectId>> = told
            .as_ref()
            .map(|groups| groups.iter().filter_map(|group| group.parse().ok()).collect());
        let all_are_ids = told.map(|told| told.len()) == groups.as_ref().map(Vec::len);
        Ok(Self {
            tid: text(payload, "tid")?,
            iss: text(payload, "iss")?,
            aud: audiences(payload)?,
            exp: instant(payload, "exp")?,
            nbf: instant(payload, "nbf")?,
            iat: instant(payload, "iat")?,
            oid: guid(payload, "oid")?,
            client_app: azp.or(appid),
            scp: text(payload, "scp")?,
            idtyp: text(payload, "idtyp")?,
            groups,
            groups_overage: overage(payload)?,
            groups_by_name: !all_are_ids,
            bound: payload.contains_key("cnf"),
        })
    }
}

/// Checks signed claims in the published order; the first failure is told.
pub(super) fn check(
    claims: &SignedClaims,
    tenant: TenantId,
    issuers: &[Box<str>],
    policy: &Policy,
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
    let audience = audiences
        .iter()
        .find_map(|audience| policy.place_of(audience))
        .ok_or_else(|| Rejection::InvalidAudience(Untrusted::new(&audiences.join(" "))))?;
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
    if !policy.required_scopes.iter().any(|scope| scopes.contains(scope)) {
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
        audience,
        addressee: addressee(audiences),
    })
}

/// Whom a token with these audiences is for. One for ACS is that, whoever else it is for too.
#[must_use]
pub fn addressee(audiences: &[String]) -> Addressee {
    let is = |app: &str, uri: &str| {
        let mut audiences = audiences.iter();
        audiences.any(|audience| audience.eq_ignore_ascii_case(app) || audience.starts_with(uri))
    };
    if is(TEAMS_EXTENSION_APP, TEAMS_EXTENSION_URI) {
        Addressee::AcsTeamsExtension
    } else if is(ACS_CLIENTS_APP, ACS_CLIENTS_URI) {
        Addressee::AcsClients
    } else {
        Addressee::OwnApi
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

fn text(payload: &Map<String, Value>, name: &'static str) -> Result<Option<String>, Malformed> {
    match payload.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Malformed::Mistyped(name)),
    }
}

fn text_list(payload: &Map<String, Value>, name: &'static str) -> Result<Option<Vec<String>>, Malformed> {
    match payload.get(name) {
        None => Ok(None),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .map(Some)
            .ok_or(Malformed::Mistyped(name)),
        Some(_) => Err(Malformed::Mistyped(name)),
    }
}

/// RFC 7519 section 4.1.3: one string, or several in an array.
fn audiences(payload: &Map<String, Value>) -> Result<Option<Vec<String>>, Malformed> {
    match payload.get("aud") {
        Some(Value::String(audience)) => Ok(Some(vec![audience.clone()])),
        _ => text_list(payload, "aud"),
    }
}

fn guid<T: std::str::FromStr>(payload: &Map<String, Value>, name: &'static str) -> Result<Option<T>, Malformed> {
    text(payload, name)?
        .map(|text| text.parse().map_err(|_| Malformed::Mistyped(name)))
        .transpose()
}

/// `NumericDate` (RFC 7519 section 2): seconds since 1970, fractions allowed.
fn instant(payload: &Map<String, Value>, name: &'static str) -> Result<Option<Timestamp>, Malformed> {
    let Some(value) = payload.get(name) else {
        return Ok(None);
    };
    let parsed = match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole_seconds)),
        _ => None,
    };
    parsed
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map(Some)
        .ok_or(Malformed::Mistyped(name))
}

fn whole_seconds(seconds: f64) -> Option<i64> {
    // Far beyond any date, and far below where f64 loses whole seconds.
    const LIMIT: f64 = 1e15;
    #[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
    (seconds.abs() < LIMIT).then(|| seconds.floor() as i64)
}

/// Entra's markers that the token does not list all groups: `_claim_names.groups`, or `hasgroups`.
fn overage(payload: &Map<String, Value>) -> Result<bool, Malformed> {
    let named = match payload.get("_claim_names") {
        None => false,
        Some(Value::Object(names)) => names.contains_key("groups"),
        Some(_) => return Err(Malformed::Mistyped("_claim_names")),
    };
    let flagged = match payload.get("hasgroups") {
        None => false,
        Some(Value::Bool(flag)) => *flag,
        Some(_) => return Err(Malformed::Mistyped("hasgroups")),
    };
    Ok(named || flagged)
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
