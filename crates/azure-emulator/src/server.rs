//! Accepts connections on the loopback address: plain http and, given a certificate, TLS on the same port.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::distort::HangUp;
use super::site::OverTls;

/// The first byte of a TLS connection: a handshake record (RFC 8446 5.1). No http request begins with it.
const TLS_HANDSHAKE: u8 = 0x16;
/// How long a client may take to begin: first byte, handshake, request head.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves until `stop` is cancelled. Connections are then cut.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, acceptor.clone(), router.clone());
                let stop = stop.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        result = connection => {
                            if let Err(error) = result {
                                tracing::debug!(%error, "emulator connection ended");
                            }
                        }
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "emulator cannot accept a connection");
                // Out of file descriptors, most likely: waiting helps, spinning does not.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router) -> Result<(), ConnectionError> {
    // Answers are small and wanted at once.
    stream.set_nodelay(true)?;
    let Some(acceptor) = tls else {
        return http(stream, router, false).await;
    };
    let mut first = [0];
    tokio::time::timeout(START_TIMEOUT, stream.peek(&mut first)).await??;
    if first == [TLS_HANDSHAKE] {
        let stream = tokio::time::timeout(START_TIMEOUT, acceptor.accept(stream)).await??;
        http(stream, router, true).await
    } else {
        http(stream, router, false).await
    }
}

async fn http<S>(stream: S, router: Router, over_tls: bool) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            if over_tls {
                request.extensions_mut().insert(OverTls);
            }
            let response: Response = match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            // An error instead of a response makes hyper close the connection, or reset the HTTP/2 stream.
            if response.extensions().get::<HangUp>().is_some() {
                return Err(io::Error::other("connection dropped by a fault"));
            }
            Ok(response)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(START_TIMEOUT)
        .http2()
        .timer(TokioTimer::new());
    builder.serve_connection(TokioIo::new(stream), service).await
}
