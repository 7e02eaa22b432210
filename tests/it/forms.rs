//! Three forms of request, each with exactly the answer that its clients expect.

use azure_emulator::TokenRequest;
use azure_emulator::scenario::{FABRIKAM, RESOURCE};
use serde_json::json;

use crate::support::forge::ALEX;
use crate::support::http::{Answer, Call};
use crate::support::stack::{ACS_PATH, API_VERSION, Stack};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const FORM: &str = "application/x-www-form-urlencoded";

fn good_form(token: &str) -> Vec<(&str, &str)> {
    vec![
        ("grant_type", GRANT),
        ("subject_token", token),
        ("subject_token_type", ACCESS_TOKEN),
    ]
}

fn assert_token_headers(answer: &Answer) {
    assert_eq!(answer.outcome(), "200");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.header("server-timing").unwrap().contains("exchange;dur="));
}

#[tokio::test]
async fn own_path_and_acs_path_answer_alike() {
    let stack = Stack::start().await;
    let token = stack.user("alex").lifetime(3600).token();
    let own = stack.post_token(&token).await;
    let acs = stack.post_acs_path(&token).await;
    for answer in [&own, &acs] {
        assert_token_headers(answer);
        assert_eq!(answer.header("pragma"), None);
        let json = answer.json();
        assert_eq!(
            json,
            json!({
                "identity": {"id": format!("8:acs:{RESOURCE}_wf_{FABRIKAM}_{ALEX}")},
                "accessToken": {"token": answer.token(), "expiresOn": json["accessToken"]["expiresOn"]},
            })
        );
        assert_eq!(answer.expires_on().as_second(), stack.now() + 3600);
    }
    assert_eq!(own.json(), acs.json());
    assert_eq!((own.cache(), acs.cache()), ("miss", "hit"));
    assert_eq!(stack.exchanges(), 1);
    assert_ne!(own.header("x-ms-request-id"), acs.header("x-ms-request-id"));
}

#[tokio::test]
async fn the_colon_of_the_acs_path_may_be_encoded() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    for colon in ["%3A", "%3a"] {
        let url = stack.url(&format!(
            "/access/entra/{colon}exchangeAccessToken?api-version={API_VERSION}"
        ));
        assert_eq!(
            Call::new("POST", url).bearer(&token).send().await.outcome(),
            "200",
            "{colon}"
        );
    }
}

/// A client that joins `resourceEndpoint` and path as text doubles the slash of an endpoint that ends in one.
#[tokio::test]
async fn one_slash_more_may_stand_before_the_acs_path() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    for (path, expected) in [
        ("//access/entra/:exchangeAccessToken", "200"),
        ("//access/entra/%3AexchangeAccessToken", "200"),
        ("//access/entra/%3aexchangeAccessToken", "200"),
        ("///access/entra/:exchangeAccessToken", "404 NotFound"),
        ("/access//entra/:exchangeAccessToken", "404 NotFound"),
        ("/access/entra//:exchangeAccessToken", "404 NotFound"),
        ("/access/entra/:exchangeAccessToken/", "404 NotFound"),
        ("/access/entra/%253AexchangeAccessToken", "404 NotFound"),
        ("/access/entra/exchangeAccessToken", "404 NotFound"),
        ("/./access/entra/%3a%65xchangeAccessToken", "404 NotFound"),
        ("//token", "404 NotFound"),
    ] {
        let url = format!("{}{path}?api-version={API_VERSION}", stack.url(""));
        assert_eq!(
            Call::new("POST", url).bearer(&token).send().await.outcome(),
            expected,
            "{path}"
        );
    }
    let get = Call::new("GET", stack.url("//access/entra/:exchangeAccessToken"));
    assert_eq!(get.send().await.outcome(), "405 MethodNotAllowed");
    // Under one name in metrics, as it is one route.
    let metrics = stack.probe("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body);
    assert!(metrics.contains("http_route=\"/access/entra/:exchangeAccessToken\""));
    assert!(!metrics.contains("//access") && !metrics.contains("%3"), "{metrics}");
}

#[tokio::test]
async fn the_form_answers_in_oauths_shape() {
    let stack = Stack::start().await;
    let token = stack.user("alex").lifetime(3600).token();
    let answer = stack.post_form(&good_form(&token)).await;
    assert_token_headers(&answer);
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    let mut json = answer.json();
    let scope = json["scope"].take();
    assert_eq!(
        json,
        json!({
            "access_token": answer.token(),
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": 3600,
            "scope": null,
        })
    );
    let mut scopes: Vec<&str> = scope.as_str().unwrap().split(' ').collect();
    scopes.sort_unstable();
    assert_eq!(scopes, ["VoIP", "VoIP.Join"]);
    // The same token as in the other forms: one cache behind all three.
    assert_eq!(stack.post_token(&token).await.token(), answer.token());
    stack.advance(60);
    assert_eq!(stack.post_form(&good_form(&token)).await.json()["expires_in"], 3540);
}

#[tokio::test]
async fn diagnostic_headers_are_off_by_default() {
    let stack = Stack::builder().set("server.diagnostic_headers", "false").start().await;
    let answer = stack.user("alex").post().await;
    assert_eq!((answer.header("x-cache"), answer.header("server-timing")), (None, None));
}

#[tokio::test]
async fn bodies_in_acs_shape() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    let acs = format!("{ACS_PATH}?api-version={API_VERSION}");
    for path in ["/token", acs.as_str()] {
        for (content_type, body, expected) in [
            (None, "", "200"),
            (Some("application/json"), "", "200"),
            (Some("application/json"), "{}", "200"),
            (Some("application/json; charset=utf-8"), " { } ", "200"),
            (Some("Application/JSON"), "{}", "200"),
            (Some("application/json"), "{", "400 InvalidRequest"),
            (Some("application/json"), "[]", "400 InvalidRequest"),
            (Some("application/json"), "null", "400 InvalidRequest"),
            (Some("application/json"), r#"{"token":"x"}"#, "400 InvalidRequest"),
            (Some("application/json"), "{}{}", "400 InvalidRequest"),
            (Some("application/json"), " \r\n\t ", "200"),
            (Some("text/plain"), "{}", "415 UnsupportedMediaType"),
            (Some("application/xml"), "", "200"),
            (Some("text/plain;charset=UTF-8"), "", "200"),
            (Some(FORM), "", "200"),
            (Some(""), "", "200"),
            (Some(""), "{}", "415 UnsupportedMediaType"),
        ] {
            let call = Call::new("POST", stack.url(path)).bearer(&token);
            let answer = match content_type {
                Some(content_type) => call.body(content_type, body).send().await,
                None => call.send().await,
            };
            assert_eq!(answer.outcome(), expected, "{path} {content_type:?} {body:?}");
        }
    }
    let form = Call::new("POST", stack.url(&acs))
        .bearer(&token)
        .body(FORM, "a=b")
        .send()
        .await;
    assert_eq!(form.outcome(), "415 UnsupportedMediaType");
    let zipped = Call::new("POST", stack.url("/token"))
        .bearer(&token)
        .header("content-encoding", "gzip");
    assert_eq!(
        zipped.body("application/json", "{}").send().await.outcome(),
        "415 UnsupportedMediaType"
    );
}

#[tokio::test]
async fn api_versions_on_the_acs_path() {
    let stack = Stack::builder()
        .set("server.api_versions", "2025-03-02-preview,2025-06-30")
        .start()
        .await;
    let token = stack.user("alex").token();
    for (query, expected) in [
        ("?api-version=2025-03-02-preview", "200"),
        ("?api-version=2025-06-30", "200"),
        ("?other=1&api-version=2025-06-30", "200"),
        ("", "400 MissingApiVersionParameter"),
        ("?api-version=", "400 MissingApiVersionParameter"),
        ("?apiversion=2025-06-30", "400 MissingApiVersionParameter"),
        ("?api-version=2024-01-01", "400 UnsupportedApiVersionValue"),
        ("?api-version=2025-06-30&api-version=2025-06-30", "400 InvalidRequest"),
    ] {
        let call = Call::new("POST", stack.url(&format!("{ACS_PATH}{query}"))).bearer(&token);
        assert_eq!(call.send().await.outcome(), expected, "{query}");
    }
    // The own path has no versions, and what went to ACS is the configured one.
    assert_eq!(
        Call::new("POST", stack.url("/token?api-version=1"))
            .bearer(&token)
            .send()
            .await
            .outcome(),
        "200"
    );
    let versions: Vec<_> = stack
        .emulator
        .journal()
        .into_iter()
        .filter_map(|call| call.api_version)
        .collect();
    assert_eq!(versions, ["2025-03-02-preview"]);
    // The form of the request is checked before the token is looked at.
    assert_eq!(
        Call::new("POST", stack.url(ACS_PATH)).send().await.outcome(),
        "400 MissingApiVersionParameter"
    );
}

#[tokio::test]
async fn client_request_ids_are_echoed_when_well_formed() {
    let stack = Stack::start().await;
    for (sent, echoed) in [
        ("9c8b7a6d-0000-4000-8000-000000000000", true),
        ("a", true),
        ("<script>", false),
        ("a b", false),
    ] {
        for path in ["/token", "/nowhere"] {
            let call = Call::new("POST", stack.url(path)).header("x-ms-client-request-id", sent);
            let answer = call.send().await;
            assert_eq!(
                answer.header("x-ms-client-request-id"),
                echoed.then_some(sent),
                "{path}"
            );
            assert_ne!(answer.header("x-ms-request-id"), Some(sent));
        }
    }
}

#[tokio::test]
async fn credentials_in_the_header() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    let bearer = format!("Bearer {token}");
    for (values, expected) in [
        (vec![bearer.clone()], "200"),
        (vec![format!("bearer {token}")], "200"),
        (vec![], "401 AuthenticationRequired"),
        (vec!["Bearer".to_owned()], "401 AuthenticationRequired"),
        (vec!["Basic dXNlcjpwYXNz".to_owned()], "401 AuthenticationRequired"),
        (vec![format!("DPoP {token}")], "401 AuthenticationRequired"),
        (vec![token.clone()], "401 AuthenticationRequired"),
        (vec![bearer.clone(), bearer.clone()], "400 InvalidRequest"),
        (vec!["Basic eA==".to_owned(), bearer.clone()], "400 InvalidRequest"),
    ] {
        let mut call = Call::new("POST", stack.url("/token"));
        for value in &values {
            call = call.header("authorization", value);
        }
        let answer = call.send().await;
        assert_eq!(answer.outcome(), expected, "{} values", values.len());
        let challenge = expected
            .starts_with("401")
            .then_some("Bearer realm=\"acs-token-broker\"");
        assert_eq!(answer.header("www-authenticate"), challenge);
    }
    for query in [format!("access_token={token}"), format!("token={token}")] {
        let call = Call::new("POST", stack.url(&format!("/token?{query}")));
        assert_eq!(call.send().await.outcome(), "401 AuthenticationRequired");
    }
}

#[tokio::test]
async fn parameters_of_the_form() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    let origin = stack.emulator.origin();
    let slash = format!("{origin}/");
    let full = "https://communication.azure.com/clients/VoIP https://communication.azure.com/clients/VoIP.Join";
    let invalid = "400 invalid_request InvalidRequest";
    for (change, expected) in [
        (&[("requested_token_type", ACCESS_TOKEN)][..], "200"),
        (&[("scope", "VoIP VoIP.Join")], "200"),
        (&[("scope", "VoIP.Join VoIP VoIP")], "200"),
        (&[("scope", full)], "200"),
        (&[("scope", "")], "200"),
        (&[("resource", &origin)], "200"),
        (
            &[("resource", &slash), ("resource", &origin), ("audience", &origin)],
            "200",
        ),
        (&[("unknown", "ignored")], "200"),
        (&[("grant_type", "")], invalid),
        (
            &[("grant_type", "password")],
            "400 unsupported_grant_type InvalidRequest",
        ),
        (&[("subject_token", "")], invalid),
        (&[("subject_token_type", "")], invalid),
        (
            &[("subject_token_type", "urn:ietf:params:oauth:token-type:jwt")],
            invalid,
        ),
        (
            &[("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")],
            invalid,
        ),
        (&[("actor_token", "a.b.c")], invalid),
        (&[("actor_token_type", ACCESS_TOKEN)], invalid),
        (&[("unknown", "1"), ("unknown", "2")], invalid),
        (&[("scope", "VoIP VoIP.Join"), ("scope", "VoIP VoIP.Join")], invalid),
        (&[("scope", "VoIP")], "400 invalid_scope InvalidRequest"),
        (&[("scope", "VoIP VoIP.Join Chat")], "400 invalid_scope InvalidRequest"),
        (&[("scope", "voip voip.join")], "400 invalid_scope InvalidRequest"),
        (
            &[("resource", "https://other.communication.azure.com")],
            "400 invalid_target InvalidRequest",
        ),
        (&[("audience", "other")], "400 invalid_target InvalidRequest"),
        (
            &[("resource", &origin), ("resource", "https://x.example")],
            "400 invalid_target InvalidRequest",
        ),
        (&[("resource", "not a url")], "400 invalid_target InvalidRequest"),
    ] {
        let mut parameters = good_form(&token);
        parameters.retain(|(name, _)| !change.iter().any(|(changed, _)| changed == name));
        parameters.extend(change);
        let answer = stack.post_form(&parameters).await;
        assert_eq!(answer.outcome(), expected, "{change:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("pragma"), Some("no-cache"));
    }
    for name in ["grant_type", "subject_token", "subject_token_type"] {
        for copies in [0, 2] {
            let mut parameters = good_form(&token);
            let kept = *parameters.iter().find(|(found, _)| *found == name).unwrap();
            parameters.retain(|(found, _)| *found != name);
            parameters.extend(std::iter::repeat_n(kept, copies));
            assert_eq!(
                stack.post_form(&parameters).await.outcome(),
                invalid,
                "{copies} of {name}"
            );
        }
    }
    let beside = Call::new("POST", stack.url("/token"))
        .bearer(&token)
        .body(FORM, crate::support::stack::form(&good_form(&token)));
    assert_eq!(beside.send().await.outcome(), invalid);
    let empty = Call::new("POST", stack.url("/token")).body(FORM, "").send().await;
    assert_eq!(empty.outcome(), invalid);
}

#[tokio::test]
async fn tokens_refused_in_the_form_are_invalid_requests() {
    let stack = Stack::start().await;
    let outcome = async |token: &str| stack.post_form(&good_form(token)).await.outcome();
    assert_eq!(outcome("a.b.c").await, "400 invalid_request InvalidToken");
    let expired = stack.user("alex").lifetime(-3600).token();
    assert_eq!(outcome(&expired).await, "400 invalid_request InvalidToken");
    let scope = stack
        .user("alex")
        .with(|request: &mut TokenRequest| request.scopes = Some(vec!["Chat".to_owned()]));
    assert_eq!(outcome(&scope.token()).await, "400 invalid_request InsufficientScope");
    let client = stack
        .user("alex")
        .with(|request| request.client_id = Some(FABRIKAM.to_string()));
    assert_eq!(outcome(&client.token()).await, "400 invalid_request NotAssigned");
    let refused = stack.post_form(&good_form("a.b.c")).await;
    assert_eq!(refused.header("www-authenticate"), None);
    assert!(!refused.json()["error_description"].as_str().unwrap().is_empty());
    // A scope that is not the token's is reported only to a caller with a good token.
    let mut parameters = good_form(&expired);
    parameters.push(("scope", "Chat"));
    assert_eq!(
        stack.post_form(&parameters).await.outcome(),
        "400 invalid_request InvalidToken"
    );
}

#[tokio::test]
async fn the_request_is_checked_before_the_token() {
    let stack = Stack::start().await;
    for (path, content_type, body, outcome) in [
        ("/token", "application/json", "{", "400 InvalidRequest"),
        ("/token", "text/plain", "x", "415 UnsupportedMediaType"),
        (ACS_PATH, "application/json", "{}", "400 MissingApiVersionParameter"),
        ("/token", "application/json", "{}", "401 AuthenticationRequired"),
    ] {
        for token in [None, Some("a.b.c")] {
            let call = Call::new("POST", stack.url(path)).body(content_type, body);
            let answer = match token {
                Some(token) => call.bearer(token).send().await,
                None => call.send().await,
            };
            let outcome = if token.is_some() && outcome.starts_with("401") {
                "401 InvalidToken/Malformed"
            } else {
                outcome
            };
            assert_eq!(answer.outcome(), outcome, "{path} {body}");
        }
    }
}

#[tokio::test]
async fn each_failure_of_a_form_has_oauths_shape() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    let form = crate::support::stack::form(&good_form(&token));
    let call = |body: String| Call::new("POST", stack.url("/token")).body(FORM, body);
    let charset = Call::new("POST", stack.url("/token")).body(&format!("{FORM};charset=UTF-8"), form.clone());
    assert_eq!(charset.send().await.outcome(), "200");
    for (call, expected) in [
        (call(" ".repeat(65537)), "413 invalid_request PayloadTooLarge"),
        (
            call(form.clone()).header("content-encoding", "gzip"),
            "415 invalid_request UnsupportedMediaType",
        ),
        (
            call(form.clone()).header("x-long", &"x".repeat(33 * 1024)),
            "431 invalid_request HeadersTooLarge",
        ),
        (call("%ff=%ff&=&&".to_owned()), "400 invalid_request InvalidRequest"),
    ] {
        assert_eq!(call.send().await.outcome(), expected);
    }
}
