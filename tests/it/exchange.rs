//! Each of ACS's answers has one meaning.

use azure_emulator::{Endpoint, Fault};
use serde_json::json;

use crate::support::fake::{Fake, Gate, Reply, grant};
use crate::support::stack::{ACS_PATH, Stack};

const INVALID: &str = "502 UpstreamInvalidResponse";
const UNAVAILABLE: &str = "503 UpstreamUnavailable";

fn set(change: impl FnOnce(&mut Fault)) -> Fault {
    let mut fault = Fault::default();
    change(&mut fault);
    fault
}

/// The fault, the outcome, how often ACS is asked.
fn faults(elsewhere: &str) -> Vec<(&'static str, Fault, &'static str, usize)> {
    let redirect = |status: u16| {
        set(|fault| {
            fault.status = Some(status);
            fault.headers.insert("location".to_owned(), format!("{elsewhere}/x"));
        })
    };
    vec![
        ("401", Fault::status(401), "401 InvalidToken/RejectedUpstream", 1),
        ("403", Fault::status(403), "403 ExchangeForbidden", 1),
        ("500", Fault::status(500), UNAVAILABLE, 1),
        ("502", Fault::status(502), UNAVAILABLE, 1),
        ("503 once", Fault::status(503).times(1), "200", 2),
        (
            "503 once, with a wait",
            Fault::status(503).retry_after("1").times(1),
            "200",
            2,
        ),
        ("503 for long", Fault::status(503), UNAVAILABLE, 2),
        (
            "503 with a long wait",
            Fault::status(503).retry_after("30"),
            UNAVAILABLE,
            1,
        ),
        ("504", Fault::status(504), "504 UpstreamTimeout", 1),
        ("lost once", Fault::drop_connection().times(1), "200", 2),
        ("lost", Fault::drop_connection(), UNAVAILABLE, 2),
        ("400", Fault::status(400), INVALID, 1),
        ("404", Fault::status(404), INVALID, 1),
        ("409", Fault::status(409), INVALID, 1),
        ("201", Fault::status(201), INVALID, 1),
        ("204", Fault::status(204), INVALID, 1),
        ("501", Fault::status(501), INVALID, 1),
        ("301", redirect(301), INVALID, 1),
        ("307", redirect(307), INVALID, 1),
        ("308", redirect(308), INVALID, 1),
        (
            "302",
            set(|fault| fault.redirect = Some(elsewhere.to_owned())),
            INVALID,
            1,
        ),
        ("broken JSON", set(|fault| fault.broken_json = true), INVALID, 1),
        (
            "another content type",
            set(|fault| fault.wrong_content_type = true),
            INVALID,
            1,
        ),
        (
            "no expiresOn",
            set(|fault| fault.missing_field = Some("accessToken.expiresOn".to_owned())),
            INVALID,
            1,
        ),
        (
            "no token",
            set(|fault| fault.missing_field = Some("accessToken.token".to_owned())),
            INVALID,
            1,
        ),
        (
            "no accessToken",
            set(|fault| fault.missing_field = Some("accessToken".to_owned())),
            INVALID,
            1,
        ),
        (
            "no identity",
            set(|fault| fault.missing_field = Some("identity".to_owned())),
            INVALID,
            1,
        ),
        ("past expiresOn", set(|fault| fault.past_expires_on = true), INVALID, 1),
        ("expiresOn now", set(|fault| fault.lifetime = Some(0)), INVALID, 1),
        ("oversize", set(|fault| fault.oversize = Some(20 * 1024)), INVALID, 1),
        (
            "another offset",
            set(|fault| fault.expires_on_offset = Some("-07:00".to_owned())),
            "200",
            1,
        ),
    ]
}

#[tokio::test]
async fn answers_of_the_emulated_acs() {
    let stack = Stack::builder()
        .set("upstream.max_response_bytes", "16KiB")
        // ACS is not left alone, however often it fails here.
        .set("upstream.breaker", "off")
        .start()
        .await;
    let elsewhere = Fake::start().await;
    for (name, fault, expected, calls) in faults(&elsewhere.origin()) {
        // A good answer is to a token too short-lived to be cached, so that each is a call of its own.
        let good = expected == "200";
        let own = stack.user("alex").lifetime(20).token();
        // Another token each time, since a refused one is not sent again for a while.
        let token = stack.user("alex").token();
        stack.emulator.clear_journal();
        stack.fault(Endpoint::Exchange, fault);
        let answer = stack.post_token(if good { &own } else { &token }).await;
        assert_eq!(answer.outcome(), expected, "{name}");
        assert_eq!(stack.exchanges(), calls, "{name}");
        if !good {
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{name}");
        }
    }
    assert_eq!(elsewhere.calls().len(), 0, "no redirect was followed");
    stack.emulator.clear_faults();
    assert_eq!(stack.user("alex").post().await.cache(), "miss");
}

#[tokio::test]
async fn what_is_sent_to_acs() {
    let acs = Fake::start().await;
    let stack = Stack::builder().endpoint(&acs.origin()).start().await;
    let end = jiff::Timestamp::from_second(stack.now() + 3600).unwrap();
    acs.on(ACS_PATH, Reply::json(&grant("t", end)));
    let token = stack.user("alex").token();
    let answer = stack.post_token(&token).await;
    assert_eq!(
        answer.json(),
        json!({"identity": {"id": "8:acs:fake"}, "accessToken": {"token": "t", "expiresOn": end.to_string()}})
    );
    let [call] = &acs.calls()[..] else { panic!("one call") };
    let header = |name: &str| call.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("authorization"), Some(format!("Bearer {token}")));
    assert_eq!(header("content-type").as_deref(), Some("application/json"));
    assert_eq!(header("accept").as_deref(), Some("application/json"));
    assert_eq!(call.body, "{}");
    assert_eq!(
        (header("cookie"), header("referer"), header("origin")),
        (None, None, None)
    );
}

#[tokio::test]
async fn bodies_that_are_no_grant() {
    let acs = Fake::start().await;
    let stack = Stack::builder().endpoint(&acs.origin()).start().await;
    let token = stack.user("alex").token();
    let end = jiff::Timestamp::from_second(stack.now() + 3600).unwrap();
    let good = grant("t", end);
    let with = |pointer: &str, value: serde_json::Value| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        Reply::json(&body)
    };
    for (name, reply) in [
        ("empty", Reply::status(200).header("content-type", "application/json")),
        ("a list", Reply::json(&json!([]))),
        ("null", Reply::json(&json!(null))),
        ("empty token", with("/accessToken/token", json!(""))),
        ("token is a number", with("/accessToken/token", json!(1))),
        ("empty identity", with("/identity/id", json!(""))),
        ("no date", with("/accessToken/expiresOn", json!("soon"))),
        ("a number", with("/accessToken/expiresOn", json!(end.as_second()))),
        (
            "no offset",
            with("/accessToken/expiresOn", json!("2030-01-01T00:00:00")),
        ),
        (
            "html",
            Reply::status(200)
                .header("content-type", "text/html")
                .body(good.to_string()),
        ),
        ("no content type", Reply::status(200).body(good.to_string())),
        (
            "not UTF-8",
            Reply::status(200)
                .header("content-type", "application/json")
                .body(&b"{\"a\":\"\xff\"}"[..]),
        ),
    ] {
        acs.on(ACS_PATH, reply);
        assert_eq!(stack.post_token(&token).await.outcome(), INVALID, "{name}");
    }
    for (name, expires_on) in [
        ("seven digits", "2026-11-24T13:00:00.1234567+00:00"),
        ("Z", "2026-11-24T13:00:00Z"),
    ] {
        acs.on(ACS_PATH, with("/accessToken/expiresOn", json!(expires_on)));
        let own = stack
            .user("alex")
            .with(|request| request.lifetime = Some(if name == "Z" { 30_000 } else { 3600 }));
        let answer = own.post().await;
        assert_eq!(answer.outcome(), "200", "{name}");
    }
    acs.on(
        ACS_PATH,
        with("/accessToken/expiresOn", json!("2026-11-24T06:00:00.1234567-07:00")),
    );
    let answer = stack.user("diego").lifetime(3600).post().await;
    assert_eq!(
        answer.json()["accessToken"]["expiresOn"],
        "2026-11-24T06:00:00.1234567-07:00",
        "as ACS wrote it"
    );
}

#[tokio::test]
async fn a_limit_pauses_exchanges_while_hits_are_served() {
    let stack = Stack::start().await;
    let cached = stack.user("diego").lifetime(3600).token();
    stack.post_token(&cached).await;
    let token = stack.user("alex").token();
    for (asked, stated_wait) in [
        (Some("20"), 20),
        (None, 1),
        (Some("100000"), 300),
        (Some("0"), 1),
        (Some("soon"), 1),
    ] {
        let fault = match asked {
            Some(asked) => Fault::status(429).retry_after(asked),
            None => Fault::status(429),
        };
        stack.emulator.clear_journal();
        stack.fault(Endpoint::Exchange, fault);
        let limited = stack.post_token(&token).await;
        assert_eq!(limited.outcome(), "429 TooManyRequests/UpstreamLimit", "{asked:?}");
        assert_eq!(
            limited.header("retry-after"),
            Some(stated_wait.to_string().as_str()),
            "{asked:?}"
        );
        stack.emulator.clear_faults();
        // Until it ends ACS is left alone, for every caller; what is cached is served.
        stack
            .clock
            .advance(std::time::Duration::from_millis(stated_wait * 1000 - 500));
        let paused = stack.post_token(&token).await;
        assert_eq!(paused.outcome(), "429 TooManyRequests/UpstreamLimit", "{asked:?}");
        assert_eq!(paused.header("retry-after"), Some("1"), "rounded up");
        assert_eq!(stack.post_token(&cached).await.cache(), "hit");
        assert_eq!(stack.exchanges(), 1, "{asked:?}");
        stack.clock.advance(std::time::Duration::from_millis(500));
        // A token too short-lived to be cached, so that the next round asks again.
        assert_eq!(
            stack.user("alex").lifetime(20).post().await.outcome(),
            "200",
            "{asked:?}"
        );
        assert_eq!(stack.exchanges(), 2);
    }
}

#[tokio::test]
async fn deadlines() {
    for (key, value) in [("exchange.timeout", "200ms"), ("server.request_timeout", "200ms")] {
        let acs = Fake::start().await;
        let stack = Stack::builder().endpoint(&acs.origin()).set(key, value).start().await;
        let never = Gate::closed();
        acs.on(ACS_PATH, Reply::status(200).behind(&never));
        let answer = stack.user("alex").post().await;
        assert_eq!(answer.outcome(), "504 UpstreamTimeout", "{key}");
        assert_eq!(acs.count(ACS_PATH), 1, "{key}: a deadline is not retried");
    }
}

#[tokio::test]
async fn an_acs_that_is_not_there() {
    let gone = Fake::start().await.origin();
    let stack = Stack::builder().endpoint(&gone).start().await;
    assert_eq!(stack.user("alex").post().await.outcome(), UNAVAILABLE);
}

#[tokio::test]
async fn upstream_trouble_in_oauths_shape() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("subject_token", token.as_str()),
    ];
    for (status, expected) in [
        (401, "400 invalid_request InvalidToken"),
        (403, "400 invalid_request ExchangeForbidden"),
        (500, "503 temporarily_unavailable UpstreamUnavailable"),
        (504, "504 temporarily_unavailable UpstreamTimeout"),
        (418, "502 server_error UpstreamInvalidResponse"),
        (429, "429 temporarily_unavailable TooManyRequests"),
    ] {
        stack.fault(Endpoint::Exchange, Fault::status(status));
        assert_eq!(stack.post_form(&form).await.outcome(), expected);
        // A refused token is not sent again for a while.
        stack.advance(15);
    }
}

#[tokio::test]
async fn a_wait_that_acs_asks_for_is_passed_on() {
    let stack = Stack::start().await;
    for (status, wait) in [(503, "30"), (500, "7"), (429, "12")] {
        stack.fault(Endpoint::Exchange, Fault::status(status).retry_after(wait));
        let answer = stack.user("alex").post().await;
        assert_eq!(answer.header("retry-after"), Some(wait), "{status}");
    }
}
