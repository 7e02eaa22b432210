use super::assignment::{Assignment, PrincipalType};
use super::*;
use base::ids::{ClientAppId, TenantId};

fn id<T: std::str::FromStr<Err = base::ids::NotAGuid>>(number: u32) -> T {
    format!("{number:08x}-0000-4000-8000-000000000000").parse().unwrap()
}

fn assignment(principal_type: PrincipalType, tenant: u32, object: u32, client: u32) -> Assignment {
    Assignment {
        object_id: id(object),
        tenant_id: id(tenant),
        principal_type,
        client_ids: vec![id(client)],
        allowed_scopes: None,
    }
}

fn rules(unknown_groups: UnknownGroups) -> Rules {
    Rules {
        unknown_groups,
        scopes_matter: false,
    }
}

#[test]
fn a_token_without_groups_does_not_escape_the_scopes_of_a_group() {
    const TENANT: u32 = 1;
    const APP: u32 = 10;
    let group = |allowed: Option<AllowedScopes>| Assignment {
        allowed_scopes: allowed,
        ..assignment(PrincipalType::Group, TENANT, 30, APP)
    };
    let narrowed = Some(std::iter::once(config::IdentityScope::Chat).collect());
    let tenant = assignment(PrincipalType::Tenant, TENANT, TENANT, APP);
    let untold = Groups::Unknown { listed: Vec::new() };
    let in_none = Groups::Known(Vec::new());
    let groups = [id(30)];
    let (by_tenant, refused) = (
        Ok(Decision::Covered(MatchedAssignment::Tenant)),
        Err(Denied::GroupsUnknown),
    );
    let asked = Ok(Decision::IfMember {
        groups: &groups,
        otherwise: Some(MatchedAssignment::Tenant),
    });
    // the group's scopes, what the token says, whether scopes matter, under "refuse", under "graph"
    for (allowed, listed, scopes_matter, refuse, graph) in [
        (narrowed, &untold, true, &refused, &asked),
        (narrowed, &untold, false, &by_tenant, &by_tenant),
        (narrowed, &in_none, true, &by_tenant, &by_tenant),
        (None, &untold, true, &by_tenant, &by_tenant),
    ] {
        let index = AssignmentIndex::new(&[group(allowed), tenant.clone()]);
        let caller = Caller::for_test(id(TENANT), id(20), id(APP), listed.clone());
        for (unknown_groups, wanted) in [(UnknownGroups::Refuse, refuse), (UnknownGroups::Graph, graph)] {
            let rules = Rules {
                unknown_groups,
                scopes_matter,
            };
            assert_eq!(
                &decide(&index, caller.principal(), rules),
                wanted,
                "{allowed:?} {listed:?} {rules:?}"
            );
        }
    }
}

#[test]
fn each_kind_covers_what_it_names_and_nothing_else() {
    const FABRIKAM: u32 = 1;
    const CONTOSO: u32 = 2;
    const OTHER: u32 = 3;
    const APP: u32 = 10;
    const USER: u32 = 20;
    const GROUP: u32 = 30;
    let index = AssignmentIndex::new(&[
        assignment(PrincipalType::User, FABRIKAM, USER, APP),
        assignment(PrincipalType::Group, FABRIKAM, GROUP, APP),
        assignment(PrincipalType::Tenant, CONTOSO, CONTOSO, APP),
    ]);
    let known = |groups: &[u32]| Groups::Known(groups.iter().map(|group| id(*group)).collect());
    let unknown = |groups: &[u32]| Groups::Unknown {
        listed: groups.iter().map(|group| id(*group)).collect(),
    };
    let group = || Ok(MatchedAssignment::Group(id(GROUP)));
    let (none, untold) = (|| Err(Denied::NoAssignment), || Err(Denied::GroupsUnknown));
    // tenant, user, client, groups, outcome under "refuse", outcome under "acs"
    let cases = [
        (
            FABRIKAM,
            USER,
            APP,
            known(&[]),
            Ok(MatchedAssignment::User),
            Ok(MatchedAssignment::User),
        ),
        (
            FABRIKAM,
            USER,
            APP,
            unknown(&[]),
            Ok(MatchedAssignment::User),
            Ok(MatchedAssignment::User),
        ),
        (FABRIKAM, USER, 11, known(&[]), none(), none()),
        (FABRIKAM, USER, 11, unknown(&[]), none(), none()),
        (FABRIKAM, 21, APP, known(&[]), none(), none()),
        (FABRIKAM, 21, APP, known(&[31]), none(), none()),
        (FABRIKAM, 21, APP, known(&[31, GROUP]), group(), group()),
        (FABRIKAM, 21, APP, unknown(&[GROUP]), group(), group()),
        (
            FABRIKAM,
            21,
            APP,
            unknown(&[31]),
            untold(),
            Ok(MatchedAssignment::AcsAlone),
        ),
        (
            FABRIKAM,
            21,
            APP,
            unknown(&[]),
            untold(),
            Ok(MatchedAssignment::AcsAlone),
        ),
        (FABRIKAM, 21, 11, unknown(&[GROUP]), none(), none()),
        (
            CONTOSO,
            21,
            APP,
            known(&[]),
            Ok(MatchedAssignment::Tenant),
            Ok(MatchedAssignment::Tenant),
        ),
        (
            CONTOSO,
            21,
            APP,
            unknown(&[]),
            Ok(MatchedAssignment::Tenant),
            Ok(MatchedAssignment::Tenant),
        ),
        (CONTOSO, 21, 11, unknown(&[]), none(), none()),
        // A user's and a group's id mean nothing in another tenant.
        (OTHER, USER, APP, unknown(&[GROUP]), none(), none()),
        // A user whose id is an assigned group's is not that group.
        (FABRIKAM, GROUP, APP, known(&[]), none(), none()),
    ];
    for (tenant, user, client, groups, refuse, acs) in cases {
        let caller = Caller::for_test(
            id::<TenantId>(tenant),
            id::<ObjectId>(user),
            id::<ClientAppId>(client),
            groups,
        );
        let covered = |matched: Result<MatchedAssignment, Denied>| matched.map(Decision::Covered);
        // Graph is asked exactly where ACS alone would decide.
        let graph = match acs {
            Ok(MatchedAssignment::AcsAlone) => Ok(Decision::IfMember {
                groups: index.groups_of(id(tenant), id(client)),
                otherwise: None,
            }),
            ref other => covered(other.clone()),
        };
        assert_eq!(
            decide(&index, caller.principal(), rules(UnknownGroups::Graph)),
            graph,
            "{caller:?}"
        );
        assert_eq!(
            decide(&index, caller.principal(), rules(UnknownGroups::Refuse)),
            covered(refuse),
            "{caller:?}"
        );
        assert_eq!(
            decide(&index, caller.principal(), rules(UnknownGroups::Acs)),
            covered(acs),
            "{caller:?}"
        );
    }
}

#[test]
fn scopes_are_those_of_what_covers() {
    use config::IdentityScope::{Chat, ChatJoin, Voip};
    const TENANT: u32 = 1;
    const APP: u32 = 10;
    const USER: u32 = 20;
    let narrowed = |kind, object, scopes: &[config::IdentityScope]| Assignment {
        allowed_scopes: Some(scopes.iter().copied().collect()),
        ..assignment(kind, TENANT, object, APP)
    };
    let index = AssignmentIndex::new(&[
        narrowed(PrincipalType::User, USER, &[Chat]),
        assignment(PrincipalType::User, TENANT, 21, APP),
        narrowed(PrincipalType::Group, 30, &[Voip]),
        narrowed(PrincipalType::Group, 31, &[Chat, ChatJoin]),
        assignment(PrincipalType::Group, TENANT, 32, APP),
        narrowed(PrincipalType::Tenant, TENANT, &[ChatJoin]),
    ]);
    // user, groups, what is allowed
    for (user, groups, wanted) in [
        // The most specific kind alone, though others allow more.
        (USER, &[30, 32][..], Some(&[Chat][..])),
        (21, &[30], None),
        (22, &[30], Some(&[Voip])),
        (22, &[30, 31], Some(&[Chat, ChatJoin, Voip])),
        (22, &[31, 32, 30], None),
        (22, &[33, 30], Some(&[Voip])),
        (22, &[33], Some(&[ChatJoin])),
        (22, &[], Some(&[ChatJoin])),
    ] {
        let groups = Groups::Known(groups.iter().map(|group| id(*group)).collect());
        let caller = Caller::for_test(id(TENANT), id(user), id(APP), groups);
        let Ok(Decision::Covered(matched)) = decide(&index, caller.principal(), rules(UnknownGroups::Refuse)) else {
            panic!("{caller:?}");
        };
        let allowed = allowed_scopes(&index, caller.principal(), matched, caller.groups().listed());
        assert_eq!(
            allowed,
            wanted.map(|scopes| scopes.iter().copied().collect()),
            "{caller:?}"
        );
    }
    // Who is in no assigned group is not allowed anything by groups.
    let none = index.scopes_of_groups(id(TENANT), &[id(33)], id(APP));
    assert_eq!(none, Some(AllowedScopes::NOTHING));
}
