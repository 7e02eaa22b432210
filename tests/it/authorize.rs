//! Who may have a token: assignments of users, groups and tenants, with the client apps they name.

use azure_emulator::scenario::{CONTOSO, CONTOSO_APP, FABRIKAM, FABRIKAM_CALLERS, FABRIKAM_MARKETING};
use azure_emulator::{Assignment, GroupsClaim, PrincipalType};
use serde_json::json;

use crate::support::eventually;
use crate::support::forge::ALEX;
use crate::support::stack::{Stack, assignments_toml};

const OTHER_APP: &str = "0ca11e60-0000-4000-8000-000000000001";

#[tokio::test]
async fn each_kind_of_assignment_covers_its_own() {
    for unknown_groups in ["acs", "refuse"] {
        let stack = Stack::builder()
            .set("assignments.unknown_groups", unknown_groups)
            .start()
            .await;
        let acs = unknown_groups == "acs";
        for (user, groups, expected) in [
            // By the user and by the tenant: groups do not matter.
            ("alex", GroupsClaim::None, "200"),
            ("alex", GroupsClaim::Overage, "200"),
            ("diego", GroupsClaim::None, "200"),
            // By a group that the token lists.
            ("adele", GroupsClaim::Listed, "200"),
            ("lidia", GroupsClaim::Listed, "200"),
            ("grady", GroupsClaim::Listed, "403 NotAssigned/NoAssignment"),
            // By a group that the token does not list: ACS knows the directory.
            (
                "adele",
                GroupsClaim::None,
                if acs { "200" } else { "403 NotAssigned/GroupsUnknown" },
            ),
            (
                "lidia",
                GroupsClaim::Overage,
                if acs { "200" } else { "403 NotAssigned/GroupsUnknown" },
            ),
            (
                "megan",
                GroupsClaim::None,
                if acs {
                    "403 ExchangeForbidden"
                } else {
                    "403 NotAssigned/GroupsUnknown"
                },
            ),
            (
                "grady",
                GroupsClaim::Overage,
                if acs {
                    "403 ExchangeForbidden"
                } else {
                    "403 NotAssigned/GroupsUnknown"
                },
            ),
        ] {
            let answer = stack
                .user(user)
                .with(|request| request.groups = Some(groups))
                .post()
                .await;
            assert_eq!(answer.outcome(), expected, "{user} {groups:?} {unknown_groups}");
        }
    }
}

#[tokio::test]
async fn what_a_token_tells_of_groups() {
    let stack = Stack::builder()
        .set("assignments.unknown_groups", "refuse")
        .start()
        .await;
    let callers = FABRIKAM_CALLERS.to_string();
    let marketing = FABRIKAM_MARKETING.to_string();
    let overage = json!({"groups": "src1"});
    for (claims, expected) in [
        (vec![("groups", json!([callers]))], "200"),
        (vec![("groups", json!([callers.to_uppercase()]))], "200"),
        (vec![("groups", json!([marketing, callers]))], "200"),
        // A listed group counts even beside an overage marker; the rest is unknown.
        (
            vec![("groups", json!([callers])), ("_claim_names", overage.clone())],
            "200",
        ),
        (
            vec![("groups", json!([marketing])), ("_claim_names", overage.clone())],
            "403 NotAssigned/GroupsUnknown",
        ),
        (
            vec![("groups", json!([marketing])), ("hasgroups", json!(true))],
            "403 NotAssigned/GroupsUnknown",
        ),
        (vec![("hasgroups", json!(true))], "403 NotAssigned/GroupsUnknown"),
        (
            vec![("hasgroups", json!(false)), ("groups", json!([marketing]))],
            "403 NotAssigned/NoAssignment",
        ),
        (
            vec![
                ("_claim_names", json!({"other": "src1"})),
                ("groups", json!([marketing])),
            ],
            "403 NotAssigned/NoAssignment",
        ),
        (vec![("groups", json!([marketing]))], "403 NotAssigned/NoAssignment"),
        (vec![("groups", json!([]))], "403 NotAssigned/NoAssignment"),
        (
            vec![("groups", json!(["Fabrikam Callers"]))],
            "403 NotAssigned/NoAssignment",
        ),
        // A user whose own id is the group's is not the group.
        (
            vec![("groups", json!([])), ("oid", json!(callers))],
            "403 NotAssigned/NoAssignment",
        ),
    ] {
        let mut user = stack.user("adele");
        for (name, value) in &claims {
            user = user.claim(name, value.clone());
        }
        let answer = user.post().await.outcome();
        // The emulated ACS goes by its own directory, in which Adele is a caller.
        assert_eq!(answer, expected, "{claims:?}");
    }
}

#[tokio::test]
async fn the_client_app_must_be_named() {
    let stack = Stack::start().await;
    for (user, groups) in [
        ("alex", GroupsClaim::None),
        ("diego", GroupsClaim::None),
        ("adele", GroupsClaim::Listed),
    ] {
        let asking = |client: &str| {
            let client = client.to_owned();
            stack.user(user).with(|request| {
                request.client_id = Some(client);
                request.groups = Some(groups);
            })
        };
        assert_eq!(
            asking(OTHER_APP).post().await.outcome(),
            "403 NotAssigned/NoAssignment",
            "{user}"
        );
        let upper = CONTOSO_APP.to_string().to_uppercase();
        assert_eq!(asking(&upper).post().await.outcome(), "200", "{user}");
    }
    assert_eq!(
        stack.exchanges(),
        3,
        "ACS was not asked for those without an assignment"
    );
}

#[tokio::test]
async fn ids_mean_nothing_in_another_tenant() {
    // An assignment for Contoso with the ids of Fabrikam's user and group.
    let assign = |object_id: &str, principal_type| Assignment {
        object_id: object_id.parse().unwrap(),
        tenant_id: CONTOSO,
        principal_type,
        client_ids: vec![CONTOSO_APP],
    };
    let text = assignments_toml(&[
        assign(ALEX, PrincipalType::User),
        assign(&FABRIKAM_CALLERS.to_string(), PrincipalType::Group),
    ]);
    let stack = Stack::builder().assignments("assignments.toml", text).start().await;
    for user in ["alex", "adele"] {
        let answer = stack
            .user(user)
            .with(|request| request.groups = Some(GroupsClaim::Listed))
            .post()
            .await;
        assert_eq!(answer.outcome(), "403 NotAssigned/NoAssignment", "{user}");
    }
    assert_eq!(stack.exchanges(), 0);
}

#[tokio::test]
async fn an_assignment_taken_away_takes_effect_though_cached() {
    let stack = Stack::builder()
        .set("assignments.unknown_groups", "refuse")
        .start()
        .await;
    let token = stack.user("alex").token();
    assert_eq!(stack.post_token(&token).await.cache(), "miss");
    assert_eq!(stack.post_token(&token).await.cache(), "hit");
    stack.write_assignments(&stack.demo_assignments_without(&[ALEX.parse().unwrap()]));
    eventually("the assignment is gone", async || {
        stack.post_token(&token).await.status == 403
    })
    .await;
    assert_eq!(
        stack.post_token(&token).await.outcome(),
        "403 NotAssigned/GroupsUnknown"
    );
    // The user of another assignment is untouched, and so is the cached token if it comes back.
    assert_eq!(stack.user("diego").post().await.outcome(), "200");
    stack.write_assignments(&stack.demo_assignments_without(&[]));
    eventually("the assignment is back", async || {
        stack.post_token(&token).await.status == 200
    })
    .await;
    assert_eq!(stack.exchanges(), 2);
}

#[tokio::test]
async fn an_unlisted_tenant_is_reported_before_its_assignments_are_read() {
    let stack = Stack::builder().tenants(&[CONTOSO]).start().await;
    assert_eq!(
        stack.user("alex").post().await.outcome(),
        "401 InvalidToken/UnknownTenant"
    );
    assert_eq!(stack.user("diego").post().await.outcome(), "200");
    let fabrikam = FABRIKAM.to_string();
    assert!(
        stack
            .emulator
            .journal()
            .iter()
            .all(|call| !call.path.contains(&fabrikam))
    );
}
