//! A connection that is idle for a while, over a stream in memory and in a time that is not waited for.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::head::HeadLimits;
use super::super::limiter::ConnectionLimiter;
use super::super::rest::{IDLE, LONGEST};
use super::super::{ServeOptions, Shared};
use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: broker.test\r\n\r\n";
/// What hyper reads into at once.
const BUFFER: usize = 8 * 1024;

/// The server's side of a stream; it keeps how much was last asked for.
struct Observed {
    inner: DuplexStream,
    asked: Arc<Mutex<usize>>,
    /// Whether it fails when it is read next: once, as TLS does, and then nothing comes any more.
    breaks: Arc<AtomicBool>,
    broken: bool,
}

impl AsyncRead for Observed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        *self.asked.lock().unwrap() = buf.remaining();
        if self.broken {
            return Poll::Pending;
        }
        if self.breaks.load(Ordering::Relaxed) {
            self.broken = true;
            return Poll::Ready(Err(std::io::ErrorKind::InvalidData.into()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Observed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A connection being served, by a handler that answers with the body it got.
struct Serving {
    client: DuplexStream,
    asked: Arc<Mutex<usize>>,
    breaks: Arc<AtomicBool>,
    shared: Arc<Shared>,
    ended: JoinHandle<()>,
}

impl Serving {
    fn start() -> Self {
        let heads = HeadLimits {
            fields: 100,
            bytes: 64 * 1024,
            read: Vec::new(),
            on_refusal: Vec::new(),
        };
        let shared = Arc::new(Shared {
            options: ServeOptions::new(16, heads),
            acceptor: None,
            draining: CancellationToken::new(),
            cut: Arc::new(CancellationToken::new()),
            cut_connections: AtomicUsize::new(0),
        });
        let connection = Connection {
            peer: "192.0.2.1:1234".parse().unwrap(),
            scheme: Scheme::Http,
            handler: Handler::new(|request: http::Request<Body>| async {
                if request.uri().path() == "/slow" {
                    tokio::time::sleep(IDLE * 10).await;
                }
                let body = request.into_body().collect().await.unwrap().to_bytes();
                Response::new(Body::from([b"got ", &body[..], b"."].concat()))
            }),
            linger: Linger::default(),
            activity: ConnectionActivity::new(ConnectionLimiter::for_test()),
            shared: Arc::clone(&shared),
        };
        let (server, client) = duplex(64 * 1024);
        let asked = Arc::new(Mutex::new(0));
        let breaks = Arc::new(AtomicBool::new(false));
        let server = connection.linger.stream(Observed {
            inner: server,
            asked: Arc::clone(&asked),
            breaks: Arc::clone(&breaks),
            broken: false,
        });
        Self {
            client,
            asked,
            breaks,
            shared,
            ended: tokio::spawn(connection.http1(server, Vec::new())),
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.unwrap();
    }

    /// Reads as many answers as there are bodies, which must be these.
    async fn answers(&mut self, bodies: &[&str]) {
        let mut read = String::new();
        for body in bodies {
            let end = format!("\r\n\r\ngot {body}.");
            while !read.contains(&end) {
                let mut bytes = [0; 1024];
                let count = self.client.read(&mut bytes).await.unwrap();
                assert_ne!(count, 0, "closed after {read:?}");
                read.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            }
            read.drain(..read.find(&end).unwrap() + end.len());
        }
        assert_eq!(read, "");
    }

    /// Whether hyper's buffers are gone.
    fn is_at_rest(&self) -> bool {
        (1..BUFFER).contains(&*self.asked.lock().unwrap())
    }

    /// Waits for the end. Gives how long it took until the client had it, which then closes its side too.
    async fn ends(mut self) -> Duration {
        let start = tokio::time::Instant::now();
        let mut rest = Vec::new();
        self.client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"", "the server closes, and says nothing");
        let took = start.elapsed();
        drop(self.client);
        self.ended.await.unwrap();
        took
    }
}

async fn at_rest() -> Serving {
    let mut served = Serving::start();
    served.send(GET).await;
    served.answers(&[""]).await;
    assert!(!served.is_at_rest());
    tokio::time::sleep(IDLE * 2).await;
    assert!(served.is_at_rest());
    served
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_rests_and_serves_what_comes_next() {
    let mut served = at_rest().await;
    // Whatever comes, and in whatever pieces.
    let long = format!("POST / HTTP/1.1\r\nContent-Length: 9000\r\n\r\n{}", "x".repeat(9000));
    let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for (bytes, bodies) in [
        (GET, &[""][..]),
        (&GET.repeat(3), &["", "", ""]),
        (long.as_bytes(), &[&"x".repeat(9000)]),
        (chunked, &["abc"]),
        (b"\r\nGET / HTTP/1.1\r\n\r\n", &[""]),
    ] {
        served.send(bytes).await;
        served.answers(bodies).await;
        assert!(!served.is_at_rest());
        tokio::time::sleep(IDLE * 2).await;
        assert!(served.is_at_rest(), "after {}", String::from_utf8_lossy(bytes));
        for byte in bytes {
            served.send(&[*byte]).await;
            tokio::task::yield_now().await;
        }
        served.answers(bodies).await;
        if bytes == chunked {
            // Where such a body ends is not seen, but where the next head does.
            tokio::time::sleep(LONGEST * 2).await;
            assert!(!served.is_at_rest());
            served.send(GET).await;
            served.answers(&[""]).await;
            tokio::time::sleep(LONGEST).await;
        }
        tokio::time::sleep(IDLE * 2).await;
        assert!(served.is_at_rest(), "after {}", String::from_utf8_lossy(bytes));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_asked_for_an_upgrade_rests_as_well() {
    // hyper has an ending of its own for it.
    let mut served = Serving::start();
    for _ in 0..2 {
        served
            .send(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
            .await;
        served.answers(&[""]).await;
        tokio::time::sleep(IDLE * 5).await;
        assert!(served.is_at_rest());
    }
    served.send(GET).await;
    served.answers(&[""]).await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_began_with_the_end_of_a_body_is_kept() {
    for (part, more, rest) in [
        ("GET / HTTP/1.1\r\nHo", "", "st: x\r\n\r\n"),
        ("GET / HTTP/1.1\r\nHost: x\r\n", "", "\r\n"),
        // As long as the body, which has come already.
        (
            "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
            "GET ",
            "/ HTTP/1.1\r\n\r\n",
        ),
    ] {
        let mut served = Serving::start();
        served
            .send(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            .await;
        tokio::time::sleep(IDLE / 2).await;
        served.send(format!("0\r\n\r\n{part}").as_bytes()).await;
        if part.starts_with("POST") {
            served.answers(&["abc", "\r\n\r\n"]).await;
        } else {
            served.answers(&["abc"]).await;
        }
        served.send(more.as_bytes()).await;
        tokio::time::sleep(IDLE * 5).await;
        served.send(rest.as_bytes()).await;
        served.answers(&[""]).await;
        // Here it is known again what has come.
        served.send(GET).await;
        served.answers(&[""]).await;
        tokio::time::sleep(LONGEST * 2).await;
        assert!(served.is_at_rest(), "after {part:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_head_after_a_rest_is_not_awaited_for_longer() {
    let mut served = at_rest().await;
    served.send(b"GET / HT").await;
    let limit = served.shared.options.head_timeout;
    let took = served.ends().await;
    assert!(took >= limit && took < limit + IDLE, "{took:?}");

    // Nor by a drain, which lets answers be written.
    let mut served = at_rest().await;
    served.send(b"GET / HT").await;
    tokio::time::sleep(IDLE).await;
    served.shared.draining.cancel();
    let took = served.ends().await;
    assert!(took < IDLE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_breaks_at_rest_ends() {
    let mut served = at_rest().await;
    served.breaks.store(true, Ordering::Relaxed);
    served.send(b"?").await;
    let took = served.ends().await;
    assert!(took < IDLE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_does_not_rest() {
    let mut served = at_rest().await;
    // An answer, a head and a body that take longer than that.
    served.send(b"GET /slow HTTP/1.1\r\n\r\n").await;
    tokio::time::sleep(IDLE * 5).await;
    assert!(!served.is_at_rest());
    served.answers(&[""]).await;
    for piece in ["POST / HTTP/1.1\r\n", "Content-Length: 3\r\n\r\n", "a", "bc"] {
        served.send(piece.as_bytes()).await;
        tokio::time::sleep(LONGEST * 2).await;
        assert_eq!(served.is_at_rest(), piece == "bc", "{piece}");
    }
    served.answers(&["abc"]).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_busy_keeps_its_buffers() {
    let mut served = Serving::start();
    for _ in 0..20 {
        served.send(GET).await;
        served.answers(&[""]).await;
        assert!(!served.is_at_rest());
        tokio::time::sleep(IDLE / 2).await;
    }
    assert!(!served.is_at_rest());
}

#[tokio::test(start_paused = true)]
async fn a_connection_at_rest_ends_as_any_other() {
    // By its client.
    let mut served = at_rest().await;
    served.client.shutdown().await.unwrap();
    served.ends().await;

    // By a drain.
    let served = at_rest().await;
    served.shared.draining.cancel();
    served.ends().await;

    // For want of a request.
    let served = at_rest().await;
    let keep_alive = served.shared.options.keep_alive_timeout;
    let took = served.ends().await;
    assert!(took <= keep_alive && took + IDLE * 3 > keep_alive, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_closed_after_its_answer_does_not_rest() {
    let mut served = Serving::start();
    served
        .send(b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 1\r\n\r\na")
        .await;
    served.answers(&["a"]).await;
    served.ends().await;
}
