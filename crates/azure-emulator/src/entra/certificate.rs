//! Certificates that are registered as an app's credentials.
//!
//! What Entra needs of one is little: its thumbprints, its key and its dates. That is read from the DER by hand
//! (RFC 5280 4.1), as the emulator takes no part in a chain of trust.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;

use crate::jwt::{der_value, parse_rsa_public_key, sha256};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// Entra takes no shorter RSA keys.
const MIN_MODULUS_BYTES: usize = 256;

/// A registered certificate.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    /// SHA-1 thumbprint in base64url: the header `x5t` (RFC 7515 4.1.7).
    pub(crate) x5t: String,
    /// SHA-256 thumbprint in base64url: the header `x5t#S256` (RFC 7515 4.1.8).
    pub(crate) x5t_s256: String,
    /// SHA-1 thumbprint in hexadecimal, as portals show it.
    pub(crate) thumbprint: String,
    /// The key as an `RSAPublicKey`.
    pub(crate) public_key: Vec<u8>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// Why a text is no certificate that could be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// There is no `CERTIFICATE` block.
    #[error("no PEM block of the type CERTIFICATE")]
    NoPem,
    /// What is in it is no X.509 certificate.
    #[error("not an X.509 certificate")]
    Malformed,
    /// Another kind of key, or too short a one.
    #[error("the certificate's key must be an RSA key of at least 2048 bits")]
    Key,
}

impl Certificate {
    /// Reads the first certificate of a PEM text; what surrounds it is ignored, a private key too.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, InvalidCertificate> {
        let (_, rest) = pem
            .split_once("-----BEGIN CERTIFICATE-----")
            .ok_or(InvalidCertificate::NoPem)?;
        let (text, _) = rest
            .split_once("-----END CERTIFICATE-----")
            .ok_or(InvalidCertificate::NoPem)?;
        let text: String = text.split_whitespace().collect();
        let der = STANDARD.decode(text).map_err(|_| InvalidCertificate::NoPem)?;
        Self::from_der(&der)
    }

    fn from_der(der: &[u8]) -> Result<Self, InvalidCertificate> {
        let (not_before, not_after, public_key) = parts(der).ok_or(InvalidCertificate::Malformed)?;
        let (modulus, _) = parse_rsa_public_key(public_key).ok_or(InvalidCertificate::Key)?;
        if modulus.len() < MIN_MODULUS_BYTES {
            return Err(InvalidCertificate::Key);
        }
        // Not for security: SHA-1 names a certificate that is trusted for other reasons.
        let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der);
        Ok(Self {
            x5t: URL_SAFE_NO_PAD.encode(sha1.as_ref()),
            x5t_s256: URL_SAFE_NO_PAD.encode(sha256(der)),
            thumbprint: hexadecimal(sha1.as_ref()),
            public_key: public_key.to_vec(),
            not_before,
            not_after,
        })
    }
}

/// Bytes as upper-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// The dates, and the content of the public key's bit string.
fn parts(der: &[u8]) -> Option<(Timestamp, Timestamp, &[u8])> {
    let (certificate, _) = der_value(der, SEQUENCE)?;
    let (mut rest, _) = der_value(certificate, SEQUENCE)?;
    if let Some((_, after)) = der_value(rest, VERSION) {
        rest = after;
    }
    let (_, rest) = der_value(rest, INTEGER)?; // serial number
    let (_, rest) = der_value(rest, SEQUENCE)?; // signature algorithm
    let (_, rest) = der_value(rest, SEQUENCE)?; // issuer
    let (validity, rest) = der_value(rest, SEQUENCE)?;
    let (_, rest) = der_value(rest, SEQUENCE)?; // subject
    let (key_info, _) = der_value(rest, SEQUENCE)?;
    let (_, key) = der_value(key_info, SEQUENCE)?;
    // The first byte says how many bits of the last one are not used; keys use whole bytes.
    let (bits, _) = der_value(key, BIT_STRING)?;
    let public_key = bits.strip_prefix(&[0])?;
    let (not_before, rest) = time(validity)?;
    let (not_after, _) = time(rest)?;
    Some((not_before, not_after, public_key))
}

/// A point in time in one of the two forms that certificates use (RFC 5280 4.1.2.5).
fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, rest, century) = if let Some((text, rest)) = der_value(der, UTC_TIME) {
        let text = std::str::from_utf8(text).ok()?;
        let year: u32 = text.get(..2)?.parse().ok()?;
        (text, rest, if year < 50 { "20" } else { "19" })
    } else {
        let (text, rest) = der_value(der, GENERALIZED_TIME)?;
        (std::str::from_utf8(text).ok()?, rest, "")
    };
    let digits = format!("{century}{}", text.strip_suffix('Z')?);
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| digits.get(from..to);
    let iso = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    );
    Some((iso.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSA: &str = include_str!("../tests/data/rsa.crt");
    const ELLIPTIC: &str = include_str!("../tests/data/elliptic.crt");

    #[test]
    fn thumbprints_key_and_dates_are_what_openssl_says() {
        let certificate = Certificate::from_pem(RSA).unwrap();
        assert_eq!(certificate.thumbprint, "E81CB93F82CA71F968BE9056C8036E134FCBBDF8");
        assert_eq!(certificate.not_before, "2026-11-24T22:07:34Z".parse().unwrap());
        assert_eq!(certificate.not_after, "2056-11-16T22:07:34Z".parse().unwrap());
        assert_eq!(
            hexadecimal(&URL_SAFE_NO_PAD.decode(certificate.x5t_s256).unwrap()),
            "23DFD9AE70F281498A922C653EC255C2A6D6CBEE7D7180F34C4E8ABA66D601A4"
        );
        assert_eq!(parse_rsa_public_key(&certificate.public_key).unwrap().0.len(), 256);
    }

    #[test]
    fn what_cannot_be_registered_is_refused() {
        let refused = |pem: &str| Certificate::from_pem(pem).unwrap_err();
        assert_eq!(refused("x"), InvalidCertificate::NoPem);
        assert_eq!(
            refused(&RSA.replace("CERTIFICATE", "PRIVATE KEY")),
            InvalidCertificate::NoPem
        );
        assert_eq!(refused(&RSA.replace("MII", "MIJ")), InvalidCertificate::Malformed);
        assert_eq!(refused(ELLIPTIC), InvalidCertificate::Key);
        // What stands beside it in the file is not looked at.
        assert!(Certificate::from_pem(&format!("Bag Attributes\n{RSA}more")).is_ok());
    }

    #[test]
    fn times_of_both_forms() {
        let utc = |text: &str| {
            let mut der = vec![UTC_TIME, u8::try_from(text.len()).unwrap()];
            der.extend(text.bytes());
            time(&der).map(|(at, _)| at.to_string())
        };
        assert_eq!(utc("490101000000Z").as_deref(), Some("2049-01-01T00:00:00Z"));
        assert_eq!(utc("500101000000Z").as_deref(), Some("1950-01-01T00:00:00Z"));
        assert_eq!(utc("5001010000Z"), None);
        assert_eq!(utc("490101000000"), None);
    }
}
