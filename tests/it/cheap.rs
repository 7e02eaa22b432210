//! What follows from a request's head is answered without its body, and what is reported is what comes first in the published order.

use std::time::Duration;

use tokio::time::Instant;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::eventually;
use crate::support::forge::{assemble, b64, change, with_claims};
use crate::support::http::{Call, raw, read_to_end};
use crate::support::stack::{ACS_PATH, API_VERSION, Stack};

/// A body is announced and does not come.
fn head(path: &str, authorization: &str, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{authorization}Content-Type: application/json\r\nContent-Length: 2\r\n{more}\r\n"
    )
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_the_body() {
    let stack = Stack::start().await;
    let acs = format!("{ACS_PATH}?api-version={API_VERSION}");
    let scope = with_claims(&stack, |claims| change(claims, "scp", json!("Chat")));
    let expired = stack.user("alex").lifetime(-3600).token();
    for path in ["/token", acs.as_str()] {
        for (authorization, expected) in [
            (String::new(), "401 Unauthorized AuthenticationRequired"),
            (
                "Authorization: Basic eA==\r\n".to_owned(),
                "401 Unauthorized AuthenticationRequired",
            ),
            (
                "Authorization: Bearer a.b.c\r\n".to_owned(),
                "401 Unauthorized InvalidToken",
            ),
            (
                format!("Authorization: Bearer {expired}\r\n"),
                "401 Unauthorized InvalidToken",
            ),
            (
                format!("Authorization: Bearer {scope}\r\n"),
                "403 Forbidden InsufficientScope",
            ),
            (
                "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n".to_owned(),
                "400 Bad Request InvalidRequest",
            ),
        ] {
            let (status, code) = expected.rsplit_once(' ').unwrap();
            // Who waits for a word before sending the body gets the answer instead; others after a moment.
            for (more, limit) in [("Expect: 100-continue\r\n", 1), ("", 8)] {
                let started = Instant::now();
                let text = raw(stack.public, head(path, &authorization, more).as_bytes()).await;
                assert!(
                    text.starts_with(&format!("HTTP/1.1 {status}")),
                    "{authorization}: {text}"
                );
                assert!(
                    text.contains(&format!("x-ms-error-code: {code}")),
                    "{authorization}: {text}"
                );
                assert!(text.contains("connection: close"), "{text}");
                assert!(started.elapsed() < Duration::from_secs(limit), "{authorization} {more}");
            }
        }
    }
    assert_eq!(stack.exchanges(), 0);
}

#[tokio::test]
async fn a_good_token_is_asked_for_its_body() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    let authorization = format!("Authorization: Bearer {token}\r\n");
    let mut stream = TcpStream::connect(stack.public).await.unwrap();
    let request = head(
        "/token",
        &authorization,
        "Expect: 100-continue\r\nConnection: close\r\n",
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(b"{}").await.unwrap();
    let text = read_to_end(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn a_request_that_awaits_its_body_holds_no_permit() {
    let stack = Stack::builder().set("server.max_in_flight", "1").start().await;
    let token = stack.user("alex").token();
    let authorization = format!("Authorization: Bearer {token}\r\n");
    let mut stream = TcpStream::connect(stack.public).await.unwrap();
    let request = head("/token", &authorization, "Connection: close\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(b"{").await.unwrap();
    eventually("the other is read", async || {
        let metrics = stack.probe("/metrics").await;
        String::from_utf8_lossy(&metrics.body).lines().any(|line| {
            line.starts_with("http_server_active_requests") && line.contains("POST") && line.ends_with(" 1")
        })
    })
    .await;
    assert_eq!(stack.post_token(&token).await.outcome(), "200");
    stream.write_all(b"}").await.unwrap();
    let text = read_to_end(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

/// The form comes before the token, for whatever is wrong with the token and however much of the body there is.
#[tokio::test]
async fn a_bad_body_is_reported_before_a_bad_token() {
    let stack = Stack::start().await;
    let good = stack.user("alex").token();
    let nested = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let wide = format!("[{}1]", "1,".repeat(30_000));
    for (content_type, body, expected) in [
        ("application/json", "[]", "400 InvalidRequest"),
        ("application/json", &nested, "400 InvalidRequest"),
        ("application/json", &wide, "400 InvalidRequest"),
        ("application/json", &" ".repeat(65537), "413 PayloadTooLarge"),
        ("text/plain", "x", "415 UnsupportedMediaType"),
    ] {
        let call = || Call::new("POST", stack.url("/token")).body(content_type, body.to_owned());
        assert_eq!(call().send().await.outcome(), expected);
        for token in [good.as_str(), "a.b.c", "eyJ0.e30.", ""] {
            assert_eq!(call().bearer(token).send().await.outcome(), expected, "{token}");
        }
    }
}

#[tokio::test]
async fn forms_of_many_parameters() {
    let stack = Stack::start().await;
    let many = (0..7_000).map(|n| format!("p{n}=1&")).collect::<Vec<_>>().concat();
    for body in [many, "a&".repeat(30_000), format!("a={}", "%41".repeat(21_000))] {
        let call = Call::new("POST", stack.url("/token")).body("application/x-www-form-urlencoded", body);
        assert_eq!(call.send().await.outcome(), "400 invalid_request InvalidRequest");
    }
}

/// However large a token is, what is reported of it is what comes first.
#[tokio::test]
async fn large_tokens_are_refused_by_the_published_order() {
    let stack = Stack::start().await;
    let members = |count: usize| (0..count).map(|n| format!("\"m{n}\":1,")).collect::<Vec<_>>().concat();
    let groups = format!(
        "\"groups\":[{}\"x\"],",
        "\"fab00000-0000-4000-8000-00000000a1ec\",".repeat(400)
    );
    let rs256 = r#"{"alg":"RS256","kid":"k"}"#;
    let none = r#"{"alg":"none","kid":"k"}"#;
    let tid = "\"tid\":\"9188040d-6c67-4c5b-b112-36a304b66dad\"";
    for content in [
        members(200),
        groups,
        format!("\"x\":\"{}\",", "x".repeat(15_000)),
        format!("\"x\":[{}1],", "{\"y\":1},".repeat(200)),
    ] {
        for (header, payload, expected) in [
            (
                none,
                format!("{{{content}{tid}}}"),
                "401 InvalidToken/UnsupportedAlgorithm",
            ),
            (rs256, format!("{{{content}{tid}}}"), "401 InvalidToken/UnknownTenant"),
            (rs256, format!("{{{content}\"a\":1}}"), "401 InvalidToken/MissingClaim"),
            (
                none,
                format!("{{{content}{tid},\"z\":{{\"y\":1,\"\\u0079\":1}}}}"),
                "401 InvalidToken/Malformed",
            ),
            (none, format!("{{{content}{tid},{tid}}}"), "401 InvalidToken/Malformed"),
            (
                none,
                format!("{{{content}{tid},\"exp\":\"soon\"}}"),
                "401 InvalidToken/Malformed",
            ),
            (none, format!("{{{content}{tid}"), "401 InvalidToken/Malformed"),
        ] {
            let token = assemble(header, payload, "");
            assert!(token.len() < 31_000);
            assert_eq!(
                stack.post_token(&token).await.outcome(),
                expected,
                "{header} {}",
                content.len()
            );
        }
    }
    // More members than a token of Entra's ever has, or more elements, are a bound of their own.
    for content in [members(1_500), format!("\"x\":[{}1],", "1,".repeat(3_000))] {
        let token = assemble(none, format!("{{{content}{tid}}}"), "");
        assert_eq!(stack.post_token(&token).await.outcome(), "401 InvalidToken/Malformed");
    }
    let deep = format!("{{{tid},\"x\":{}1{}}}", "[".repeat(100), "]".repeat(100));
    assert_eq!(
        stack.post_token(&assemble(none, deep, "")).await.outcome(),
        "401 InvalidToken/UnsupportedAlgorithm"
    );
    let signature = format!("{}.{}.{}", b64(none), b64(format!("{{{tid}}}")), "!".repeat(20_000));
    assert_eq!(
        stack.post_token(&signature).await.outcome(),
        "401 InvalidToken/Malformed"
    );
}
