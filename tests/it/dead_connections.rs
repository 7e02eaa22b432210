//! Connections to upstreams that die without a word: at most one deadline's worth of callers lose by them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::serve::ReloadingCertificate;
use azure_emulator::scenario::{CONTOSO_API, CONTOSO_API_SECRET};
use azure_emulator::{Emulator, Endpoint, Fault, Scenario};
use base::clock::SharedClock;
use tempfile::TempDir;

use crate::support::eventually;
use crate::support::forwarder::Forwarder;
use crate::support::modes::{for_api, with_secret};
use crate::support::stack::{Builder, Stack, clock, emulator};
use crate::tls::write_certificates;

/// How long an exchange may take here: a caller on a dead connection waits as long.
const LIMIT: &str = "1s";

/// An Azure side over HTTP/2, reached through a forwarder.
struct Far {
    forwarder: Forwarder,
    /// Through the forwarder.
    origin: String,
    /// Past it.
    direct: String,
    access_key: String,
    folder: TempDir,
}

/// A stack whose Azure side is behind a forwarder; `change` says what of it.
async fn over_http_2(builder: Builder, change: impl FnOnce(Builder, &Far) -> Builder) -> (Stack, Far) {
    let folder = tempfile::tempdir().unwrap();
    write_certificates(folder.path());
    let file = |name: &str| folder.path().join(name);
    let certificate = ReloadingCertificate::load(&file("server.pem"), &file("server-key.pem")).unwrap();
    let clock = clock();
    let shared: SharedClock = Arc::clone(&clock) as SharedClock;
    // Its documents name `localhost` and its own port. There the forwarder is, at another of loopback's addresses.
    let listen = ([127, 0, 0, 2], 0).into();
    let tls = Some(certificate.server_config());
    let emulator = Emulator::start(Scenario::demo(), listen, tls, shared).await.unwrap();
    let origin = emulator.tls_origin().unwrap();
    let direct = emulator.origin();
    let target: SocketAddr = direct.trim_start_matches("http://").parse().unwrap();
    let near = SocketAddr::from(([127, 0, 0, 1], target.port()));
    let far = Far {
        forwarder: Forwarder::start(near, target).await,
        origin,
        direct,
        access_key: emulator.expected_access_key(),
        folder,
    };
    let ca = far.folder.path().join("ca.pem");
    let builder = builder
        .emulator(emulator, &clock)
        .authority(&far.origin)
        .endpoint(&far.direct)
        .set("upstream.ca_file", ca.to_str().unwrap())
        .set("exchange.timeout", LIMIT)
        .set("exchange.connect_timeout", LIMIT);
    let stack = change(builder, &far).start().await;
    (stack, far)
}

#[tokio::test]
async fn acs() {
    let (stack, far) = over_http_2(Stack::builder(), |builder, far| builder.endpoint(&far.origin)).await;
    assert_eq!(stack.user("alex").post().await.outcome(), "200");
    for next in ["diego", "lidia"] {
        far.forwarder.swallow();
        let before = far.forwarder.opened();
        // All who are on the dead connection lose, and none after them.
        let tokens = ["adele", "nestor", "megan"].map(|name| stack.user(name).token());
        let waiting = tokens.iter().map(|token| stack.post_token(token));
        for answer in futures_util::future::join_all(waiting).await {
            assert_eq!(answer.outcome(), "504 UpstreamTimeout");
        }
        assert_eq!(stack.user(next).post().await.outcome(), "200");
        assert_eq!(far.forwarder.opened(), before + 1, "one connection in its place");
    }
    assert_eq!(stack.probe("/readyz").await.status, 200);
}

#[tokio::test]
async fn an_upstream_that_is_merely_slow_costs_one_connection_for_each_deadline() {
    let (stack, far) = over_http_2(Stack::builder(), |builder, far| builder.endpoint(&far.origin)).await;
    assert_eq!(stack.user("alex").post().await.outcome(), "200");
    let before = far.forwarder.opened();
    stack.fault(Endpoint::Exchange, Fault::latency(Duration::from_secs(5)));
    let token = stack.user("adele").token();
    for _ in 0..3 {
        assert_eq!(stack.post_token(&token).await.outcome(), "504 UpstreamTimeout");
    }
    // The first was sent on the connection that was there.
    assert_eq!(far.forwarder.opened(), before + 2);
    stack.emulator.clear_faults();
    assert_eq!(stack.post_token(&token).await.outcome(), "200");
    assert_eq!(far.forwarder.opened(), before + 3);
}

#[tokio::test]
async fn idle_connections_of_http_1_are_given_up_together() {
    for (fate, expected) in [("swallowed", "504 UpstreamTimeout"), ("broken", "200")] {
        let clock = clock();
        let emulator = emulator(&clock).await;
        let target = emulator.origin().trim_start_matches("http://").parse().unwrap();
        let forwarder = Forwarder::start(([127, 0, 0, 1], 0).into(), target).await;
        let stack = Stack::builder()
            .emulator(emulator, &clock)
            .endpoint(&format!("http://{}", forwarder.address()))
            .set("exchange.timeout", LIMIT)
            .start()
            .await;
        stack.fault(Endpoint::Exchange, Fault::latency(Duration::from_millis(300)));
        let tokens = ["alex", "diego", "lidia", "adele"].map(|name| stack.user(name).token());
        let waiting = tokens.iter().map(|token| stack.post_token(token));
        for answer in futures_util::future::join_all(waiting).await {
            assert_eq!(answer.outcome(), "200");
        }
        stack.emulator.clear_faults();
        let idle = forwarder.opened();
        assert!(idle >= 3, "{idle}");
        match fate {
            "swallowed" => forwarder.swallow(),
            _ => forwarder.break_at_next_use(),
        }
        // Where a connection breaks, the retry goes by a new one. Where it is silent, one caller loses.
        let token = stack.user("nestor").token();
        for expected in [expected, "200"] {
            assert_eq!(stack.post_token(&token).await.outcome(), expected, "{fate}");
        }
        assert_eq!(forwarder.opened(), idle + 1, "{fate}");
    }
}

#[tokio::test]
async fn entras_token_endpoint() {
    let (stack, far) = over_http_2(with_secret(), |builder, _| builder).await;
    assert_eq!(stack.user("alex").with(for_api).post().await.outcome(), "200");
    far.forwarder.swallow();
    let token = stack.user("diego").with(for_api).token();
    assert_eq!(stack.post_token(&token).await.outcome(), "504 UpstreamTimeout");
    assert_eq!(stack.post_token(&token).await.outcome(), "200");
}

#[tokio::test]
async fn graph() {
    let (stack, far) = over_http_2(Stack::builder(), |builder, far| {
        builder
            .set("assignments.unknown_groups", "graph")
            .set("graph.endpoint", far.origin.clone())
            .set("graph.timeout", LIMIT)
            .set("graph.client_id", CONTOSO_API.to_string())
            .set("graph.credential", "secret")
            .set("graph.client_secret", CONTOSO_API_SECRET)
    })
    .await;
    assert_eq!(stack.user("adele").post().await.outcome(), "200");
    far.forwarder.swallow();
    assert_eq!(stack.user("lidia").post().await.outcome(), "503 UpstreamUnavailable");
    assert_eq!(stack.user("lidia").post().await.outcome(), "200");
}

#[tokio::test]
async fn the_list_of_acss_assignments() {
    let (stack, far) = over_http_2(Stack::builder(), |builder, far| {
        builder
            .endpoint(&far.origin)
            .set("assignments.sources", "acs")
            .set("assignments.acs.access_key", far.access_key.clone())
            .set("assignments.acs.refresh_interval", "50ms")
            .set("assignments.unknown_groups", "refuse")
    })
    .await;
    assert_eq!(stack.user("alex").post().await.outcome(), "200");
    far.forwarder.swallow();
    stack.emulator.set_assignments([]);
    eventually("the new list is in force", async || {
        stack.user("alex").post().await.outcome() == "403 NotAssigned/NoAssignment"
    })
    .await;
}

#[tokio::test]
async fn entras_keys() {
    let (stack, far) = over_http_2(Stack::builder(), |builder, _| builder.set("entra.jwks_wait", "100ms")).await;
    assert_eq!(stack.user("alex").post().await.outcome(), "200");
    far.forwarder.swallow();
    let before = far.forwarder.opened();
    stack.emulator.rotate_keys(None).unwrap();
    let token = stack.user("diego").token();
    // A fetch may take ten seconds; they pass by themselves while nothing else goes on.
    tokio::time::pause();
    eventually("the new keys are fetched", async || {
        stack.advance(31);
        stack.post_token(&token).await.status == 200
    })
    .await;
    tokio::time::resume();
    // Both discovery documents are asked for at once, before it is known that one connection does for both.
    let opened = far.forwarder.opened() - before;
    assert!((1..=2).contains(&opened), "{opened}");
}
