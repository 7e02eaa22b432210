//! Which trust anchors a collector's certificate is checked against, and which client certificate the broker presents.

use std::fmt;
use std::path::Path;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use zeroize::Zeroizing;

/// Larger is no certificate.
const MAX_FILE: u64 = 1024 * 1024;

/// Files in PEM, read and found good.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    /// In place of the system's anchors.
    anchors: Option<Vec<u8>>,
    identity: Option<ClientIdentity>,
}

#[derive(Clone)]
struct ClientIdentity {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("anchors", &self.anchors.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        let identity = |tls: &Self| tls.identity.as_ref().map(|own| own.certificate.clone());
        self.anchors == other.anchors && identity(self) == identity(other)
    }
}

impl Eq for Tls {}

impl Tls {
    /// Trusts the certificates of this file alone. The reason where it has none that can be used.
    pub(crate) fn trusting(file: &Path) -> Result<Self, &'static str> {
        let pem = read(file).ok_or("the file cannot be read; the system's trust anchors count")?;
        let certificates = certificates(&pem).ok_or("no certificates in PEM; the system's trust anchors count")?;
        let mut store = rustls::RootCertStore::empty();
        for certificate in certificates {
            store
                .add(certificate)
                .map_err(|_| "holds a certificate that is no trust anchor; the system's trust anchors count")?;
        }
        Ok(Self {
            anchors: Some(pem.to_vec()),
            identity: None,
        })
    }

    /// Shows a collector this certificate. The reason where it and the key cannot be used, or do not fit.
    pub(crate) fn show(&mut self, certificate: &Path, key: &Path) -> Result<(), &'static str> {
        let chain = read(certificate).ok_or("the file cannot be read; no certificate is shown to the collector")?;
        let chain_der =
            certificates(&chain).ok_or("no certificates in PEM; no certificate is shown to the collector")?;
        let key = read(key).ok_or("its key's file cannot be read; no certificate is shown to the collector")?;
        let key_der = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| "no private key in PEM in its key's file; no certificate is shown to the collector")?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        rustls::sign::CertifiedKey::from_der(chain_der, key_der, &provider)
            .map_err(|_| "does not fit its key; no certificate is shown to the collector")?;
        self.identity = Some(ClientIdentity {
            certificate: chain.to_vec(),
            key,
        });
        Ok(())
    }

    pub(super) fn for_grpc(&self) -> ClientTlsConfig {
        let config = match &self.anchors {
            Some(anchors) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(anchors)),
            // Without this tonic trusts no certificate.
            None => ClientTlsConfig::new().with_enabled_roots(),
        };
        match &self.identity {
            Some(own) => config.identity(Identity::from_pem(&own.certificate, &*own.key)),
            None => config,
        }
    }

    pub(super) fn for_http(&self, mut builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        // Both were read before. Should that fail here, no certificate is trusted.
        if let Some(anchors) = &self.anchors {
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(anchors).unwrap_or_default());
        }
        if let Some(own) = &self.identity {
            let mut pem = own.certificate.clone();
            pem.push(b'\n');
            let mut pem = Zeroizing::new(pem);
            pem.extend_from_slice(&own.key);
            if let Ok(identity) = reqwest::Identity::from_pem(&pem) {
                builder = builder.identity(identity);
            }
        }
        builder
    }
}

/// A file's bytes without a byte order mark.
fn read(file: &Path) -> Option<Zeroizing<Vec<u8>>> {
    let metadata = std::fs::metadata(file).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return None;
    }
    let bytes = Zeroizing::new(std::fs::read(file).ok()?);
    Some(match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => Zeroizing::new(rest.to_vec()),
        None => bytes,
    })
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates.ok().filter(|certificates| !certificates.is_empty())
}
