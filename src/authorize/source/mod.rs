//! Where assignments come from, and the set in force: the union of what the sources list.

pub mod acs;
pub mod file;
mod merge;
mod node;
pub mod parse;
pub mod schema;
#[cfg(test)]
mod tests;
mod warnings;
mod watch;

pub use self::watch::{AssignmentWatch, InForce, SourceHandle, SourceStatus};

/// A kind of source. Where two list the same principal, the earlier kind is heard first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// The broker's own file.
    File,
    /// ACS's list.
    Acs,
}

impl SourceKind {
    /// Its name in `assignments.sources`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Acs => "acs",
        }
    }

    /// Whether its assignments can have `allowedScopes`.
    fn narrows(self) -> bool {
        match self {
            Self::File => true,
            Self::Acs => false,
        }
    }
}
