//! TLS: whom a server is believed to be.

use std::path::{Path, PathBuf};

use config::{SharedCacheConfig, StoreServer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use shared_cache::{Failure, FileError, Found, SharedCache, TrustError};
use tempfile::TempDir;

use crate::server::Server;
use crate::support::{Replica, entry, local, settings, started};

/// A CA and a server's certificate of it, as files.
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    pub(crate) fn of(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "a CA");
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &ca)
            .unwrap();
        let made = Self { folder };
        std::fs::write(made.file("ca.pem"), ca.pem()).unwrap();
        std::fs::write(made.file("server.pem"), certificate.pem()).unwrap();
        std::fs::write(made.file("key.pem"), key.serialize_pem()).unwrap();
        made
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    pub(crate) async fn server(&self, arguments: &[&str]) -> Server {
        let file = |name| self.file(name).to_str().unwrap().to_owned();
        Server::with_tls(&file("server.pem"), &file("key.pem"), &file("ca.pem"), arguments).await
    }
}

fn trusting(ca: &Path, server: StoreServer) -> SharedCacheConfig {
    SharedCacheConfig {
        tls: true,
        ca_file: Some(ca.to_owned()),
        ..settings(vec![server])
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_server_is_known_by_its_certificate() {
    let certificates = Certificates::of("cache.contoso.com");
    let server = certificates.server(&[]).await;
    let good = SharedCacheConfig {
        tls_name: Some("cache.contoso.com".to_owned()),
        ..trusting(&certificates.ca(), server.node())
    };
    let replica = Replica::with(good.clone()).await.connected().await;
    replica
        .cache
        .put(&entry("alice"), &replica.value("x", 3600, 0), false)
        .await;
    assert!(matches!(replica.cache.get(&entry("alice")).await, Found::Value(_)));
    let others = Certificates::of("cache.contoso.com");
    let refused = [
        // By the url's host, of which the certificate knows nothing.
        SharedCacheConfig {
            tls_name: None,
            ..good.clone()
        },
        SharedCacheConfig {
            tls_name: Some("cache.fabrikam.com".to_owned()),
            ..good.clone()
        },
        // Not a CA that the system trusts.
        SharedCacheConfig {
            ca_file: None,
            ..good.clone()
        },
        SharedCacheConfig {
            ca_file: Some(others.ca()),
            ..good.clone()
        },
    ];
    for settings in refused {
        let replica = Replica::with(settings).await;
        let failure = replica.cache.status().failure.unwrap();
        assert!(
            matches!(&failure, Failure::NoConnection { reason, .. } if reason.contains("certificate")),
            "{failure}"
        );
    }
    // Spoken to without TLS.
    assert!(
        !Replica::with(settings(vec![server.node()]))
            .await
            .cache
            .status()
            .is_reachable()
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn by_default_the_name_is_the_urls_host() {
    let certificates = Certificates::of("127.0.0.1");
    let server = certificates.server(&[]).await;
    Replica::with(trusting(&certificates.ca(), server.node()))
        .await
        .connected()
        .await;
}

#[tokio::test]
async fn trust_anchors_that_are_none_are_told_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let start = || {
        let clock = base::clock::SystemClock::shared();
        let observer = std::sync::Arc::new(shared_cache::Unobserved);
        let settings = started(trusting(&file, local(1)), None);
        SharedCache::start(settings, clock, observer, &base::tasks::Tasks::default()).err()
    };
    assert!(matches!(start(), Some(TrustError::File(FileError::Unreadable { .. }))));
    std::fs::write(&file, "no certificate").unwrap();
    assert!(matches!(start(), Some(TrustError::File(FileError::Content { .. }))));
}
