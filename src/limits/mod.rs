//! How much one user, or one address, may ask for and cause.
//!
//! `rate` is the rule and its counters, `address` says whose request it is where proxies stand before the broker. Each
//! replica counts by itself.

pub mod address;
mod rate;

use std::net::IpAddr;
use std::time::Duration;

use self::rate::RateLimit;
use base::clock::SharedClock;
use base::ids::{ObjectId, TenantId};
use config::LimitsConfig;
pub use telemetry::metrics::labels::Limit;

/// A user: tenant and object id.
pub type User = (TenantId, ObjectId);

/// The limits on callers.
#[derive(Debug)]
pub struct CallerLimits {
    per_user: RateLimit<User>,
    per_address: RateLimit<IpAddr>,
    upstream_per_user: RateLimit<User>,
}

/// A caller asks for more than they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("limits.{} is reached, for {}s", limit.into_str(), retry_after.as_secs())]
pub struct Exceeded {
    /// Which limit.
    pub limit: Limit,
    /// Until one more passes: whole seconds, at least one.
    pub retry_after: Duration,
}

impl CallerLimits {
    /// The limits that `config` sets. Nothing is counted yet.
    #[must_use]
    pub fn new(config: &LimitsConfig, clock: &SharedClock) -> Self {
        Self {
            per_user: RateLimit::new(config.per_user, Limit::PerUser, clock),
            per_address: RateLimit::new(config.per_address, Limit::PerAddress, clock),
            upstream_per_user: RateLimit::new(config.upstream_per_user, Limit::UpstreamPerUser, clock),
        }
    }

    /// No limits.
    #[cfg(test)]
    pub(crate) fn unlimited(clock: &SharedClock) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self {
            per_user: RateLimit::new(None, Limit::PerUser, clock),
            per_address: RateLimit::new(None, Limit::PerAddress, clock),
            upstream_per_user: RateLimit::new(None, Limit::UpstreamPerUser, clock),
        })
    }

    /// Counts a request of `user`.
    pub fn count_user(&self, user: User) -> Result<(), Exceeded> {
        self.per_user.count(user)
    }

    /// A request of `user` was refused by another limit after all, and does not count.
    pub fn uncount_user(&self, user: User) {
        self.per_user.uncount(user);
    }

    /// Counts a request from `address`.
    pub fn count_address(&self, address: IpAddr) -> Result<(), Exceeded> {
        self.per_address.count(address::counted(address))
    }

    /// A request from `address` was refused by another limit after all, and does not count.
    pub fn uncount_address(&self, address: IpAddr) {
        self.per_address.uncount(address::counted(address));
    }

    /// Whether requests are counted by address at all.
    #[must_use]
    pub fn counts_addresses(&self) -> bool {
        self.per_address.is_on()
    }

    /// Counts upstream work that `user` starts.
    pub fn count_upstream(&self, user: User) -> Result<(), Exceeded> {
        self.upstream_per_user.count(user)
    }

    /// Nothing was sent upstream for `user` after all.
    pub fn uncount_upstream(&self, user: User) {
        self.upstream_per_user.uncount(user);
    }
}
