//! What a DER value is, known by its structure: files are named and labelled as people like.

use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error as PfxError;
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

use super::{Bundle, Fault, kind};

/// The tag of a SEQUENCE: with it begins all that is read here.
const SEQUENCE: u8 = 0x30;
/// `OBJECT IDENTIFIER` 1.2.840.113549.1.7.…: PKCS#7.
const PKCS7: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07";

/// Adds what `der` is to `bundle`. `None` if it is nothing that is known.
pub(super) fn take_in(der: &[u8], password: Option<&str>, bundle: &mut Bundle) -> Option<Result<(), Fault>> {
    let within = within(der)?;
    if within.starts_with(b"\x02\x01\x03") {
        return Some(pfx(der, password.unwrap_or_default(), bundle));
    }
    if within.starts_with(PKCS7) {
        return Some(Err(Fault::Pkcs7));
    }
    if is_certificate(der) {
        bundle.certificates.push(CertificateDer::from(der.to_vec()));
        return Some(Ok(()));
    }
    match key(der, password)? {
        Ok(key) => bundle.keys.push(key),
        Err(fault) => bundle.key_fault = Some(fault),
    }
    Some(Ok(()))
}

pub(super) fn is_certificate(der: &[u8]) -> bool {
    x509_parser::parse_x509_certificate(der).is_ok_and(|(rest, _)| rest.is_empty())
}

/// A private key, in whichever of its structures. `None` if it is none.
pub(super) fn key(der: &[u8], password: Option<&str>) -> Option<Result<PrivateKeyDer<'static>, Fault>> {
    Some(Ok(match within(der)? {
        // RFC 8017 appendix A.1.2: version, modulus.
        [2, 1, 0, 2, ..] => PrivatePkcs1KeyDer::from(der.to_vec()).into(),
        // RFC 5915 section 3: version, key.
        [2, 1, 1, 4, ..] => PrivateSec1KeyDer::from(der.to_vec()).into(),
        // RFC 5208 section 5 and RFC 5958: version, algorithm.
        [2, 1, 0 | 1, SEQUENCE, ..] => PrivatePkcs8KeyDer::from(der.to_vec()).into(),
        // RFC 5208 section 6: algorithm, encrypted key.
        [SEQUENCE, ..] => {
            let encrypted = EncryptedPrivateKeyInfoRef::try_from(der).ok()?;
            let Some(password) = password else {
                return Some(Err(Fault::KeyWithoutPassword));
            };
            let opened = encrypted.decrypt(password).ok();
            match opened.and_then(|key| kind::whole(key.as_bytes())) {
                Some(key) => key,
                None => return Some(Err(Fault::KeyNotOpened)),
            }
        }
        _ => return None,
    }))
}

/// PKCS#12 (RFC 7292), as Key Vault and Windows export it.
fn pfx(der: &[u8], password: &str, bundle: &mut Bundle) -> Result<(), Fault> {
    let archive = Pkcs12Archive::from_pkcs12(der, password).map_err(|error| match error {
        PfxError::MacError(_) if password.is_empty() => Fault::PfxWithoutPassword,
        PfxError::MacError(_) => Fault::PfxNotOpened,
        PfxError::UnsupportedEncryptionScheme | PfxError::UnsupportedMacAlgorithm => Fault::PfxUnsupported,
        _ => Fault::PfxBroken,
    })?;
    for bag in &archive.keys {
        let key = PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec());
        bundle.keys.push(key.into());
    }
    for bag in &archive.certs {
        bundle
            .certificates
            .push(CertificateDer::from(bag.cert.as_der().to_vec()));
    }
    Ok(())
}

/// What a SEQUENCE holds, whatever its length says; that is checked by who parses it.
fn within(der: &[u8]) -> Option<&[u8]> {
    match der {
        [SEQUENCE, length, rest @ ..] => match length {
            0..=0x80 => Some(rest),
            _ => rest.get(usize::from(length & 0x7f)..),
        },
        _ => None,
    }
}
