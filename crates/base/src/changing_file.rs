//! A file that is read again while the broker runs.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use zeroize::Zeroizing;

/// A file, and what the last look at it found, so that each state of it is acted on and reported once.
///
/// Contents are compared rather than modification times: a mounted Kubernetes volume swaps symbolic links, and a
/// restored file may be older than the one it replaces.
pub struct ChangingFile {
    path: PathBuf,
    max_bytes: u64,
    seen: Mutex<Option<Seen>>,
}

#[derive(PartialEq, Eq)]
enum Seen {
    Content([u8; SHA256_OUTPUT_LEN]),
    Unreadable(io::ErrorKind),
}

/// What one look at a file found.
#[derive(Debug)]
pub struct Look {
    /// Whether the look before found something else, or there was none.
    pub is_new: bool,
    /// What the file holds, or why it cannot be read.
    pub content: io::Result<Zeroizing<Vec<u8>>>,
}

impl ChangingFile {
    /// The file at `path`, which cannot be read if it is larger than `max_bytes`. It is not read yet.
    #[must_use]
    pub fn new(path: PathBuf, max_bytes: u64) -> Self {
        Self {
            path,
            max_bytes,
            seen: Mutex::new(None),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file. Blocks, on a network's file system perhaps for long.
    pub fn look(&self) -> Look {
        let content = self.read();
        let now_seen = match &content {
            Ok(content) => {
                let mut bytes = [0; SHA256_OUTPUT_LEN];
                bytes.copy_from_slice(digest(&SHA256, content).as_ref());
                Seen::Content(bytes)
            }
            Err(error) => Seen::Unreadable(error.kind()),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = seen.as_ref() != Some(&now_seen);
        *seen = Some(now_seen);
        Look { is_new, content }
    }

    fn read(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut content = Zeroizing::new(Vec::new());
        // Bounded while it is read: what a file says of its length need not be so.
        std::fs::File::open(&self.path)?
            .take(self.max_bytes.saturating_add(1))
            .read_to_end(&mut content)?;
        if u64::try_from(content.len()).is_ok_and(|length| length <= self.max_bytes) {
            Ok(content)
        } else {
            let problem = format!("larger than {} bytes", self.max_bytes);
            Err(io::Error::new(io::ErrorKind::FileTooLarge, problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_new_once() {
        let path = std::env::temp_dir().join(format!("acs-token-broker-{}", uuid::Uuid::new_v4()));
        let file = ChangingFile::new(path.clone(), 4);
        let look = |expected: Result<&str, io::ErrorKind>| {
            let first = file.look();
            let content = first
                .content
                .as_deref()
                .map(|content| String::from_utf8(content.clone()).unwrap());
            assert_eq!(content.as_deref().map_err(|error| error.kind()), expected);
            assert!(!file.look().is_new);
            first.is_new
        };
        assert!(look(Err(io::ErrorKind::NotFound)));
        std::fs::write(&path, "four").unwrap();
        assert!(look(Ok("four")));
        std::fs::write(&path, "four").unwrap();
        assert!(!look(Ok("four")));
        std::fs::write(&path, "fours").unwrap();
        assert!(look(Err(io::ErrorKind::FileTooLarge)));
        std::fs::write(&path, "four").unwrap();
        assert!(look(Ok("four")));
        std::fs::remove_file(&path).unwrap();
        assert!(look(Err(io::ErrorKind::NotFound)));
    }
}
