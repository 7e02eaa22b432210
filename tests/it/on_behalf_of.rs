//! On-behalf-of mode: what the front end presents is for the broker's own API, and Entra decides again.

use azure_emulator::scenario::{CLUSTER, CONTOSO_API, CONTOSO_API_SECRET, FABRIKAM, SERVICE_ACCOUNT};
use azure_emulator::{Endpoint, Fault};
use serde_json::{Value, json};

use crate::support::http::{Answer, Call};
use crate::support::modes::{for_api, on_behalf_of, with_secret};
use crate::support::stack::Stack;
use crate::support::{claims_of, own_certificate};

fn on_behalf_of_calls(stack: &Stack) -> usize {
    stack.emulator.count(Endpoint::OnBehalfOf)
}

async fn control(stack: &Stack, method: &str, path: &str, body: Value) -> Answer {
    let url = format!("{}{path}", stack.emulator.origin());
    let call = Call::new(method, url);
    let call = match body {
        Value::Null => call,
        Value::String(text) => call.body("text/plain", text),
        body => call.body("application/json", body.to_string()),
    };
    let answer = call.send().await;
    assert!(answer.status < 300, "{path}: {answer:?}");
    answer
}

#[tokio::test]
async fn the_presented_token_is_traded_and_the_outcome_is_its_own() {
    let stack = with_secret().start().await;
    let adele = stack.user("adele").with(for_api);
    let token = adele.token();
    let first = stack.post_token(&token).await;
    assert_eq!(first.cache(), "miss");
    assert!(
        first.json()["identity"]["id"]
            .as_str()
            .unwrap()
            .contains(&FABRIKAM.to_string())
    );
    assert_eq!((on_behalf_of_calls(&stack), stack.exchanges()), (1, 1));
    assert_eq!(stack.post_token(&token).await.cache(), "hit");
    assert_eq!(stack.post_acs_path(&token).await.cache(), "hit");
    assert_eq!((on_behalf_of_calls(&stack), stack.exchanges()), (1, 1));
    // Another session of the same user asks Entra for itself, though its token would live as long.
    let other = stack.user("adele").with(for_api).claim("sid", json!("another")).token();
    assert_eq!(stack.post_token(&other).await.cache(), "miss");
    assert_eq!((on_behalf_of_calls(&stack), stack.exchanges()), (2, 2));
}

#[tokio::test]
async fn a_token_for_acs_itself_is_not_for_this_broker() {
    let stack = with_secret().start().await;
    assert_eq!(
        stack.user("adele").post().await.outcome(),
        "401 InvalidToken/InvalidAudience"
    );
    let other_scope = stack.user("adele").with(|request| {
        for_api(request);
        request.scopes = Some(vec!["other".to_owned()]);
    });
    assert_eq!(other_scope.post().await.outcome(), "403 InsufficientScope");
    assert_eq!(on_behalf_of_calls(&stack), 0);
}

#[tokio::test]
async fn waiting_callers_with_one_token_share_one_trade() {
    let stack = with_secret().start().await;
    let token = stack.user("alex").with(for_api).token();
    let answers = futures_util::future::join_all((0..20).map(|_| stack.post_token(&token))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!((on_behalf_of_calls(&stack), stack.exchanges()), (1, 1));
}

#[tokio::test]
async fn a_renewal_is_always_worth_a_call() {
    let stack = with_secret().start().await;
    control(&stack, "PUT", "/_emulator/settings", json!({"token_lifetime": 3600})).await;
    // The presented token outlives what Entra gives for it.
    let token = stack.user("alex").with(for_api).lifetime(3 * 3600).token();
    let first = stack.post_token(&token).await;
    assert_eq!(first.cache(), "miss");
    stack.advance(51 * 60);
    let second = stack.post_token(&token).await;
    assert_eq!(second.cache(), "miss");
    assert!(second.expires_on() > first.expires_on());
    assert_eq!(on_behalf_of_calls(&stack), 2);
    // And a presented token that ends sooner than what was obtained for it is served to its own end.
    let short = stack.user("alex").with(for_api).lifetime(600).token();
    assert_eq!(stack.post_token(&short).await.cache(), "miss");
    assert_eq!(stack.post_token(&short).await.cache(), "hit");
}

#[tokio::test]
async fn what_entra_refuses_on_renewal_ends_what_was_obtained() {
    let stack = with_secret().start().await;
    control(&stack, "PUT", "/_emulator/settings", json!({"token_lifetime": 3600})).await;
    let token = stack.user("alex").with(for_api).lifetime(3 * 3600).token();
    assert_eq!(stack.post_token(&token).await.cache(), "miss");
    stack.advance(51 * 60);
    // Away is no refusal: what is at hand serves.
    let fault = |error: &str, code: u32, status| Fault {
        status: Some(status),
        body: Some(json!({"error": error, "error_description": "words", "error_codes": [code]})),
        ..Fault::default()
    };
    stack.fault(Endpoint::Token, fault("temporarily_unavailable", 90033, 503));
    assert_eq!(stack.post_token(&token).await.cache(), "hit");
    stack.advance(31);
    stack.fault(Endpoint::Token, fault("invalid_grant", 50173, 400));
    for _ in 0..2 {
        assert_eq!(
            stack.post_token(&token).await.outcome(),
            "401 InvalidToken/RejectedUpstream"
        );
    }
}

#[tokio::test]
async fn a_claims_challenge_reaches_the_caller_and_the_stepped_up_token_succeeds() {
    let stack = with_secret().start().await;
    let joni = stack.user("joni").with(for_api).token();
    for answer in [stack.post_token(&joni).await, stack.post_acs_path(&joni).await] {
        assert_eq!(answer.outcome(), "401 InsufficientClaims");
        let header = answer.header("www-authenticate").unwrap();
        let origin = stack.emulator.origin();
        let start = format!(
            "Bearer realm=\"\", authorization_uri=\"{origin}/common/oauth2/v2.0/authorize\", error=\"insufficient_claims\", claims=\""
        );
        let claims = header
            .strip_prefix(&start)
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or_else(|| panic!("{header}"));
        assert_eq!(
            claims_of(claims),
            json!({"access_token": {"acrs": {"essential": true, "value": "c1"}}})
        );
    }
    let form = stack
        .post_form(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token", &joni),
        ])
        .await;
    assert_eq!(form.outcome(), "400 interaction_required InsufficientClaims");
    let claims: Value = serde_json::from_str(form.json()["claims"].as_str().unwrap()).unwrap();
    assert_eq!(claims["access_token"]["acrs"]["value"], "c1");
    let stepped_up = stack.user("joni").with(|request| {
        for_api(request);
        request.acrs = Some(vec!["c1".to_owned()]);
    });
    assert_eq!(stepped_up.post().await.cache(), "miss");
    // What the stronger sign-in obtained does not reach the weaker one.
    assert_eq!(stack.post_token(&joni).await.outcome(), "401 InsufficientClaims");
}

#[tokio::test]
async fn each_refusal_of_entra_says_whose_move_it_is() {
    let app = format!("/_emulator/apps/{CONTOSO_API}");
    let stack = with_secret().start().await;
    let token = stack.user("alex").with(for_api).token();
    control(&stack, "DELETE", &format!("{app}/consent/{FABRIKAM}"), Value::Null).await;
    assert_eq!(stack.post_token(&token).await.outcome(), "403 ExchangeForbidden");
    control(&stack, "PUT", &format!("{app}/consent/{FABRIKAM}"), Value::Null).await;
    // Entra's refusals of a token are remembered for a moment.
    stack.advance(15);
    // Only the clock skew lets an ended token in; Entra does not.
    let ended = stack.user("alex").with(for_api).lifetime(-5).token();
    assert_eq!(
        stack.post_token(&ended).await.outcome(),
        "401 InvalidToken/RejectedUpstream"
    );
    control(
        &stack,
        "PUT",
        &format!("{app}/secrets"),
        json!({"secrets": [{"value": "another"}]}),
    )
    .await;
    assert_eq!(stack.post_token(&token).await.outcome(), "502 UpstreamRejectedBroker");
    assert_eq!(stack.exchanges(), 0, "nothing went to ACS");
    control(
        &stack,
        "PUT",
        &format!("{app}/secrets"),
        json!({"secrets": [{"value": CONTOSO_API_SECRET}]}),
    )
    .await;
    assert_eq!(
        stack.post_token(&token).await.outcome(),
        "200",
        "a refusal of the broker itself is not remembered"
    );
}

#[tokio::test]
async fn each_aadsts_failure_has_a_stable_code() {
    let stack = with_secret().start().await;
    let token = stack.user("alex").with(for_api).token();
    for (status, error, code, expected) in [
        (400, "invalid_grant", 50013, "401 InvalidToken/RejectedUpstream"),
        (400, "invalid_grant", 500_133, "401 InvalidToken/RejectedUpstream"),
        (400, "invalid_grant", 50173, "401 InvalidToken/RejectedUpstream"),
        (400, "invalid_grant", 65001, "403 ExchangeForbidden"),
        (400, "interaction_required", 65001, "403 ExchangeForbidden"),
        (400, "invalid_grant", 50105, "403 ExchangeForbidden"),
        (400, "invalid_grant", 53003, "403 ExchangeForbidden"),
        (400, "interaction_required", 50079, "401 InsufficientClaims"),
        // Without claims another sign-in would end the same way.
        (400, "interaction_required", 53003, "403 ExchangeForbidden"),
        (400, "unauthorized_client", 700_016, "403 ExchangeForbidden"),
        (401, "invalid_client", 7_000_215, "502 UpstreamRejectedBroker"),
        (401, "invalid_client", 7_000_222, "502 UpstreamRejectedBroker"),
        (400, "invalid_client", 50027, "502 UpstreamRejectedBroker"),
        (400, "invalid_request", 50027, "502 UpstreamRejectedBroker"),
        (400, "temporarily_unavailable", 90033, "503 UpstreamUnavailable"),
        (400, "invalid_grant", 1, "401 InvalidToken/RejectedUpstream"),
        (400, "nonsense", 1, "502 UpstreamInvalidResponse"),
    ] {
        let body = json!({"error": error, "error_description": format!("AADSTS{code}: words."), "error_codes": [code]});
        let fault = Fault {
            status: Some(status),
            body: Some(body),
            ..Fault::default()
        };
        stack.emulator.clear_journal();
        stack.fault(Endpoint::Token, fault);
        assert_eq!(stack.post_token(&token).await.outcome(), expected, "{error} {code}");
        assert_eq!(stack.emulator.count(Endpoint::Token), 1, "no 4xx is retried");
        stack.advance(15);
    }
    assert_eq!(stack.exchanges(), 0, "nothing went to ACS");
}

#[tokio::test]
async fn answers_of_entra_that_are_no_refusals() {
    let fault = |change: fn(&mut Fault)| {
        let mut fault = Fault::default();
        change(&mut fault);
        fault
    };
    let stack = with_secret().start().await;
    let token = stack.user("alex").with(for_api).token();
    for (fault, expected, calls) in [
        (fault(|fault| fault.status = Some(500)), "503 UpstreamUnavailable", 1),
        (fault(|fault| fault.status = Some(503)), "503 UpstreamUnavailable", 2),
        (fault(|fault| fault.status = Some(504)), "503 UpstreamUnavailable", 1),
        (
            fault(|fault| fault.broken_json = true),
            "502 UpstreamInvalidResponse",
            1,
        ),
        (
            fault(|fault| fault.status = Some(302)),
            "502 UpstreamInvalidResponse",
            1,
        ),
    ] {
        stack.emulator.clear_journal();
        stack.fault(Endpoint::Token, fault);
        assert_eq!(stack.post_token(&token).await.outcome(), expected);
        assert_eq!(stack.emulator.count(Endpoint::Token), calls, "{expected}");
    }
    stack.emulator.clear_faults();
    stack.emulator.clear_journal();
    stack.fault(
        Endpoint::Token,
        fault(|fault| {
            fault.status = Some(429);
            fault.retry_after = Some("20".to_owned());
        }),
    );
    let limited = stack.post_token(&token).await;
    assert_eq!(limited.outcome(), "429 TooManyRequests/UpstreamLimit");
    assert_eq!(limited.header("retry-after"), Some("20"));
    stack.emulator.clear_faults();
    assert_eq!(
        stack.post_token(&token).await.outcome(),
        "429 TooManyRequests/UpstreamLimit"
    );
    assert_eq!(
        stack.emulator.count(Endpoint::Token),
        1,
        "none is sent until the limit ends"
    );
    stack.advance(21);
    assert_eq!(stack.post_token(&token).await.outcome(), "200");
}

#[tokio::test]
async fn while_acs_limits_the_resource_entra_is_not_asked_either() {
    let stack = with_secret().start().await;
    let token = stack.user("alex").with(for_api).token();
    let limit = Fault {
        status: Some(429),
        retry_after: Some("30".to_owned()),
        ..Fault::default()
    };
    stack.fault(Endpoint::Exchange, limit);
    assert_eq!(
        stack.post_token(&token).await.outcome(),
        "429 TooManyRequests/UpstreamLimit"
    );
    stack.emulator.clear_journal();
    assert_eq!(
        stack.post_token(&token).await.outcome(),
        "429 TooManyRequests/UpstreamLimit"
    );
    assert_eq!(on_behalf_of_calls(&stack), 0);
}

#[tokio::test]
async fn a_secret_file_that_changes_is_in_use_soon() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{CONTOSO_API_SECRET}\n")).unwrap();
    let stack = on_behalf_of()
        .set("exchange.on_behalf_of.credential", "secret")
        .set("exchange.on_behalf_of.client_secret_file", file.to_str().unwrap())
        .start()
        .await;
    let post = async || stack.user("alex").with(for_api).post().await.outcome();
    assert_eq!(post().await, "200");
    let secrets = json!({"secrets": [{"value": "rotated"}]});
    control(
        &stack,
        "PUT",
        &format!("/_emulator/apps/{CONTOSO_API}/secrets"),
        secrets,
    )
    .await;
    assert_eq!(post().await, "502 UpstreamRejectedBroker");
    std::fs::write(&file, "rotated").unwrap();
    stack.advance(12);
    assert_eq!(post().await, "200");
}

#[tokio::test]
async fn a_certificate_signs_and_a_changed_one_is_in_use_soon() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.pem");
    let (certificate, key) = own_certificate(0);
    std::fs::write(&file, format!("{key}{certificate}")).unwrap();
    let stack = on_behalf_of()
        .set("exchange.on_behalf_of.credential", "certificate")
        .set("exchange.on_behalf_of.certificate_file", file.to_str().unwrap())
        .start()
        .await;
    let post = async || stack.user("alex").with(for_api).post().await.outcome();
    assert_eq!(post().await, "502 UpstreamRejectedBroker", "not registered yet");
    let path = format!("/_emulator/apps/{CONTOSO_API}/certificates");
    control(&stack, "POST", &path, json!(certificate)).await;
    assert_eq!(post().await, "200");
    let (next, key) = own_certificate(1);
    std::fs::write(&file, format!("{next}{key}")).unwrap();
    stack.advance(12);
    assert_eq!(post().await, "502 UpstreamRejectedBroker");
    control(&stack, "POST", &path, json!(next)).await;
    assert_eq!(post().await, "200");
}

#[tokio::test]
async fn a_federated_token_is_the_credential_and_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "not.a.token").unwrap();
    let stack = on_behalf_of()
        .set("exchange.on_behalf_of.credential", "workload_identity")
        .set("exchange.on_behalf_of.federated_token_file", file.to_str().unwrap())
        .start()
        .await;
    let post = async || stack.user("alex").with(for_api).post().await.outcome();
    assert_eq!(post().await, "502 UpstreamRejectedBroker");
    let federated = async |subject: &str| {
        let body = json!({"cluster": CLUSTER, "subject": subject});
        let answer = control(&stack, "POST", "/_emulator/federated-token", body).await;
        answer.json()["token"].as_str().unwrap().to_owned()
    };
    std::fs::write(&file, federated("system:serviceaccount:default:somebody-else").await).unwrap();
    stack.advance(12);
    assert_eq!(post().await, "502 UpstreamRejectedBroker");
    std::fs::write(&file, federated(SERVICE_ACCOUNT).await).unwrap();
    stack.advance(12);
    assert_eq!(post().await, "200");
}
