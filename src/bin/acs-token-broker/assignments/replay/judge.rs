//! The rule: what an assignment file says of a caller of whom a log is all that is known.

use std::collections::HashSet;

use acs_token_broker::authorize::AssignmentIndex;
use acs_token_broker::authorize::assignment::{Assignment, PrincipalType};
use base::ids::{ClientAppId, TenantId};
use telemetry::UserNames;

use super::log::{Person, Record};

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Present {
    /// An assignment covers the caller.
    Covered,
    /// None does.
    Refused,
    /// Only a group's could, and the log does not show the caller to be a member.
    ByGroup,
    /// No resource serves the caller.
    NotServed,
    /// Only ACS says who may have a token there.
    NoFile,
    /// The log has a hash, and the configuration has no key to make the file's users comparable.
    NoHashKey,
    /// The log does not name the user.
    NoUser,
}

impl Present {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Covered => "an assignment covers this caller",
            Self::Refused => "no assignment covers this caller",
            Self::ByGroup => "only a group's assignment could cover this caller",
            Self::NotServed => "no resource serves this caller",
            Self::NoFile => "the resource that serves this caller has no assignment file",
            Self::NoHashKey => "the user is a hash, and telemetry.user_hash_key is not set",
            Self::NoUser => "the log does not name the user",
        }
    }
}

/// One resource's file.
pub(super) struct Judge {
    index: AssignmentIndex,
    // The file's users, as a log with hashes names them; absent without a key.
    hashed: Option<HashSet<(String, TenantId, ClientAppId)>>,
    // Where users have assignments of their own at all.
    with_users: HashSet<(TenantId, ClientAppId)>,
}

impl Judge {
    /// A judge by `assignments`, which `index` holds. `hash` names users as the log does.
    pub(super) fn new(index: AssignmentIndex, assignments: &[Assignment], hash: Option<&UserNames>) -> Self {
        let of_users = || {
            let users = assignments.iter();
            let users = users.filter(|assignment| assignment.principal_type == PrincipalType::User);
            users.flat_map(|assignment| assignment.client_ids.iter().map(move |client| (assignment, *client)))
        };
        let hashed = hash.map(|names| {
            let hashed = of_users().filter_map(|(assignment, client)| {
                let name = names.name(assignment.tenant_id, assignment.object_id);
                Some((name.pseudonym()?.to_owned(), assignment.tenant_id, client))
            });
            hashed.collect()
        });
        let with_users = of_users().map(|(assignment, client)| (assignment.tenant_id, client));
        Self {
            index,
            hashed,
            with_users: with_users.collect(),
        }
    }

    pub(super) fn judge(&self, record: &Record) -> Present {
        let (tenant, client) = (record.tenant, record.client_app);
        let mut groups = record.groups.iter();
        if self.index.tenant(tenant, client) || groups.any(|group| self.index.group(tenant, *group, client)) {
            return Present::Covered;
        }
        let own = match (&record.person, &self.hashed) {
            (Person::ObjectId(user), _) => self.index.user(tenant, *user, client),
            (Person::UserHash(hash), Some(hashed)) => hashed.contains(&(hash.clone(), tenant, client)),
            // Which user it is matters only where a user is assigned.
            _ if !self.with_users.contains(&(tenant, client)) => false,
            (Person::UserHash(_), None) => return Present::NoHashKey,
            (Person::Unnamed(()), _) => return Present::NoUser,
        };
        if own {
            Present::Covered
        } else if self.index.groups_of(tenant, client).is_empty() {
            Present::Refused
        } else {
            Present::ByGroup
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use base::ids::{NotAGuid, ObjectId};
    use config::UserIds;

    use super::super::log::Before;
    use super::*;

    fn id<T: std::str::FromStr<Err = NotAGuid>>(n: u32) -> T {
        format!("{n:08x}-0000-4000-8000-000000000000").parse().unwrap()
    }

    fn assignment(principal_type: PrincipalType, tenant: u32, object: u32) -> Assignment {
        Assignment {
            object_id: id(object),
            tenant_id: id(tenant),
            principal_type,
            client_ids: vec![id(10)],
            allowed_scopes: None,
        }
    }

    #[test]
    fn each_way_of_being_named_and_covered() {
        const KEY: &[u8] = b"a key for the tests of replay";
        let names = UserNames::new(UserIds::Hash, Some(KEY)).unwrap();
        let assignments = [
            assignment(PrincipalType::User, 1, 20),
            assignment(PrincipalType::Group, 1, 30),
            assignment(PrincipalType::Tenant, 2, 2),
            assignment(PrincipalType::User, 3, 23),
        ];
        let judge = |hash| Judge::new(AssignmentIndex::new(&assignments), &assignments, hash);
        let (with_key, without) = (judge(Some(&names)), judge(None));
        let plain = |n| Person::ObjectId(id::<ObjectId>(n));
        let hash = |tenant, n| Person::UserHash(names.name(id(tenant), id(n)).pseudonym().unwrap().to_owned());
        let nobody = Person::Unnamed(());
        // tenant, user, groups, client, with a key, without
        let cases = [
            (1, plain(20), &[][..], 10, Present::Covered, Present::Covered),
            (1, plain(21), &[], 10, Present::ByGroup, Present::ByGroup),
            (1, plain(21), &[30], 10, Present::Covered, Present::Covered),
            (1, plain(21), &[31], 10, Present::ByGroup, Present::ByGroup),
            (1, plain(20), &[], 11, Present::Refused, Present::Refused),
            (1, hash(1, 20), &[], 10, Present::Covered, Present::NoHashKey),
            (1, hash(1, 21), &[], 10, Present::ByGroup, Present::NoHashKey),
            (1, hash(1, 20), &[], 11, Present::Refused, Present::Refused),
            (2, hash(2, 20), &[], 10, Present::Covered, Present::Covered),
            (2, nobody.clone(), &[], 10, Present::Covered, Present::Covered),
            (1, nobody.clone(), &[], 10, Present::NoUser, Present::NoUser),
            (3, plain(20), &[], 10, Present::Refused, Present::Refused),
            (4, hash(4, 20), &[], 10, Present::Refused, Present::Refused),
        ];
        for (tenant, person, groups, client, keyed, keyless) in cases {
            let record = Record {
                person,
                tenant: id(tenant),
                client_app: id(client),
                before: Before::Issued,
                groups: groups.iter().map(|group| id(*group)).collect::<BTreeSet<_>>(),
                requests: 1,
            };
            assert_eq!(with_key.judge(&record), keyed, "{record:?}");
            assert_eq!(without.judge(&record), keyless, "{record:?}");
        }
    }
}
