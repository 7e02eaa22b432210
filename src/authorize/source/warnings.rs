//! What is allowed in an assignment set but probably not meant.

use std::collections::{BTreeSet, HashSet};

use super::SourceHandle;
use crate::authorize::assignment::Assignment;
use base::ids::TenantId;

/// Unlisted tenants named one by one; a list from ACS may name very many.
const MOST_NAMED: usize = 20;

/// Warns of an empty set, and of tenants whose users never get as far as the assignments.
pub(super) fn log(handle: &SourceHandle, origin: &str, assignments: &[Assignment], listed: &HashSet<TenantId>) {
    if assignments.is_empty() {
        let consequence = if handle.is_alone() {
            "every caller will be refused"
        } else {
            "only the other sources count"
        };
        tracing::warn!(
            source = handle.kind().as_ref(),
            origin,
            consequence,
            "there are no assignments"
        );
    }
    let unlisted: BTreeSet<TenantId> = assignments
        .iter()
        .map(|assignment| assignment.tenant_id)
        .filter(|tenant| !listed.contains(tenant))
        .collect();
    for tenant in unlisted.iter().take(MOST_NAMED) {
        tracing::warn!(
            source = handle.kind().as_ref(),
            origin,
            acs_broker.tenant.id = %tenant,
            "an assignment names a tenant that is not listed under entra.tenants"
        );
    }
    if unlisted.len() > MOST_NAMED {
        tracing::warn!(
            source = handle.kind().as_ref(),
            origin,
            tenants = unlisted.len(),
            "assignments name further tenants that are not listed under entra.tenants"
        );
    }
}
