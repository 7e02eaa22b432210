//! Connections that die without a word, and what is written of calls.

use std::path::Path;

use http::Method;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;
use config::NoProxy;

/// What a client of HTTP/2 begins with (RFC 9113 section 3.4).
const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;

fn config(ca_file: Option<&Path>) -> UpstreamConfig {
    UpstreamConfig {
        ca_file: ca_file.map(Path::to_owned),
        proxy: None,
        environment_proxy: None,
        no_proxy: NoProxy::default(),
        max_response_bytes: 1 << 20,
        breaker: None,
    }
}

/// When an HTTP/2 server was pinged, and when its client gave up waiting for the answer.
type Seen = (Instant, Instant);

/// A server that speaks just enough of HTTP/2 to be pinged. It answers requests unless it only `tells` of the first.
async fn mute_server(tells: Option<oneshot::Sender<()>>) -> (Url, tempfile::TempDir, JoinHandle<Seen>) {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()).into(),
        )
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        stream.read_exact(&mut [0; PREFACE]).await.unwrap();
        let mut pinged = None;
        let serves = tells.is_none();
        let mut tells = tells;
        loop {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).await.is_err() {
                return (pinged.expect("it was not pinged before"), Instant::now());
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            if stream.read_exact(&mut payload).await.is_err() {
                return (pinged.expect("it was not pinged before"), Instant::now());
            }
            match (head[3], head[4]) {
                (SETTINGS, flags) if flags & ACK == 0 => {
                    stream.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await.unwrap();
                    stream.write_all(&[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0]).await.unwrap();
                }
                (HEADERS, _) if serves => {
                    // `:status: 200` (RFC 7541 appendix A, index 8), the end of headers and stream.
                    let mut answer = vec![0, 0, 1, HEADERS, 5];
                    answer.extend_from_slice(&head[5..9]);
                    answer.push(0x88);
                    stream.write_all(&answer).await.unwrap();
                }
                (HEADERS, _) => drop(tells.take().map(|tell| tell.send(()))),
                (PING, flags) if flags & ACK == 0 => {
                    pinged.get_or_insert_with(Instant::now);
                }
                _ => {}
            }
            stream.flush().await.unwrap();
        }
    });
    (url.parse().unwrap(), folder, task)
}

async fn get(upstream: &Upstream, url: &Url, limit: Duration) -> Result<StatusCode, SendError> {
    let request = upstream.request(Method::GET, url.clone());
    let sent = upstream.send(Peer::Acs, request, Instant::now() + limit).await;
    sent.map(|response| response.status)
}

fn is_about(found: Duration, wanted: Duration) -> bool {
    (wanted..wanted + Duration::from_secs(2)).contains(&found)
}

#[tokio::test]
async fn idle_http_2_connections_are_pinged_and_closed_if_nothing_comes_back() {
    let (url, folder, server) = mute_server(None).await;
    let ca = folder.path().join("ca.pem");
    let upstream = Upstream::new(&config(Some(&ca)), Duration::from_secs(5)).unwrap();
    assert_eq!(get(&upstream, &url, Duration::from_secs(5)).await, Ok(StatusCode::OK));
    // Nothing goes on now but time.
    tokio::time::pause();
    let idle_since = Instant::now();
    let (pinged, closed) = server.await.unwrap();
    assert!(
        is_about(pinged - idle_since, PING_INTERVAL),
        "{:?}",
        pinged - idle_since
    );
    assert!(is_about(closed - pinged, PING_TIMEOUT), "{:?}", closed - pinged);
}

#[tokio::test]
async fn so_are_those_in_use_and_the_request_learns_of_a_lost_connection() {
    let (tell, asked) = oneshot::channel();
    let (url, folder, server) = mute_server(Some(tell)).await;
    let ca = folder.path().join("ca.pem");
    let upstream = Upstream::new(&config(Some(&ca)), Duration::from_secs(5)).unwrap();
    // The handshake takes real time; what comes after it takes none.
    let waiting = tokio::spawn(async move { get(&upstream, &url, Duration::from_mins(5)).await });
    asked.await.unwrap();
    tokio::time::pause();
    let outcome = waiting.await.unwrap();
    assert!(matches!(outcome, Err(SendError::Connection(_))), "{outcome:?}");
    let (pinged, closed) = server.await.unwrap();
    assert!(is_about(closed - pinged, PING_TIMEOUT), "{:?}", closed - pinged);
}

/// Serves HTTP/1.1 as `answer` says: each request's place on its connection, to what is written; `None` closes.
async fn server(answer: fn(usize) -> Option<&'static [u8]>) -> (Url, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let opened = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&opened);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            tokio::spawn(connection(stream, answer));
        }
    });
    (url.parse().unwrap(), opened)
}

async fn connection(mut stream: TcpStream, answer: fn(usize) -> Option<&'static [u8]>) {
    for place in 0.. {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        match answer(place) {
            Some(bytes) => stream.write_all(bytes).await.unwrap(),
            None => return,
        }
    }
}

const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn a_connection_that_breaks_takes_no_other_caller_with_it() {
    // The second request on each connection finds it closed.
    let (url, opened) = server(|place| (place == 0).then_some(EMPTY)).await;
    let upstream = Upstream::plain(Duration::from_secs(5), 1 << 20).unwrap();
    let limit = Duration::from_secs(5);
    let at_once = (0..3).map(|_| get(&upstream, &url, limit));
    for outcome in futures_util::future::join_all(at_once).await {
        assert_eq!(outcome, Ok(StatusCode::OK));
    }
    let before = opened.load(std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(
        get(&upstream, &url, limit).await,
        Err(SendError::Connection(_))
    ));
    assert_eq!(get(&upstream, &url, limit).await, Ok(StatusCode::OK));
    assert_eq!(opened.load(std::sync::atomic::Ordering::SeqCst), before + 1);
}

#[tokio::test]
async fn who_is_dropped_at_the_deadline_leaves_no_dead_connection_either() {
    // Answers the first request on each connection, and is silent from then on.
    let (url, opened) = server(|place| Some(if place == 0 { EMPTY } else { b"" })).await;
    let upstream = Upstream::plain(Duration::from_secs(5), 1 << 20).unwrap();
    let at_once = (0..3).map(|_| get(&upstream, &url, Duration::from_secs(5)));
    futures_util::future::join_all(at_once).await;
    let before = opened.load(std::sync::atomic::Ordering::SeqCst);
    let lease = upstream.pools.lease(&url, Instant::now());
    drop(lease);
    assert_eq!(get(&upstream, &url, Duration::from_secs(5)).await, Ok(StatusCode::OK));
    assert_eq!(opened.load(std::sync::atomic::Ordering::SeqCst), before + 1);
    // One that is dropped before says nothing of the connection.
    drop(upstream.pools.lease(&url, Instant::now() + Duration::from_mins(1)));
    let answered = get(&upstream, &url, Duration::from_millis(100)).await;
    assert_eq!(
        answered,
        Err(SendError::Timeout),
        "the same connection, which is silent now"
    );
    assert_eq!(opened.load(std::sync::atomic::Ordering::SeqCst), before + 1);
}

#[tokio::test]
async fn where_nobody_listens_there_is_no_connection_to_give_up() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let upstream = Upstream::plain(Duration::from_secs(5), 1 << 20).unwrap();
    let request = upstream.request(Method::GET, url.clone()).build().unwrap();
    let lease = upstream.pools.lease(&url, Instant::now() + Duration::from_secs(5));
    let ended = upstream.exchange(lease.client(), request).await.unwrap_err();
    assert!(matches!(ended.error, SendError::NotConnected(_)), "{ended:?}");
    assert_eq!(ended.lost, None);
}

#[test]
fn a_file_that_holds_no_anchor_is_reported_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let problem = |content: &str| {
        std::fs::write(&file, content).unwrap();
        Upstream::new(&config(Some(&file)), Duration::from_secs(1))
            .err()
            .map(|error| error.to_string())
    };
    let version_1 = include_str!("../../certificates/src/testdata/version-1.pem");
    assert_eq!(problem(version_1), None, "one of version 1 can be an anchor");
    let problem = problem("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n").unwrap();
    assert!(problem.starts_with("upstream.ca_file: "), "{problem}");
    assert!(
        problem.ends_with("ca.pem holds a PEM block CERTIFICATE that is not base64"),
        "{problem}"
    );
    std::fs::remove_file(&file).unwrap();
    let problem = Upstream::new(&config(Some(&file)), Duration::from_secs(1))
        .err()
        .unwrap()
        .to_string();
    assert!(problem.contains("cannot be read: No such file"), "{problem}");
}

#[test]
fn spans_show_no_query_but_the_api_version() {
    let url = Url::parse("https://u:p@acs.example/access/x?token=secret&api-version=2025-03-02-preview#f").unwrap();
    assert_eq!(
        redacted(&url).as_str(),
        "https://acs.example/access/x?api-version=2025-03-02-preview"
    );
    assert_eq!(
        redacted(&Url::parse("https://a.example/x?y=z").unwrap()).as_str(),
        "https://a.example/x"
    );
    let graph = "https://graph.example/v1.0/users/0a1b2c3d-0000-4000-8000-00000000abcd/checkMemberGroups";
    assert_eq!(
        redacted(&Url::parse(graph).unwrap()).as_str(),
        "https://graph.example/v1.0/users/REDACTED/checkMemberGroups"
    );
}
