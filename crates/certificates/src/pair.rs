//! Which certificate a key belongs to, and in which order a chain is sent.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::SigningKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;

use super::{Fault, kind};

/// A private key with its certificate.
#[derive(Debug)]
pub struct Paired {
    /// The key's certificate, then its issuers as far as they are there, then the rest.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
    /// The same, ready to sign.
    pub signer: Arc<dyn SigningKey>,
}

/// Finds a key and a certificate that belong together, wherever they stand among others.
///
/// By the public key itself. rustls compares the two too, but reads certificates of version 3 alone.
pub fn pair(certificates: &[CertificateDer<'static>], keys: Vec<PrivateKeyDer<'static>>) -> Result<Paired, Fault> {
    let mut fault = Fault::Mismatch;
    for key in keys {
        let Ok(signer) = any_supported_type(&key) else {
            fault = kind::unusable(&key);
            continue;
        };
        let Some(public) = signer.public_key() else { continue };
        let belongs = |certificate: &CertificateDer<'_>| {
            parse(certificate).is_some_and(|certificate| certificate.public_key().raw == public.as_ref())
        };
        if let Some(own) = certificates.iter().position(belongs) {
            return Ok(Paired {
                chain: ordered(certificates, own),
                key,
                signer,
            });
        }
    }
    Err(fault)
}

/// From the certificate at `own` to its issuers, by their names; what is left keeps its order behind them. A peer that
/// knows the root does not need it, and takes the rest as it stands.
fn ordered(certificates: &[CertificateDer<'static>], own: usize) -> Vec<CertificateDer<'static>> {
    let mut left: Vec<&CertificateDer<'static>> = certificates.iter().collect();
    let mut chain = vec![left.remove(own).clone()];
    while let Some(next) = chain.last().and_then(|last| issuer_of(last, &left)) {
        chain.push(left.remove(next).clone());
    }
    chain.extend(left.into_iter().cloned());
    chain
}

fn issuer_of(certificate: &CertificateDer<'_>, among: &[&CertificateDer<'_>]) -> Option<usize> {
    let certificate = parse(certificate)?;
    let is_issuer = |other: &&CertificateDer<'_>| {
        parse(other).is_some_and(|other| other.subject().as_raw() == certificate.issuer().as_raw())
    };
    among.iter().position(is_issuer)
}

fn parse<'c>(certificate: &'c CertificateDer<'_>) -> Option<X509Certificate<'c>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate)
}
