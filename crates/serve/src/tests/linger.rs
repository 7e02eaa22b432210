//! Answers that are given before the request's body has come.

use axum::routing::post;
use http::StatusCode;

use super::tls::Files;
use super::*;
use crate::linger::LIMIT;

/// Answers without looking at the body.
fn refusing() -> Router {
    Router::new()
        .route("/", post(async || (StatusCode::PAYLOAD_TOO_LARGE, "too much")))
        .route("/late", post(async || (StatusCode::REQUEST_TIMEOUT, "too late")))
}

fn head(fields: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: broker.test\r\n{fields}\r\n\r\n").into_bytes()
}

const LARGE: usize = 2 << 20;

/// Ends when no connection is open any more.
async fn all_closed(open: &OpenConnections) {
    while open.count() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn who_sends_all_before_reading_gets_the_answer() {
    let server = Server::start(refusing(), options()).await;
    let expects = format!("Content-Length: {LARGE}\r\nExpect: 100-continue");
    for fields in [
        &format!("Content-Length: {LARGE}"),
        "Transfer-Encoding: chunked",
        &expects,
    ] {
        let mut client = server.connect().await;
        client.write_all(&head(fields)).await.unwrap();
        if fields.ends_with("chunked") {
            client.write_all(format!("{LARGE:x}\r\n").as_bytes()).await.unwrap();
        }
        client.write_all(&vec![b' '; LARGE]).await.unwrap();
        let mut answer = String::new();
        let read = timeout(SOON, client.read_to_string(&mut answer)).await.unwrap();
        assert!(read.is_ok(), "{fields}: {read:?}");
        assert!(answer.starts_with("HTTP/1.1 413"), "{fields}: {answer}");
        assert!(answer.ends_with("too much"), "{fields}: {answer}");
        let is_known = !fields.ends_with("chunked");
        assert_eq!(answer.contains("connection: close"), is_known, "{fields}: {answer}");
    }
}

#[tokio::test]
async fn who_sends_all_before_reading_gets_the_answer_over_tls() {
    let files = Files::new();
    let tls = ServeOptions {
        tls: Some(Arc::new(files.load().unwrap())),
        ..options()
    };
    let server = Server::start(refusing(), tls).await;
    let mut client = super::tls::connect(&server, &files).await;
    client
        .write_all(&head(&format!("Content-Length: {LARGE}")))
        .await
        .unwrap();
    client.write_all(&vec![b' '; LARGE]).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, client.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_head_that_the_parser_refuses_gets_its_answer() {
    let server = Server::start(refusing(), options()).await;
    let mut client = server.connect().await;
    let long = format!("X-Long: {}", "x".repeat(LARGE));
    client.write_all(&head(&long)).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, client.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_slow_writer_is_read_on_after_the_answer() {
    let options = options();
    let open = options.open.clone();
    let server = Server::start(refusing(), options).await;
    let mut client = server.connect().await;
    client
        .write_all(&head(&format!("Content-Length: {LARGE}")))
        .await
        .unwrap();
    let answer = read_to_end(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    for _ in 0..32 {
        client.write_all(&vec![b' '; LARGE / 32]).await.unwrap();
        tokio::task::yield_now().await;
    }
    client.shutdown().await.unwrap();
    timeout(SOON, all_closed(&open)).await.unwrap();
}

#[tokio::test]
async fn nobody_holds_a_connection_by_sending_on() {
    let options = options();
    let open = options.open.clone();
    let server = Server::start(refusing(), options).await;
    let mut holder = server.connect().await;
    holder
        .write_all(&head(&format!("Content-Length: {LARGE}")))
        .await
        .unwrap();
    let answered = tokio::time::Instant::now();
    read_to_end(&mut holder).await;
    assert_eq!(open.count(), 1, "it holds its place");
    let holding = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while holder.write_all(b" ").await.is_ok() {
            pace.tick().await;
        }
    });
    timeout(SOON, holding).await.unwrap().unwrap();
    assert!(answered.elapsed() >= LIMIT, "{:?}", answered.elapsed());
}

#[tokio::test]
async fn a_connection_that_is_only_read_to_its_end_makes_room_for_a_new_one() {
    let one = ServeOptions {
        max_connections: 1,
        ..options()
    };
    let server = Server::start(refusing(), one).await;
    let mut holder = server.connect().await;
    holder
        .write_all(&head(&format!("Content-Length: {LARGE}")))
        .await
        .unwrap();
    let answered = tokio::time::Instant::now();
    let answer = read_to_end(&mut holder).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let mut other = server.connect().await;
    other.write_all(&head("Content-Length: 0")).await.unwrap();
    read_until(&mut other, "too much").await;
    assert!(answered.elapsed() < LIMIT, "{:?}", answered.elapsed());
}

#[tokio::test]
async fn a_short_body_is_read_behind_the_answer_and_the_connection_used_again() {
    let server = Server::start(refusing(), options()).await;
    let mut client = server.connect().await;
    for (fields, body) in [
        ("Content-Length: 2", "{}"),
        ("Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"),
        ("Content-Length: 0", ""),
    ] {
        client.write_all(&head(fields)).await.unwrap();
        let answer = read_until(&mut client, "too much").await;
        assert!(!answer.contains("connection: close"), "{answer}");
        client.write_all(body.as_bytes()).await.unwrap();
    }
    // Nothing is left of it that would delay the end.
    server.signals.draining.cancel();
    assert_eq!(read_to_end(&mut client).await, "");
    assert_eq!(server.ended().await, Drained { cut: 0 });
}

#[tokio::test]
async fn what_cannot_be_used_again_says_so() {
    let server = Server::start(refusing(), options()).await;
    for request in [
        "POST / HTTP/1.1\r\nHost: broker.test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
        "POST /late HTTP/1.1\r\nHost: broker.test\r\nContent-Length: 2\r\n\r\n{",
        "POST / HTTP/1.1\r\nHost: broker.test\r\nContent-Length: 2\r\nConnection: close\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: broker.test\r\nContent-Length: 2\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut client).await;
        assert_eq!(
            answer.matches("HTTP/1.").count(),
            1,
            "no 100 after the answer: {answer}"
        );
        assert!(
            answer.contains("connection: close") || answer.starts_with("HTTP/1.0"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn an_abort_does_not_linger() {
    let server = Server::start(refusing(), options()).await;
    let mut client = server.connect().await;
    client
        .write_all(&head(&format!("Content-Length: {LARGE}")))
        .await
        .unwrap();
    read_to_end(&mut client).await;
    server.signals.abort.cancel();
    assert_eq!(server.ended().await, Drained { cut: 1 });
}
