//! Why the emulator does not start, and why one of its handle's controls refuses.

use std::io;
use std::net::SocketAddr;

use crate::entra::certificate::InvalidCertificate;
use crate::jwt::CryptoFailed;

/// Why the emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// Its tokens open nothing, but its controls are open to all: it must not be reached from elsewhere.
    #[error("the emulator listens on loopback addresses only, not on {0}")]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error("the emulator cannot listen on {address}")]
    Listen {
        /// The requested address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// What was given as an origin is none.
    #[error("`{0}` is no origin: it has a scheme and a host, such as https://app.contoso.com, and no path")]
    Origin(String),
    /// No signing keys could be made.
    #[error("the emulator cannot make signing keys")]
    Keys(#[from] CryptoFailed),
    /// The scenario registers what is no certificate.
    #[error("the scenario's app has a certificate that cannot be registered")]
    Certificate(#[from] InvalidCertificate),
    /// The task that makes the keys ended early.
    #[error("the emulator was stopped while it started")]
    Stopped,
}

/// A control names what the scenario does not have.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No such demo user.
    #[error("there is no demo user `{0}`")]
    UnknownUser(String),
    /// No such tenant.
    #[error("there is no tenant `{0}`")]
    UnknownTenant(String),
    /// No API has this resource URI or client id.
    #[error("there is no API `{0}`")]
    UnknownResource(String),
    /// A cluster's name is a part of an address.
    #[error("`{0}` is no name for a cluster: it has letters, digits and hyphens only")]
    InvalidCluster(String),
    /// The API that a token is for has no signing key of its own.
    #[error("the API has no signing key of its own")]
    NoAppKey,
    /// The cryptographic library failed.
    #[error(transparent)]
    Crypto(#[from] CryptoFailed),
}
