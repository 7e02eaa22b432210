//! Several ACS resources behind one broker, and Teams Phone extension.

use azure_emulator::scenario::{CONTOSO, CONTOSO_API, CONTOSO_API_SECRET, CONTOSO_API_URI, CONTOSO_APP, FABRIKAM};
use azure_emulator::{Emulator, Endpoint};
use serde_json::json;

use crate::support::fake::{Fake, Reply, grant};
use crate::support::forge::{change, with_claims};
use crate::support::http::Call;
use crate::support::modes::for_api;
use crate::support::stack::{self, Stack, assignments_toml};

const TEAMS_PATH: &str = "/access/teamsExtension/:exchangeAccessToken";

/// Fabrikam is served from one emulated ACS, Contoso's own people from another.
async fn two_resources(folder: &tempfile::TempDir) -> (Stack, Emulator) {
    let clock = stack::clock();
    let other = stack::emulator(&clock).await;
    let first = stack::emulator(&clock).await;
    let file = |name: &str, tenant| {
        let path = folder.path().join(name);
        let all = first.scenario().assignments.iter();
        std::fs::write(
            &path,
            assignments_toml(all.filter(|assignment| assignment.tenant_id == tenant)),
        )
        .unwrap();
        path.display().to_string()
    };
    let (fabrikam, contoso) = (file("fabrikam.toml", FABRIKAM), file("contoso.toml", CONTOSO));
    let resources = format!(
        "[{{ name = 'fabrikam', tenants = ['{FABRIKAM}'], client_ids = ['{CONTOSO_APP}'], exchange = {{ endpoint = '{}' }}, \
         assignments = {{ file = '{fabrikam}' }} }}, \
         {{ name = 'contoso', tenants = ['{CONTOSO}'], exchange = {{ endpoint = '{}', mode = 'on_behalf_of', on_behalf_of = {{ \
         client_id = '{CONTOSO_API}', credential = 'secret', client_secret = '{CONTOSO_API_SECRET}' }} }}, \
         assignments = {{ file = '{contoso}' }}, unknown_groups = 'refuse' }}]",
        first.origin(),
        other.origin()
    );
    let stack = Stack::builder()
        .emulator(first, &clock)
        .resources(&resources)
        .set(
            "entra.audiences",
            format!("2a04943b-b6a7-4f65-8786-2bb6131b59f6,{CONTOSO_API},{CONTOSO_API_URI}"),
        )
        .set("entra.required_scopes", "VoIP,access")
        .start()
        .await;
    (stack, other)
}

#[tokio::test]
async fn each_caller_is_served_from_the_first_resource_that_matches() {
    let folder = tempfile::tempdir().unwrap();
    let (stack, other) = two_resources(&folder).await;
    assert_eq!(stack.user("alex").post().await.cache(), "miss");
    assert_eq!((stack.exchanges(), other.count(Endpoint::Exchange)), (1, 0));
    // The other resource, an emulator of its own, does not trust this one's Entra: that it was asked is what counts.
    let diego = stack.user("diego").with(for_api).post().await;
    assert_eq!(diego.outcome(), "401 InvalidToken/RejectedUpstream");
    assert_eq!((stack.exchanges(), stack.emulator.count(Endpoint::OnBehalfOf)), (1, 1));
    assert_eq!(other.count(Endpoint::Exchange), 1);
    // No resource covers Fabrikam's users through another app.
    let elsewhere = stack
        .user("alex")
        .with(|request| request.client_id = Some(CONTOSO.to_string()))
        .post()
        .await;
    assert_eq!(elsewhere.outcome(), "403 NotAssigned/NoAssignment");
}

#[tokio::test]
async fn a_form_may_name_the_resource_that_serves_the_caller_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (stack, other) = two_resources(&folder).await;
    let token = stack.user("alex").token();
    let post = async |name: &str, value: &str| {
        stack
            .post_form(&[
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                ("subject_token", &token),
                (name, value),
            ])
            .await
            .outcome()
    };
    assert_eq!(post("resource", &stack.emulator.origin()).await, "200");
    assert_eq!(post("audience", "fabrikam").await, "200");
    for (name, value) in [
        ("resource", other.origin()),
        ("audience", "contoso".to_owned()),
        ("audience", "nobody".to_owned()),
    ] {
        assert_eq!(post(name, &value).await, "400 invalid_target InvalidRequest", "{value}");
    }
}

#[tokio::test]
async fn a_missing_file_of_one_resource_is_reported_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (stack, _other) = two_resources(&folder).await;
    std::fs::write(folder.path().join("contoso.toml"), "broken").unwrap();
    crate::support::eventually("degraded", async || {
        let body = stack.probe("/readyz").await.json();
        body["degraded"].to_string().contains("contoso")
    })
    .await;
    assert_eq!(stack.probe("/readyz").await.status, 200);
}

fn teams() -> stack::Builder {
    Stack::builder()
        .set(
            "entra.audiences",
            "2a04943b-b6a7-4f65-8786-2bb6131b59f6,https://auth.msft.communication.azure.com,1fd5118e-2576-4263-8130-9503064c837a",
        )
        .set("entra.required_scopes", "VoIP,TeamsExtension.ManageCalls")
}

async fn post_teams(stack: &Stack, token: &str, query: &str) -> crate::support::http::Answer {
    Call::new("POST", stack.url(&format!("{TEAMS_PATH}{query}")))
        .bearer(token)
        .body("application/json", "{}")
        .send()
        .await
}

#[tokio::test]
async fn teams_extension_tokens_go_to_their_own_path() {
    let stack = teams().start().await;
    let version = "?api-version=2025-06-30";
    let token = stack
        .user("diego")
        .with(|request| request.audience = Some("teams".to_owned()))
        .token();
    let answer = post_teams(&stack, &token, version).await;
    assert_eq!(answer.cache(), "miss");
    assert!(!answer.json()["identity"]["id"].as_str().unwrap().contains("_wf_"));
    assert_eq!(
        (stack.emulator.count(Endpoint::TeamsExchange), stack.exchanges()),
        (1, 0)
    );
    // `POST /token` knows by the token where it goes.
    assert_eq!(stack.post_token(&token).await.cache(), "hit");
    let encoded = Call::new(
        "POST",
        stack.url("/access/teamsExtension/%3AexchangeAccessToken?api-version=2025-06-30"),
    );
    assert_eq!(encoded.bearer(&token).send().await.cache(), "hit");
    // Neither path's outcome is served on the other.
    let acs = stack.user("diego").token();
    assert_eq!(stack.post_token(&acs).await.cache(), "miss");
    assert_eq!(
        (stack.emulator.count(Endpoint::TeamsExchange), stack.exchanges()),
        (1, 1)
    );
    assert_eq!(
        post_teams(&stack, &acs, version).await.outcome(),
        "401 InvalidToken/InvalidAudience"
    );
    for path in [
        "//access/teamsExtension/:exchangeAccessToken",
        "//access/teamsExtension/%3aexchangeAccessToken",
    ] {
        let other = Call::new("POST", stack.url(&format!("{path}{version}")));
        assert_eq!(other.bearer(&token).send().await.cache(), "hit", "{path}");
    }
    assert_eq!(
        post_teams(&stack, &token, "").await.outcome(),
        "400 MissingApiVersionParameter"
    );
    assert_eq!(
        post_teams(&stack, &token, "?api-version=2025-03-02-preview")
            .await
            .outcome(),
        "400 UnsupportedApiVersionValue"
    );
}

/// Callers may send any version that the operator accepts; ACS gets the configured one.
#[tokio::test]
async fn teams_extension_versions_are_the_operators_choice() {
    let sent = |stack: &Stack| -> Vec<String> {
        let calls = stack.emulator.journal().into_iter();
        let exchanges = calls.filter(|call| call.endpoint == Some(Endpoint::TeamsExchange));
        exchanges.filter_map(|call| call.api_version).collect()
    };
    let for_teams = |request: &mut azure_emulator::TokenRequest| request.audience = Some("teams".to_owned());
    let stack = teams().start().await;
    let token = stack.user("diego").with(for_teams).token();
    for version in ["2025-06-30", "2026-09-23"] {
        let answer = post_teams(&stack, &token, &format!("?api-version={version}")).await;
        assert_eq!(answer.outcome(), "200", "{version}");
    }
    assert_eq!(sent(&stack), ["2025-06-30"]);

    let stack = teams()
        .set("server.teams_api_versions", "2026-09-23")
        .set("exchange.teams_extension_api_version", "2026-09-23")
        .start()
        .await;
    let token = stack.user("diego").with(for_teams).token();
    for (version, told) in [("2025-06-30", "400 UnsupportedApiVersionValue"), ("2026-09-23", "200")] {
        let answer = post_teams(&stack, &token, &format!("?api-version={version}")).await;
        assert_eq!(answer.outcome(), told, "{version}");
    }
    assert_eq!(sent(&stack), ["2026-09-23"]);
}

#[tokio::test]
async fn where_modes_differ_each_takes_only_tokens_that_are_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (stack, other) = two_resources(&folder).await;
    // A token for ACS proves no consent to the broker's own API ...
    let diego = stack.user("diego").post().await;
    assert_eq!(diego.outcome(), "401 InvalidToken/InvalidAudience");
    // ... and one for the broker's API is not ACS's to see.
    let alex = stack.user("alex").with(for_api).post().await;
    assert_eq!(alex.outcome(), "401 InvalidToken/InvalidAudience");
    assert_eq!((stack.exchanges(), other.count(Endpoint::Exchange)), (0, 0));
    assert_eq!(stack.emulator.count(Endpoint::OnBehalfOf), 0);
}

/// ACS could only refuse it: nothing is sent, nor served from the cache, and it is reported in its place among the checks.
#[tokio::test]
async fn a_token_for_the_other_acs_path_is_for_another_audience() {
    const WRONG: &str = "401 InvalidToken/InvalidAudience";
    let stack = teams().start().await;
    let entra = |token: &str| {
        let url = stack.url("/access/entra/:exchangeAccessToken?api-version=2025-03-02-preview");
        Call::new("POST", url).bearer(token).send()
    };
    let for_teams = |request: &mut azure_emulator::TokenRequest| request.audience = Some("teams".to_owned());
    let version = "?api-version=2025-06-30";
    let teams_token = stack.user("diego").with(for_teams).token();
    let acs_token = stack.user("diego").token();
    for _ in 0..2 {
        assert_eq!(entra(&teams_token).await.outcome(), WRONG);
        assert_eq!(post_teams(&stack, &acs_token, version).await.outcome(), WRONG);
        assert_eq!(
            (stack.exchanges(), stack.emulator.count(Endpoint::TeamsExchange)),
            (0, 0)
        );
    }
    // Each on its own path, and by `POST /token` both; what is cached changes nothing.
    assert_eq!(entra(&acs_token).await.cache(), "miss");
    assert_eq!(post_teams(&stack, &teams_token, version).await.cache(), "miss");
    assert_eq!(stack.post_token(&acs_token).await.cache(), "hit");
    assert_eq!(stack.post_token(&teams_token).await.cache(), "hit");
    assert_eq!(entra(&teams_token).await.outcome(), WRONG);
    assert_eq!(post_teams(&stack, &acs_token, version).await.outcome(), WRONG);
    assert_eq!(
        (stack.exchanges(), stack.emulator.count(Endpoint::TeamsExchange)),
        (1, 1)
    );
    // Before the lifetime, the scopes and the assignment, after the signature and the issuer.
    let expired = stack.user("diego").with(for_teams).lifetime(-3600).token();
    assert_eq!(entra(&expired).await.outcome(), WRONG);
    let megan = stack.user("megan").with(for_teams).token();
    assert_eq!(entra(&megan).await.outcome(), WRONG);
    let nobodys = with_claims(&stack, |claims| {
        claims["aud"] = "1fd5118e-2576-4263-8130-9503064c837a".into();
        change(claims, "azp", serde_json::Value::Null);
        change(claims, "scp", serde_json::Value::Null);
    });
    assert_eq!(entra(&nobodys).await.outcome(), WRONG);
    let foreign = with_claims(&stack, |claims| {
        claims["aud"] = "1fd5118e-2576-4263-8130-9503064c837a".into();
        claims["iss"] = "https://elsewhere.example".into();
    });
    assert_eq!(entra(&foreign).await.outcome(), "401 InvalidToken/InvalidIssuer");
    let (signed, signature) = teams_token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    assert_ne!(entra(&forged).await.outcome(), WRONG);
}

/// Where ACS is not sent the caller's token, the path says nothing about it.
#[tokio::test]
async fn in_other_modes_the_paths_are_as_before() {
    let stack = crate::support::modes::with_secret().start().await;
    let token = stack.user("alex").with(for_api).token();
    assert_eq!(stack.post_acs_path(&token).await.outcome(), "200");
    let teams_path = post_teams(&stack, &token, "?api-version=2025-06-30").await;
    assert_eq!(teams_path.outcome(), "400 InvalidRequest");
}

/// A scope of one's own API that is named as ACS names one says nothing about ACS.
#[tokio::test]
async fn a_scope_counts_for_the_api_that_it_belongs_to() {
    let stack = Stack::builder()
        .set("entra.audiences", "2a04943b-b6a7-4f65-8786-2bb6131b59f6,api://broker")
        .set("entra.required_scopes", "VoIP,access")
        .start()
        .await;
    for (audience, scope, expected) in [
        ("api://broker", "VoIP", "403 InsufficientScope"),
        ("api://broker", "VoIP VoIP.Join Chat", "403 InsufficientScope"),
        // Accepted here; the emulated ACS then refuses the audience.
        ("api://broker", "access", "401 InvalidToken/RejectedUpstream"),
        ("api://broker", "VoIP access", "401 InvalidToken/RejectedUpstream"),
        (
            "2a04943b-b6a7-4f65-8786-2bb6131b59f6",
            "access",
            "403 InsufficientScope",
        ),
        ("2a04943b-b6a7-4f65-8786-2bb6131b59f6", "VoIP", "200"),
    ] {
        let token = with_claims(&stack, |claims| {
            claims["aud"] = audience.into();
            claims["scp"] = scope.into();
        });
        assert_eq!(stack.post_token(&token).await.outcome(), expected, "{audience} {scope}");
    }
}

/// ACS may heed every audience of a token: what it gave for one set is not served to a token for another.
#[tokio::test]
async fn what_acs_gave_for_some_audiences_is_not_served_to_a_token_for_others() {
    let (com, us) = (
        "https://communication.azure.com/clients",
        "https://communication.azure.us/clients",
    );
    let acs = Fake::start().await;
    let stack = Stack::builder()
        .endpoint(&acs.origin())
        .set(
            "entra.audiences",
            format!("2a04943b-b6a7-4f65-8786-2bb6131b59f6,{com},{us}"),
        )
        .start()
        .await;
    let end = jiff::Timestamp::from_second(stack.now() + 3600).unwrap();
    acs.on(stack::ACS_PATH, Reply::json(&grant("t", end)));
    for (audiences, cache) in [
        (json!(com), "miss"),
        (json!([com, us]), "miss"),
        (json!(us), "miss"),
        (json!([com, "https://other.example"]), "miss"),
        (json!(["2A04943B-B6A7-4F65-8786-2BB6131B59F6", us]), "miss"),
        // The same in another way of writing.
        (json!([us, com, us]), "hit"),
        (json!([com]), "hit"),
        (json!([us, "2a04943b-b6a7-4f65-8786-2bb6131b59f6"]), "hit"),
    ] {
        let token = with_claims(&stack, |claims| claims["aud"] = audiences.clone());
        assert_eq!(stack.post_token(&token).await.cache(), cache, "{audiences}");
    }
    assert_eq!(acs.count(stack::ACS_PATH), 5);
}
