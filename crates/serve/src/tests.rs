//! Real sockets on loopback.

mod drain;
mod linger;
mod resets;
mod tls;

use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use http::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

/// Upper bound of anything awaited here; nothing is expected to take this long.
const SOON: Duration = Duration::from_secs(10);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: broker.test\r\n\r\n";

/// A listener being served.
struct Server {
    address: SocketAddr,
    signals: ShutdownSignals,
    ended: JoinHandle<Drained>,
}

impl Server {
    async fn start(router: Router, options: ServeOptions) -> Self {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, signals) = (listener.address(), ShutdownSignals::default());
        let ended = tokio::spawn(run(listener, router, options, signals.clone()));
        Self {
            address,
            signals,
            ended,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn ended(self) -> Drained {
        timeout(SOON, self.ended).await.unwrap().unwrap()
    }
}

fn options() -> ServeOptions {
    ServeOptions {
        head_timeout: SOON,
        drain_timeout: SOON,
        ..ServeOptions::new(16, heads())
    }
}

/// Heads of any kind; no field is read.
fn heads() -> HeadLimits {
    HeadLimits {
        fields: 100,
        bytes: 128 * 1024,
        read: Vec::new(),
        on_refusal: Vec::new(),
    }
}

fn hello() -> Router {
    Router::new().route(
        "/",
        get(
            async |Extension(Connected { peer, scheme, .. }): Extension<Connected>| {
                assert!(peer.ip().is_loopback());
                format!("hello over {}", scheme.as_str())
            },
        ),
    )
}

/// A handler that reports each arrival and answers when it is let go.
fn held() -> (Router, mpsc::UnboundedReceiver<()>, Arc<Semaphore>) {
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let release = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&release);
    let router = Router::new().route(
        "/",
        get(move || async move {
            arrived.send(()).unwrap();
            gate.acquire().await.unwrap().forget();
            "released"
        }),
    );
    (router, arrivals, release)
}

/// Reads until `end` stands in what was read.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = String::new();
    while !read.contains(end) {
        let mut bytes = [0; 1024];
        let count = timeout(SOON, stream.read(&mut bytes)).await.unwrap().unwrap();
        assert_ne!(count, 0, "closed after {read:?}");
        read.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    read
}

/// Everything up to the end of the connection, which must come.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    // A reset ends it as well.
    let _ = timeout(SOON, stream.read_to_end(&mut read)).await.unwrap();
    String::from_utf8(read).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a client of the broker, not the broker")]
fn client(adjust: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder) -> reqwest::Client {
    adjust(reqwest::Client::builder().no_proxy().timeout(SOON))
        .build()
        .unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a client of the broker, not the broker")]
async fn fetch(client: &reqwest::Client, url: &str) -> (Version, String) {
    let response = client.get(url).send().await.unwrap();
    (response.version(), response.text().await.unwrap())
}

#[tokio::test]
async fn excess_connections_wait_while_all_are_at_work() {
    let (router, mut arrivals, release) = held();
    let limited = ServeOptions {
        max_connections: 1,
        ..options()
    };
    let server = Server::start(router, limited).await;
    let mut first = server.connect().await;
    first.write_all(REQUEST).await.unwrap();
    arrivals.recv().await.unwrap();

    let mut second = server.connect().await;
    second.write_all(REQUEST).await.unwrap();
    let early = timeout(Duration::from_millis(300), arrivals.recv()).await;
    assert!(early.is_err(), "the second connection was served beside the first");

    // Once it is idle, it makes room.
    release.add_permits(2);
    read_until(&mut first, "released").await;
    assert_eq!(read_to_end(&mut first).await, "");
    read_until(&mut second, "released").await;
}

#[tokio::test]
async fn the_one_that_is_idle_for_longest_makes_room() {
    for http2 in [false, true] {
        let limited = ServeOptions {
            max_connections: 3,
            ..options()
        };
        let open = limited.open.clone();
        let server = Server::start(hello(), limited).await;
        // The oldest is a client of this version; it is asked to close.
        let oldest = client(|builder| {
            if http2 {
                builder.http2_prior_knowledge()
            } else {
                builder
            }
        });
        let url = format!("http://{}/", server.address);
        fetch(&oldest, &url).await;
        let mut others = Vec::new();
        for _ in 0..2 {
            let mut other = server.connect().await;
            other.write_all(REQUEST).await.unwrap();
            read_until(&mut other, "hello").await;
            others.push(other);
        }
        // Tiny requests now and then keep no permit against newcomers.
        let mut newcomer = server.connect().await;
        newcomer.write_all(REQUEST).await.unwrap();
        read_until(&mut newcomer, "hello").await;
        assert_eq!(open.evicted(), 1, "one for one");
        for other in &mut others {
            other.write_all(REQUEST).await.unwrap();
            read_until(other, "hello").await;
        }
        // Its client just opens another.
        fetch(&oldest, &url).await;
        assert_eq!(open.evicted(), 2);
    }
}

#[tokio::test]
async fn one_address_has_no_more_than_its_part() {
    let limited = ServeOptions {
        max_connections_per_address: Some(2),
        ..options()
    };
    let open = limited.open.clone();
    let server = Server::start(hello(), limited.clone()).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut connection = server.connect().await;
        connection.write_all(REQUEST).await.unwrap();
        read_until(&mut connection, "hello").await;
        held.push(connection);
    }
    let mut third = server.connect().await;
    assert_eq!(read_to_end(&mut third).await, "");
    assert_eq!((open.count(), open.refused()), (2, 1));
    // Another address, and the same after one has gone.
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(server.address).await.unwrap();
    other.write_all(REQUEST).await.unwrap();
    read_until(&mut other, "hello").await;
    held.pop();
    while open.count() > 2 {
        tokio::task::yield_now().await;
    }
    let mut again = server.connect().await;
    again.write_all(REQUEST).await.unwrap();
    read_until(&mut again, "hello").await;

    // A proxy brings everybody.
    let behind = ServeOptions {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..limited
    };
    let server = Server::start(hello(), behind).await;
    for _ in 0..5 {
        let mut connection = server.connect().await;
        connection.write_all(REQUEST).await.unwrap();
        read_until(&mut connection, "hello").await;
        held.push(connection);
    }
}

#[tokio::test]
async fn idle_connections_are_kept_apart_from_slow_heads() {
    // Twice the limit for heads is more than that for idle ones.
    let (head, idle, before) = [500, 900, 700].map(Duration::from_millis).into();
    let patient = ServeOptions {
        head_timeout: head,
        keep_alive_timeout: idle,
        ..options()
    };
    let server = Server::start(hello(), patient).await;
    let silent = async |client: &mut TcpStream| {
        let start = tokio::time::Instant::now();
        assert_eq!(read_to_end(client).await, "");
        start.elapsed()
    };
    // A client that comes back just before the limit, which is longer than that for heads.
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.write_all(REQUEST).await.unwrap();
        read_until(&mut client, "hello").await;
        let mut byte = [0];
        let early = timeout(before, client.read(&mut byte)).await;
        assert!(early.is_err(), "closed before the limit");
    }
    client.write_all(REQUEST).await.unwrap();
    read_until(&mut client, "hello").await;
    // One that comes back after it.
    assert!(silent(&mut client).await >= idle);

    // A later head that stops: alone, after a rest, behind a request, and behind a body.
    let with_body = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}GET / HT";
    for (sent, pause, then) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Duration::ZERO, "GET / HT"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", rest::IDLE * 2, "GET / HT"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT", Duration::ZERO, ""),
        (
            "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\nGET",
            Duration::ZERO,
            "",
        ),
        (with_body, Duration::ZERO, ""),
    ] {
        let mut client = server.connect().await;
        client.write_all(sent.as_bytes()).await.unwrap();
        read_until(&mut client, "HTTP/1.1").await;
        tokio::time::sleep(pause).await;
        client.write_all(then.as_bytes()).await.unwrap();
        let start = tokio::time::Instant::now();
        read_to_end(&mut client).await;
        assert!(start.elapsed() < idle, "{sent:?}, {then:?} is as good as idle");
    }
}

#[tokio::test]
async fn a_connection_is_one_to_the_client_however_it_is_cut() {
    // Pipelined requests and bodies, in every split: hyper must see what was sent.
    let text = "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\nPOST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\r\n\r\n\
                POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
                GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let router = Router::new().route(
        "/",
        axum::routing::any(async |body: axum::body::Bytes| format!("<{}>", body.len())),
    );
    let server = Server::start(router, options()).await;
    for step in [1, 2, 3, 7, 30, text.len()] {
        let mut client = server.connect().await;
        for piece in text.as_bytes().chunks(step) {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        let read = read_to_end(&mut client).await;
        let bodies: Vec<&str> = ["<0>", "<4>", "<3>"]
            .into_iter()
            .filter(|body| read.contains(body))
            .collect();
        assert_eq!(bodies, ["<0>", "<4>", "<3>"], "{read}");
        assert_eq!(read.matches("HTTP/1.1 200").count(), 4, "{read}");
    }
}

#[tokio::test]
async fn slow_heads_and_silent_clients_are_closed() {
    let hasty = ServeOptions {
        head_timeout: Duration::from_millis(100),
        ..options()
    };
    let server = Server::start(hello(), hasty).await;
    for sent in [&b""[..], b"G", b"GET / HTTP/1.1\r\nHost: ", b"PRI * HTTP/2.0\r\n"] {
        let mut client = server.connect().await;
        client.write_all(sent).await.unwrap();
        let read = read_to_end(&mut client).await;
        assert!(!read.contains("hello"), "{read}");
    }
}

#[tokio::test]
async fn large_heads_reach_the_router() {
    let server = Server::start(hello(), options()).await;
    let mut client = server.connect().await;
    let padding = "x".repeat(50 * 1024);
    let request = format!("GET / HTTP/1.1\r\nHost: broker.test\r\nX-Padding: {padding}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut client, "hello over http").await;
}

#[tokio::test]
async fn a_body_of_two_lengths_ends_the_connection() {
    // What one side of a proxy takes for a body, the other could take for a request (RFC 9112 section 6.1).
    let server = Server::start(hello(), options()).await;
    let mut client = server.connect().await;
    let request =
        "GET / HTTP/1.1\r\nHost: broker.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    client.write_all(REQUEST).await.unwrap();
    let read = read_to_end(&mut client).await;
    assert_eq!(read.matches("HTTP/1.1").count(), 1, "{read}");
}

#[tokio::test]
async fn http2_needs_no_tls() {
    let server = Server::start(hello(), options()).await;
    let client = client(reqwest::ClientBuilder::http2_prior_knowledge);
    let (version, body) = fetch(&client, &format!("http://{}/", server.address)).await;
    assert_eq!((version, body.as_str()), (Version::HTTP_2, "hello over http"));
}
