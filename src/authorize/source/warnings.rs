//! What is allowed in an assignment set but probably not meant.

use std::collections::{BTreeSet, HashSet};

use super::SourceHandle;
use crate::authorize::assignment::Assignment;
use base::ids::TenantId;

/// Unlisted tenants named one by one; a list from ACS may name very many.
const MOST_TOLD: usize = 20;

/// Tells of an empty set, and of tenants whose users never get as far as the assignments.
pub(super) fn tell(handle: &SourceHandle, origin: &str, assignments: &[Assignment], listed: &HashSet<TenantId>) {
    if assignments.is_empty() {
        let consequence = if handle.is_alone() {
            "every caller will be refused"
        } else {
            "only the other sources count"
        };
        tracing::warn!(
            source = handle.kind().name(),
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
    for tenant in unlisted.iter().take(MOST_TOLD) {
        tracing::warn!(
            source = handle.kind().name(),
            origin,
            acs_broker.tenant.id = %tenant,
            "an assignment names a tenant that is not listed under entra.tenants"
        );
    }
    if unlisted.len() > MOST_TOLD {
        tracing::warn!(
            source = handle.kind().name(),
            origin,
            tenants = unlisted.len(),
            "assignments name further tenants that are not listed under entra.tenants"
        );
    }
}
