//! The rule against a naive one, which reads the list of assignments from its beginning to its end, and against the groups that a user
//! really is in, of which a token may say less.

use proptest::prelude::*;

use super::assignment::{Assignment, PrincipalType};
use super::*;
use base::ids::{ClientAppId, TenantId};
use config::IdentityScope;

fn id<T: std::str::FromStr<Err = base::ids::NotAGuid>>(number: u32) -> T {
    format!("{number:08x}-0000-4000-8000-000000000000").parse().unwrap()
}

/// Few ids, so that they meet. Objects of all kinds share theirs.
fn assignments() -> impl Strategy<Value = Vec<Assignment>> {
    let scopes = proptest::option::of(proptest::sample::subsequence(
        IdentityScope::ALL,
        1..=IdentityScope::ALL.len(),
    ));
    let one = (
        0..3u8,
        1..3u32,
        1..7u32,
        proptest::sample::subsequence(vec![1u32, 2, 3], 1..=3),
        scopes,
    );
    proptest::collection::vec(one, 0..12).prop_map(|drawn| {
        let mut assignments: Vec<Assignment> = Vec::new();
        for (kind, tenant, object, clients, scopes) in drawn {
            let principal_type = [PrincipalType::User, PrincipalType::Group, PrincipalType::Tenant][usize::from(kind)];
            let tenant_id: TenantId = id(tenant);
            let object_id = match principal_type {
                PrincipalType::Tenant => tenant_id.as_object_id(),
                PrincipalType::User | PrincipalType::Group => id(object),
            };
            // A file with two for one object is refused.
            if assignments
                .iter()
                .all(|other| (other.object_id, other.tenant_id) != (object_id, tenant_id))
            {
                assignments.push(Assignment {
                    object_id,
                    tenant_id,
                    principal_type,
                    client_ids: clients.into_iter().map(id).collect(),
                    allowed_scopes: scopes.map(|scopes| scopes.into_iter().collect()),
                });
            }
        }
        assignments
    })
}

/// A user, the groups that they are in, and what their token says.
fn principal() -> impl Strategy<Value = (Principal, Vec<ObjectId>)> {
    let groups = proptest::sample::subsequence(vec![1u32, 2, 3, 4, 5, 6], 0..=6).prop_shuffle();
    (1..4u32, 1..7u32, 1..5u32, groups, 0..4u8, 0..7usize).prop_map(|(tenant, user, client, groups, says, listed)| {
        let groups: Vec<ObjectId> = groups.into_iter().map(id).collect();
        let some = groups[..listed.min(groups.len())].to_vec();
        let (said, groups_by_name) = match says {
            0 => (Groups::Unknown { listed: Vec::new() }, false),
            1 => (Groups::Unknown { listed: some }, false),
            // Those that are listed by their names are not among the ids.
            2 => (Groups::Known(some), true),
            _ => (Groups::Known(groups.clone()), false),
        };
        let principal = Principal {
            tenant: id(tenant),
            object_id: id(user),
            client_app: id(client),
            groups: said,
            groups_by_name,
        };
        (principal, groups)
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let unknown_groups = prop_oneof![
        Just(UnknownGroups::Acs),
        Just(UnknownGroups::Refuse),
        Just(UnknownGroups::Graph)
    ];
    (unknown_groups, any::<bool>()).prop_map(|(unknown_groups, scopes_matter)| Rules {
        unknown_groups,
        scopes_matter,
    })
}

/// The assignments of a kind that let the user's app have a token.
fn of_kind(
    all: &[Assignment],
    kind: PrincipalType,
    tenant: TenantId,
    client: ClientAppId,
) -> impl Iterator<Item = &Assignment> {
    all.iter()
        .filter(move |one| one.principal_type == kind && one.tenant_id == tenant && one.client_ids.contains(&client))
}

/// docs/assignments.md, sentence by sentence. The groups are those that would be asked for.
fn naive(all: &[Assignment], caller: &Principal, rules: Rules) -> Result<(MatchedAssignment, Vec<ObjectId>), Denied> {
    let of_kind = |kind| of_kind(all, kind, caller.tenant, caller.client_app);
    let covered = |matched| Ok((matched, Vec::new()));
    if of_kind(PrincipalType::User).any(|one| one.object_id == caller.object_id) {
        return covered(MatchedAssignment::User);
    }
    let assigned: Vec<ObjectId> = of_kind(PrincipalType::Group).map(|one| one.object_id).collect();
    for group in caller.groups.listed() {
        if assigned.contains(group) {
            return covered(MatchedAssignment::Group(*group));
        }
    }
    let all_known = matches!(caller.groups, Groups::Known(_)) || assigned.is_empty();
    let narrows = rules.scopes_matter && of_kind(PrincipalType::Group).any(|one| one.allowed_scopes.is_some());
    let by_tenant = of_kind(PrincipalType::Tenant).next().is_some();
    let tells_all = all_known && !caller.groups_by_name;
    if by_tenant && (tells_all || !narrows) {
        return covered(MatchedAssignment::Tenant);
    }
    if !by_tenant && all_known {
        return Err(Denied::NoAssignment);
    }
    match rules.unknown_groups {
        UnknownGroups::Acs => covered(MatchedAssignment::AcsAlone),
        UnknownGroups::Refuse => Err(Denied::GroupsUnknown),
        UnknownGroups::Graph if by_tenant => Ok((MatchedAssignment::Tenant, assigned)),
        UnknownGroups::Graph => Ok((MatchedAssignment::AcsAlone, assigned)),
    }
}

/// What a user may have who is in `groups`: the scopes of each assignment of the first kind that covers them.
fn entitled(all: &[Assignment], caller: &Principal, groups: &[ObjectId]) -> Vec<IdentityScope> {
    let own = |kind| of_kind(all, kind, caller.tenant, caller.client_app);
    let of_user = own(PrincipalType::User).filter(|one| one.object_id == caller.object_id);
    let of_groups = own(PrincipalType::Group).filter(|one| groups.contains(&one.object_id));
    let kinds: [Vec<&Assignment>; 3] = [
        of_user.collect(),
        of_groups.collect(),
        own(PrincipalType::Tenant).collect(),
    ];
    let covering = kinds.into_iter().find(|kind| !kind.is_empty()).unwrap_or_default();
    let allows = |scope: &IdentityScope| {
        covering
            .iter()
            .any(|one| one.allowed_scopes.is_none_or(|all| all.contains(*scope)))
    };
    IdentityScope::ALL.iter().copied().filter(allows).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_index_decides_as_the_list_does((caller, _) in principal(), all in assignments(), rules in rules()) {
        let index = AssignmentIndex::new(&all);
        let decided = decide(&index, &caller, rules).map(|decision| match decision {
            Decision::Covered(matched) => (matched, Vec::new()),
            Decision::IfMember { groups, otherwise } => (otherwise.unwrap_or(MatchedAssignment::AcsAlone), groups.to_vec()),
        });
        prop_assert_eq!(decided, naive(&all, &caller, rules));
    }

    // Where scopes matter, saying less of one's groups gives nothing more.
    #[test]
    fn nobody_gets_more_than_they_are_entitled_to(
        (caller, groups) in principal(), all in assignments(), asked in any::<bool>(),
    ) {
        let index = AssignmentIndex::new(&all);
        let rules = Rules {
            unknown_groups: if asked { UnknownGroups::Graph } else { UnknownGroups::Refuse },
            scopes_matter: true,
        };
        let (matched, known) = match decide(&index, &caller, rules) {
            Ok(Decision::Covered(matched)) => (Some(matched), caller.groups.listed().to_vec()),
            // Graph says the truth.
            Ok(Decision::IfMember { groups: asked, otherwise }) => {
                let of_them: Vec<ObjectId> = asked.iter().copied().filter(|group| groups.contains(group)).collect();
                (of_them.first().map(|group| MatchedAssignment::Group(*group)).or(otherwise), of_them)
            }
            Err(_) => (None, Vec::new()),
        };
        let Some(matched) = matched else { return Ok(()) };
        let allowed = allowed_scopes(&index, &caller, matched, &known);
        let entitled = entitled(&all, &caller, &groups);
        prop_assert!(!entitled.is_empty());
        for scope in IdentityScope::ALL {
            let gets = allowed.is_none_or(|allowed| allowed.contains(*scope));
            prop_assert!(!gets || entitled.contains(scope), "{:?}", scope);
        }
    }
}
