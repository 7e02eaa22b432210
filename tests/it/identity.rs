//! Identity mode: an ACS identity of the broker's own making, for what the Entra exchange does not grant.

use azure_emulator::scenario::{CONTOSO, CONTOSO_API, CONTOSO_API_SECRET, CONTOSO_APP, FABRIKAM, FABRIKAM_CALLERS};
use azure_emulator::{Endpoint, Fault};
use serde_json::Value;

use crate::support::modes::{for_api, own_api};
use crate::support::stack::{Builder, Stack};
use crate::support::{fake::Fake, stack};

const ALEX: &str = "fab00000-0000-4000-8000-00000000a1ec";

async fn identity() -> Builder {
    let clock = stack::clock();
    let emulator = stack::emulator(&clock).await;
    let key = emulator.expected_access_key();
    own_api(Stack::builder())
        .emulator(emulator, &clock)
        .set("exchange.mode", "identity")
        .set("exchange.identity.access_key", key)
}

#[tokio::test]
async fn the_same_user_always_has_the_same_identity() {
    let stack = identity().await.start().await;
    let first = stack.user("alex").with(for_api).post().await;
    assert_eq!(first.cache(), "miss");
    // The token presented has no part in it: another one is served the same.
    let second = stack.user("alex").with(for_api).lifetime(120).post().await;
    assert_eq!((second.cache(), second.token()), ("hit", first.token()));
    let upper = stack
        .user("alex")
        .with(for_api)
        .claim("oid", Value::from(ALEX.to_uppercase()))
        .post()
        .await;
    assert_eq!(upper.cache(), "hit");
    assert_eq!(stack.emulator.count(Endpoint::Identities), 1);
    // After the token's end a new one, for the same identity, in time.
    stack.advance(51 * 60);
    let renewed = stack.user("alex").with(for_api).post().await;
    assert_eq!(renewed.cache(), "miss");
    assert_ne!(renewed.token(), first.token());
    assert_eq!(renewed.json()["identity"], first.json()["identity"]);
    // Another user, another identity.
    let diego = stack.user("diego").with(for_api).post().await;
    assert_ne!(diego.json()["identity"], first.json()["identity"]);
    assert_eq!(stack.exchanges(), 0);
}

#[tokio::test]
async fn this_broker_alone_decides_who_gets_one() {
    let stack = identity().await.start().await;
    for (name, expected) in [
        ("alex", "200"),
        // By a group, which tokens for the broker's own API list.
        ("adele", "200"),
        // In no group at all, which a token does not distinguish from groups left out.
        ("megan", "403 NotAssigned/GroupsUnknown"),
        ("grady", "403 NotAssigned/NoAssignment"),
        // In more groups than a token can list.
        ("lidia", "403 NotAssigned/GroupsUnknown"),
    ] {
        assert_eq!(
            stack.user(name).with(for_api).post().await.outcome(),
            expected,
            "{name}"
        );
    }
    assert_eq!(
        stack.user("app-only").with(for_api).post().await.outcome(),
        "401 InvalidToken/NotDelegated"
    );
}

fn assignment(object: &str, kind: &str, scopes: Option<&str>) -> String {
    let scopes = scopes.map_or_else(String::new, |scopes| format!("allowedScopes = {scopes}\n"));
    format!(
        "[[assignments]]\nobjectId = \"{object}\"\ntenantId = \"{FABRIKAM}\"\nprincipalType = \"{kind}\"\nclientIds = [\"{CONTOSO_APP}\"]\n{scopes}"
    )
}

#[tokio::test]
async fn an_assignment_narrows_what_the_operator_allows_at_most() {
    let stack = identity()
        .await
        .set("exchange.identity.scopes", "chat,voip")
        .assignments(
            "assignments.toml",
            format!(
                "{}{}",
                assignment(ALEX, "user", Some("[\"chat\", \"voip.join\"]")),
                assignment(&FABRIKAM_CALLERS.to_string(), "group", None)
            ),
        )
        .start()
        .await;
    let scope = async |name| {
        let token = stack.user(name).with(for_api).token();
        let answer = stack
            .post_form(&[
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                ("subject_token", &token),
            ])
            .await;
        answer.json()["scope"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer:?}"))
            .to_owned()
    };
    assert_eq!(scope("alex").await, "chat");
    assert_eq!(scope("adele").await, "chat voip");
    // Narrowed anew at once: nothing of before is served.
    stack.write_assignments(&assignment(ALEX, "user", Some("[\"voip\"]")));
    crate::support::eventually("the narrower assignment", async || scope("alex").await == "voip").await;
    stack.write_assignments(&assignment(ALEX, "user", Some("[\"chat.join\"]")));
    crate::support::eventually("nothing is left", async || {
        stack.user("alex").with(for_api).post().await.outcome() == "403 NotAssigned/NoAssignment"
    })
    .await;
}

#[tokio::test]
async fn a_token_without_groups_does_not_escape_the_scopes_of_a_group() {
    let tenant = assignment(&FABRIKAM.to_string(), "tenant", None);
    let group = assignment(&FABRIKAM_CALLERS.to_string(), "group", Some("[\"chat\"]"));
    let stack = identity()
        .await
        .set("exchange.identity.scopes", "chat,voip")
        .assignments("assignments.toml", format!("{tenant}{group}"))
        .start()
        .await;
    // Adele's token lists the group; lidia's cannot, and megan's does not say that there is none.
    assert_eq!(stack.user("adele").with(for_api).post().await.outcome(), "200");
    for name in ["lidia", "megan"] {
        let outcome = stack.user(name).with(for_api).post().await.outcome();
        assert_eq!(outcome, "403 NotAssigned/GroupsUnknown", "{name}");
    }
    let by_name = stack
        .user("adele")
        .with(for_api)
        .claim("groups", serde_json::json!(["Fabrikam Callers"]));
    assert_eq!(by_name.post().await.outcome(), "403 NotAssigned/GroupsUnknown");
}

#[tokio::test]
async fn the_teams_path_gives_no_identity() {
    let stack = identity().await.start().await;
    let token = stack.user("alex").with(for_api).token();
    let path = "/access/teamsExtension/:exchangeAccessToken?api-version=2025-06-30";
    let answer = crate::support::http::Call::new("POST", stack.url(path))
        .bearer(&token)
        .send()
        .await;
    assert_eq!(answer.outcome(), "400 InvalidRequest");
    assert_eq!(stack.post_acs_path(&token).await.outcome(), "200");
}

#[tokio::test]
async fn refusals_by_acs_are_about_the_brokers_key() {
    let status = |status| Fault {
        status: Some(status),
        ..Fault::default()
    };
    let stack = identity().await.start().await;
    let elsewhere = Fake::start().await;
    for (fault, expected) in [
        (status(401), "502 UpstreamRejectedBroker"),
        (status(403), "502 UpstreamRejectedBroker"),
        (status(400), "502 UpstreamInvalidResponse"),
        (status(500), "503 UpstreamUnavailable"),
        (status(504), "504 UpstreamTimeout"),
        (
            Fault {
                redirect: Some(format!("{}/identities", elsewhere.origin())),
                ..Fault::default()
            },
            "502 UpstreamInvalidResponse",
        ),
        (
            Fault {
                past_expires_on: true,
                ..Fault::default()
            },
            "502 UpstreamInvalidResponse",
        ),
    ] {
        stack.fault(Endpoint::Identities, fault);
        assert_eq!(stack.user("alex").with(for_api).post().await.outcome(), expected);
    }
    assert_eq!(elsewhere.calls().len(), 0);
    stack.emulator.clear_faults();
    assert_eq!(stack.user("alex").with(for_api).post().await.outcome(), "200");
}

#[tokio::test]
async fn a_wrong_key_is_reported_as_such_and_a_corrected_one_is_in_use_soon() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "d3Jvbmc=").unwrap();
    let clock = stack::clock();
    let emulator = stack::emulator(&clock).await;
    let key = emulator.expected_access_key();
    let stack = own_api(Stack::builder())
        .emulator(emulator, &clock)
        .set("exchange.mode", "identity")
        .set("exchange.identity.access_key_file", file.to_str().unwrap())
        .start()
        .await;
    assert_eq!(
        stack.user("alex").with(for_api).post().await.outcome(),
        "502 UpstreamRejectedBroker"
    );
    std::fs::write(&file, key).unwrap();
    stack.advance(12);
    assert_eq!(stack.user("alex").with(for_api).post().await.outcome(), "200");
}

/// An Entra credential with a role on the resource stands in for the access key.
#[tokio::test]
async fn an_app_of_the_brokers_stands_in_for_the_key() {
    let app = |secret: &str| {
        own_api(Stack::builder())
            .set("exchange.mode", "identity")
            .set("exchange.identity.credential", "secret")
            .set("exchange.identity.client_id", CONTOSO_API.to_string())
            .set("exchange.identity.tenant_id", CONTOSO.to_string())
            .set("exchange.identity.client_secret", secret)
    };
    let stack = app(CONTOSO_API_SECRET).start().await;
    let alex = stack.user("alex").with(for_api).post().await;
    assert_eq!(alex.outcome(), "200");
    assert_eq!(stack.user("diego").with(for_api).post().await.outcome(), "200");
    // One token of the broker's own for both.
    assert_eq!(stack.emulator.count(Endpoint::ClientCredentials), 1);
    assert_eq!(stack.emulator.count(Endpoint::Identities), 2);
    // The same user has the same identity as with the key.
    let key = stack.emulator.expected_access_key();
    let origin = stack.emulator.origin();
    let with_key = own_api(Stack::builder())
        .authority(&origin)
        .endpoint(&origin)
        .set("exchange.mode", "identity")
        .set("exchange.identity.access_key", key)
        .start()
        .await;
    let token = stack.user("alex").with(for_api).token();
    assert_eq!(
        with_key.post_token(&token).await.json()["identity"],
        alex.json()["identity"]
    );

    let stack = app("another secret").start().await;
    let refused = stack.user("alex").with(for_api).post().await;
    assert_eq!(refused.outcome(), "502 UpstreamRejectedBroker");
}
