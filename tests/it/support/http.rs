//! Requests and answers, in as few words as tables of cases need.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Making one reads the system's certificates, which takes a while; it keeps no connection, as runtimes come and go.
static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| client(|builder| builder));

/// A client of one's own.
#[expect(clippy::disallowed_methods, reason = "a test's own client; the one place")]
pub(crate) fn client(change: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder) -> reqwest::Client {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0);
    change(builder).build().unwrap()
}

/// A complete answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header's text, if it is there once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "{name} is there twice: {self:?}");
        Some(value.to_str().unwrap())
    }

    /// `200`, `401 InvalidToken/Expired` or, in OAuth's shape, `400 invalid_request InvalidToken`: status, error and
    /// inner error. Whatever else an error must have is checked on the way.
    pub(crate) fn outcome(&self) -> String {
        let json = self.json();
        assert!(self.header("x-ms-request-id").is_some(), "{self:?}");
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"), "{self:?}");
        if self.status < 400 {
            return self.status.to_string();
        }
        let code = self.header("x-ms-error-code").expect("x-ms-error-code");
        if [429, 503].contains(&self.status) {
            let wait: u64 = self.header("retry-after").expect("retry-after").parse().unwrap();
            assert!((1..=300).contains(&wait), "{self:?}");
        }
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        if let Some(error) = json["error"].as_str() {
            assert!(json["error_description"].is_string(), "{self:?}");
            return format!("{} {error} {code}", self.status);
        }
        let error = &json["error"];
        assert_eq!(error["code"], code, "{self:?}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{self:?}");
        match error["innererror"]["code"].as_str() {
            Some(inner) => format!("{} {code}/{inner}", self.status),
            None => format!("{} {code}", self.status),
        }
    }

    /// `x-cache`
    pub(crate) fn cache(&self) -> &str {
        assert_eq!(self.outcome(), "200");
        self.header("x-cache").expect("x-cache")
    }

    /// The ACS token, in whichever shape it came.
    pub(crate) fn token(&self) -> String {
        let json = self.json();
        let token = json["accessToken"]["token"].as_str().or(json["access_token"].as_str());
        token.unwrap_or_else(|| panic!("no token: {self:?}")).to_owned()
    }

    /// When the ACS token ends.
    pub(crate) fn expires_on(&self) -> jiff::Timestamp {
        self.json()["accessToken"]["expiresOn"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }
}

/// A request under construction.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    pub(crate) fn new(method: &str, url: impl Into<String>) -> Self {
        Self {
            method: method.parse().unwrap(),
            url: url.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name: http::HeaderName = name.parse().unwrap();
        self.headers.append(name, value.parse().unwrap());
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    /// Sends it on a connection of its own.
    pub(crate) async fn send(self) -> Answer {
        self.try_send().await.unwrap()
    }

    pub(crate) async fn try_send(self) -> Result<Answer, reqwest::Error> {
        self.send_with(&CLIENT).await
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own client; the one place")]
    pub(crate) async fn send_with(self, client: &reqwest::Client) -> Result<Answer, reqwest::Error> {
        let request = client
            .request(self.method, self.url)
            .headers(self.headers)
            .body(self.body);
        let mut response = request.send().await?;
        Ok(Answer {
            status: response.status().as_u16(),
            headers: std::mem::take(response.headers_mut()),
            body: response.bytes().await?,
        })
    }
}

/// Writes bytes as they are to a connection of its own, and reads until the other side closes it.
pub(crate) async fn raw(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    read_to_end(&mut stream).await
}

/// Reads until the other side closes the connection.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset after the answer ends it as well as a close does.
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}
