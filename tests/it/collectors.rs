//! How collectors are reached: over trusted TLS, where they are said to be and nowhere else, with keys for nobody else.

use std::sync::Arc;

use ::serve::{HeadLimits, Listener, ReloadingCertificate, ServeOptions, ShutdownSignals, run};
use axum::Router;
use axum::extract::Request;

use crate::support::fake::{Fake, Reply};
use crate::support::observed::{exported_with, exporting_to, flushed};
use crate::support::otlp::Collector;
use crate::support::process::Served;
use crate::tls::write_certificates;

const PATHS: [&str; 3] = ["/v1/traces", "/v1/logs", "/v1/metrics"];

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (first, second) = (Fake::start().await, Collector::start().await);
    for path in PATHS {
        let elsewhere = format!("{}{path}", second.origin());
        first.on(path, Reply::status(307).header("location", elsewhere));
    }
    let origin = first.origin();
    let key = ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=for-the-first-alone");
    let served = Served::start(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", origin.as_str()), key]).await;
    assert_eq!(served.post_token(&served.token("alex")).await.status, 200);
    flushed(served).await;
    assert_eq!(second.requests(), 0);
    for path in PATHS {
        let calls = first.calls();
        let call = calls.iter().find(|call| call.path == path).unwrap();
        assert_eq!(call.headers["api-key"], "for-the-first-alone", "{path}");
    }
}

#[tokio::test]
async fn a_collector_on_this_machine_is_not_reached_by_a_proxy() {
    let proxy = Fake::start().await;
    let origin = proxy.origin();
    let proxies = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name, origin.as_str()));
    let (served, collector) = exported_with(&proxies).await;
    assert_eq!(served.post_token(&served.token("alex")).await.status, 200);
    flushed(served).await;
    assert!(proxy.calls().is_empty());
    assert!(!collector.spans().is_empty() && !collector.logs().is_empty() && !collector.metrics().is_empty());
}

#[tokio::test]
async fn another_is_reached_by_the_proxy_of_the_standard_variable() {
    let proxy = Fake::start().await;
    let served = Served::start_with(None, |_| {
        [
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "http://collector.invalid:4318".to_owned(),
            ),
            ("HTTP_PROXY", proxy.origin()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    })
    .await;
    assert_eq!(served.post_token(&served.token("alex")).await.status, 200);
    flushed(served).await;
    assert!(PATHS.iter().all(|path| proxy.count(path) > 0), "{:?}", proxy.calls());
}

#[tokio::test]
async fn a_collector_over_tls_is_trusted_by_the_systems_anchors() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_certificates(folder.path());
    write_certificates(other.path());
    let file = |name: &str| folder.path().join(name);
    let certificate = ReloadingCertificate::load(&file("server.pem"), &file("server-key.pem")).unwrap();
    let collector = Collector::start().await;
    // TLS ends here.
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let endpoint = format!("https://localhost:{}", listener.address().port());
    let heads = HeadLimits {
        fields: 100,
        bytes: 32 * 1024,
        read: vec![
            http::header::CONTENT_TYPE,
            http::header::CONTENT_ENCODING,
            http::header::CONTENT_LENGTH,
        ],
        on_refusal: Vec::new(),
    };
    let options = ServeOptions {
        drain_timeout: std::time::Duration::ZERO,
        tls: Some(Arc::new(certificate)),
        ..ServeOptions::new(8, heads)
    };
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let router = Router::new().fallback(async move |request: Request| {
        let _ = sender.send(request.uri().path().to_owned());
    });
    tokio::spawn(run(listener, router, options, ShutdownSignals::default()));
    for (anchors, trusted) in [(folder.path(), true), (other.path(), false)] {
        let anchors = anchors.join("ca.pem").to_str().unwrap().to_owned();
        let mut environment = exporting_to(&collector);
        environment[0].1.clone_from(&endpoint);
        environment.push(("SSL_CERT_FILE".to_owned(), anchors));
        let served = Served::start_with(None, |_| environment).await;
        flushed(served).await;
        let mut paths = std::collections::BTreeSet::new();
        while let Ok(path) = heard.try_recv() {
            paths.insert(path);
        }
        // No request came in: without one there is nothing to trace.
        assert_eq!(
            paths.contains("/v1/logs") && paths.contains("/v1/metrics"),
            trusted,
            "{paths:?}"
        );
    }
}
