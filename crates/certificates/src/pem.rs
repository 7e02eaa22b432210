//! What was read, written as PEM (RFC 7468): for libraries that take nothing else.

use pkcs8::der::pem::{LineEnding, encode_string};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// Certificates, one after the other.
#[must_use]
pub fn certificates_to_pem(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(|der| to_pem("CERTIFICATE", der)).collect()
}

/// A private key. It is wiped when dropped.
#[must_use]
pub fn key_to_pem(key: &PrivateKeyDer<'_>) -> Zeroizing<String> {
    let label = match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    Zeroizing::new(to_pem(label, key.secret_der()))
}

fn to_pem(label: &str, der: &[u8]) -> String {
    // Refused are other labels than these, and lengths that fit no memory.
    encode_string(label, LineEnding::LF, der).unwrap_or_default()
}
