//! What is counted of the store's operations.

#![expect(missing_docs, reason = "strum generates `into_str` without a comment")]

use std::time::Duration;

/// What became of an operation; `into_str` is the text of a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Outcome {
    /// A value was found.
    Hit,
    /// There is none.
    Miss,
    /// A value was written.
    Stored,
    /// The store did not answer within the limit.
    Timeout,
    /// The store answered with an error, or the connection was lost.
    Error,
    /// A value did not open: foreign, altered, or not that of this entry.
    Rejected,
    /// The store was not asked, since it is away.
    Skipped,
}

/// What the store is asked for; `into_str` is the text of a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Operation {
    /// A value.
    Get,
    /// To keep a value.
    Put,
    /// To forget a value.
    Delete,
    /// To let one replica exchange.
    Lease,
    /// A place in a budget, or what is known of it.
    Budget,
}

/// Is told of each operation that a request waits for.
pub trait Observer: Send + Sync {
    /// An operation ended, or was not begun. Operations that succeeded in what has no outcome of its own (a lease, a place)
    /// are not told here.
    fn outcome(&self, operation: Operation, outcome: Outcome);
    /// The store was asked, and this is how long it took to answer or to be given up.
    fn took(&self, operation: Operation, duration: Duration);
}

/// Counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn outcome(&self, _operation: Operation, _outcome: Outcome) {}
    fn took(&self, _operation: Operation, _duration: Duration) {}
}
