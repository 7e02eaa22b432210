//! Pages, answers and what they mean.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::*;
use crate::Upstream;
use crate::acs_signing::{AcsAuth, ServiceTokenError, ServiceTokens, SignedAcs};
use crate::entra::EntraGrant;
use base::clock::{ManualClock, SharedClock};
use base::secret::BearerToken;

const TENANT: &str = "10000000-0000-4000-8000-00000000000a";
const CLIENT: &str = "30000000-0000-4000-8000-00000000000c";

fn user(number: usize) -> Value {
    json!({
        "objectId": format!("20000000-0000-4000-8000-{number:012x}"),
        "tenantId": TENANT.to_uppercase(),
        "principalType": "user",
        "clientIds": [CLIENT],
        "etag": "ignored",
    })
}

fn response(status: u16, content_type: &str, body: &Value) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", content_type.parse().unwrap());
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: body.to_string().into(),
    }
}

fn page(body: &Value) -> Result<Page, AssignmentsError> {
    answer::read(&response(200, "application/json", body))
}

fn first() -> Url {
    Url::parse("https://acs.example/access/entra/assignments?api-version=1").unwrap()
}

/// The reason why a page with this link, or with these entries, is refused.
fn refused(body: &Value) -> String {
    let mut pages = Pages::new(first());
    pages.next().unwrap();
    match page(body).and_then(|page| pages.add(page)) {
        Err(AssignmentsError::Upstream(UpstreamFailure::InvalidResponse(reason))) => reason,
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn pages_are_one_list() {
    let mut pages = Pages::new(first());
    for (asked, body) in [
        (
            first().to_string(),
            json!({"value": [user(1)], "nextLink": "https://acs.example:443/access/entra/assignments?skip=1#x"}),
        ),
        (
            "https://acs.example/access/entra/assignments?skip=1".to_owned(),
            json!({"value": [], "nextLink": "?skip=2"}),
        ),
        (
            "https://acs.example/access/entra/assignments?skip=2".to_owned(),
            json!({"value": [user(2)], "nextLink": null, "count": 2}),
        ),
    ] {
        assert_eq!(pages.next().unwrap().as_str(), asked);
        pages.add(page(&body).unwrap()).unwrap();
    }
    assert_eq!(pages.next(), None);
    assert_eq!(pages.into_assignments().len(), 2);
    // An empty list is a list.
    let mut pages = Pages::new(first());
    pages.next();
    pages.add(page(&json!({"value": [], "nextLink": ""})).unwrap()).unwrap();
    assert!(pages.next().is_none() && pages.into_assignments().is_empty());
}

#[test]
fn links_that_are_not_followed() {
    for (link, reason) in [
        ("https://evil.example/access/entra/assignments", "leads away"),
        ("http://acs.example/access/entra/assignments", "leads away"),
        ("https://acs.example:444/access/entra/assignments", "leads away"),
        ("//evil.example/", "leads away"),
        ("https://acs.example@evil.example/", "leads away"),
        ("https://user@acs.example/", "leads away"),
        ("data:,x", "leads away"),
        ("https://", "is no address"),
        (
            "https://acs.example/access/entra/assignments?api-version=1",
            "was read before",
        ),
        ("#again", "was read before"),
    ] {
        let fault = refused(&json!({"value": [], "nextLink": link}));
        assert!(fault.contains(reason), "{link}: {fault}");
    }
    assert!(refused(&json!({"value": [], "nextLink": 7})).contains("invalid type"));
}

#[test]
fn one_malformed_entry_spoils_the_list() {
    let with = |name: &str, value: Value| {
        let mut entry = user(2);
        entry[name] = value;
        json!({"value": [user(1), entry]})
    };
    let without = |name: &str| {
        let mut body = with(name, json!(null));
        body["value"][1].as_object_mut().unwrap().remove(name);
        body
    };
    for body in [
        with("objectId", json!("alice")),
        with("objectId", json!("20000000000040008000000000000002")),
        with("tenantId", json!(null)),
        with("principalType", json!("User")),
        with("principalType", json!("application")),
        with("principalType", json!("tenant")),
        with("clientIds", json!([])),
        with("clientIds", json!(["x"])),
        with("clientIds", json!(CLIENT)),
        without("objectId"),
        without("tenantId"),
        without("principalType"),
        without("clientIds"),
        json!({"value": [user(1), user(1)]}),
        json!({"value": {}}),
        json!({}),
        json!([]),
    ] {
        let reason = refused(&body);
        // An object id may be a user's, which logs show as `telemetry.user_ids` says.
        assert!(!reason.contains("20000000"), "{reason}");
    }
    let reason = refused(&json!({"value": [user(1), user(2), user(1)]}));
    assert_eq!(
        reason,
        format!("entry 3 (user, tenant {TENANT}) is about the same object as entry 1")
    );
    assert!(page(&json!({"value": [user(1)]})).is_ok());
    let html = answer::read::<Page>(&response(200, "text/html", &json!({"value": []})));
    assert!(matches!(
        html,
        Err(AssignmentsError::Upstream(UpstreamFailure::InvalidResponse(_)))
    ));
}

#[test]
fn lists_without_end_are_given_up() {
    let mut pages = Pages::new(first());
    let mut read = 0;
    let reason = loop {
        pages.next().unwrap();
        read += 1;
        let body = json!({"value": [], "nextLink": format!("?skip={read}")});
        if let Err(AssignmentsError::Upstream(UpstreamFailure::InvalidResponse(reason))) =
            pages.add(page(&body).unwrap())
        {
            break reason;
        }
    };
    assert_eq!((read, &*reason), (1_000, "more than 1000 pages"));
    let mut pages = Pages::new(first());
    let mut reason = None;
    for start in 0..201 {
        pages.next().unwrap();
        let value: Vec<Value> = (start * 1_000..(start + 1) * 1_000).map(user).collect();
        let link = format!("?skip={start}");
        if let Err(error) = pages.add(page(&json!({"value": value, "nextLink": link})).unwrap()) {
            reason = Some((start, error.to_string()));
        }
    }
    let (start, reason) = reason.unwrap();
    assert!(
        start == 200 && reason.contains("more than 200000 assignments"),
        "{start} {reason}"
    );
}

#[test]
fn each_failure_has_one_meaning() {
    let body = json!({"error": {"code": "Denied", "message": "two\nlines"}});
    let now = jiff::Timestamp::UNIX_EPOCH;
    for (status, by_object, meaning) in [
        (404, true, "NotFound"),
        (404, false, "UnexpectedStatus"),
        (401, true, "Refused"),
        (403, false, "Refused"),
        (429, false, "Upstream(Limited"),
        (500, false, "Upstream(Unavailable"),
        (502, false, "Upstream(Unavailable"),
        (503, false, "Upstream(Unavailable"),
        (504, false, "Upstream(Timeout"),
        (301, false, "UnexpectedStatus"),
        (400, false, "UnexpectedStatus"),
        (409, false, "UnexpectedStatus"),
        (204, false, "UnexpectedStatus"),
    ] {
        let error = answer::failure(&response(status, "application/json", &body), by_object, now);
        assert!(format!("{error:?}").starts_with(meaning), "{status}: {error:?}");
        if ["Refused", "UnexpectedStatus"].contains(&meaning) {
            let wanted = format!("{status} (Denied): two\\nlines");
            assert!(error.to_string().ends_with(&wanted), "{error}");
        }
    }
    let mut limited = response(429, "text/html", &json!(""));
    limited.headers.insert("retry-after", "20".parse().unwrap());
    let error = answer::failure(&limited, false, now);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(20)));
}

/// Counts from one; a token that was discarded is not given again.
struct Numbered {
    issued: AtomicUsize,
    kept: Mutex<Option<BearerToken>>,
}

impl ServiceTokens for Numbered {
    fn token(&self, _: Instant) -> BoxFuture<'_, Result<EntraGrant, ServiceTokenError>> {
        let mut kept = self.kept.lock().unwrap();
        let token = kept.get_or_insert_with(|| {
            let number = self.issued.fetch_add(1, Ordering::Relaxed) + 1;
            BearerToken::new(format!("token-{number}"))
        });
        Box::pin(std::future::ready(Ok(EntraGrant {
            access_token: token.clone(),
            expires_on: jiff::Timestamp::MAX,
            scope: None,
        })))
    }

    fn discard(&self, token: &BearerToken) {
        let mut kept = self.kept.lock().unwrap();
        if kept.as_ref().is_some_and(|kept| kept.expose() == token.expose()) {
            *kept = None;
        }
    }
}

#[tokio::test]
async fn a_refused_service_token_is_replaced_once() {
    // The first token that the service takes, and what comes of it after how many calls.
    for (good, calls, is_ok) in [(1, 1, true), (2, 2, true), (3, 2, false)] {
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        let router = Router::new().fallback(async move |request: Request| {
            count.fetch_add(1, Ordering::Relaxed);
            let given = request.headers()["authorization"].to_str().unwrap().to_owned();
            if given == format!("Bearer token-{good}") {
                axum::Json(json!({"value": []})).into_response()
            } else {
                StatusCode::UNAUTHORIZED.into_response()
            }
        });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let tokens = Arc::new(Numbered {
            issued: AtomicUsize::new(0),
            kept: Mutex::new(None),
        });
        let clock: SharedClock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
        let upstream = Upstream::plain(Duration::from_secs(5), 1024).unwrap();
        let acs = SignedAcs::new(upstream, AcsAuth::ServiceToken(tokens), clock);
        let acs = AcsAssignments::new(acs, &endpoint, "1", Duration::from_secs(5));
        let outcome = acs.list().await;
        assert_eq!(outcome.is_ok(), is_ok, "{outcome:?}");
        assert!(is_ok || matches!(outcome, Err(AssignmentsError::Refused { .. })));
        assert_eq!(seen.load(Ordering::Relaxed), calls);
        server.abort();
    }
}

proptest! {
    #[test]
    fn no_page_makes_the_reader_panic(text in any::<String>(), link in any::<String>()) {
        let mut pages = Pages::new(first());
        pages.next();
        let text = Response { body: text.into(), ..response(200, "application/json", &json!({})) };
        let _ = answer::read::<Page>(&text);
        if let Ok(page) = page(&json!({"value": [], "nextLink": link})) {
            let _ = pages.add(page);
            if let Some(next) = pages.next() {
                prop_assert_eq!(next.origin(), first().origin());
            }
        }
    }
}
