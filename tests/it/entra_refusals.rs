//! What Entra refuses on behalf of a user reaches callers as what somebody can do about it, in both forms.

use azure_emulator::scenario::{CONTOSO_API, CONTOSO_API_SECRET, CONTOSO_API_URI};
use azure_emulator::{Endpoint, Fault, TokenRequest};
use serde_json::{Value, json};

use crate::support::modes::{for_api, with_secret};
use crate::support::observed::lines;
use crate::support::process::Served;
use crate::support::stack::Stack;

/// Entra's error object.
fn refusal(error: &str, codes: &[u32], description: &str) -> Value {
    json!({"error": error, "error_description": description, "error_codes": codes, "timestamp": "2026-11-24 12:00:00Z",
        "trace_id": "0a1b2c3d-0000-4000-8000-00000000abcd", "correlation_id": "0a1b2c3d-0000-4000-8000-00000000abce"})
}

fn coded(error: &str, code: u32) -> Value {
    refusal(error, &[code], &format!("AADSTS{code}: Words."))
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

fn answers(stack: &Stack, status: u16, body: Value) {
    let fault = Fault {
        status: Some(status),
        body: Some(body),
        ..Fault::default()
    };
    stack.fault(Endpoint::Token, fault);
}

/// Another token at each call, so that nothing of a refusal before can matter.
fn another_token(stack: &Stack, number: usize) -> String {
    stack
        .user("alex")
        .with(for_api)
        .claim("sid", json!(number.to_string()))
        .token()
}

async fn form(stack: &Stack, token: &str) -> (String, Value) {
    let answer = stack
        .post_form(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token", token),
        ])
        .await;
    (answer.outcome(), answer.json())
}

const CLAIMS: &str = r#"{"access_token":{"capolids":{"essential":true,"values":["c1"]}}}"#;

/// What Entra answers, what callers see in Azure's shape and in OAuth's, and a part of the message.
fn cases() -> Vec<(u16, Value, &'static str, &'static str, &'static str)> {
    let forbidden = "403 ExchangeForbidden";
    let no = "400 invalid_request ExchangeForbidden";
    let again = ("401 InsufficientClaims", "400 interaction_required InsufficientClaims");
    let mut cases = vec![
        // The generic code in the list, the fine one in the text alone, as Entra was seen to answer.
        (
            400,
            with(
                refusal(
                    "unauthorized_client",
                    &[70000],
                    "AADSTS53005: Application needs to enforce Intune protection policies.",
                ),
                "suberror",
                json!("protection_policy_required"),
            ),
            forbidden,
            no,
            "this app",
        ),
        (
            400,
            with(coded("invalid_grant", 999_999), "suberror", json!("message_only")),
            forbidden,
            no,
            "policy",
        ),
        (400, coded("unauthorized_client", 7_000_112), forbidden, no, "disabled"),
        (400, coded("invalid_grant", 65001), forbidden, no, "Consent"),
        (
            400,
            coded("interaction_required", 50076),
            again.0,
            again.1,
            "interactively",
        ),
        (400, coded("invalid_grant", 53004), again.0, again.1, "interactively"),
        (400, coded("invalid_grant", 53010), again.0, again.1, "interactively"),
        (
            400,
            with(coded("invalid_grant", 1), "suberror", json!("basic_action")),
            again.0,
            again.1,
            "interactively",
        ),
        (
            400,
            with(coded("interaction_required", 53000), "claims", json!(CLAIMS)),
            again.0,
            again.1,
            "claims",
        ),
        (
            400,
            coded("invalid_grant", 50173),
            "401 InvalidToken/RejectedUpstream",
            "400 invalid_request InvalidToken",
            "Sign the user in again",
        ),
        (
            401,
            coded("invalid_client", 7_000_222),
            "502 UpstreamRejectedBroker",
            "502 server_error UpstreamRejectedBroker",
            "credential",
        ),
        (
            400,
            coded("temporarily_unavailable", 90033),
            "503 UpstreamUnavailable",
            "503 temporarily_unavailable UpstreamUnavailable",
            "Try again",
        ),
        (
            400,
            coded("invalid_request", 90020),
            "502 UpstreamRejectedBroker",
            "502 server_error UpstreamRejectedBroker",
            "credential",
        ),
    ];
    for error in ["invalid_grant", "interaction_required"] {
        for (code, part) in [
            (53000, "device"),
            (53001, "device"),
            (50005, "device"),
            (530_003, "device"),
            (53002, "this app"),
            (53009, "this app"),
            (530_021, "this app"),
            (53003, "policy"),
            (50131, "policy"),
            (530_084, "policy"),
            (530_999, "policy"),
            (50057, "account"),
            (50053, "account"),
            (53011, "account"),
            (90072, "invite"),
            (50020, "invite"),
            (50105, "not assigned"),
        ] {
            cases.push((400, coded(error, code), forbidden, no, part));
        }
    }
    cases
}

#[tokio::test]
async fn each_refusal_is_reported_as_what_somebody_can_do_about_it() {
    let stack = with_secret().start().await;
    for (number, (status, body, azure, oauth, part)) in cases().into_iter().enumerate() {
        answers(&stack, status, body.clone());
        let answer = stack.post_token(&another_token(&stack, 2 * number)).await;
        assert_eq!(answer.outcome(), azure, "{body}");
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(part), "{body}: {message}");
        assert!(
            !answer.json().to_string().contains("AADSTS"),
            "Entra's words are for the log"
        );
        let (outcome, form) = form(&stack, &another_token(&stack, 2 * number + 1)).await;
        assert_eq!(outcome, oauth, "{body}");
        assert_eq!(form["error_description"], json!(message));
        assert_eq!(form.get("claims").is_some(), body.get("claims").is_some(), "{form}");
    }
    assert_eq!(stack.exchanges(), 0, "nothing went to ACS");
}

#[tokio::test]
async fn a_rate_limit_reported_as_a_code_is_one() {
    for (number, code) in [50196, 90055].into_iter().enumerate() {
        let stack = with_secret().start().await;
        answers(&stack, 400, coded("invalid_grant", code));
        let answer = stack.post_token(&another_token(&stack, number)).await;
        assert_eq!(answer.outcome(), "429 TooManyRequests/UpstreamLimit");
        assert!(answer.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn without_claims_nobody_is_asked_to_pass_them() {
    let stack = with_secret().start().await;
    let origin = stack.emulator.origin();
    let place = format!("Bearer realm=\"\", authorization_uri=\"{origin}/common/oauth2/v2.0/authorize\", ");
    answers(&stack, 400, coded("interaction_required", 50079));
    let answer = stack.post_token(&another_token(&stack, 0)).await;
    assert_eq!(answer.outcome(), "401 InsufficientClaims");
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(!message.contains("claims"), "{message}");
    // `insufficient_claims` must have `claims` beside it, MSAL reads it for them alone.
    let header = answer.header("www-authenticate").unwrap();
    assert_eq!(
        header,
        format!("{place}error=\"invalid_token\", error_description=\"{message}\"")
    );
    answers(
        &stack,
        400,
        with(coded("interaction_required", 50079), "claims", json!(CLAIMS)),
    );
    let answer = stack.post_token(&another_token(&stack, 1)).await;
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("claims"));
    let header = answer.header("www-authenticate").unwrap();
    assert!(
        header.starts_with(&format!("{place}error=\"insufficient_claims\", claims=\"")),
        "{header}"
    );
}

#[tokio::test]
async fn the_log_tells_an_administrator_what_to_do() {
    let api = format!("{CONTOSO_API},{CONTOSO_API_URI}");
    let client = CONTOSO_API.to_string();
    let environment = [
        ("ACS_TOKEN_BROKER__ENTRA__AUDIENCES", api.as_str()),
        ("ACS_TOKEN_BROKER__ENTRA__REQUIRED_SCOPES", "access"),
        ("ACS_TOKEN_BROKER__EXCHANGE__MODE", "on_behalf_of"),
        ("ACS_TOKEN_BROKER__EXCHANGE__ON_BEHALF_OF__CLIENT_ID", client.as_str()),
        ("ACS_TOKEN_BROKER__EXCHANGE__ON_BEHALF_OF__CREDENTIAL", "secret"),
        (
            "ACS_TOKEN_BROKER__EXCHANGE__ON_BEHALF_OF__CLIENT_SECRET",
            CONTOSO_API_SECRET,
        ),
    ];
    let served = Served::start(None, &environment).await;
    let expected = [
        (
            400,
            coded("invalid_grant", 53000),
            "AADSTS53000 (AADSTS53000: Words.); DeviceNotCompliant; to do: the user takes a device",
        ),
        (
            400,
            coded("interaction_required", 50105),
            "; EntitlementGrantsNotFound; to do: an administrator assigns the user",
        ),
        (
            401,
            coded("invalid_client", 7_000_222),
            "to do: write a valid client secret",
        ),
        (
            400,
            coded("invalid_grant", 65001),
            "to do: an administrator of the user's tenant consents",
        ),
    ];
    for (number, (status, body, _)) in expected.iter().enumerate() {
        let fault = Fault {
            status: Some(*status),
            body: Some(body.clone()),
            ..Fault::default()
        };
        served.emulator.set_fault(Endpoint::Token, fault).unwrap();
        let mut request = TokenRequest::default();
        for_api(&mut request);
        request.claims.insert("sid".to_owned(), json!(number.to_string()));
        let token = served.emulator.issue_token("alex", &request).unwrap();
        assert!(served.post_token(&token).await.status >= 400);
    }
    served.process.signal("TERM");
    let output = served.process.end().await.stdout;
    let causes: Vec<String> = lines(&output)
        .filter_map(|line| Some(line["acs_broker.error.cause"].as_str()?.to_owned()))
        .collect();
    for (_, body, part) in expected {
        assert!(causes.iter().any(|cause| cause.contains(part)), "{body}: {causes:?}");
    }
}
