//! Which trust anchors a collector's certificate is checked against, and which client certificate the broker presents.

use std::fmt;
use std::io;
use std::path::Path;

use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use zeroize::Zeroizing;

use base::changing_file::ChangingFile;
use certificates::{Bundle, FileError, anchors, certificates_to_pem, key_to_pem, pair, part_of_file};

/// Larger is no certificate.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What the files hold, as PEM: tonic and reqwest have only that in common.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// In place of the system's anchors.
    anchors: Option<String>,
    identity: Option<ClientIdentity>,
}

#[derive(Clone, PartialEq, Eq)]
struct ClientIdentity {
    chain: String,
    key: Zeroizing<String>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("anchors", &self.anchors.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

impl Tls {
    /// Trusts the certificates of this file alone. The reason where it has none that can be used.
    pub(crate) fn trusting(file: &Path) -> Result<Self, &'static str> {
        let anchors = anchors(file, read(file)).map_err(|error| match error {
            FileError::Unreadable { .. } => "the file cannot be read; the system's trust anchors count",
            FileError::Content { .. } => "no certificates that can be read; the system's trust anchors count",
            FileError::NoAnchor { .. } => {
                "holds a certificate that is no trust anchor; the system's trust anchors count"
            }
        })?;
        Ok(Self {
            anchors: Some(certificates_to_pem(&anchors)),
            identity: None,
        })
    }

    /// Shows a collector this certificate. The reason where it and the key cannot be used, or do not fit.
    pub(crate) fn show(&mut self, certificate: &Path, key: &Path) -> Result<(), &'static str> {
        let chain =
            part_of_file(certificate, read(certificate), Bundle::certificates).map_err(|error| match error {
                FileError::Unreadable { .. } => "the file cannot be read; no certificate is shown to the collector",
                _ => "no certificates that can be read; no certificate is shown to the collector",
            })?;
        let keys = part_of_file(key, read(key), Bundle::keys).map_err(|error| match error {
            FileError::Unreadable { .. } => "its key's file cannot be read; no certificate is shown to the collector",
            _ => "no private key that can be read in its key's file; no certificate is shown to the collector",
        })?;
        let paired =
            pair(&chain, keys).map_err(|_| "does not fit its key; no certificate is shown to the collector")?;
        self.identity = Some(ClientIdentity {
            chain: certificates_to_pem(&paired.chain),
            key: key_to_pem(&paired.key),
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
            Some(own) => config.identity(Identity::from_pem(&own.chain, own.key.as_bytes())),
            None => config,
        }
    }

    pub(super) fn for_http(&self, mut builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        // Both were read before. Should that fail here, no certificate is trusted.
        if let Some(anchors) = &self.anchors {
            builder =
                builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(anchors.as_bytes()).unwrap_or_default());
        }
        if let Some(own) = &self.identity {
            let pem = Zeroizing::new([own.chain.as_str(), &own.key].concat());
            if let Ok(identity) = reqwest::Identity::from_pem(pem.as_bytes()) {
                builder = builder.identity(identity);
            }
        }
        builder
    }
}

fn read(file: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    ChangingFile::new(file.to_owned(), MAX_FILE_BYTES).look().content
}
