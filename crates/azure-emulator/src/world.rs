//! What every handler of the emulator shares.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::acs::AcsState;
use super::entra::apps::Registration;
use super::entra::keys::KeyStore;
use super::faults::Faults;
use super::federated::Clusters;
use super::journal::Journal;
use super::scenario::Scenario;
use super::settings::Settings;
use base::clock::SharedClock;

/// The emulated world: scenario, time, and everything that changes.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) clock: SharedClock,
    /// `http://127.0.0.1:PORT`.
    pub(crate) origin: String,
    /// `https://localhost:PORT`, if the emulator speaks TLS.
    pub(crate) tls_origin: Option<String>,
    pub(crate) keys: KeyStore,
    pub(crate) registration: Registration,
    pub(crate) clusters: Clusters,
    pub(crate) settings: Mutex<Settings>,
    pub(crate) acs: AcsState,
    pub(crate) faults: Faults,
    pub(crate) journal: Journal,
}

/// The shared world, as axum's state.
pub(crate) type SharedWorld = Arc<World>;

/// Marks a request that came over TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverTls;

impl World {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The settings as they stand.
    pub(crate) fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    /// What issuers begin with. Over TLS that is the https origin: Microsoft's libraries take an issuer only if it has
    /// the origin of the authority that they are given, and they are given no plain http.
    pub(crate) fn issuer_origin(&self) -> &str {
        self.tls_origin.as_deref().unwrap_or(&self.origin)
    }

    /// The origin that this request was sent to: addresses in an answer must be reachable for who asked.
    pub(crate) fn origin_asked(&self, extensions: &http::Extensions) -> &str {
        match &self.tls_origin {
            Some(origin) if extensions.get::<OverTls>().is_some() => origin,
            _ => &self.origin,
        }
    }
}

/// Locks; a panic elsewhere while it was held does not matter to state this simple.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
