//! A file of certificates or keys, whichever setting names it.

use std::io;
use std::path::{Path, PathBuf};

use super::{Bundle, Fault};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It does not hold what it should.
    #[error("{} {fault}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// One of its certificates cannot be a trust anchor.
    #[error("{} holds a certificate, number {number}, that cannot be trusted: {error}", path.display())]
    NoAnchor {
        /// The file.
        path: PathBuf,
        /// Which certificate, counted from 1.
        number: usize,
        /// Why not.
        error: rustls::Error,
    },
}

/// Takes `part` of what was read of the file at `path`: [`Bundle::certificates`] or [`Bundle::keys`], say.
pub fn part_of_file<T>(
    path: &Path,
    content: io::Result<impl AsRef<[u8]>>,
    part: impl FnOnce(Bundle) -> Result<T, Fault>,
) -> Result<T, FileError> {
    let path = || path.to_owned();
    let content = content.map_err(|error| FileError::Unreadable { path: path(), error })?;
    let bundle = Bundle::read(content.as_ref(), None);
    bundle
        .and_then(part)
        .map_err(|fault| FileError::Content { path: path(), fault })
}
