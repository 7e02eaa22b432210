//! `token.*`: every gate of a token, all that fail, with the values that are compared.
//!
//! What the service decides first is taken from the service's own code (`first`): a gate that it refuses never passes
//! here. The other gates are looked at one by one, so that one run shows all that is wrong.

mod claims;
mod signature;
mod user;

use std::time::Duration;

use base::ids::{ClientAppId, Scopes};
use base::untrusted::Untrusted;
use config::{Addressee, Config};
use jiff::Timestamp;

pub use self::claims::Claims;
use self::user::{client_app, delegated};
use super::super::check::{Check, CheckId, Status, Who};
use crate::authenticate::Rejection;
use crate::authorize::Denied;

/// What the service's own look at the token brought.
#[derive(Debug, Clone)]
pub enum Seen {
    /// It is accepted.
    Accepted,
    /// It is refused.
    Refused(Rejection),
    /// Its key was not looked for: there is no network.
    KeyNotLookedFor,
}

/// What the assignments say of the token's user.
#[derive(Debug, Clone)]
pub enum Covered {
    /// They are covered; by what.
    By(String),
    /// They are not.
    Not(Denied),
    /// It is not known.
    NotLookedAt(String),
}

/// Everything that the gates are judged by.
pub struct TokenLook<'c> {
    /// The settings.
    pub config: &'c Config,
    /// The service's decision.
    pub seen: Seen,
    /// What the token says; `None` if it cannot be read at all.
    pub claims: Option<Claims>,
    /// The issuers that the tenant states, if it was asked.
    pub issuers: Option<Vec<Box<str>>>,
    /// The resource that serves the user, by its name in words.
    pub resource: Option<String>,
    /// What its assignments say.
    pub covered: Covered,
    /// The time.
    pub now: Timestamp,
}

/// The gates up to the signature: after one that failed nothing that the token says is worth anything.
const UNTIL_SIGNATURE: [CheckId; 5] = [
    CheckId::TokenWellFormed,
    CheckId::TokenAlgorithm,
    CheckId::TokenTenant,
    CheckId::TokenKey,
    CheckId::TokenSignature,
];

/// The gates after it, but for the exchange.
const AFTER_SIGNATURE: [CheckId; 8] = [
    CheckId::TokenIssuer,
    CheckId::TokenAudience,
    CheckId::TokenLifetime,
    CheckId::TokenDelegated,
    CheckId::TokenClientApp,
    CheckId::TokenScopes,
    CheckId::TokenRoute,
    CheckId::TokenAssignment,
];

/// All gates of the token but the exchange.
#[must_use]
pub fn gates(look: &TokenLook<'_>) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    let mut failed: Option<CheckId> = None;
    for id in UNTIL_SIGNATURE {
        let check = match failed {
            Some(first) => Check::skip(id, format!("not looked at after {} failed", first.name())),
            None => look.confirmed(look.until_signature(id)),
        };
        if check.status == Status::Fail {
            failed = Some(id);
        }
        checks.push(check);
    }
    for id in AFTER_SIGNATURE {
        checks.push(match (&look.claims, failed) {
            (Some(claims), None) => look.confirmed(look.after_signature(id, claims)),
            _ => Check::skip(id, "what an unverified token says is not looked at"),
        });
    }
    checks
}

/// The gate that a rejection is about.
fn gate(rejection: &Rejection) -> CheckId {
    match rejection {
        Rejection::Malformed(_) => CheckId::TokenWellFormed,
        Rejection::UnsupportedAlgorithm(_) => CheckId::TokenAlgorithm,
        Rejection::UnknownTenant(_) | Rejection::MissingClaim("tid") => CheckId::TokenTenant,
        Rejection::KeysUnavailable { .. } | Rejection::NoKeyId | Rejection::UnknownKey { .. } => CheckId::TokenKey,
        Rejection::InvalidSignature { .. } => CheckId::TokenSignature,
        Rejection::InvalidIssuer { .. } | Rejection::MissingClaim("iss") => CheckId::TokenIssuer,
        Rejection::InvalidAudience(_) | Rejection::ForOtherPath(_) | Rejection::MissingClaim("aud") => {
            CheckId::TokenAudience
        }
        Rejection::Expired { .. } | Rejection::NotYetValid { .. } | Rejection::MissingClaim("exp") => {
            CheckId::TokenLifetime
        }
        Rejection::MissingClaim("azp") => CheckId::TokenClientApp,
        Rejection::NotDelegated(_) | Rejection::MissingClaim(_) => CheckId::TokenDelegated,
        Rejection::InsufficientScope(_) => CheckId::TokenScopes,
    }
}

impl TokenLook<'_> {
    /// A gate that the service refuses fails, whatever the look at it brought.
    fn confirmed(&self, check: Check) -> Check {
        match &self.seen {
            Seen::Refused(rejection) if gate(rejection) == check.id && check.status != Status::Fail => Check::fail(
                check.id,
                Who::Developer,
                rejection.to_string(),
                "see the page of this check",
            ),
            _ => check,
        }
    }

    fn after_signature(&self, id: CheckId, claims: &Claims) -> Check {
        match id {
            CheckId::TokenIssuer => self.issuer(claims),
            CheckId::TokenAudience => self.audience(claims),
            CheckId::TokenLifetime => self.lifetime(claims),
            CheckId::TokenDelegated => delegated(claims),
            CheckId::TokenClientApp => client_app(claims),
            CheckId::TokenScopes => self.scopes(claims),
            CheckId::TokenRoute => self.route(claims),
            _ => self.assignment(claims),
        }
    }

    fn issuer(&self, claims: &Claims) -> Check {
        let id = CheckId::TokenIssuer;
        let Some(issuers) = &self.issuers else {
            return Check::skip(id, "the tenant's issuers are not known; see entra.discovery");
        };
        let issuer = claims.text("iss").unwrap_or_default();
        let stated = issuers.join(" and ");
        if issuers.iter().any(|accepted| accepted.eq_ignore_ascii_case(issuer)) {
            return Check::pass(id, format!("`iss` is one of {stated}"));
        }
        Check::fail(
            id,
            Who::Operator,
            format!("`iss` is `{}`; the tenant states {stated}", Untrusted::new(issuer)),
            "check entra.authority and entra.cloud: the token is of another authority",
        )
    }

    fn audience(&self, claims: &Claims) -> Check {
        let id = CheckId::TokenAudience;
        let found = claims.audiences();
        let accepted = &self.config.entra.audiences;
        let same = |one: &String, other: &String| match (one.parse::<ClientAppId>(), other.parse::<ClientAppId>()) {
            (Ok(one), Ok(other)) => one == other,
            _ => one == other,
        };
        let shown = Untrusted::new(&found.join(" "));
        if found.iter().any(|one| accepted.iter().any(|other| same(one, other))) {
            return Check::pass(id, format!("`aud` is `{shown}`, which is accepted"));
        }
        let fix = match Addressee::from_audiences(&found) {
            Addressee::OwnApi => {
                "ask Entra for a scope of an accepted API; or add the API to entra.audiences if it is the broker's own"
            }
            Addressee::AcsTeams => {
                "the token is for ACS's API for Teams: exchange.mode teams_user takes it, or passthrough for Teams Phone \
                 extension where entra.audiences names it"
            }
            Addressee::AcsClients | Addressee::AcsBoth => {
                "the token is for ACS: exchange.mode passthrough takes it; in other modes ask Entra for the broker's own API"
            }
        };
        Check::fail(
            id,
            Who::Developer,
            format!(
                "`aud` is `{shown}`; entra.audiences are {}",
                listing(accepted.iter().cloned())
            ),
            fix,
        )
    }

    fn lifetime(&self, claims: &Claims) -> Check {
        let id = CheckId::TokenLifetime;
        let skew: Duration = self.config.entra.clock_skew;
        let latest = self.now.checked_add(skew).unwrap_or(Timestamp::MAX);
        let earliest = self.now.checked_sub(skew).unwrap_or(Timestamp::MIN);
        let now = second(self.now);
        let fix = "sign in again; if this happens with new tokens, see clock.skew";
        let Some(end) = claims.instant("exp") else {
            return Check::fail(
                id,
                Who::Developer,
                "there is no `exp`",
                "send an access token that Entra issued",
            );
        };
        if end <= earliest {
            return Check::fail(
                id,
                Who::Developer,
                format!("`exp` is {}; it is {now}", second(end)),
                fix,
            );
        }
        for name in ["nbf", "iat"] {
            if let Some(begin) = claims.instant(name).filter(|begin| *begin > latest) {
                return Check::fail(
                    id,
                    Who::Operator,
                    format!("`{name}` is {}; it is {now}", second(begin)),
                    fix,
                );
            }
        }
        Check::pass(id, format!("it is {now}, and the token is good until {}", second(end)))
    }

    fn scopes(&self, claims: &Claims) -> Check {
        let id = CheckId::TokenScopes;
        let scopes = Scopes::parse(claims.text("scp").unwrap_or_default());
        let addressee = Addressee::from_audiences(&claims.audiences());
        let required = &self.config.entra.required_scopes;
        let shown = Untrusted::new(&scopes.to_string());
        if required
            .iter()
            .any(|scope| addressee.has_scope(scope) && scopes.contains(scope))
        {
            return Check::pass(id, format!("`scp` is `{shown}`, which has a required scope"));
        }
        Check::fail(
            id,
            Who::Developer,
            format!(
                "`scp` is `{shown}`; one of {} is required",
                listing(required.iter().cloned())
            ),
            "ask Entra for one of them; if it leaves them out, see graph.app_permissions and graph.consent",
        )
    }

    fn route(&self, claims: &Claims) -> Check {
        let id = CheckId::TokenRoute;
        match &self.resource {
            Some(resource) => Check::pass(id, format!("{resource} serves this user")),
            None => Check::fail(
                id,
                Who::Operator,
                format!(
                    "no resource serves tenant {} with client app {}",
                    Untrusted::new(claims.text("tid").unwrap_or_default()),
                    Untrusted::new(claims.client_app().unwrap_or("(none)"))
                ),
                "add the tenant or the client app to a resource's tenants or client_ids under [[resources]]",
            ),
        }
    }

    fn assignment(&self, claims: &Claims) -> Check {
        let id = CheckId::TokenAssignment;
        let user = || {
            format!(
                "user {} of tenant {} with client app {}",
                Untrusted::new(claims.text("oid").unwrap_or("(none)")),
                Untrusted::new(claims.text("tid").unwrap_or_default()),
                Untrusted::new(claims.client_app().unwrap_or("(none)"))
            )
        };
        match &self.covered {
            Covered::By(what) => Check::pass(id, format!("{} is covered by {what}", user())),
            Covered::NotLookedAt(why) => Check::skip(id, why),
            Covered::Not(denied @ (Denied::NotLoaded | Denied::MembershipUnknown(_))) => Check::warn(
                id,
                format!("not decided for {}: {denied}", user()),
                "see acs.credential, graph.token, and the assignment file",
            ),
            Covered::Not(denied @ Denied::GroupsUnknown) => Check::fail(
                id,
                Who::Operator,
                format!("{}: {denied}", user()),
                "set assignments.unknown_groups to \"graph\" or \"acs\"; or let the token list groups",
            ),
            Covered::Not(denied @ Denied::NoAssignment) => Check::fail(
                id,
                Who::Operator,
                format!("{}: {denied}", user()),
                "assign the user, a group of theirs or the tenant, with this client app: in the broker's file, and at ACS",
            ),
        }
    }
}

fn listing(items: impl Iterator<Item = String>) -> String {
    items.map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ")
}

fn second(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}

#[cfg(test)]
mod tests;
