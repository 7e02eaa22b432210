//! The store that replicas share, as the stages use it: tokens for the cache, budgets for ACS's endpoints.
//!
//! The crate `shared_cache` speaks to the store and knows nothing of tokens; here is what it is told, and what its answers mean.
//! Without `[shared_cache]` nothing of this is made.

mod budget;
#[cfg(fuzzing)]
pub mod fuzzing;
mod payload;
mod tier;
mod tokens;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use shared_cache::{EncryptionKeys, KeyFileError, Observer, Operation, Outcome};
use strum::VariantArray as _;

pub use self::budget::StoreBudget;
pub use self::tier::{ResourceTier, TierSettings};
pub use self::tokens::StoreTokens;
use base::ids::TenantId;
use config::Config;
use telemetry::metrics::{Metrics, StoreMetrics};

/// What Entra is asked for a token for the store: the scope of Azure Managed Redis, the same in every cloud.
pub const REDIS_SCOPE: &str = "https://redis.azure.com/.default";

/// Where each tenant's tokens come from: a part of what an entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorities {
    common: String,
    own: HashMap<TenantId, String>,
}

impl Authorities {
    /// Those of `config`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let tenants = config.entra.tenants.iter();
        Self {
            common: config.entra.authority.to_string(),
            own: tenants
                .filter_map(|tenant| Some((tenant.id, tenant.authority.as_ref()?.to_string())))
                .collect(),
        }
    }

    fn of(&self, tenant: TenantId) -> &str {
        self.own.get(&tenant).unwrap_or(&self.common)
    }
}

/// The names of the keys in this file, the one that is written with first; or why it cannot be used.
pub fn key_names(file: &Path) -> Result<Vec<String>, KeyFileError> {
    let keys = EncryptionKeys::load(file.to_owned())?;
    Ok(keys.names().map(str::to_owned).collect())
}

/// Counts the store's operations.
pub struct StoreObserver(StoreMetrics);

impl StoreObserver {
    /// Counts in `metrics`.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let outcomes = Outcome::VARIANTS.iter().map(Outcome::into_str);
        Self(metrics.store(outcomes))
    }
}

impl Observer for StoreObserver {
    fn outcome(&self, _: Operation, outcome: Outcome) {
        self.0.ended(outcome.into_str());
    }

    fn took(&self, operation: Operation, duration: Duration) {
        self.0.took(operation.into_str(), duration);
    }
}
