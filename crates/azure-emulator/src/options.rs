//! How an emulator is started.

use std::net::SocketAddr;
use std::sync::Arc;

use base::clock::SharedClock;

use super::clock::MovableClock;

/// What [`super::Emulator::start_with`] takes beside the scenario.
#[derive(Debug, Clone)]
pub struct EmulatorOptions {
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// With it, the same port answers both http and https.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The emulator's time. A broker that shares it is moved on with the emulator by `POST /_emulator/clock`.
    pub clock: Arc<MovableClock>,
    /// Origins beside those on loopback, such as `https://app.contoso.com`: their pages may call the emulator and
    /// users may be sent back to them after a sign-in, and their host names count as this machine's.
    pub origins: Vec<String>,
}

impl EmulatorOptions {
    /// Plain http, on this clock, for pages on loopback alone.
    #[must_use]
    pub fn new(listen: SocketAddr, clock: SharedClock) -> Self {
        Self {
            listen,
            tls: None,
            clock: Arc::new(MovableClock::over(clock)),
            origins: Vec::new(),
        }
    }
}
