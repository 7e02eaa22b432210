//! A cache that replicas share: sealed values, leases and budgets in a Redis or Valkey store.
//!
//! It knows nothing of Entra and ACS. What an entry is about is a list of labelled fields ([`EntryId`]), and stands in the
//! store as an HMAC of them; a value is sealed for that name. The store may be read, written, slow or away: none of that gives
//! a caller another's value, and no request waits for it longer than [`SharedCacheConfig::timeout`](config::SharedCacheConfig::timeout) within a second.
//!
//! - [`SharedCache`]: values and leases. [`SharedWindow`]: an endpoint's budget.
//! - `keys`: names and seals. `entry`: which of two values stays.
//! - `store`: an operation's limit, and when none is made. `chores`: what nobody waits for.
//! - `supervisor`, with `cluster` and `sentinels`: the connections, which nothing else makes. `link` is one of them,
//!   `permissions` what its user must be allowed to do.
//! - `script`: what runs within the store.

mod cache;
mod chores;
mod cluster;
mod connect;
mod credentials;
mod entry;
mod failure;
#[cfg(fuzzing)]
pub mod fuzzing;
mod keys;
mod lease;
mod link;
mod observer;
mod permissions;
mod script;
mod sentinels;
mod settings;
mod slots;
mod store;
mod supervisor;
mod topology;
mod window;

pub use certificates::{FileError, TrustError};

pub use cache::{Found, SharedCache, Status};
pub use credentials::{AccessToken, CredentialError, TokenError, TokenSource};
pub use entry::{EntryId, StoredValue};
pub use failure::Failure;
pub use keys::{EncryptionKeys, KeyFileError};
pub use lease::{Lease, Leased};
pub use observer::{Observer, Operation, Outcome, Unobserved};
pub use settings::Settings;
pub use window::{Ask, SharedPlace, SharedWindow, Taken, WindowStatus};

/// A name that nobody else gives.
fn random_name() -> String {
    use base64::Engine as _;
    let mut bytes = [0; 16];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        // Not secret, only to be told apart.
        fastrand::fill(&mut bytes);
    }
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
