//! One connection, from the TLS handshake to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::linger::Linger;
use super::{ServeOptions, Shared};

/// More than any head that the API layer answers with its own 431, which a head beyond its bound still gets.
const MAX_HEAD_BYTES: u32 = 128 * 1024;

/// Header fields in one HTTP/1.1 head; hyper's own default is 100. The shortest fields that fit into 32 KiB would be
/// more, but nobody sends those, and room for them is set aside for each head.
const MAX_HEADER_FIELDS: usize = 2048;

/// Concurrent streams of one HTTP/2 connection. RFC 9113 section 6.5.2 recommends 100, so that parallelism is not
/// limited; each costs memory from its head on, and a client that needs more opens another connection.
const MAX_STREAMS: u32 = 32;

/// Streams that a client opened and reset again before they were looked at ("rapid reset", CVE-2023-44487).
const MAX_RESET_STREAMS: usize = 20;

/// How long an answer may take to be written out, in a drain.
const FLUSH: Duration = Duration::from_millis(500);

/// HTTP/2 PING period, and how long its answer may take.
const PING: Duration = Duration::from_secs(20);

/// A connection without a request for this long is closed. HTTP/1.1 is bound tighter, by the head timeout.
const IDLE_LIMIT: Duration = Duration::from_mins(1);

/// The scheme a request arrived by, as a request extension: the URI of a request does not tell it in HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// A plain connection.
    Http,
    /// TLS ends here.
    Https,
}

impl Scheme {
    /// `http` or `https`
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Whether connections are being cut, as a request extension: a request that is dropped is then not its client's doing.
#[derive(Debug, Clone)]
pub struct Cut(CancellationToken);

impl Cut {
    /// Whether they are.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Which requests a connection has seen.
#[derive(Debug, Clone, Copy, Default)]
struct Activity {
    in_flight: usize,
    served: bool,
}

/// A request being worked on; counted until its answer is known or it is given up.
struct InFlight(watch::Sender<Activity>);

impl InFlight {
    fn start(activity: &watch::Sender<Activity>) -> Self {
        activity.send_modify(|activity| {
            activity.in_flight += 1;
            activity.served = true;
        });
        Self(activity.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|activity| activity.in_flight -= 1);
    }
}

/// Serves one accepted connection to its end.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, router: Router, shared: &Shared) {
    let linger = Linger::default();
    let stream = linger.stream(stream);
    let Some(acceptor) = &shared.acceptor else {
        // Both versions, told apart by HTTP/2's preface (prior knowledge, RFC 9113 section 3.3).
        let service = (Scheme::Http, peer, router);
        return exchange(stream, builder(&shared.options), service, linger, shared).await;
    };
    let handshake = tokio::time::timeout(shared.options.head_timeout, acceptor.accept(stream));
    let stream = tokio::select! {
        result = handshake => match result {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => return tracing::debug!("TLS handshake timed out"),
        },
        // No request can have come yet.
        () = shared.draining.cancelled() => return,
    };
    let builder = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        builder(&shared.options).http2_only()
    } else {
        builder(&shared.options).http1_only()
    };
    exchange(stream, builder, (Scheme::Https, peer, router), linger, shared).await;
}

fn builder(options: &ServeOptions) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_timeout)
        .max_buf_size(MAX_HEAD_BYTES as usize)
        .max_headers(MAX_HEADER_FIELDS)
        .keep_alive(true)
        // A client that closes its side has left; nobody is there for whom to go on.
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES)
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

/// Reads requests and writes answers until either side ends it.
async fn exchange<S>(
    stream: S,
    builder: Builder<TokioExecutor>,
    (scheme, peer, router): (Scheme, SocketAddr, Router),
    linger: Linger,
    shared: &Shared,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (activity, seen) = watch::channel(Activity::default());
    let drained = seen.clone();
    let cut = Cut(shared.cut.clone());
    let requests = linger.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(cut.clone());
        let (request, announcement) = requests.request(request);
        let answer = answer(request, router.clone(), scheme, peer, InFlight::start(&activity));
        async { answer.await.map(|response| announcement.on(response)) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut idle = pin!(idle(seen, shared.options.head_timeout));

    let went_idle = tokio::select! {
        result = connection.as_mut() => return ended(result),
        () = shared.draining.cancelled() => false,
        served = idle.as_mut() => {
            // Not one request: there is nothing to finish and nobody to say good-bye to.
            if !served {
                return;
            }
            true
        }
    };
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        result = connection => ended(result),
        () = shared.cut.cancelled() => {
            shared.cut_connections.fetch_add(1, Ordering::Relaxed);
        }
        // hyper goes on waiting for the rest of a half-sent head, which is no request in flight.
        () = quiet(drained, linger), if !went_idle => {}
        // A request may have crossed the good-bye; it gets the time that a request gets.
        () = tokio::time::sleep(shared.options.head_timeout), if went_idle => {}
    }
}

async fn answer(
    mut request: Request<Body>,
    router: Router,
    scheme: Scheme,
    peer: SocketAddr,
    in_flight: InFlight,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    request.extensions_mut().insert(scheme);
    let response = router.oneshot(request).await;
    drop(in_flight);
    response
}

/// Ends when no request has been in flight for long enough that the last answer is written.
async fn quiet(mut activity: watch::Receiver<Activity>, linger: Linger) {
    loop {
        let in_flight = activity.borrow_and_update().in_flight;
        let changed = activity.changed();
        let changed = if in_flight > 0 {
            changed.await
        } else {
            match tokio::time::timeout(FLUSH, changed).await {
                Ok(changed) => changed,
                // Bounded by itself, and the connection ends with it.
                Err(_) if linger.is_under_way() => return std::future::pending().await,
                Err(_) => return,
            }
        };
        if changed.is_err() {
            // The service is gone: so is the connection, whose own end is awaited elsewhere.
            return std::future::pending().await;
        }
    }
}

/// Ends when a connection has had no request for too long: at its start `head_timeout`, because hyper itself
/// waits without limit for a connection's first bytes and for HTTP/2's heads. Tells whether there ever was one.
async fn idle(mut activity: watch::Receiver<Activity>, head_timeout: Duration) -> bool {
    loop {
        let now = *activity.borrow_and_update();
        let limit = if now.served { IDLE_LIMIT } else { head_timeout };
        let changed = activity.changed();
        let changed = if now.in_flight > 0 {
            changed.await
        } else {
            match tokio::time::timeout(limit, changed).await {
                Ok(changed) => changed,
                Err(_) => return now.served,
            }
        };
        if changed.is_err() {
            // The service is gone: so is the connection, whose own end is awaited elsewhere.
            return std::future::pending().await;
        }
    }
}

fn ended(result: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = result {
        // Clients leave in the middle all the time: nothing an operator could act on.
        tracing::debug!(error, "connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_drain_lets_the_last_answer_reach_its_client() {
        let (_activity, seen) = watch::channel(Activity::default());
        let linger = Linger::default();
        let waiting = tokio::spawn(quiet(seen.clone(), linger.clone()));
        let start = tokio::time::Instant::now();
        quiet(seen, Linger::default()).await;
        assert_eq!(start.elapsed(), FLUSH);
        waiting.await.unwrap();

        let (_activity, seen) = watch::channel(Activity::default());
        linger.begin();
        let waiting = tokio::spawn(quiet(seen, linger));
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert!(!waiting.is_finished(), "the connection ends it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_request_is_awaited_shorter_than_the_next() {
        let (activity, seen) = watch::channel(Activity::default());
        let start = tokio::time::Instant::now();
        assert!(!idle(seen, HEAD).await);
        assert_eq!(start.elapsed().as_secs(), HEAD.as_secs());

        let idle = tokio::spawn(idle(activity.subscribe(), HEAD));
        let request = InFlight::start(&activity);
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert!(!idle.is_finished(), "a request is in flight");
        let answered = tokio::time::Instant::now();
        drop(request);
        assert!(idle.await.unwrap());
        assert_eq!(answered.elapsed().as_secs(), IDLE_LIMIT.as_secs());
    }
}
