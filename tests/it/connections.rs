//! Who may have a connection and what for: many streams, idle ones, expectations, and places for probes.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::http::{raw, read_to_end};
use crate::support::stack::Stack;

/// Upper bound of anything awaited here; nothing is expected to take this long.
const SOON: Duration = Duration::from_secs(8);

/// A client over HTTP/2 that does only what it is asked for.
async fn http2(address: std::net::SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

fn post(fields: &[(&str, &str)]) -> Request<()> {
    let request = Request::post("http://broker.test/token");
    let request = fields
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(()).unwrap()
}

#[tokio::test]
async fn who_expects_100_continue_gets_it_over_http_2() {
    let stack = Stack::start().await;
    let bearer = format!("Bearer {}", stack.user("alex").token());
    let fields = [
        ("content-type", "application/json"),
        ("expect", "100-continue"),
        ("authorization", &bearer),
    ];
    // On one connection, beside each other, so that every 100 must be on its own stream.
    let mut client = http2(stack.public).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        client = client.ready().await.unwrap();
        waiting.push(client.send_request(post(&fields), false).unwrap());
    }
    for (mut answer, mut body) in waiting {
        let interim = std::future::poll_fn(|cx| answer.poll_informational(cx));
        let interim = tokio::time::timeout(SOON, interim)
            .await
            .expect("a 100 at once")
            .unwrap()
            .unwrap();
        assert_eq!(interim.status(), 100);
        body.send_data(Bytes::from_static(b"{}"), true).unwrap();
        let answer = tokio::time::timeout(SOON, answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
    }
    // What needs no body, or is refused before it, is answered without.
    for (fields, ends, status) in [
        (&fields[..], true, 200),
        (
            &[("content-length", "70000"), fields[0], fields[1], fields[2]],
            false,
            413,
        ),
    ] {
        client = client.ready().await.unwrap();
        let (answer, _body) = client.send_request(post(fields), ends).unwrap();
        let answer = tokio::time::timeout(SOON, answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), status);
    }
}

#[tokio::test]
async fn a_connection_takes_a_hundred_streams() {
    let stack = Stack::start().await;
    let bearer = format!("Bearer {}", stack.user("alex").token());
    let fields = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let mut client = http2(stack.public).await;
    let mut open = Vec::new();
    for _ in 0..100 {
        client = client.ready().await.unwrap();
        open.push(client.send_request(post(&fields), false).unwrap());
    }
    // All are open at once: none has its body yet.
    for (_, body) in &mut open {
        body.send_data(Bytes::from_static(b"{}"), true).unwrap();
    }
    for (answer, _) in open {
        let answer = tokio::time::timeout(SOON, answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(client.current_max_send_streams(), 100, "what is announced");
}

#[tokio::test]
async fn probes_are_served_while_clients_hold_connections() {
    let stack = Stack::start().await;
    let mut held = Vec::new();
    // Idle over HTTP/2, silent, with half a head, and with half a body.
    for number in 0..240 {
        match number % 4 {
            0 => {
                let mut stream = TcpStream::connect(stack.management).await.unwrap();
                let _ = stream
                    .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
                    .await;
                held.push(stream);
            }
            kind => {
                let mut stream = TcpStream::connect(stack.management).await.unwrap();
                let sent: &[u8] = match kind {
                    1 => b"",
                    2 => b"GET /livez HT",
                    _ => b"PUT /loglevel HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
                };
                let _ = stream.write_all(sent).await;
                held.push(stream);
            }
        }
    }
    for _ in 0..5 {
        let probe = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = tokio::time::timeout(SOON, raw(stack.management, probe)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }
}

#[tokio::test]
async fn half_a_head_over_http_2_ends_in_time() {
    let stack = Stack::builder().set("server.request_timeout", "300ms").start().await;
    // A header block that never ends, beside a stream that was served.
    let mut stream = TcpStream::connect(stack.public).await.unwrap();
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let head = b"\x82\x86\x84\x01\x01x";
    let frame = |flags: u8, stream: u8| [&[0, 0, 6, 1, flags, 0, 0, 0, stream], &head[..]].concat();
    sent.extend(frame(5, 1));
    sent.extend(frame(1, 3));
    stream.write_all(&sent).await.unwrap();
    tokio::time::timeout(SOON, read_to_end(&mut stream))
        .await
        .expect("closed in time");
}
