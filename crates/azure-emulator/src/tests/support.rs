//! A running emulator with a clock that stands still, and a bare HTTP client.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Emulator, Scenario, TokenRequest};
use base::clock::ManualClock;

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
    Value::Object(crate::jwt::decode(token).unwrap().claims)
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
pub(super) const JSON: (&str, &str) = ("content-type", "application/json");
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// When every test begins, in seconds since 1970.
pub(super) const NOW: i64 = 1_767_225_600;

/// Fields with some of them replaced, added, or, given an empty value, taken out.
pub(super) fn changed<'a>(fields: &[(&'a str, &'a str)], changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = fields.to_vec();
    for (name, value) in changes {
        all.retain(|(found, _)| found != name);
        if !value.is_empty() {
            all.push((name, value));
        }
    }
    all
}

impl Stage {
    /// Asks a tenant's token endpoint.
    pub(super) async fn ask(&self, tenant: &str, fields: Pairs<'_>) -> Answer {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        let path = format!("/{tenant}/oauth2/v2.0/token");
        self.send("POST", &path, &[FORM], &form.finish()).await
    }

    /// Sends JSON with a bearer token.
    pub(super) async fn send_as(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.send(method, path, &[("authorization", &bearer), JSON], body).await
    }
}

/// The error and the number behind `AADSTS` of an answer.
pub(super) fn entra_error(answer: &Answer) -> (u16, String, u64) {
    let body = answer.json();
    let code = body["error_codes"][0].as_u64().unwrap();
    let description = body["error_description"].as_str().unwrap();
    assert!(description.starts_with(&format!("AADSTS{code}: ")), "{description}");
    for part in ["Trace ID: ", "Correlation ID: ", "Timestamp: "] {
        assert!(description.contains(part), "{description}");
    }
    (answer.status, body["error"].as_str().unwrap().to_owned(), code)
}

/// A client's certificate with its private key.
pub(super) struct ClientCertificate {
    pub(super) pem: String,
    pair: aws_lc_rs::rsa::KeyPair,
    der: Vec<u8>,
}

impl ClientCertificate {
    pub(super) fn new() -> Self {
        Self::lasting(2020, 2040)
    }

    /// One that is good from the start of one year to the start of another.
    pub(super) fn lasting(from: i32, to: i32) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(to, 1, 1);
        let certificate = parameters.self_signed(&pair).unwrap();
        Self {
            pem: certificate.pem(),
            pair: aws_lc_rs::rsa::KeyPair::from_pkcs8(&pair.serialize_der()).unwrap(),
            der: certificate.der().to_vec(),
        }
    }

    pub(super) fn x5t(&self) -> String {
        let digest = &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
        URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(digest, &self.der))
    }

    pub(super) fn x5t_s256(&self) -> String {
        URL_SAFE_NO_PAD.encode(crate::jwt::sha256(&self.der))
    }

    /// Signs as the header's `alg` says.
    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let algorithm = if header["alg"] == "PS256" {
            &aws_lc_rs::signature::RSA_PSS_SHA256
        } else {
            &aws_lc_rs::signature::RSA_PKCS1_SHA256
        };
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = aws_lc_rs::rand::SystemRandom::new();
        self.pair
            .sign(algorithm, &random, signed.as_bytes(), &mut signature)
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
