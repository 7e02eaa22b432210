//! Certificates and private keys as platforms deliver them, for every place where the configuration names such a file.
//!
//! Read are PEM (RFC 7468) with whatever text stands around it, DER, PFX (RFC 7292), and each of them once more as base64
//! text, as Azure Key Vault gives out what it keeps. What cannot be read is refused with the reason. No reason holds
//! anything of the content. What servers are trusted by, where a file adds to the system's anchors, is made here too.

mod der;
mod file;
mod kind;
mod pair;
mod pem;
mod text;
mod trust;

#[cfg(test)]
mod tests;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub use self::file::{FileError, part_of_file};
pub use self::pair::{Paired, pair};
pub use self::pem::{certificates_to_pem, key_to_pem};
pub use self::trust::{TrustError, anchors, client_config};

/// Why a file's content does not serve. Each reads on from the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing but blanks.
    #[error("is empty")]
    Empty,
    /// None of the forms that are read.
    #[error("is neither PEM nor DER nor a PFX, nor base64 of one of them")]
    NotUnderstood,
    /// A PEM block without its end.
    #[error("holds a PEM block {0} without its end: it is cut off or its lines are mixed up")]
    CutOff(Label),
    /// A PEM block with something else than base64 in it.
    #[error("holds a PEM block {0} that is not base64")]
    NotBase64(Label),
    /// A certificate that does not parse; counted from 1.
    #[error("holds a certificate that is none: number {0} is no X.509 certificate")]
    NotACertificate(usize),
    /// OpenSSL's form with trust settings, which would have to be obeyed.
    #[error("holds a TRUSTED CERTIFICATE, which OpenSSL alone reads: write it anew with `openssl x509 -in … -out …`")]
    TrustedCertificate,
    /// A bundle of certificates of another form.
    #[error("holds PKCS#7 (.p7b): take its certificates out with `openssl pkcs7 -print_certs`")]
    Pkcs7,
    /// No certificate.
    #[error("holds no certificate{0}")]
    NoCertificate(Instead),
    /// No private key.
    #[error("holds no private key{0}")]
    NoPrivateKey(Instead),
    /// An encrypted key where there is no password.
    #[error("holds an encrypted private key, and there is no password to open it with")]
    KeyWithoutPassword,
    /// An encrypted key and another password.
    #[error(
        "holds an encrypted private key that the password does not open, or encrypted in a way that is not supported"
    )]
    KeyNotOpened,
    /// A key encrypted as OpenSSL did before PKCS#8.
    #[error(
        "holds a private key in OpenSSL's old encryption (Proc-Type: 4,ENCRYPTED): write it anew with `openssl pkcs8 -topk8`"
    )]
    OldEncryption,
    /// A private key that does not parse.
    #[error("holds a private key that is broken")]
    BrokenKey,
    /// A key of a kind that nothing here signs with.
    #[error(
        "holds a private key of a kind that is not supported: RSA from 2048 bits, P-256, P-384, P-521 or Ed25519 is"
    )]
    UnsupportedKey,
    /// A PFX that needs a password.
    #[error("is a PFX that needs a password, and there is none")]
    PfxWithoutPassword,
    /// A PFX and another password.
    #[error("is a PFX that the password does not open")]
    PfxNotOpened,
    /// A PFX with other algorithms.
    #[error("is a PFX encrypted in a way that is not supported: export it anew with AES-256 and SHA-256")]
    PfxUnsupported,
    /// A PFX that does not parse.
    #[error("is a PFX that is cut off or broken, or that the password does not open")]
    PfxBroken,
    /// The key is another certificate's.
    #[error("its private key belongs to none of its certificates")]
    Mismatch,
}

/// The label of a PEM block, as far as it is a known one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(&'static str);

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// What is there in place of what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instead(Option<&'static str>);

impl std::fmt::Display for Instead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(other) => write!(f, ", but {other}"),
            None => Ok(()),
        }
    }
}

/// What a file holds. A fault of a part that is not asked for does no harm.
#[derive(Debug, Default)]
pub struct Bundle {
    certificates: Vec<CertificateDer<'static>>,
    certificate_fault: Option<Fault>,
    keys: Vec<PrivateKeyDer<'static>>,
    key_fault: Option<Fault>,
    // Something else that was there.
    other: Option<&'static str>,
}

impl Bundle {
    /// Reads a file's content. `password` opens a PFX or an encrypted key.
    pub fn read(content: &[u8], password: Option<&str>) -> Result<Self, Fault> {
        text::read(content, password)
    }

    /// All certificates, at least one, in the order in which they stand there.
    pub fn certificates(self) -> Result<Vec<CertificateDer<'static>>, Fault> {
        Ok(self.both(true, false)?.0)
    }

    /// All private keys, at least one.
    pub fn keys(self) -> Result<Vec<PrivateKeyDer<'static>>, Fault> {
        Ok(self.both(false, true)?.1)
    }

    /// Certificates and keys, at least one of each.
    pub fn parts(self) -> Result<Parts, Fault> {
        self.both(true, true)
    }

    fn both(self, certificates: bool, keys: bool) -> Result<Parts, Fault> {
        if certificates {
            if let Some(fault) = self.certificate_fault {
                return Err(fault);
            }
            if self.certificates.is_empty() {
                let key = (!self.keys.is_empty() || self.key_fault.is_some()).then_some("a private key");
                return Err(Fault::NoCertificate(Instead(self.other.or(key))));
            }
        }
        if keys {
            if let Some(fault) = self.key_fault {
                return Err(fault);
            }
            if self.keys.is_empty() {
                let certificate = (!self.certificates.is_empty()).then_some("a certificate");
                return Err(Fault::NoPrivateKey(Instead(self.other.or(certificate))));
            }
        }
        Ok((self.certificates, self.keys))
    }
}

/// Certificates and private keys.
pub type Parts = (Vec<CertificateDer<'static>>, Vec<PrivateKeyDer<'static>>);

/// When a certificate is good, in seconds since 1970, and whether it is one of X.509 version 1, which can name no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From when on.
    pub begins: i64,
    /// Its end.
    pub ends: i64,
    /// Whether it has no extensions, hence no `subjectAltName`.
    pub is_version_1: bool,
}

impl Validity {
    /// Of a certificate, if it is one.
    #[must_use]
    pub fn from_certificate(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        Some(Self {
            begins: certificate.validity().not_before.timestamp(),
            ends: certificate.validity().not_after.timestamp(),
            is_version_1: certificate.version() == x509_parser::x509::X509Version::V1,
        })
    }

    /// What is odd about its time at `now`, in seconds since 1970; reads on from the file's name.
    #[must_use]
    pub fn oddity(&self, now: i64) -> Option<&'static str> {
        if now > self.ends {
            Some("holds a certificate that has ended")
        } else if now < self.begins {
            Some("holds a certificate that is not valid yet")
        } else {
            None
        }
    }
}
