//! The log's level, which can change while the broker runs.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing_subscriber::EnvFilter;

use super::TelemetryError;
use super::filter::LEVEL_TARGET;
use base::untrusted::Escaped;
use config::log_filter;

/// A handle on the log's level: what `telemetry.log_level` says, until it is set anew.
#[derive(Clone)]
pub struct LogLevel(Arc<ArcSwap<Levels>>);

struct Levels {
    text: String,
    filter: EnvFilter,
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogLevel").field(&self.text()).finish()
    }
}

impl LogLevel {
    /// Levels in tracing-subscriber's filter syntax.
    pub fn new(text: &str) -> Result<Self, TelemetryError> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(Levels::read(text)?))))
    }

    /// The filter in force, in tracing-subscriber's syntax.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.load().text.clone()
    }

    /// Sets another, with a line in the log that says `message`, at any level. One that is no filter changes nothing.
    pub fn set(&self, text: &str, message: &'static str) -> Result<(), TelemetryError> {
        let levels = Levels::read(text)?;
        tracing::warn!(target: LEVEL_TARGET, log_level = %Escaped(text), "{message}");
        self.put(levels);
        Ok(())
    }

    /// Sets the one that was meant from the start, without a line in the log. One that is no filter changes nothing.
    pub fn begin(&self, text: &str) -> Result<(), TelemetryError> {
        self.put(Levels::read(text)?);
        Ok(())
    }

    fn put(&self, levels: Levels) {
        self.0.store(Arc::new(levels));
        // Call sites remember whether they are heard.
        tracing::callsite::rebuild_interest_cache();
    }

    pub(super) fn filter(&self) -> impl Deref<Target = EnvFilter> + use<> {
        InForce(self.0.load_full())
    }
}

struct InForce(Arc<Levels>);

impl Deref for InForce {
    type Target = EnvFilter;

    fn deref(&self) -> &EnvFilter {
        &self.0.filter
    }
}

impl Levels {
    fn read(text: &str) -> Result<Self, TelemetryError> {
        let filter = log_filter(text).map_err(TelemetryError::LogLevel)?;
        Ok(Self {
            text: text.to_owned(),
            filter,
        })
    }
}
