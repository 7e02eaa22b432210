//! Signals: shown to the load balancer first, requests in flight finished, and a second one ends at once.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::eventually;
use crate::support::fake::{Fake, Gate, Reply, grant};
use crate::support::http::{Call, read_to_end};
use crate::support::observed::{exported_with, lines};
use crate::support::process::Served;
use crate::support::scrape::Scrape;
use crate::support::stack::{ACS_PATH, Stack};

/// A broker with a request under way that ACS does not answer until the gate is open.
async fn held(environment: &[(&str, &str)]) -> (Served, Fake, Gate, tokio::task::JoinHandle<String>) {
    let acs = Fake::start().await;
    let served = Served::start(Some(&acs.origin()), environment).await;
    let gate = Gate::closed();
    let end = jiff::Timestamp::from_second(4_000_000_000).unwrap();
    acs.on(ACS_PATH, Reply::json(&grant("in-flight", end)).behind(&gate));
    let call = served.call("/token").bearer(&served.token("alex"));
    let request = tokio::spawn(async move {
        match call.try_send().await {
            Ok(answer) => answer.outcome(),
            Err(_) => "cut".to_owned(),
        }
    });
    eventually("the request is under way", async || acs.count(ACS_PATH) == 1).await;
    (served, acs, gate, request)
}

#[tokio::test]
async fn what_is_in_flight_is_finished() {
    for signal in ["TERM", "INT"] {
        let (mut served, _acs, gate, request) = held(&[("ACS_TOKEN_BROKER__SERVER__DRAIN_DELAY", "1s")]).await;
        served.process.signal(signal);
        eventually("not ready any more", async || served.readiness().await == Some(503)).await;
        // During the delay everybody is still served: load balancers have not noticed yet.
        let new = Call::new("POST", format!("{}/token", served.public)).send().await;
        assert_eq!(new.outcome(), "401 AuthenticationRequired", "{signal}");
        // Then nobody new is accepted, while the probes go on.
        eventually("no new connections", async || {
            Call::new("POST", format!("{}/token", served.public))
                .try_send()
                .await
                .is_err()
        })
        .await;
        assert_eq!(served.readiness().await, Some(503), "{signal}");
        assert!(!served.process.has_ended());
        gate.open();
        assert_eq!(request.await.unwrap(), "200", "{signal}");
        let ended = served.process.end().await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (served, _acs, _gate, request) = held(&[
        ("ACS_TOKEN_BROKER__SERVER__DRAIN_TIMEOUT", "10m"),
        ("ACS_TOKEN_BROKER__SERVER__REQUEST_TIMEOUT", "10m"),
        ("ACS_TOKEN_BROKER__EXCHANGE__TIMEOUT", "10m"),
    ])
    .await;
    served.process.signal("TERM");
    eventually("not ready any more", async || served.readiness().await == Some(503)).await;
    served.process.signal("INT");
    let ended = served.process.end().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(request.await.unwrap(), "cut");
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let (served, _acs, _gate, request) = held(&[
        ("ACS_TOKEN_BROKER__SERVER__DRAIN_TIMEOUT", "300ms"),
        ("ACS_TOKEN_BROKER__SERVER__REQUEST_TIMEOUT", "10m"),
        ("ACS_TOKEN_BROKER__EXCHANGE__TIMEOUT", "10m"),
    ])
    .await;
    served.process.signal("TERM");
    let ended = served.process.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(request.await.unwrap(), "cut");
    // Its client did not leave.
    let cut = lines(&ended.stdout).find(|line| line["message"] == "request").unwrap();
    assert_eq!(cut["acs_broker.error.code"], "ShuttingDown", "{cut}");
    assert_eq!(cut["acs_broker.error.cause"], "cut at the end of the drain");
    assert!(cut.get("http.response.status_code").is_none(), "{cut}");
}

#[tokio::test]
async fn an_idle_broker_ends_promptly() {
    let served = Served::start(None, &[]).await;
    let token = served.token("alex");
    assert_eq!(served.post_token(&token).await.outcome(), "200");
    served.process.signal("TERM");
    let ended = served.process.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn half_a_head_is_no_request_in_flight() {
    let mut stack = Stack::builder()
        .set("server.request_timeout", "5m")
        .set("server.drain_timeout", "5m")
        .start()
        .await;
    let mut half = TcpStream::connect(stack.public).await.unwrap();
    half.write_all(b"POST /to").await.unwrap();
    assert_eq!(stack.user("alex").post().await.outcome(), "200");
    stack.signals.draining.cancel();
    // Far below both limits; the harness would wait for minutes otherwise.
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), &mut stack.running).await;
    ended.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_comes_too_late_is_reported() {
    let mut stack = Stack::start().await;
    let mut late = TcpStream::connect(stack.public).await.unwrap();
    late.write_all(b"POST /token HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    // A whole request later, the head begun before it has been read.
    assert_eq!(stack.user("alex").post().await.outcome(), "200");
    stack.signals.draining.cancel();
    eventually("no new connections", async || {
        TcpStream::connect(stack.public).await.is_err()
    })
    .await;
    // The other side may have closed it already.
    let _ = late.write_all(b"Content-Length: 0\r\n\r\n").await;
    let text = read_to_end(&mut late).await;
    assert!(
        text.is_empty() || text.starts_with("HTTP/1.1 503 ") && text.contains("ShuttingDown"),
        "{text}"
    );
    (&mut stack.running).await.unwrap();
}

/// The answer to a request on a connection that both sides keep, up to the end of its head.
async fn head_of_answer(stream: &mut TcpStream) -> String {
    stream
        .write_all(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut read = Vec::new();
    while !read.windows(4).any(|end| end == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "{read:?}");
    }
    String::from_utf8(read).unwrap().to_lowercase()
}

#[tokio::test]
async fn pools_are_sent_away_before_idle_connections_are_closed() {
    let stack = Stack::builder().set("server.drain_delay", "5m").start().await;
    let mut kept = TcpStream::connect(stack.public).await.unwrap();
    assert!(!head_of_answer(&mut kept).await.contains("connection: close"));
    stack.signals.draining.cancel();
    // One that is kept by a proxy is not used for a request that would cross its end, a new one neither.
    let mut new = TcpStream::connect(stack.public).await.unwrap();
    for stream in [&mut kept, &mut new] {
        stream
            .write_all(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let answer = read_to_end(stream).await.to_lowercase();
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
}

/// So many requests of a verified caller at once, each of which leaves a line in the log.
async fn many(served: &Served, token: &str, requests: usize) {
    let address = served.public.trim_start_matches("http://");
    let request =
        format!("POST /token HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n");
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut answers, mut calls) = stream.into_split();
    let writing = tokio::spawn(async move {
        let some = request.repeat(100);
        for _ in 0..requests / 100 {
            calls.write_all(some.as_bytes()).await.unwrap();
        }
        calls
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        calls
    });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(1..) = answers.read(&mut buffer).await {}
    writing.await.unwrap();
}

#[tokio::test]
async fn a_stalled_reader_of_the_log_does_not_delay_the_end() {
    let served = Served::start(None, &[]).await;
    served.process.stall();
    // The pipe fills up, then the buffer before it, which takes 16384 lines.
    let token = served.token("alex");
    let parts = (0..4).map(|_| many(&served, &token, 4400));
    futures_util::future::join_all(parts).await;
    let scraped = Scrape::of(served.management.trim_start_matches("http://")).await;
    let lost = scraped.sum("acs_broker_telemetry_dropped_total", &[("acs_broker_signal", "logs")]);
    assert!(lost >= 1.0, "the buffer is not full");
    served.process.signal("TERM");
    let ended = served.process.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn a_second_signal_ends_a_flush_too() {
    let (served, collector) = exported_with(&[]).await;
    let _gate = collector.hang();
    assert_eq!(served.post_token(&served.token("alex")).await.status, 200);
    served.process.signal("TERM");
    // All is done but what the collector does not take; it would have seconds.
    served
        .process
        .line("stopped", |line| line.contains("\"stopped\"").then_some(()))
        .await;
    served.process.signal("INT");
    let ended = served.process.end().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
}
