//! What is too much, too slow or not there; every such answer has its request id and can be read by browsers.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::eventually;
use crate::support::fake::{Fake, Gate, Reply, grant};
use crate::support::http::{Answer, Call, client, raw, read_to_end};
use crate::support::stack::{ACS_PATH, Builder, Stack};

const PAGE: &str = "https://app.contoso.com";

fn with_page() -> Builder {
    Stack::builder().set("server.cors.allowed_origins", format!("{PAGE},http://localhost:3000"))
}

fn assert_readable(answer: &Answer) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let exposed = answer.header("access-control-expose-headers").unwrap();
    let mut exposed: Vec<&str> = exposed.split(',').map(str::trim).collect();
    exposed.sort_unstable();
    assert_eq!(
        exposed,
        [
            "retry-after",
            "server-timing",
            "www-authenticate",
            "x-cache",
            "x-ms-error-code",
            "x-ms-request-id"
        ]
    );
    assert!(varies_by_origin(answer), "{answer:?}");
}

fn varies_by_origin(answer: &Answer) -> bool {
    answer.headers.get_all("vary").iter().any(|value| {
        let mut names = value.to_str().unwrap().split(',');
        names.any(|name| name.trim().eq_ignore_ascii_case("origin"))
    })
}

/// The answers on a raw connection: status and headers in lower case.
fn heads(text: &str) -> Vec<(u16, String)> {
    text.split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| (answer[..3].parse().unwrap(), answer.to_lowercase()))
        .collect()
}

#[tokio::test]
async fn each_failure_has_its_own_code() {
    let stack = with_page().start().await;
    let token = stack.user("alex").token();
    let call = |method: &str, path: &str| Call::new(method, stack.url(path)).header("origin", PAGE);
    let long = "x".repeat(33 * 1024);
    for (expected, call) in [
        ("200", call("POST", "/token").bearer(&token)),
        ("401 AuthenticationRequired", call("POST", "/token")),
        ("400 MissingApiVersionParameter", call("POST", ACS_PATH).bearer(&token)),
        ("404 NotFound", call("POST", "/")),
        ("404 NotFound", call("POST", "/token/")),
        ("404 NotFound", call("POST", "/TOKEN")),
        ("404 NotFound", call("GET", "/livez")),
        ("404 NotFound", call("GET", "/readyz")),
        ("404 NotFound", call("GET", "/metrics")),
        ("404 NotFound", call("POST", "/access/entra/assignments")),
        ("405 MethodNotAllowed", call("GET", "/token")),
        ("405 MethodNotAllowed", call("PUT", "/token")),
        ("405 MethodNotAllowed", call("DELETE", ACS_PATH)),
        ("405 MethodNotAllowed", call("OPTIONS", "/token")),
        ("405 MethodNotAllowed", call("BREW", "/token")),
        (
            "413 PayloadTooLarge",
            call("POST", "/token")
                .bearer(&token)
                .body("application/json", " ".repeat(65537)),
        ),
        (
            "415 UnsupportedMediaType",
            call("POST", "/token").bearer(&token).body("text/plain", "x"),
        ),
        (
            "431 HeadersTooLarge",
            call("POST", "/token").bearer(&token).header("x-long", &long),
        ),
        ("431 HeadersTooLarge", call("GET", "/nowhere").header("x-long", &long)),
    ] {
        let answer = call.send().await;
        assert_eq!(answer.outcome(), expected);
        assert_readable(&answer);
        let allow = expected.starts_with("405").then_some("POST");
        assert_eq!(answer.header("allow"), allow, "{expected}");
    }
    let head = call("HEAD", "/token").send().await;
    assert_eq!((head.status, head.header("allow")), (405, Some("POST")));
    assert_eq!(head.header("x-ms-error-code"), Some("MethodNotAllowed"));
    let within = call("POST", "/token")
        .bearer(&token)
        .body("application/json", " ".repeat(65534) + "{}");
    assert_eq!(within.send().await.outcome(), "200", "64 KiB are not too much");
}

#[tokio::test]
async fn browsers_of_exact_origins() {
    let stack = with_page().start().await;
    let preflight = |origin: &str| {
        Call::new("OPTIONS", stack.url("/token"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type,traceparent",
            )
    };
    let answer = preflight(PAGE).send().await;
    assert_eq!(answer.outcome(), "200");
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let mut allowed: Vec<&str> = answer
        .header("access-control-allow-headers")
        .unwrap()
        .split(',')
        .map(str::trim)
        .collect();
    allowed.sort_unstable();
    assert_eq!(
        allowed,
        [
            "accept",
            "authorization",
            "content-type",
            "traceparent",
            "tracestate",
            "x-ms-client-request-id",
            "x-ms-useragent"
        ]
    );
    assert!(varies_by_origin(&answer));
    for origin in [
        "https://app.contoso.com.evil.example",
        "https://evil.example",
        "http://app.contoso.com",
        "https://app.contoso.com:8443",
        "https://APP.contoso.com",
        "https://app.contoso.com/",
        "https://xapp.contoso.com",
        "null",
        "*",
    ] {
        let answers = [
            preflight(origin).send().await,
            Call::new("POST", stack.url("/token"))
                .header("origin", origin)
                .send()
                .await,
        ];
        for answer in answers {
            assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
            assert!(varies_by_origin(&answer), "{origin}");
        }
    }
    assert_eq!(
        preflight("http://localhost:3000")
            .send()
            .await
            .header("access-control-allow-origin"),
        Some("http://localhost:3000")
    );
    // Without an origin there is nothing to allow, but caches must still know.
    let plain = Call::new("POST", stack.url("/token")).send().await;
    assert_eq!(plain.header("access-control-allow-origin"), None);
    assert!(varies_by_origin(&plain));
}

/// What telemetry in the browser adds to a page's requests, without the page knowing.
#[tokio::test]
async fn headers_of_telemetry_are_allowed_by_name() {
    // Application Insights, OpenTelemetry and Sentry, New Relic, Datadog; and what older libraries add.
    let added = "request-id,request-context,baggage,sentry-trace,newrelic,x-datadog-trace-id,x-datadog-parent-id,\
                 x-datadog-origin,x-datadog-sampling-priority,x-b3-traceid,b3,uber-trace-id,x-requested-with";
    let preflight = |stack: &Stack, names: &str| {
        Call::new("OPTIONS", stack.url("/token"))
            .header("origin", PAGE)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", names)
    };
    let allowed = |answer: &Answer| -> Vec<String> {
        let allowed = answer.header("access-control-allow-headers").unwrap();
        allowed.split(',').map(|name| name.trim().to_owned()).collect()
    };
    let fixed = "authorization,content-type,accept,x-ms-client-request-id,x-ms-useragent,traceparent,tracestate";
    let stack = with_page()
        .set(
            "server.cors.allowed_headers",
            format!("{},Authorization", added.to_uppercase()),
        )
        .start()
        .await;
    let answer = preflight(&stack, &format!("authorization,{added}")).send().await;
    assert_eq!(answer.outcome(), "200");
    let names = allowed(&answer);
    for name in added.split(',').chain(fixed.split(',')) {
        assert_eq!(
            names.iter().filter(|allowed| *allowed == name).count(),
            1,
            "{name} in {names:?}"
        );
    }
    // Only those: nothing is allowed because somebody asks for it.
    let answer = preflight(&stack, "x-other,cookie").send().await;
    assert_eq!(allowed(&answer), names);
    assert!(!names.iter().any(|name| name == "*" || name == "cookie"), "{names:?}");
    let without = with_page().start().await;
    assert_eq!(allowed(&preflight(&without, added).send().await).len(), 7);
}

/// App shells have origins of their own, and only those listed count.
#[tokio::test]
async fn app_shells_of_exact_origins() {
    let shells = [
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "https://tauri.localhost",
        "app://bundle",
        "app://.",
        "null",
    ];
    let stack = Stack::builder()
        .set("server.cors.allowed_origins", shells.join(","))
        .start()
        .await;
    let answer = async |origin: &str| {
        let preflight = Call::new("OPTIONS", stack.url("/token"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .send()
            .await;
        let posted = Call::new("POST", stack.url("/token"))
            .header("origin", origin)
            .send()
            .await;
        [preflight, posted].map(|answer| answer.header("access-control-allow-origin").map(str::to_owned))
    };
    for origin in shells {
        let outcome = Some(origin.to_owned());
        assert_eq!(answer(origin).await, [outcome.clone(), outcome], "{origin}");
    }
    for origin in [
        "capacitor://localhost:80",
        "capacitor://evil.example",
        "Capacitor://localhost",
        "capacitor://",
        "ionic://localhost/",
        "app://other",
        "app://bundle.evil.example",
        "http://tauri.localhost",
        "file://",
        "NULL",
        "https://null",
    ] {
        assert_eq!(answer(origin).await, [None, None], "{origin}");
    }
}

#[tokio::test]
async fn no_origin_is_allowed_by_default() {
    let stack = Stack::start().await;
    for origin in [PAGE, "null", "http://localhost:3000"] {
        let answer = Call::new("POST", stack.url("/token"))
            .header("origin", origin)
            .send()
            .await;
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn a_body_announced_too_large_is_not_read() {
    let stack = Stack::start().await;
    // Not one byte of it is ever sent: the answer comes for the announcement alone.
    let head = "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 65537\r\n\r\n";
    let answers = heads(&raw(stack.public, head.as_bytes()).await);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].0, 413);
    assert!(answers[0].1.contains("payloadtoolarge"));
    // With 100-continue it is not even asked for.
    let head = head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(heads(&raw(stack.public, head.as_bytes()).await)[0].0, 413);
}

#[tokio::test]
async fn a_chunked_body_is_cut_at_the_limit() {
    let stack = Stack::start().await;
    let mut request =
        b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..17 {
        request.extend(format!("1000\r\n{}\r\n", " ".repeat(4096)).bytes());
    }
    let answers = heads(&raw(stack.public, &request).await);
    assert_eq!(answers.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [413]);
    assert!(answers[0].1.contains("connection: close"));
}

#[tokio::test]
async fn slow_requests_are_cut_off() {
    let stack = with_page().set("server.request_timeout", "300ms").start().await;
    // A body that does not come: answered, with everything that an error has.
    let slow_body = format!(
        "POST /token HTTP/1.1\r\nHost: x\r\nOrigin: {PAGE}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{"
    );
    let answers = heads(&raw(stack.public, slow_body.as_bytes()).await);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].0, 408);
    for part in [
        "requesttimeout",
        "x-ms-request-id: ",
        &format!("access-control-allow-origin: {PAGE}"),
    ] {
        assert!(answers[0].1.contains(part), "{part}");
    }
    // Heads that do not come, the first or a later one: closed without a word.
    for start in [
        "",
        "POST",
        "POST /token HTTP/1.1\r\nHost: x\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let text = raw(stack.public, start.as_bytes()).await;
        assert!(heads(&text).is_empty(), "{start}: {text}");
    }
    let first = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nPOST /tok";
    assert_eq!(heads(&raw(stack.public, first.as_bytes()).await).len(), 1);
}

#[tokio::test]
async fn beyond_max_in_flight_is_overloaded() {
    let acs = Fake::start().await;
    let stack = with_page()
        .endpoint(&acs.origin())
        .set("server.max_in_flight", "1")
        .start()
        .await;
    let gate = Gate::closed();
    let end = jiff::Timestamp::from_second(stack.now() + 3600).unwrap();
    acs.on(ACS_PATH, Reply::json(&grant("t", end)).behind(&gate));
    let token = stack.user("alex").token();
    let (served, ()) = tokio::join!(stack.post_token(&token), async {
        eventually("it is being worked on", async || acs.count(ACS_PATH) == 1).await;
        let refused = Call::new("POST", stack.url("/token"))
            .bearer(&token)
            .header("origin", PAGE)
            .send()
            .await;
        assert_eq!(refused.outcome(), "503 Overloaded");
        assert_readable(&refused);
        assert_eq!(stack.probe("/readyz").await.status, 200);
        gate.open();
    });
    assert_eq!(served.outcome(), "200");
    assert_eq!(stack.post_token(&token).await.cache(), "hit");
}

#[tokio::test]
async fn beyond_max_connections_no_connection_is_accepted() {
    let stack = Stack::builder().set("server.max_connections", "2").start().await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(stack.public).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        held.push(stream);
    }
    let third = raw(stack.public, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut third = std::pin::pin!(third);
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), third.as_mut()).await;
    assert!(early.is_err(), "{early:?}");
    held.pop();
    assert_eq!(heads(&third.await)[0].0, 404);
}

#[tokio::test]
async fn two_lengths_get_one_answer() {
    let stack = Stack::start().await;
    let smuggled = "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
        Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let answers = heads(&raw(stack.public, smuggled.as_bytes()).await);
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(answers[0].1.contains("connection: close"), "{answers:?}");
    for bad in [
        "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        "POST /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /token HTTP/1.1\r\nHost : x\r\n\r\n",
        "not http at all\r\n\r\n",
    ] {
        let answers = heads(&raw(stack.public, bad.as_bytes()).await);
        assert!(
            answers.len() <= 1 && answers.iter().all(|(status, _)| *status == 400),
            "{bad}: {answers:?}"
        );
    }
}

#[tokio::test]
async fn a_head_has_a_hundred_fields_at_most() {
    let stack = with_page().start().await;
    let token = stack.user("alex").token();
    let http2 = client(|builder| builder.http2_prior_knowledge().pool_max_idle_per_host(1));
    for (fields, expected) in [
        (80, "401 AuthenticationRequired"),
        (101, "431 HeadersTooLarge"),
        (200, "431 HeadersTooLarge"),
    ] {
        let call = || {
            let call = Call::new("POST", stack.url("/token")).header("origin", PAGE);
            (0..fields).fold(call, |call, n| call.header(&format!("x-{n}"), "v"))
        };
        let answer = call().send().await;
        assert_eq!(answer.outcome(), expected, "{fields}");
        assert_readable(&answer);
        let answer = call().send_with(&http2).await.unwrap();
        assert_eq!(answer.outcome(), expected, "{fields} over HTTP/2");
        assert_readable(&answer);
    }
    // The same field counts each time, with a token or without.
    let repeated = (0..150).fold(Call::new("POST", stack.url("/token")).bearer(&token), |call, _| {
        call.header("a", "b")
    });
    assert_eq!(repeated.clone().send().await.outcome(), "431 HeadersTooLarge");
    assert_eq!(
        repeated.send_with(&http2).await.unwrap().outcome(),
        "431 HeadersTooLarge"
    );
    // In OAuth's shape where it is asked for.
    let form = (0..150).fold(Call::new("POST", stack.url("/token")), |call, _| call.header("a", "b"));
    let form = form.body("application/x-www-form-urlencoded", "grant_type=x");
    assert_eq!(form.send().await.outcome(), "431 invalid_request HeadersTooLarge");
    // Far beyond it is the parser's own.
    for count in [1000, 2000] {
        let headers = (0..count).map(|n| format!("x-{n}: v\r\n")).collect::<Vec<_>>().concat();
        let request = format!("POST /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        let answers = heads(&raw(stack.public, request.as_bytes()).await);
        assert_eq!(answers.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [431]);
    }
}

#[tokio::test]
async fn heads_far_beyond_the_limit() {
    let stack = Stack::start().await;
    let mut stream = TcpStream::connect(stack.public).await.unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nx-long: {}\r\n\r\n",
        "x".repeat(300 * 1024)
    );
    // The other side may close before it has read all.
    let _ = stream.write_all(request.as_bytes()).await;
    let text = read_to_end(&mut stream).await;
    assert!(heads(&text).iter().all(|(status, _)| *status == 431), "{text}");
    let many = (0..2500).map(|n| format!("x-{n}: y\r\n")).collect::<Vec<_>>().concat();
    let text = raw(
        stack.public,
        format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n").as_bytes(),
    )
    .await;
    assert!(heads(&text).iter().all(|(status, _)| *status == 431), "{text}");
}

#[tokio::test]
async fn the_management_listener_serves_no_tokens() {
    let stack = Stack::start().await;
    let ready = stack.probe("/readyz").await;
    assert_eq!(ready.json(), json!({"status": "ready", "reasons": [], "degraded": []}));
    let token = stack.user("alex").token();
    let management = format!("http://{}", stack.management);
    let tokens = Call::new("POST", format!("{management}/token"))
        .bearer(&token)
        .send()
        .await;
    assert_eq!(tokens.status, 404);
    let posted = Call::new("POST", format!("{management}/readyz")).send().await;
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
}

#[tokio::test]
async fn http_2_is_served_by_the_same_rules() {
    let stack = with_page().start().await;
    let token = stack.user("alex").token();
    let client = client(|builder| builder.http2_prior_knowledge().pool_max_idle_per_host(1));
    let call = || Call::new("POST", stack.url("/token")).header("origin", PAGE);
    for (expected, call) in [
        ("200", call().bearer(&token)),
        ("200", call().bearer(&token).body("application/json", "{}")),
        ("400 InvalidRequest", call().bearer(&token).bearer(&token)),
        (
            "413 PayloadTooLarge",
            call().bearer(&token).body("application/json", " ".repeat(65537)),
        ),
        (
            "431 HeadersTooLarge",
            call().bearer(&token).header("x-long", &"x".repeat(33 * 1024)),
        ),
        ("401 AuthenticationRequired", call()),
    ] {
        let answer = call.send_with(&client).await.unwrap();
        assert_eq!(answer.outcome(), expected);
        assert_readable(&answer);
    }
}

#[tokio::test]
async fn headers_that_are_no_text() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    let mut request =
        b"POST /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer \xff\xfe\r\n\r\n".to_vec();
    assert_eq!(heads(&raw(stack.public, &request).await)[0].0, 400);
    request = format!(
        "POST /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-ms-client-request-id: \u{e9}\r\n\
         traceparent: \u{e9}\r\nOrigin: \u{e9}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes();
    assert_eq!(heads(&raw(stack.public, &request).await)[0].0, 200);
}
