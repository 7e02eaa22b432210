//! The rules for claims as gates: all of them, where [`check`](super::check) stops at the first that fails.

use jiff::Timestamp;

use super::{
    Acceptance, Policy, SignedClaims, TokenContext, check_audience, check_client_app, check_delegated, check_issuer,
    check_lifetime, check_scopes, context, principal, shown,
};
use crate::authenticate::caller::Principal;
use crate::authenticate::gates::{Gate, id, listed};
use crate::authenticate::rejection::Rejection;
use base::ids::{Scopes, TenantId};
use base::untrusted::Untrusted;

/// What the claims say, gate by gate.
pub(in crate::authenticate) struct ClaimGates {
    pub(in crate::authenticate) gates: Vec<Gate>,
    pub(in crate::authenticate) context: TokenContext,
    /// If the token names a user and a client app.
    pub(in crate::authenticate) principal: Option<Principal>,
}

/// Judges signed claims. `acceptance` says what the resource that serves the caller takes.
pub(in crate::authenticate) fn gates(
    claims: &SignedClaims,
    tenant: TenantId,
    issuers: &[Box<str>],
    policy: &Policy,
    acceptance: &dyn Acceptance,
    now: Timestamp,
) -> ClaimGates {
    let context = context(claims, tenant);
    let scopes = Scopes::parse(claims.scp.as_deref().unwrap_or_default());
    let gates = vec![
        issuer(claims, tenant, issuers),
        audience(claims, policy, context, acceptance),
        lifetime(claims, policy, now),
        match check_delegated(claims, &scopes) {
            Ok(user) => Gate::pass(id::DELEGATED, format!("a delegated token of user {user}")),
            Err(rejection) => Gate::fail(id::DELEGATED, rejection.to_string()),
        },
        match check_client_app(claims) {
            Ok(app) => Gate::pass(id::CLIENT_APP, format!("client app {app}")),
            Err(_) => Gate::fail(id::CLIENT_APP, "neither `azp` nor `appid` names a client app"),
        },
        required_scopes(claims, &scopes, context, acceptance, policy),
    ];
    let ids = claims.oid.zip(claims.client_app);
    ClaimGates {
        gates,
        context,
        principal: ids.map(|(object_id, app)| principal(claims, tenant, object_id, app)),
    }
}

fn issuer(claims: &SignedClaims, tenant: TenantId, issuers: &[Box<str>]) -> Gate {
    match check_issuer(claims, tenant, issuers) {
        Ok(issuer) => Gate::pass(id::ISSUER, format!("`{}`", Untrusted::new(issuer))),
        Err(rejection @ Rejection::InvalidIssuer { .. }) => {
            let known = listed(issuers.iter().map(|issuer| Untrusted::new(issuer)));
            Gate::fail(
                id::ISSUER,
                format!("{rejection}; its discovery documents name `{known}`"),
            )
        }
        Err(rejection) => Gate::fail(id::ISSUER, rejection.to_string()),
    }
}

fn audience(claims: &SignedClaims, policy: &Policy, context: TokenContext, acceptance: &dyn Acceptance) -> Gate {
    match check_audience(claims, policy) {
        Ok(audiences) if acceptance.takes(context) => Gate::pass(id::AUDIENCE, format!("`{}`", shown(audiences))),
        Ok(audiences) => Gate::fail(
            id::AUDIENCE,
            format!(
                "audience `{}` is accepted, but not by the resource that serves this caller",
                shown(audiences)
            ),
        ),
        Err(rejection @ Rejection::InvalidAudience(_)) => {
            let accepted = listed(policy.audiences.iter());
            Gate::fail(id::AUDIENCE, format!("{rejection}; entra.audiences are `{accepted}`"))
        }
        Err(rejection) => Gate::fail(id::AUDIENCE, rejection.to_string()),
    }
}

fn lifetime(claims: &SignedClaims, policy: &Policy, now: Timestamp) -> Gate {
    match check_lifetime(claims, policy, now) {
        Ok(end) => Gate::pass(id::LIFETIME, format!("ends at {end}, now {now}")),
        Err(rejection @ Rejection::MissingClaim(_)) => Gate::fail(id::LIFETIME, rejection.to_string()),
        Err(rejection) => Gate::fail(
            id::LIFETIME,
            format!("{rejection}, entra.clock_skew {} s", policy.clock_skew.as_secs()),
        ),
    }
}

/// By name alone where it is not known which API the token is for: the audience's gate says that already.
fn required_scopes(
    claims: &SignedClaims,
    scopes: &Scopes,
    context: TokenContext,
    acceptance: &dyn Acceptance,
    policy: &Policy,
) -> Gate {
    let addressee = check_audience(claims, policy).ok().map(|_| context.addressee);
    let found = if addressee.is_some() {
        check_scopes(scopes, context, acceptance, policy).ok()
    } else {
        let mut required = policy.required_scopes.iter();
        required.find(|scope| scopes.contains(scope)).map(String::as_str)
    };
    let held = Untrusted::new(&scopes.to_string());
    if let Some(scope) = found {
        return Gate::pass(id::SCOPES, format!("`{scope}` is among `{held}`"));
    }
    let whose = match addressee {
        Some(addressee) if addressee.is_acs() => " for a token for ACS",
        Some(_) => " for a token for an API of one's own",
        None => "",
    };
    let counts = |scope: &&String| {
        addressee.is_none_or(|addressee| addressee.has_scope(scope) && acceptance.counts(context, scope))
    };
    let counting = listed(policy.required_scopes.iter().filter(counts));
    let rejection = Rejection::InsufficientScope(held);
    Gate::fail(
        id::SCOPES,
        format!("{rejection}; of entra.required_scopes these count{whose}: `{counting}`"),
    )
}
