//! One assignment of a file.

use std::borrow::Cow;

use super::{Layout, Problems, named, place, shown};
use crate::authorize::assignment::{AllowedScopes, Assignment, PrincipalType};
use base::document::{Members, Node};
use base::ids::{ObjectId, TenantId};
use config::IdentityScope;

/// One assignment while it is read.
pub(super) struct Entry<'p> {
    pub(super) layout: Layout,
    pub(super) index: usize,
    pub(super) problems: &'p mut Problems,
}

impl Entry<'_> {
    /// The assignment, if nothing is wrong with it, and the pair that distinguishes it from others, if that is legible.
    pub(super) fn read(&mut self, members: Members<'_>) -> (Option<(ObjectId, TenantId)>, Option<Assignment>) {
        let [
            mut object_id,
            mut tenant_id,
            mut principal_type,
            mut client_ids,
            mut allowed_scopes,
        ] = [const { None }; 5];
        for (name, node) in members {
            let slot = match (self.layout, &*name) {
                (_, "objectId") => &mut object_id,
                (_, "tenantId") => &mut tenant_id,
                (_, "principalType") => &mut principal_type,
                (_, "clientIds") => &mut client_ids,
                // Ours, not ACS's: in its list the member would be somebody else's.
                (Layout::Operator, "allowedScopes") => &mut allowed_scopes,
                (Layout::Acs, _) => continue,
                (Layout::Operator, _) => {
                    self.problem(&shown(&name), "unknown key");
                    continue;
                }
            };
            if slot.replace(node).is_some() {
                self.problem(&name, "stands there twice");
            }
        }
        let object_id = self
            .text("objectId", object_id)
            .and_then(|text| self.guid::<ObjectId>("objectId", &text));
        let tenant_id = self
            .text("tenantId", tenant_id)
            .and_then(|text| self.guid::<TenantId>("tenantId", &text));
        let principal_type = self
            .text("principalType", principal_type)
            .and_then(|text| self.principal_type(&text));
        let client_ids = self.client_ids(client_ids);
        let allowed_scopes = match allowed_scopes {
            None => Some(None),
            Some(node) => self.allowed_scopes(node).map(Some),
        };
        let ids = object_id.zip(tenant_id);
        if let (Some((object_id, tenant_id)), Some(PrincipalType::Tenant)) = (ids, principal_type)
            && object_id != tenant_id.as_object_id()
        {
            self.problem(
                "objectId",
                "must be the tenantId, since the assignment is for the tenant",
            );
        }
        let assignment = || {
            let (object_id, tenant_id) = ids?;
            Some(Assignment {
                object_id,
                tenant_id,
                principal_type: principal_type?,
                client_ids: client_ids?,
                allowed_scopes: allowed_scopes?,
            })
        };
        (ids, assignment())
    }

    fn problem(&mut self, key: &str, reason: impl Into<String>) {
        self.problems
            .add(format!("{}.{key}", place(self.layout, self.index)), reason);
    }

    fn text<'a>(&mut self, key: &str, node: Option<Node<'a>>) -> Option<Cow<'a, str>> {
        match node {
            Some(Node::Text(text)) => return Some(text),
            Some(other) => self.problem(key, format!("is {}, not a string", other.kind())),
            None => self.problem(key, "is missing"),
        }
        None
    }

    fn guid<T: std::str::FromStr>(&mut self, key: &str, text: &str) -> Option<T> {
        let id = text.parse().ok();
        if id.is_none() {
            self.problem(key, named(text, "is not a GUID"));
        }
        id
    }

    fn principal_type(&mut self, text: &str) -> Option<PrincipalType> {
        let principal_type = text.parse().ok();
        if principal_type.is_none() {
            let reason = named(text, "must be \"user\", \"group\" or \"tenant\"");
            self.problem("principalType", reason);
        }
        principal_type
    }

    fn client_ids<T: std::str::FromStr>(&mut self, node: Option<Node<'_>>) -> Option<Vec<T>> {
        let Some(node) = node else {
            self.problem("clientIds", "is missing");
            return None;
        };
        let empty = "must list at least one client application";
        self.list("clientIds", node, empty, |text| {
            text.parse().map_err(|_| "is not a GUID".to_owned())
        })
    }

    fn allowed_scopes(&mut self, node: Node<'_>) -> Option<AllowedScopes> {
        let empty = "must list at least one scope; left out, it allows all";
        let scopes = self.list("allowedScopes", node, empty, IdentityScope::parse)?;
        Some(scopes.into_iter().collect())
    }

    /// A list of texts that is not empty, or every problem with it.
    fn list<T>(
        &mut self,
        key: &str,
        node: Node<'_>,
        empty: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let Node::List(items) = node else {
            self.problem(key, format!("is {}, not a list", node.kind()));
            return None;
        };
        if items.is_empty() {
            self.problem(key, empty);
            return None;
        }
        let mut list = Vec::with_capacity(items.len());
        let mut is_whole = true;
        for (index, item) in items.into_iter().enumerate() {
            let item = match item {
                Node::Text(text) => read(&text).map_err(|reason| named(&text, &reason)),
                other => Err(format!("is {}, not a string", other.kind())),
            };
            match item {
                Ok(item) => list.push(item),
                Err(reason) => {
                    self.problem(&format!("{key}[{index}]"), reason);
                    is_whole = false;
                }
            }
        }
        is_whole.then_some(list)
    }
}
