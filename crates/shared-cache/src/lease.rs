//! A lease: one replica exchanges for all.

use std::fmt;
use std::time::Duration;

use crate::chores::{Chore, Chores};
use crate::random_name;

/// What became of a lease.
#[derive(Debug)]
pub enum Leased {
    /// It is ours.
    Held(Lease),
    /// It is another's.
    Taken {
        /// For how long, at most.
        remaining: Duration,
    },
    /// The store said nothing: the replica goes on by itself.
    Away,
}

/// For how long at most a lease of `length` is another's, if the script says that it is. `left`: the milliseconds that it says.
pub(crate) fn others(left: i64, length: Duration) -> Option<Duration> {
    let left = u64::try_from(left).ok()?;
    Some(Duration::from_millis(left).min(length))
}

/// A lease on an exchange. Ends when it is dropped, or by itself.
pub struct Lease {
    chores: Chores,
    key: String,
    owner: String,
}

impl Lease {
    /// One that may come to be this replica's at `key`, by a name that nobody else gives.
    pub(crate) fn new(chores: &Chores, key: String) -> Self {
        Self {
            chores: chores.clone(),
            key,
            owner: random_name(),
        }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    /// It is another's.
    pub(crate) fn forget(mut self) {
        self.owner.clear();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.owner.is_empty() {
            self.chores.add(Chore::Release {
                lease: std::mem::take(&mut self.key),
                owner: std::mem::take(&mut self.owner),
            });
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("key", &self.key).finish_non_exhaustive()
    }
}
