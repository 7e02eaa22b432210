//! A token's gates: every check that a token has to pass, with the values that it compares.
//!
//! [`Authenticator::verify`] stops at the first check that fails, as callers are answered. Here all that fail are reported,
//! since an operator wants to mend all at once. Nothing is asked or fetched, and no outcome here lets anybody in.

use std::fmt::Display;

use jiff::Timestamp;
use serde::Serialize;

use super::claims::gates::ClaimGates;
use super::claims::{self, Acceptance, TokenContext};
use super::token::UnverifiedToken;
use super::{Authenticator, Principal, Rejection};
use base::ids::TenantId;
use base::secret::BearerToken;
use base::untrusted::Untrusted;

/// The ids of the gates: `doctor`'s, and stable.
pub mod id {
    /// Three parts, bounds, JSON, types.
    pub const WELL_FORMED: &str = "token.well_formed";
    /// RS256.
    pub const ALGORITHM: &str = "token.algorithm";
    /// `tid` is listed.
    pub const TENANT: &str = "token.tenant";
    /// `kid` is among the tenant's keys.
    pub const KEY: &str = "token.key";
    /// The signature verifies.
    pub const SIGNATURE: &str = "token.signature";
    /// `iss` is the tenant's.
    pub const ISSUER: &str = "token.issuer";
    /// `aud` is accepted.
    pub const AUDIENCE: &str = "token.audience";
    /// `exp`, `nbf`, `iat`.
    pub const LIFETIME: &str = "token.lifetime";
    /// A user's, and not bound to a key.
    pub const DELEGATED: &str = "token.delegated";
    /// `azp` or `appid`.
    pub const CLIENT_APP: &str = "token.client_app";
    /// One of the required scopes.
    pub const SCOPES: &str = "token.scopes";
    /// A resource serves the caller.
    pub const ROUTE: &str = "token.route";
    /// An assignment covers the caller.
    pub const ASSIGNMENT: &str = "token.assignment";

    /// All of them, in their order.
    pub const ALL: [&str; 13] = [
        WELL_FORMED,
        ALGORITHM,
        TENANT,
        KEY,
        SIGNATURE,
        ISSUER,
        AUDIENCE,
        LIFETIME,
        DELEGATED,
        CLIENT_APP,
        SCOPES,
        ROUTE,
        ASSIGNMENT,
    ];
}

/// How a token fares at one gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// Which gate: one of [`id::ALL`].
    pub id: &'static str,
    /// Whether the token passes.
    pub status: GateStatus,
    /// The values that are compared. Text from the token is escaped and cut.
    pub detail: String,
}

/// Whether a token passes a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GateStatus {
    /// It does.
    Pass,
    /// It does not.
    Fail,
    /// A gate before this one decides: nothing is known here.
    Skip,
    /// Only somebody else could say: Entra, Microsoft Graph or ACS.
    Undecided,
}

/// What all gates together mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The broker would go on to the cache or the exchange.
    Issued,
    /// A gate fails.
    Refused,
    /// None fails, and one is undecided.
    Undecided,
}

impl Outcome {
    /// What `gates` mean together.
    #[must_use]
    pub fn of(gates: &[Gate]) -> Self {
        let any = |status| gates.iter().any(|gate| gate.status == status);
        if any(GateStatus::Fail) {
            Self::Refused
        } else if any(GateStatus::Undecided) || any(GateStatus::Skip) {
            Self::Undecided
        } else {
            Self::Issued
        }
    }
}

impl Gate {
    /// A gate that the token passes.
    pub fn pass(id: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, GateStatus::Pass, detail)
    }

    /// One that it does not pass.
    pub fn fail(id: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, GateStatus::Fail, detail)
    }

    /// One that only somebody else could decide.
    pub fn undecided(id: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, GateStatus::Undecided, detail)
    }

    /// One that was not looked at.
    pub fn skip(id: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, GateStatus::Skip, detail)
    }

    fn new(id: &'static str, status: GateStatus, detail: impl Into<String>) -> Self {
        Self {
            id,
            status,
            detail: detail.into(),
        }
    }
}

/// The gates of authentication: from `token.well_formed` to `token.scopes`.
#[derive(Debug)]
pub struct TokenGates {
    /// In their order.
    pub gates: Vec<Gate>,
    /// What the claims say, if the signature is good.
    pub verified: Option<VerifiedClaims>,
}

/// What a token says whose signature is good, whatever else is wrong with it. It lets nobody in.
#[derive(Debug)]
pub struct VerifiedClaims {
    /// What the routes go by.
    pub context: TokenContext,
    /// What assignments go by, if the token names a user and a client app.
    pub principal: Option<Principal>,
}

impl TokenGates {
    /// Adds every gate that is missing, as not looked at.
    #[must_use]
    pub fn completed(self) -> Vec<Gate> {
        let mut gates = self.gates;
        let missing = id::ALL.iter().skip(gates.len());
        gates.extend(missing.map(|id| Gate::skip(id, "a gate before this one decides")));
        gates
    }
}

impl Authenticator {
    /// How `token` fares at each gate of authentication, by the keys at hand: nothing is fetched. After a gate up to
    /// `token.signature` that it does not pass the rest is missing, since no claim counts without a good signature.
    /// `acceptance` says what the resource that serves its caller takes.
    #[must_use]
    pub fn gates(&self, token: &BearerToken, acceptance: &dyn Acceptance) -> TokenGates {
        let mut gates = Vec::with_capacity(id::ALL.len());
        let verified = self.look_at_gates(token, acceptance, &mut gates);
        TokenGates { gates, verified }
    }

    fn look_at_gates(
        &self,
        token: &BearerToken,
        acceptance: &dyn Acceptance,
        gates: &mut Vec<Gate>,
    ) -> Option<VerifiedClaims> {
        let unverified = match UnverifiedToken::read(token) {
            Ok(unverified) => unverified,
            Err(rejection) => {
                gates.push(Gate::fail(id::WELL_FORMED, rejection.to_string()));
                return None;
            }
        };
        let bytes = token.expose().len();
        gates.push(Gate::pass(id::WELL_FORMED, format!("a signed JWT of {bytes} bytes")));
        if unverified.algorithm() != "RS256" {
            let rejection = Rejection::UnsupportedAlgorithm(Untrusted::new(unverified.algorithm()));
            gates.push(Gate::fail(id::ALGORITHM, rejection.to_string()));
            return None;
        }
        gates.push(Gate::pass(id::ALGORITHM, "RS256"));
        let tenant = unverified.tid().parse().ok();
        let store = tenant.and_then(|tenant: TenantId| Some((tenant, self.tenants.get(&tenant)?)));
        let Some((tenant, store)) = store else {
            gates.push(Gate::fail(id::TENANT, self.unlisted(&unverified)));
            return None;
        };
        gates.push(Gate::pass(
            id::TENANT,
            format!("tenant {tenant} is listed under entra.tenants"),
        ));
        let now = self.clock.monotonic();
        let kid = Untrusted::new(unverified.kid());
        let status = store.status();
        let fetched = status.age.map(|age| format!("fetched {} s ago", age.as_secs()));
        if !unverified.has_kid() {
            gates.push(Gate::fail(id::KEY, Rejection::NoKeyId.to_string()));
            return None;
        }
        let Some(keys) = store.current() else {
            gates.push(Gate::undecided(
                id::KEY,
                format!(
                    "no usable signing keys of tenant {tenant}{}, so key `{kid}` cannot be looked for",
                    fetched.map_or(String::new(), |fetched| format!(": they were {fetched}"))
                ),
            ));
            return None;
        };
        let fetched = fetched.unwrap_or_default();
        let Some((key, _)) = keys.get(unverified.kid(), now) else {
            gates.push(Gate::fail(
                id::KEY,
                format!("tenant {tenant} has no key `{kid}`; its keys were {fetched}"),
            ));
            return None;
        };
        gates.push(Gate::pass(
            id::KEY,
            format!("key `{kid}` is among those of tenant {tenant}, {fetched}"),
        ));
        let Some(claims) = unverified.verify(key) else {
            let rejection = Rejection::InvalidSignature { tenant, kid };
            gates.push(Gate::fail(id::SIGNATURE, rejection.to_string()));
            return None;
        };
        gates.push(Gate::pass(id::SIGNATURE, format!("verifies under key `{kid}`")));
        let instant: Timestamp = self.clock.now();
        let ClaimGates {
            gates: of_claims,
            context,
            principal,
        } = claims::gates::gates(&claims, tenant, keys.issuers(), &self.policy, acceptance, instant);
        gates.extend(of_claims);
        Some(VerifiedClaims { context, principal })
    }

    fn unlisted(&self, token: &UnverifiedToken<'_>) -> String {
        let tenants = self.tenants.keys();
        let listed = listed(tenants);
        if token.has_tid() {
            let rejection = Rejection::UnknownTenant(Untrusted::new(token.tid()));
            format!("{rejection}, which lists `{listed}`")
        } else {
            Rejection::MissingClaim("tid").to_string()
        }
    }
}

/// Some of many, in their order as text, for a detail.
pub(super) fn listed(items: impl Iterator<Item = impl Display>) -> String {
    const SHOWN: usize = 10;
    let mut texts: Vec<String> = items.map(|item| item.to_string()).collect();
    texts.sort_unstable();
    let more = texts.len().saturating_sub(SHOWN);
    texts.truncate(SHOWN);
    let text = texts.join(" ");
    if more > 0 {
        format!("{text} and {more} more")
    } else {
        text
    }
}
