//! A certificate and its private key, and the client assertions signed with it.
//!
//! "Microsoft identity platform application authentication certificate credentials": PS256, `x5t#S256`. Microsoft's
//! `azure_identity` signs such assertions too, but by OpenSSL, and only inside its own client-credentials flow.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::{digest, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::reloading::{Content, ReloadingFile, ReloadingSecret, SecretError};
use base::clock::SharedClock;
use base::ids::ClientAppId;
use certificates::{Bundle, Fault, Validity, pair};
use config::SecretSource;

/// Entra takes nothing shorter.
const MIN_RSA_BITS: usize = 2048;
/// How long an assertion is good for, from when it is signed. Microsoft advises at most ten minutes.
const ASSERTION_SECONDS: i64 = 5 * 60;

/// A certificate cannot be used. Nothing of the file's content is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read as a certificate with its key.
    #[error(transparent)]
    Unreadable(#[from] Fault),
    /// The key is of another kind than RSA.
    #[error("its private key is no RSA key, and client assertions are signed with RSA alone (PS256)")]
    NotRsa,
    /// The RSA key is broken.
    #[error("its private key is no valid RSA key")]
    BrokenRsa,
    /// The key is too short.
    #[error("its RSA key has under {MIN_RSA_BITS} bits")]
    ShortKey,
    /// The file could not be read at all: a bug of ours.
    #[error("could not be read to its end")]
    Lost,
    /// The assertion could not be signed.
    #[error("its key signs nothing")]
    Signature,
}

/// An RSA key with the thumbprint of its certificate.
pub(super) struct SigningCertificate {
    key: EncodingKey,
    thumbprint: String,
    validity: Option<Validity>,
}

impl SigningCertificate {
    /// Reads PEM, DER or PFX. The certificate is the one that the key belongs to, wherever it stands among others; Entra
    /// knows it by its thumbprint, whatever version of X.509 it is.
    pub(super) fn read(content: &[u8], password: Option<&str>) -> Result<Self, CertificateError> {
        let (certificates, keys) = Bundle::read(content, password)?.parts()?;
        let mut outcome = Err(CertificateError::NotRsa);
        for key in keys {
            outcome = Self::from_key(&certificates, key);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    fn from_key(
        certificates: &[CertificateDer<'static>],
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateError> {
        let pkcs1 = rsa_key(&key)?;
        let paired = pair(certificates, vec![key])?;
        // The chain is never empty: the key's own certificate comes first.
        let certificate = paired.chain.first().ok_or(Fault::Mismatch)?;
        Ok(Self {
            key: EncodingKey::from_rsa_der(&pkcs1),
            thumbprint: URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, certificate)),
            validity: Validity::from_certificate(certificate),
        })
    }

    /// What is odd about the certificate's time.
    pub(super) fn oddity(&self, now: Timestamp) -> Option<&'static str> {
        self.validity?.oddity(now.as_second())
    }

    /// A client assertion of `client_id` for the token endpoint `audience`.
    pub(super) fn assertion(
        &self,
        client_id: ClientAppId,
        audience: &Url,
        now: Timestamp,
    ) -> Result<SecretString, CertificateError> {
        #[derive(Serialize)]
        struct Claims<'a> {
            aud: &'a str,
            iss: String,
            sub: String,
            jti: String,
            iat: i64,
            nbf: i64,
            exp: i64,
        }
        let mut header = Header::new(Algorithm::PS256);
        header.x5t_s256 = Some(self.thumbprint.clone());
        let now = now.as_second();
        let claims = Claims {
            aud: audience.as_str(),
            iss: client_id.to_string(),
            sub: client_id.to_string(),
            jti: Uuid::new_v4().to_string(),
            iat: now,
            nbf: now,
            exp: now + ASSERTION_SECONDS,
        };
        jsonwebtoken::encode(&header, &claims, &self.key)
            .map(SecretString::from)
            .map_err(|_| CertificateError::Signature)
    }
}

/// The key as PKCS#1, in which jsonwebtoken takes it, if it is an RSA key that Entra accepts.
fn rsa_key(key: &PrivateKeyDer<'_>) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let (pair, pkcs1) = match key {
        PrivateKeyDer::Pkcs1(key) => (
            rsa::KeyPair::from_der(key.secret_pkcs1_der()),
            key.secret_pkcs1_der().to_vec(),
        ),
        PrivateKeyDer::Pkcs8(key) => {
            let der = key.secret_pkcs8_der();
            let info = pkcs8::PrivateKeyInfoRef::try_from(der).map_err(|_| Fault::BrokenKey)?;
            if info.algorithm.oid != RSA_ENCRYPTION {
                return Err(CertificateError::NotRsa);
            }
            (rsa::KeyPair::from_pkcs8(der), info.private_key.as_bytes().to_vec())
        }
        _ => return Err(CertificateError::NotRsa),
    };
    let pkcs1 = Zeroizing::new(pkcs1);
    let pair = pair.map_err(|error| match error.description_() {
        "TooSmall" => CertificateError::ShortKey,
        _ => CertificateError::BrokenRsa,
    })?;
    if pair.public_modulus_len() * 8 < MIN_RSA_BITS {
        return Err(CertificateError::ShortKey);
    }
    Ok(pkcs1)
}

/// RFC 8017 appendix C.
const RSA_ENCRYPTION: pkcs8::ObjectIdentifier = pkcs8::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// A certificate that follows its file. One that cannot be used (half written, not belonging together) leaves the
/// last good one in use.
pub(super) struct CertificateFile {
    file: Arc<ReloadingFile>,
    password: Option<ReloadingSecret>,
    read: Mutex<Option<Read>>,
}

struct Read {
    // What was last read, good or bad, so that each content is parsed, and reported, once.
    content: Content,
    password: Option<Arc<SecretString>>,
    outcome: Outcome,
}

type Outcome = Result<Arc<SigningCertificate>, CertificateFileError>;

/// Why there is no certificate: the file, its password, or what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFileError {
    /// The file or the password's file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// What the file holds.
    #[error("{path} {error}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong with it.
        error: CertificateError,
    },
}

impl CertificateFile {
    pub(super) fn new(path: PathBuf, password: Option<SecretSource>, clock: &SharedClock) -> Arc<Self> {
        Arc::new(Self {
            file: ReloadingFile::new(path, Arc::clone(clock)),
            password: password.map(|source| ReloadingSecret::new(source, Arc::clone(clock))),
            read: Mutex::new(None),
        })
    }

    /// The certificate as it is now. Reading and parsing go on on another thread: a PFX takes its time.
    pub(super) async fn latest(self: &Arc<Self>) -> Result<Arc<SigningCertificate>, CertificateFileError> {
        let content = self.file.latest().await?;
        let password = match &self.password {
            Some(password) => Some(password.latest().await?),
            None => None,
        };
        if let Some(outcome) = self.known(&content, password.as_ref()) {
            return outcome;
        }
        let this = Arc::clone(self);
        let parsed = tokio::task::spawn_blocking(move || this.take_in(content, password)).await;
        parsed.unwrap_or_else(|_| Err(self.named(CertificateError::Lost)))
    }

    /// The same, on this thread: for the start, where nothing else goes on.
    pub(super) fn current(&self) -> Result<Arc<SigningCertificate>, CertificateFileError> {
        let content = self.file.content()?;
        let password = self.password.as_ref().map(ReloadingSecret::current).transpose()?;
        self.known(&content, password.as_ref())
            .unwrap_or_else(|| self.take_in(content, password))
    }

    /// What this content was found to be, if it was looked at last.
    fn known(&self, content: &Content, password: Option<&Arc<SecretString>>) -> Option<Outcome> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let read = read.as_ref()?;
        let same =
            Arc::ptr_eq(&read.content, content) && read.password.as_ref().map(Arc::as_ptr) == password.map(Arc::as_ptr);
        same.then(|| read.outcome.clone())
    }

    fn take_in(&self, content: Content, password: Option<Arc<SecretString>>) -> Outcome {
        let text = password.as_deref().map(SecretString::expose_secret);
        let parsed = SigningCertificate::read(&content, text);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let last = read.as_ref().and_then(|read| read.outcome.as_ref().ok());
        let outcome = match (parsed, last) {
            (Ok(certificate), _) => Ok(Arc::new(certificate)),
            (Err(error), Some(last)) => {
                tracing::warn!(file = %self.file.path().display(), %error, "the changed certificate cannot be used; the last one serves");
                Ok(Arc::clone(last))
            }
            (Err(error), None) => Err(self.named(error)),
        };
        *read = Some(Read {
            content,
            password,
            outcome: outcome.clone(),
        });
        outcome
    }

    /// The same for code that signs with it: the file is named.
    pub(super) fn named(&self, error: CertificateError) -> CertificateFileError {
        CertificateFileError::Content {
            path: self.file.path().display().to_string(),
            error,
        }
    }
}
