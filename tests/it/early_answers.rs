//! An answer that is given before the body was read reaches the client, whether or not it reads while it sends.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::http::{Call, client};
use crate::support::stack::Stack;

const LARGE: usize = 2 << 20;

/// Sends the whole request, then reads.
async fn all_before_reading(stack: &Stack, head: &str) -> String {
    let mut stream = TcpStream::connect(stack.public).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; LARGE]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn every_refusal_reaches_a_client_that_sends_all_before_reading() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let long = format!("x-long: {}\r\n", "x".repeat(33 * 1024));
    let json = "Content-Type: application/json\r\n";
    for (path, fields, status, code) in [
        ("/token", format!("{bearer}{json}"), "413", "PayloadTooLarge"),
        ("/nowhere", String::new(), "404", "NotFound"),
        ("/token", format!("{bearer}{long}"), "431", "HeadersTooLarge"),
        (
            "/token",
            format!("{bearer}Content-Type: text/plain\r\n"),
            "415",
            "UnsupportedMediaType",
        ),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n{fields}\r\n");
        let answer = all_before_reading(&stack, &head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains(&format!("x-ms-error-code: {code}")), "{answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], code);
    }
    // The parser's own.
    let answer = all_before_reading(&stack, "POST /token HTTP/1.1\r\nHost: x\r\nx-long: ").await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_refusal_comes_before_an_expected_body() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    let head = format!(
        "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {token}\r\nExpect: 100-continue\r\n\r\n"
    );
    let mut stream = TcpStream::connect(stack.public).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

/// RFC 9113 section 8.1: the answer, then `RST_STREAM` with `NO_ERROR`; what was sent of the body counts for the window again.
#[tokio::test]
async fn over_http_2_the_connection_goes_on() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    let client = client(|builder| builder.http2_prior_knowledge().pool_max_idle_per_host(1));
    for _ in 0..20 {
        let call = Call::new("POST", stack.url("/token"))
            .bearer(&token)
            .body("application/json", " ".repeat(LARGE));
        let answer = call.send_with(&client).await.unwrap();
        assert_eq!(answer.outcome(), "413 PayloadTooLarge");
    }
    let call = Call::new("POST", stack.url("/token")).bearer(&token);
    assert_eq!(call.send_with(&client).await.unwrap().outcome(), "200");
}
