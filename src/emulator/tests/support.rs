//! A running emulator with a clock that stands still, and a bare HTTP client.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::clock::ManualClock;
use crate::emulator::{Emulator, Scenario, TokenRequest};

pub(super) const EXCHANGE: &str = "/access/entra/:exchangeAccessToken?api-version=2025-03-02-preview";
pub(super) const DATE: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

/// Names and values, of headers or form fields.
pub(super) type Pairs<'a> = &'a [(&'a str, &'a str)];

pub(super) struct Stage {
    pub(super) emulator: Emulator,
    pub(super) clock: Arc<ManualClock>,
}

pub(super) async fn stage() -> Stage {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let emulator = Emulator::start(Scenario::demo(), loopback(), None, clock.clone())
        .await
        .unwrap();
    Stage { emulator, clock }
}

pub(super) fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Sends one request; `None` if the connection closes without an answer.
pub(super) async fn call(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<Answer> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    write!(head, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A reset after the answer does not matter.
    let _ = stream.read_to_end(&mut bytes).await;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    Some(Answer {
        status: head[9..12].parse().unwrap(),
        head,
        body: bytes[end + 4..].to_vec(),
    })
}

impl Stage {
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.emulator.address()).await.unwrap()
    }

    pub(super) fn host(&self) -> String {
        self.emulator.address().to_string()
    }

    pub(super) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.try_send(method, path, headers, body).await.unwrap()
    }

    pub(super) async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Answer> {
        let host = self.host();
        let mut all = Vec::from(headers);
        if !headers.iter().any(|(name, _)| *name == "host") {
            all.push(("host", &host));
        }
        call(self.connect().await, method, path, &all, body).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub(super) fn token(&self, user: &str, overrides: Value) -> String {
        let overrides: TokenRequest = serde_json::from_value(overrides).unwrap();
        self.emulator.issue_token(user, &overrides).unwrap()
    }

    pub(super) async fn exchange(&self, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.send("POST", EXCHANGE, &headers, "{}").await
    }
}

/// The claims of a token, unverified.
pub(super) fn claims(token: &str) -> Value {
    Value::Object(crate::emulator::jwt::decode(token).unwrap().claims)
}
