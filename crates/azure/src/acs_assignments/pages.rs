//! A list that comes in pages.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use url::Url;

use super::answer::invalid;
use super::{AssignmentsError, EntraAssignment, PrincipalType};
use base::ids::{ObjectId, TenantId};

/// A list of more pages is taken for one without end.
const MOST_PAGES: usize = 1_000;
/// So is one of more assignments, which would not fit into memory some day.
const MOST_ASSIGNMENTS: usize = 200_000;
/// The same for the client apps that all of them name together.
const MOST_CLIENT_IDS: usize = 1_000_000;

/// One page as ACS sends it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    value: Vec<EntraAssignment>,
    #[serde(default)]
    next_link: Option<String>,
}

/// The pages so far, and where the next one is.
pub(super) struct Pages {
    next: Option<Url>,
    current: Url,
    // Each address that was or is to be asked.
    seen: HashSet<Url>,
    // Each object's entry, counted from one.
    entries: HashMap<(TenantId, ObjectId), usize>,
    assignments: Vec<EntraAssignment>,
    client_ids: usize,
}

impl Pages {
    pub(super) fn new(first: Url) -> Self {
        Self {
            seen: HashSet::from([first.clone()]),
            next: Some(first.clone()),
            current: first,
            entries: HashMap::new(),
            assignments: Vec::new(),
            client_ids: 0,
        }
    }

    /// The address to ask next, if the list goes on.
    pub(super) fn next(&mut self) -> Option<Url> {
        let next = self.next.take()?;
        self.current.clone_from(&next);
        Some(next)
    }

    /// Takes in the page of that address.
    pub(super) fn add(&mut self, page: Page) -> Result<(), AssignmentsError> {
        for assignment in page.value {
            let entry = self.assignments.len() + 1;
            let about = |fault: &str| invalid(format!("{} {fault}", named(entry, &assignment)));
            check(&assignment).map_err(about)?;
            let key = (assignment.tenant_id, assignment.object_id);
            if let Some(first) = self.entries.insert(key, entry) {
                return Err(about(&format!("is about the same object as entry {first}")));
            }
            self.client_ids += assignment.client_ids.len();
            self.assignments.push(assignment);
        }
        if self.client_ids > MOST_CLIENT_IDS {
            return Err(invalid(format!("more than {MOST_CLIENT_IDS} client ids")));
        }
        if self.assignments.len() > MOST_ASSIGNMENTS {
            return Err(invalid(format!("more than {MOST_ASSIGNMENTS} assignments")));
        }
        // Azure's own clients take an empty link for none.
        let link = page.next_link.filter(|link| !link.is_empty());
        self.next = link.map(|link| self.follow(&link)).transpose()?;
        Ok(())
    }

    /// The link's address, if the broker may go there: what is sent there is signed.
    fn follow(&mut self, link: &str) -> Result<Url, AssignmentsError> {
        let mut url = self.current.join(link).map_err(|_| invalid("nextLink is no address"))?;
        url.set_fragment(None);
        let is_ours = url.origin() == self.current.origin() && url.username().is_empty() && url.password().is_none();
        if !is_ours {
            return Err(invalid("nextLink leads away from the endpoint"));
        }
        if self.seen.len() == MOST_PAGES {
            return Err(invalid(format!("more than {MOST_PAGES} pages")));
        }
        if !self.seen.insert(url.clone()) {
            return Err(invalid("nextLink leads to a page that was read before"));
        }
        Ok(url)
    }

    pub(super) fn into_assignments(self) -> Vec<EntraAssignment> {
        self.assignments
    }
}

/// An entry of the list, without its object id: that may be a user's.
fn named(entry: usize, assignment: &EntraAssignment) -> String {
    let kind = assignment.principal_type.as_ref();
    format!("entry {entry} ({kind}, tenant {})", assignment.tenant_id)
}

/// What the type alone does not say.
pub(super) fn check(assignment: &EntraAssignment) -> Result<(), &'static str> {
    if assignment.client_ids.is_empty() {
        return Err("names no client application");
    }
    if assignment.principal_type == PrincipalType::Tenant && assignment.object_id != assignment.tenant_id.as_object_id()
    {
        return Err("is assigned as a tenant, but its objectId is not its tenantId");
    }
    Ok(())
}
