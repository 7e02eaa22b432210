//! Where and when the emulator runs: its origins and its clock.

use base::clock::SharedClock;
use jiff::Timestamp;

/// The emulator's addresses and its time.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) clock: SharedClock,
    /// `http://127.0.0.1:PORT`.
    pub(crate) origin: String,
    /// `https://localhost:PORT`, if the emulator speaks TLS.
    pub(crate) tls_origin: Option<String>,
}

/// Marks a request that came over TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverTls;

impl Site {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What issuers begin with. Over TLS that is the https origin: Microsoft's libraries take an issuer only if it has
    /// the origin of the authority that they are given, and they are given no plain http.
    pub(crate) fn issuer_origin(&self) -> &str {
        self.tls_origin.as_deref().unwrap_or(&self.origin)
    }

    /// The origin that this request was sent to: the caller must be able to reach the addresses in an answer.
    pub(crate) fn request_origin(&self, extensions: &http::Extensions) -> &str {
        match &self.tls_origin {
            Some(origin) if extensions.get::<OverTls>().is_some() => origin,
            _ => &self.origin,
        }
    }
}
