use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::SendError;
use crate::retry::Withheld;
use base::clock::ManualClock;

mod refusals;

const TENANT: &str = "11111111-0000-4000-8000-00000000abcd";
const APP: &str = "22222222-0000-4000-8000-00000000abcd";
const NOW: &str = "2026-11-24T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn response(status: u16, headers: &[(&'static str, &str)], body: &str) -> Response {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().unwrap());
    }
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers: map,
        body: Bytes::from(body.to_owned()),
    }
}

fn error(status: u16, body: &Value) -> EntraError {
    let json = [("content-type", "application/json")];
    classify(Ok(response(status, &json, &body.to_string())), &[], now(), now()).unwrap_err()
}

fn coded(error_name: &str, code: u32) -> Value {
    json!({"error": error_name, "error_codes": [code],
        "error_description": format!("AADSTS{code}: Something. Trace ID: 0a1b2c3d-0000-4000-8000-00000000abcd")})
}

#[test]
fn other_answers_are_reported_by_their_status() {
    for (status, meaning) in [
        (201, "entra_invalid_response"),
        (204, "entra_invalid_response"),
        (302, "entra_invalid_response"),
        (307, "entra_invalid_response"),
        (400, "entra_invalid_response"),
        (404, "entra_invalid_response"),
        (429, "entra_limited"),
        (500, "entra_unavailable"),
        (502, "entra_unavailable"),
        (503, "entra_unavailable"),
        (504, "entra_unavailable"),
    ] {
        for body in ["", "<html>", "[]", "{\"error\":{}}"] {
            let outcome = classify(Ok(response(status, &[], body)), &[], now(), now());
            assert_eq!(outcome.unwrap_err().name(), meaning, "{status} {body}");
        }
    }
    for (failure, meaning) in [
        (
            CallError::Withheld(Withheld::Paused(Duration::from_secs(3))),
            "entra_limited",
        ),
        (SendError::Connection(String::new()).into(), "entra_unavailable"),
        (SendError::Timeout.into(), "entra_timeout"),
        (SendError::TooLarge(1).into(), "entra_invalid_response"),
    ] {
        assert_eq!(classify(Err(failure), &[], now(), now()).unwrap_err().name(), meaning);
    }
    for (headers, seconds) in [
        (&[][..], 1),
        (&[("retry-after", "20")], 20),
        (&[("retry-after", "9999")], 300),
    ] {
        let limited = UpstreamFailure::Limited {
            retry_after: Duration::from_secs(seconds),
        };
        assert_eq!(
            classify(Ok(response(429, headers, "")), &[], now(), now()).unwrap_err(),
            EntraError::Upstream(limited)
        );
    }
}

#[test]
fn a_grant_is_read_as_the_contract_says_and_nothing_else() {
    let json = [("content-type", "application/json; charset=utf-8")];
    let body = |changes: Value| {
        let mut body = json!({"token_type": "Bearer", "scope": "s", "expires_in": 3599, "access_token": "secret-t"});
        for (name, value) in changes.as_object().unwrap() {
            body[name] = value.clone();
        }
        body.to_string()
    };
    let read = |changes: Value| classify(Ok(response(200, &json, &body(changes))), &[], now(), now());
    let grant = read(json!({})).unwrap();
    assert_eq!(grant.access_token.expose(), "secret-t");
    assert_eq!(grant.expires_on, now() + SignedDuration::from_secs(3599));
    assert_eq!(grant.scope.as_deref(), Some("s"));
    assert!(!format!("{grant:?}").contains("secret-t"));
    for good in [
        json!({"expires_in": "3599"}),
        json!({"token_type": "bearer"}),
        json!({"scope": null}),
    ] {
        assert!(read(good.clone()).is_ok(), "{good}");
    }
    for bad in [
        json!({"expires_in": 0}),
        json!({"expires_in": -1}),
        json!({"expires_in": "soon"}),
        json!({"expires_in": null}),
        json!({"expires_in": 1.5}),
        json!({"expires_in": i64::MAX}),
        json!({"token_type": "pop"}),
        json!({"token_type": null}),
        json!({"access_token": ""}),
        json!({"access_token": 5}),
        json!({"access_token": null}),
    ] {
        let error = read(bad.clone()).unwrap_err();
        assert_eq!(error.name(), "entra_invalid_response", "{bad}");
        assert!(!error.to_string().contains("secret-t"), "{error}");
    }
    for (headers, text) in [
        (&[][..], body(json!({}))),
        (&json, "{".to_owned()),
        (&json, "[]".to_owned()),
    ] {
        let error = classify(Ok(response(200, headers, &text)), &[], now(), now()).unwrap_err();
        assert_eq!(error.name(), "entra_invalid_response");
    }
}

#[test]
fn an_error_quotes_no_token() {
    let token = format!("eyJhbGciOiJSUzI1NiJ9.{}.sig", "A".repeat(50));
    let body = json!({"error": "invalid_grant", "error_codes": [50013],
        "error_description": format!("AADSTS50013: no {token}\r\nTrace ID: x")});
    let shown = error(400, &body).to_string();
    assert!(!shown.contains("eyJ") && !shown.contains('\n'), "{shown}");
    assert!(shown.contains("invalid_grant, AADSTS50013"), "{shown}");
}

struct Endpoint(Option<Url>);

impl TokenEndpoints for Endpoint {
    fn token_endpoint(&self, _: TenantId) -> Option<Url> {
        self.0.clone()
    }
}

type Forms = Arc<Mutex<Vec<HashMap<String, String>>>>;

type Reply = (u16, Vec<(&'static str, String)>, Value);

/// An endpoint that answers with the replies in their order, the last again and again, and keeps the forms.
async fn fake(replies: Vec<Reply>) -> (Url, Forms) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/t/oauth2/v2.0/token", listener.local_addr().unwrap());
    let forms = Forms::default();
    let seen = Arc::clone(&forms);
    let router = Router::new().fallback(async move |request: Request| {
        assert_eq!(request.headers()["accept"], "application/json");
        assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let form = form_urlencoded::parse(&body).into_owned().collect();
        let count = {
            let mut seen = seen.lock().unwrap();
            seen.push(form);
            seen.len()
        };
        let (status, headers, body) = replies[(count - 1).min(replies.len() - 1)].clone();
        let mut response = axum::Json(body).into_response();
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url.parse().unwrap(), forms)
}

fn client(url: Option<Url>, clock: &Arc<ManualClock>) -> EntraClient {
    let upstream = Upstream::plain(Duration::from_secs(2), 1 << 20).unwrap();
    EntraClient::new(
        upstream,
        Arc::new(Endpoint(url)),
        None,
        Arc::clone(clock) as SharedClock,
    )
}

async fn on_behalf_of(client: &EntraClient) -> Result<EntraGrant, EntraError> {
    let secret = ClientAuthentication::Secret(Arc::new(SecretString::from("the secret")));
    client
        .on_behalf_of(
            TENANT.parse().unwrap(),
            APP.parse().unwrap(),
            &secret,
            &BearerToken::new("a.b.c"),
            "https://communication.azure.com/clients/.default",
            Instant::now() + Duration::from_secs(5),
        )
        .await
}

fn granted() -> Value {
    json!({"token_type": "Bearer", "scope": "s", "expires_in": 3599, "access_token": "new"})
}

#[tokio::test]
async fn the_forms_are_as_the_contract_says() {
    let clock = ManualClock::at(now());
    let (url, forms) = fake(vec![(200, vec![], granted())]).await;
    let client = client(Some(url), &clock);
    let grant = on_behalf_of(&client).await.unwrap();
    assert_eq!(grant.access_token.expose(), "new");
    let assertion = ClientAuthentication::Assertion(SecretString::from("x.y.z"));
    let (tenant, app) = (TENANT.parse().unwrap(), APP.parse().unwrap());
    let deadline = Instant::now() + Duration::from_secs(5);
    let scope = "https://graph.microsoft.com/.default";
    client
        .client_credentials(tenant, app, &assertion, scope, deadline)
        .await
        .unwrap();
    let form = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let expected = [
        form(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("client_id", APP),
            ("client_secret", "the secret"),
            ("assertion", "a.b.c"),
            ("scope", "https://communication.azure.com/clients/.default"),
            ("requested_token_use", "on_behalf_of"),
        ]),
        form(&[
            ("grant_type", "client_credentials"),
            ("client_id", APP),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", "x.y.z"),
            ("scope", scope),
        ]),
    ];
    assert_eq!(*forms.lock().unwrap(), expected);
}

#[tokio::test]
async fn one_retry_on_503_and_none_on_a_refusal() {
    let clock = ManualClock::at(now());
    let (url, forms) = fake(vec![(503, vec![], json!({})), (200, vec![], granted())]).await;
    assert!(on_behalf_of(&client(Some(url), &clock)).await.is_ok());
    assert_eq!(forms.lock().unwrap().len(), 2);
    let (url, forms) = fake(vec![(400, vec![], coded("invalid_grant", 50013))]).await;
    let error = on_behalf_of(&client(Some(url), &clock)).await.unwrap_err();
    assert_eq!((error.name(), forms.lock().unwrap().len()), ("entra_token_rejected", 1));
}

#[tokio::test]
async fn a_limit_silences_the_tenant_until_it_ends() {
    let clock = ManualClock::at(now());
    let limited = (429, vec![("retry-after", "20".to_owned())], json!({}));
    let (url, forms) = fake(vec![limited, (200, vec![], granted())]).await;
    let client = client(Some(url), &clock);
    for left in [20, 20] {
        let limited = UpstreamFailure::Limited {
            retry_after: Duration::from_secs(left),
        };
        assert_eq!(on_behalf_of(&client).await.unwrap_err(), EntraError::Upstream(limited));
    }
    assert_eq!(forms.lock().unwrap().len(), 1);
    clock.advance(Duration::from_secs(20));
    assert!(on_behalf_of(&client).await.is_ok());
}

#[tokio::test]
async fn redirects_are_not_followed_and_nothing_goes_to_an_unknown_endpoint() {
    let clock = ManualClock::at(now());
    let (elsewhere, never) = fake(vec![(200, vec![], granted())]).await;
    let (url, _) = fake(vec![(307, vec![("location", elsewhere.to_string())], json!({}))]).await;
    let error = on_behalf_of(&client(Some(url), &clock)).await.unwrap_err();
    assert_eq!(error.name(), "entra_invalid_response");
    assert!(never.lock().unwrap().is_empty());
    let error = on_behalf_of(&client(None, &clock)).await.unwrap_err();
    assert_eq!(error, EntraError::NoTokenEndpoint);
}
