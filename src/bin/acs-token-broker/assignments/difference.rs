//! How two sets of assignments differ.

use std::collections::{BTreeMap, BTreeSet};

use azure::acs_assignments::{AssignmentPatch, EntraAssignment};
use base::ids::ObjectId;
use serde::Serialize;

/// What has to happen to the assignments at ACS so that they are those of a file.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// In the file alone.
    pub(super) added: Vec<EntraAssignment>,
    /// In both, and not the same.
    pub(super) changed: Vec<Change>,
    /// At ACS alone.
    pub(super) removed: Vec<EntraAssignment>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    pub(super) before: EntraAssignment,
    pub(super) after: EntraAssignment,
}

impl Difference {
    /// From what is `at_acs` to what is `wanted`, neither of which has an object id twice.
    pub(super) fn between(at_acs: Vec<EntraAssignment>, wanted: Vec<EntraAssignment>) -> Self {
        let by_id = |list: Vec<EntraAssignment>| -> BTreeMap<ObjectId, EntraAssignment> {
            list.into_iter()
                .map(|assignment| (assignment.object_id, assignment))
                .collect()
        };
        let mut before = by_id(at_acs);
        let mut difference = Self::default();
        for (id, after) in by_id(wanted) {
            match before.remove(&id) {
                None => difference.added.push(after),
                Some(before) if !are_equal(&before, &after) => difference.changed.push(Change { before, after }),
                Some(_) => {}
            }
        }
        difference.removed = before.into_values().collect();
        difference
    }

    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The one call that makes it disappear.
    pub(super) fn patch(&self) -> AssignmentPatch {
        let set = self.added.iter().chain(self.changed.iter().map(|change| &change.after));
        let set = set.map(|assignment| (assignment.object_id, Some(assignment.clone())));
        let removed = self.removed.iter().map(|assignment| (assignment.object_id, None));
        set.chain(removed).collect()
    }
}

/// The order of the client apps means nothing.
fn are_equal(one: &EntraAssignment, other: &EntraAssignment) -> bool {
    fn clients(assignment: &EntraAssignment) -> BTreeSet<impl Ord> {
        assignment.client_ids.iter().copied().collect()
    }
    one.tenant_id == other.tenant_id && one.principal_type == other.principal_type && clients(one) == clients(other)
}
