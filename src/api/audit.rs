//! The audit event: who got a token, or did not get one, through which app, and what allowed it. Never the token.
//!
//! One for each decision about a verified caller. An unverified caller has no event, only the access line.

use super::context::RequestContext;
use super::error::ApiError;
use crate::authorize::Basis;
use crate::pipeline::{Issued, Trail};
use base::untrusted::Untrusted;
use telemetry::AUDIT_TARGET;

/// Writes the event of one decision.
pub(super) fn tell(trail: &Trail, outcome: &Result<Issued, ApiError>, context: &RequestContext) {
    let user = trail.caller.user();
    let issued = outcome.as_ref().ok();
    let told = outcome.as_ref().err().map(ApiError::told);
    // A user's own assignment has the user's id.
    let assignment = match trail.basis {
        Some(Basis::Group(id)) => Some(id.to_string()),
        Some(Basis::Tenant) => Some(trail.caller.tenant().to_string()),
        Some(Basis::User) => user
            .pseudonym()
            .map(str::to_owned)
            .or(user.plain().map(|id| id.to_string())),
        Some(Basis::AcsAlone) | None => None,
    };
    let scopes = issued.map_or(&trail.scopes, |issued| &issued.scopes);
    tracing::info!(
        target: AUDIT_TARGET,
        decision = if issued.is_some() { "issued" } else { "refused" },
        acs_broker.tenant.id = %trail.caller.tenant(),
        enduser.pseudo.id = user.pseudonym(),
        enduser.id = user.plain().map(tracing::field::display),
        acs_broker.client_app.id = %trail.caller.client_app(),
        acs_broker.assignment.kind = trail.basis.map(Basis::name),
        acs_broker.assignment.object_id = assignment,
        acs_broker.resource.name = trail.resource.as_deref(),
        acs_broker.cache.outcome = issued.map(|issued| issued.outcome.name()),
        acs_broker.scopes = %Untrusted::new(&scopes.to_string()),
        acs_broker.error.code = told.as_ref().map(|told| told.code),
        acs_broker.error.inner_code = told.as_ref().and_then(|told| told.inner),
        request_id = %context.request_id,
        "token"
    );
}
