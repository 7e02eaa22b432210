//! A tenant at an authority of its own, as External ID tenants are, beside one at the common authority.

use azure_emulator::scenario::{CONTOSO, CONTOSO_API, CONTOSO_API_SECRET, FABRIKAM};
use azure_emulator::{Emulator, Endpoint, Fault, TokenRequest, TokenVersion};
use serde_json::json;

use crate::key_sets::{KEYS_UNAVAILABLE, fabrikam_elsewhere, unknown_kid};
use crate::support::fake::{Fake, Reply};
use crate::support::http::Call;
use crate::support::modes::{for_api, own_api};
use crate::support::stack::{self, Builder, Stack, assignments_toml};

/// Fabrikam at an emulator of its own, which serves no v1 documents; Contoso at the other. Both on behalf of users.
async fn two_authorities(
    folder: &tempfile::TempDir,
    change: impl FnOnce(Builder, &Emulator) -> Builder,
) -> (Stack, Emulator) {
    let clock = stack::clock();
    let external = stack::emulator(&clock).await;
    let workforce = stack::emulator(&clock).await;
    let settings = Call::new("PUT", format!("{}/_emulator/settings", external.origin()))
        .body("application/json", r#"{"v1_documents":false}"#)
        .send()
        .await;
    assert!(settings.status < 300, "{settings:?}");
    let file = folder.path().join("all.toml");
    std::fs::write(&file, assignments_toml(&workforce.scenario().assignments)).unwrap();
    let resource = |name: &str, tenant: uuid::Uuid, emulator: &Emulator| {
        format!(
            "{{ name = '{name}', tenants = ['{tenant}'], exchange = {{ endpoint = '{}', mode = 'on_behalf_of', \
             on_behalf_of = {{ client_id = '{CONTOSO_API}', credential = 'secret', client_secret = '{CONTOSO_API_SECRET}' }} }}, \
             assignments = {{ file = '{}' }}, unknown_groups = 'graph' }}",
            emulator.origin(),
            file.display()
        )
    };
    let resources = format!(
        "[{}, {}]",
        resource("external", FABRIKAM, &external),
        resource("workforce", CONTOSO, &workforce)
    );
    let tenants = format!(
        "[{{ id = '{FABRIKAM}', authority = '{}' }}, {{ id = '{CONTOSO}' }}]",
        external.origin()
    );
    let builder = own_api(Stack::builder())
        .resources(&resources)
        .set("entra.tenants", tenants)
        .set("graph.endpoint", external.origin())
        .set("graph.client_id", CONTOSO_API.to_string())
        .set("graph.credential", "secret")
        .set("graph.client_secret", CONTOSO_API_SECRET)
        .emulator(workforce, &clock);
    let stack = change(builder, &external).start().await;
    (stack, external)
}

fn external_token(external: &Emulator, user: &str, change: impl FnOnce(&mut TokenRequest)) -> String {
    let mut request = TokenRequest::default();
    for_api(&mut request);
    change(&mut request);
    external.issue_token(user, &request).unwrap()
}

#[tokio::test]
async fn each_tenant_is_served_from_its_own_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (stack, external) = two_authorities(&folder, |builder, _| builder).await;
    let alex = external_token(&external, "alex", |_| {});
    assert_eq!(stack.post_token(&alex).await.outcome(), "200");
    assert_eq!(
        (external.count(Endpoint::OnBehalfOf), external.count(Endpoint::Exchange)),
        (1, 1)
    );
    assert_eq!(stack.emulator.count(Endpoint::OnBehalfOf), 0);
    assert_eq!(stack.user("diego").with(for_api).post().await.outcome(), "200");
    assert_eq!(stack.emulator.count(Endpoint::OnBehalfOf), 1);
    assert_eq!(external.count(Endpoint::OnBehalfOf), 1);
    // Each tenant's keys are looked up at its own authority alone.
    let asked = |emulator: &Emulator, tenant: uuid::Uuid| {
        let calls = emulator.journal();
        calls
            .iter()
            .any(|call| call.path.contains(&tenant.to_string()) && call.path.contains(".well-known"))
    };
    assert!(asked(&external, FABRIKAM) && !asked(&external, CONTOSO));
    assert!(asked(&stack.emulator, CONTOSO) && !asked(&stack.emulator, FABRIKAM));
    // A token of this tenant that the other authority signed, and the other way round.
    let foreign = stack.user("alex").with(for_api).token();
    assert_eq!(
        stack.post_token(&foreign).await.outcome(),
        "401 InvalidToken/UnknownKey"
    );
    let foreign = external_token(&external, "diego", |_| {});
    assert_eq!(
        stack.post_token(&foreign).await.outcome(),
        "401 InvalidToken/UnknownKey"
    );
}

#[tokio::test]
async fn without_a_v1_document_v1_tokens_are_of_nobodys() {
    let folder = tempfile::tempdir().unwrap();
    let (stack, external) = two_authorities(&folder, |builder, _| builder).await;
    let v1 = external_token(&external, "alex", |request| request.version = Some(TokenVersion::V1));
    assert_eq!(stack.post_token(&v1).await.outcome(), "401 InvalidToken/InvalidIssuer");
    let v1 = stack.user("diego").with(|request| {
        for_api(request);
        request.version = Some(TokenVersion::V1);
    });
    assert_eq!(v1.post().await.outcome(), "200", "both documents are there");
}

#[tokio::test]
async fn graph_is_asked_with_a_token_of_the_tenants_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (stack, external) = two_authorities(&folder, |builder, _| builder).await;
    // Only a group's assignment could cover Adele, and the token lists no groups.
    let adele = external_token(&external, "adele", |request| {
        request.claims.insert("groups".to_owned(), json!(null));
    });
    assert_eq!(stack.post_token(&adele).await.outcome(), "200");
    assert_eq!(
        (
            external.count(Endpoint::ClientCredentials),
            external.count(Endpoint::Graph)
        ),
        (1, 1)
    );
    assert_eq!(stack.emulator.count(Endpoint::ClientCredentials), 0);
}

#[tokio::test]
async fn a_claims_challenge_leads_to_the_tenants_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (stack, external) = two_authorities(&folder, |builder, _| builder).await;
    let joni = external_token(&external, "joni", |_| {});
    let answer = stack.post_token(&joni).await;
    assert_eq!(answer.outcome(), "401 InsufficientClaims");
    let start = format!(
        "Bearer realm=\"{FABRIKAM}\", authorization_uri=\"{}/{FABRIKAM}/oauth2/v2.0/authorize\", \
         error=\"insufficient_claims\", claims=\"",
        external.origin()
    );
    assert!(
        answer.header("www-authenticate").unwrap().starts_with(&start),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_common_authority_still_needs_both_documents() {
    let (fake, entra, builder) = fabrikam_elsewhere(&["Fabrikam"]).await;
    fake.on(&entra.v1, Reply::status(404));
    let stack = builder.not_awaiting_readiness().start().await;
    assert_eq!(stack.user("alex").post().await.outcome(), KEYS_UNAVAILABLE);
}

/// Fabrikam at a fake authority of its own.
async fn at_a_fake() -> (Fake, crate::support::fake::Entra, Stack) {
    let (fake, entra, builder) = fabrikam_elsewhere(&["Fabrikam"]).await;
    fake.on(&entra.v1, Reply::status(404));
    let tenants = format!("[{{ id = '{FABRIKAM}', authority = '{}' }}]", fake.origin());
    let stack = builder
        .authority("http://127.0.0.1:9")
        .set("entra.tenants", tenants)
        .start()
        .await;
    (fake, entra, stack)
}

#[tokio::test]
async fn which_v1_documents_may_be_missing_and_which_may_not_lie() {
    let (fake, entra, stack) = at_a_fake().await;
    let known = stack.user("alex").lifetime(80_000).token();
    assert_eq!(stack.post_token(&known).await.outcome(), "200");
    let fetched = "401 InvalidToken/UnknownKey";
    let other_issuer = entra.v1_issuer.replace(&FABRIKAM.to_string(), &CONTOSO.to_string());
    for (name, v1, expected) in [
        ("404", Reply::status(404), fetched),
        ("400, as for an unknown tenant", Reply::status(400), fetched),
        ("a page", Reply::status(200).body("<html>"), fetched),
        ("away", Reply::status(503), fetched),
        (
            "a redirect",
            Reply::status(302).header("location", "/elsewhere"),
            fetched,
        ),
        (
            "a key set elsewhere",
            entra.document(&entra.v1_issuer, "https://login.example/common/discovery/keys"),
            fetched,
        ),
        (
            "another tenant's issuer",
            entra.document(&other_issuer, &entra.jwks_uri),
            KEYS_UNAVAILABLE,
        ),
        ("there", entra.document(&entra.v1_issuer, &entra.jwks_uri), fetched),
    ] {
        fake.on(&entra.v1, v1);
        stack.advance(30);
        assert_eq!(
            stack.post_token(&unknown_kid(&stack, "x")).await.outcome(),
            expected,
            "{name}"
        );
        assert_eq!(stack.post_token(&known).await.outcome(), "200", "{name}");
    }
    // The v2 document and the key set are required as everywhere.
    for path in [&entra.v2, &entra.keys] {
        fake.on(path, Reply::status(404));
        stack.advance(30);
        assert_eq!(
            stack.post_token(&unknown_kid(&stack, "x")).await.outcome(),
            KEYS_UNAVAILABLE,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_v1_issuer_that_was_known_stays_known_while_its_document_is_away() {
    let (fake, entra, stack) = at_a_fake().await;
    let v1 = stack
        .user("alex")
        .with(|request| request.version = Some(TokenVersion::V1))
        .lifetime(3600)
        .token();
    let fetch = async |reply: Reply| {
        fake.on(&entra.v1, reply);
        stack.advance(30);
        assert_eq!(
            stack.post_token(&unknown_kid(&stack, "x")).await.outcome(),
            "401 InvalidToken/UnknownKey"
        );
    };
    let refused = "401 InvalidToken/InvalidIssuer";
    assert_eq!(stack.post_token(&v1).await.outcome(), refused, "it was never there");
    fetch(entra.document(&entra.v1_issuer, &entra.jwks_uri)).await;
    assert_eq!(stack.post_token(&v1).await.outcome(), "200");
    fetch(Reply::status(500)).await;
    assert_eq!(stack.post_token(&v1).await.outcome(), "200");
    fetch(Reply::status(404)).await;
    assert_eq!(stack.post_token(&v1).await.outcome(), refused, "now it is gone");
}

#[tokio::test]
async fn a_token_endpoint_elsewhere_gets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = Fake::start().await;
    let (stack, external) = two_authorities(&folder, |builder, external| {
        external
            .set_fault(
                Endpoint::Discovery,
                Fault {
                    status: Some(200),
                    body: Some(json!({
                        "issuer": format!("{}/{FABRIKAM}/v2.0", external.origin()),
                        "jwks_uri": format!("{}/{FABRIKAM}/discovery/v2.0/keys", external.origin()),
                        "token_endpoint": format!("{}/token", elsewhere.origin()),
                    })),
                    ..Fault::default()
                },
            )
            .unwrap();
        builder
    })
    .await;
    let alex = external_token(&external, "alex", |_| {});
    assert_eq!(stack.post_token(&alex).await.outcome(), "502 UpstreamInvalidResponse");
    assert!(elsewhere.calls().is_empty());
}
