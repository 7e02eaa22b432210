//! Wrappers for values that must never be written anywhere.
//!
//! Neither type implements `Display` or a `Debug` that shows the value, so a token in a log line, a span or an error does
//! not compile or prints as redacted.

use std::fmt;
use std::sync::{Arc, OnceLock};

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// An Entra access token, as a caller presented it or as Entra gave it. Clones share it; it is wiped when the last is dropped.
#[derive(Clone)]
pub struct BearerToken(Arc<Presented>);

struct Presented {
    text: SecretString,
    // Made when it is first asked for: a long token that is refused for what it is needs none.
    digest: OnceLock<TokenDigest>,
}

impl BearerToken {
    /// Takes a token as it stands in a request.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self::of(secret(text.into()))
    }

    /// Copies a token that stands in the head of a request: once.
    #[must_use]
    pub fn copied(text: &str) -> Self {
        Self::of(SecretString::from(text))
    }

    fn of(text: SecretString) -> Self {
        Self(Arc::new(Presented {
            text,
            digest: OnceLock::new(),
        }))
    }

    /// The token itself: for decoding it and for sending it upstream, nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.text.expose_secret()
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken([redacted])")
    }
}

/// An ACS access token. Wiped when dropped.
pub struct AcsToken(SecretString);

impl AcsToken {
    /// Takes a token as ACS returned it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(secret(text.into()))
    }

    /// The token itself: for the answer to its user, nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for AcsToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AcsToken([redacted])")
    }
}

/// A `String` with room to spare moves when it becomes a secret, and what it leaves behind is never wiped.
fn secret(text: String) -> SecretString {
    let text = Zeroizing::new(text);
    SecretString::from(text.as_str())
}

/// SHA-256 of a presented token: distinguishes two tokens without keeping either.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of `token`.
    #[must_use]
    pub fn new(token: &BearerToken) -> Self {
        *token.0.digest.get_or_init(|| {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.expose().as_bytes());
            let mut bytes = [0; 32];
            bytes.copy_from_slice(digest.as_ref());
            Self(bytes)
        })
    }
}

impl TokenDigest {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_holds_no_secret() {
        let token = BearerToken::new("entra-secret");
        let shown = format!(
            "{token:?} {:?} {:?}",
            AcsToken::new("acs-secret"),
            TokenDigest::new(&token)
        );
        assert!(!shown.contains("secret"), "{shown}");
        let same = TokenDigest::new(&BearerToken::new("entra-secret"));
        assert!(TokenDigest::new(&token) == same && TokenDigest::new(&token.clone()) == same);
        assert!(TokenDigest::new(&BearerToken::new("another")) != same);
    }
}
