//! The audit event: which user got a token or was refused one, through which app, and by which assignment. Never the
//! token.
//!
//! One for each decision about a verified caller. An unverified caller has no event, only the access line.

use std::fmt;

use super::context::RequestContext;
use super::error::ApiError;
use crate::authorize::MatchedAssignment;
use crate::cache::Source;
use crate::pipeline::{AuditContext, Issued};
use base::untrusted::Escaped;
use telemetry::AUDIT_TARGET;

/// Writes the event of one decision.
pub(super) fn record(audit: &AuditContext, outcome: &Result<Issued, ApiError>, context: &RequestContext) {
    let user = audit.caller.user();
    let issued = outcome.as_ref().ok();
    let error = outcome.as_ref().err().map(ApiError::response);
    let decision = match issued {
        Some(_) if audit.would_refuse => "would_refuse",
        Some(_) => "issued",
        None => "refused",
    };
    // A user's own assignment has the user's id.
    let object_id = match audit.assignment {
        Some(MatchedAssignment::Group(id)) => Some(id),
        Some(MatchedAssignment::Tenant) => Some(audit.caller.tenant().as_object_id()),
        Some(MatchedAssignment::User) => user.plain(),
        Some(MatchedAssignment::AcsAlone) | None => None,
    };
    let pseudonym = match audit.assignment {
        Some(MatchedAssignment::User) => user.pseudonym(),
        _ => None,
    };
    let assignment = pseudonym
        .as_ref()
        .map(|name| name as &dyn fmt::Display)
        .or(object_id.as_ref().map(|id| id as &dyn fmt::Display));
    let scopes = issued.map_or(&audit.scopes, |issued| &issued.token.scopes);
    tracing::info!(
        target: AUDIT_TARGET,
        decision,
        acs_broker.tenant.id = %audit.caller.tenant(),
        enduser.pseudo.id = user.pseudonym(),
        enduser.id = user.plain().map(tracing::field::display),
        acs_broker.client_app.id = %audit.caller.client_app(),
        acs_broker.assignment.kind = audit.assignment.map(MatchedAssignment::name),
        acs_broker.assignment.object_id = assignment.map(tracing::field::display),
        acs_broker.resource.name = audit.resource.as_deref(),
        acs_broker.cache.outcome = issued.map(|issued| issued.outcome.name()),
        acs_broker.cache.source = issued.and_then(|issued| issued.source).map(Source::name),
        acs_broker.scopes = %Escaped(&scopes.to_string()),
        acs_broker.error.code = error.as_ref().map(|error| error.code),
        acs_broker.error.inner_code = error.as_ref().and_then(|error| error.inner),
        request_id = %context.request_id,
        "token"
    );
}
