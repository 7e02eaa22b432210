//! Where assignments come from, and the set in force: the union of what the sources list.

pub mod acs;
pub mod file;
mod merge;
pub mod parse;
pub mod schema;
#[cfg(test)]
mod tests;
mod warnings;
mod watch;

pub use self::watch::{AssignmentWatch, InForce, SourceHandle, SourceStatus};

/// A kind of source, named as in `assignments.sources`. Where two list the same principal, the earlier kind is heard first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::AsRefStr, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum SourceKind {
    /// The broker's own file.
    File,
    /// ACS's list.
    Acs,
}

impl SourceKind {
    /// Whether its assignments can have `allowedScopes`.
    fn narrows(self) -> bool {
        match self {
            Self::File => true,
            Self::Acs => false,
        }
    }
}
