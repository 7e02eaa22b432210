//! Real connections: what keeps them alive, and what replaces them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue};
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::{Client, ExporterSettings, Outcome, Tls, grpc};
use crate::environment::Protocol;
use base::clock::SystemClock;

/// A server whose every answer is `reply`.
async fn server(reply: impl Fn() -> Response + Clone + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(async move || reply());
    tokio::spawn(async move { axum::serve(listener, router).await });
    address.to_string()
}

fn grpc(message: &ExportTraceServiceResponse) -> Response {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&message);
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(frame)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(Body::new(body)).unwrap()
}

fn settings(protocol: Protocol, address: &str) -> ExporterSettings {
    ExporterSettings {
        protocol,
        endpoint: format!("http://{address}"),
        timeout: Duration::from_secs(60),
        headers: HeaderMap::new(),
        gzip: false,
        tls: Tls::default(),
    }
}

fn request() -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::default()
}

const TAKEN: Outcome = Outcome::Taken { rejected: 0 };

#[tokio::test]
async fn an_idle_connection_that_answers_no_ping_is_closed_before_it_is_needed() {
    let collector = server(|| grpc(&ExportTraceServiceResponse::default())).await;
    let wire = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = wire.local_addr().unwrap().to_string();
    let (swallow, swallowed) = oneshot::channel();
    let (reports_closed, mut closed) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        // The first connection carries until it is to swallow, and reports when it is closed.
        let (mut near, _) = wire.accept().await.unwrap();
        let mut far = TcpStream::connect(&collector).await.unwrap();
        tokio::select! {
            _ = swallowed => {}
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        }
        tokio::spawn(async move {
            let mut nowhere = [0; 1024];
            while let Ok(1..) = near.read(&mut nowhere).await {}
            reports_closed.send(()).unwrap();
        });
        let (mut near, _) = wire.accept().await.unwrap();
        let mut far = TcpStream::connect(&collector).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    let keep_alive = grpc::KeepAlive {
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(50),
    };
    let client = grpc::Client::new(&settings(Protocol::Grpc, &address), keep_alive).unwrap();
    assert_eq!(client.send(request()).await, TAKEN);
    swallow.send(()).unwrap();
    // Nothing is sent meanwhile: pings alone find out.
    closed.recv().await.unwrap();
    // On the old connection this would wait for a minute.
    let sent = tokio::time::timeout(Duration::from_secs(20), client.send(request()));
    assert_eq!(sent.await.unwrap(), TAKEN);
}

#[tokio::test]
async fn the_headers_go_along_and_what_was_not_taken_is_reported() {
    let partial = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 7,
            error_message: String::new(),
        }),
    };
    let body = partial.encode_to_vec();
    let http = server(move || Response::new(Body::from(body.clone()))).await;
    let over_grpc = server(move || grpc(&partial)).await;
    for (protocol, address) in [(Protocol::HttpProtobuf, http), (Protocol::Grpc, over_grpc)] {
        for gzip in [false, true] {
            let settings = ExporterSettings {
                gzip,
                ..settings(protocol, &address)
            };
            let client = Client::new(&settings, SystemClock::shared()).unwrap();
            assert_eq!(
                client.send(request()).await,
                Outcome::Taken { rejected: 7 },
                "{protocol:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_refusal_is_distinguished_from_what_may_pass() {
    let status = Arc::new(AtomicUsize::new(0));
    let answer = Arc::clone(&status);
    let address = server(move || {
        let status = u16::try_from(answer.load(Ordering::SeqCst)).unwrap();
        let response = Response::builder().status(status).header("retry-after", "2");
        response.body(Body::from("s3cret")).unwrap()
    })
    .await;
    let client = Client::new(&settings(Protocol::HttpProtobuf, &address), SystemClock::shared()).unwrap();
    for (sent, pause) in [
        (503, Some(2)),
        (429, Some(2)),
        (400, None),
        (401, None),
        (500, None),
        (307, None),
    ] {
        status.store(sent, Ordering::SeqCst);
        let reason = format!("status {sent}");
        let wanted = match pause.map(Duration::from_secs) {
            Some(pause) => Outcome::Later {
                reason,
                pause: Some(pause),
            },
            None => Outcome::Refused { reason },
        };
        assert_eq!(client.send(request()).await, wanted);
    }
    // No server listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        let client = Client::new(&settings(protocol, &free), SystemClock::shared()).unwrap();
        let outcome = client.send(request()).await;
        assert!(matches!(outcome, Outcome::Later { pause: None, .. }), "{outcome:?}");
    }
}
