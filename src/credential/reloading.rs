//! Secrets that change while the broker runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::clock::SharedClock;
use crate::config::SecretSource;
use crate::upstream::acs_signing::{AccessKeyError, AccessKeySource};

/// How long what a file held counts: a changed secret is in use within this.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// No secret, certificate or token is as large.
const MAX_BYTES: u64 = 256 * 1024;

/// A secret cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Its file cannot be read.
    #[error("{path}: {kind}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        kind: io::ErrorKind,
    },
    /// Its file is empty, too large or not text.
    #[error("{0}: holds no secret")]
    Unusable(String),
}

/// The bytes of a file, looked at again when that is due. The last good content stays while the file is away.
pub struct ReloadingFile {
    path: PathBuf,
    clock: SharedClock,
    state: Mutex<Option<Looked>>,
}

struct Looked {
    // Monotonic time.
    at: Duration,
    content: Arc<Zeroizing<Vec<u8>>>,
}

impl ReloadingFile {
    /// A file that is read at the first use.
    #[must_use]
    pub fn new(path: PathBuf, clock: SharedClock) -> Self {
        Self {
            path,
            clock,
            state: Mutex::new(None),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its content: the same `Arc` as long as that is the same. Reads a small file, at most every few seconds.
    pub fn content(&self) -> Result<Arc<Zeroizing<Vec<u8>>>, SecretError> {
        let now = self.clock.monotonic();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(looked) = &*state
            && now.saturating_sub(looked.at) < LOOK_INTERVAL
        {
            return Ok(Arc::clone(&looked.content));
        }
        match (read(&self.path), &mut *state) {
            (Ok(content), Some(looked)) if *looked.content == content => {
                looked.at = now;
                Ok(Arc::clone(&looked.content))
            }
            (Ok(content), state) => {
                let content = Arc::new(content);
                *state = Some(Looked {
                    at: now,
                    content: Arc::clone(&content),
                });
                Ok(content)
            }
            (Err(error), Some(looked)) => {
                // Volumes are swapped in steps: what was there serves until the new one is whole.
                tracing::warn!(%error, "a secret's file cannot be read; its last content serves");
                looked.at = now;
                Ok(Arc::clone(&looked.content))
            }
            (Err(error), None) => Err(error),
        }
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let unreadable = |error: &io::Error| SecretError::Unreadable {
        path: path.display().to_string(),
        kind: error.kind(),
    };
    let length = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
    if length > MAX_BYTES {
        return Err(SecretError::Unusable(path.display().to_string()));
    }
    let content = std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| unreadable(&error))?;
    if content.trim_ascii().is_empty() {
        return Err(SecretError::Unusable(path.display().to_string()));
    }
    Ok(content)
}

/// A secret from the environment or from a file.
pub struct ReloadingSecret(Source);

enum Source {
    Fixed(Arc<SecretString>),
    File {
        file: ReloadingFile,
        text: Mutex<Option<Text>>,
    },
}

/// What a file's content says.
struct Text {
    of: Arc<Zeroizing<Vec<u8>>>,
    secret: Arc<SecretString>,
}

impl ReloadingSecret {
    /// The secret that `source` names.
    #[must_use]
    pub fn new(source: SecretSource, clock: SharedClock) -> Self {
        Self(match source {
            SecretSource::Value(secret) => Source::Fixed(Arc::new(secret)),
            SecretSource::File(path) => Source::File {
                file: ReloadingFile::new(path, clock),
                text: Mutex::new(None),
            },
        })
    }

    /// The secret as it is now, without whitespace around it.
    pub fn current(&self) -> Result<Arc<SecretString>, SecretError> {
        let (file, text) = match &self.0 {
            Source::Fixed(secret) => return Ok(Arc::clone(secret)),
            Source::File { file, text } => (file, text),
        };
        let content = file.content()?;
        let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = text.as_ref().filter(|text| Arc::ptr_eq(&text.of, &content)) {
            return Ok(Arc::clone(&text.secret));
        }
        let secret = std::str::from_utf8(&content)
            .map_err(|_| SecretError::Unusable(file.path().display().to_string()))?
            .trim();
        let secret = Arc::new(SecretString::from(secret));
        *text = Some(Text {
            of: content,
            secret: Arc::clone(&secret),
        });
        Ok(secret)
    }

    /// The same, exposed, for a caller who hands it on at once.
    pub fn with<T>(&self, use_it: impl FnOnce(&str) -> T) -> Result<T, SecretError> {
        self.current().map(|secret| use_it(secret.expose_secret()))
    }
}

impl AccessKeySource for ReloadingSecret {
    fn current(&self) -> Result<Arc<SecretString>, AccessKeyError> {
        self.current()
            .map_err(|error| AccessKeyError::Unreadable(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, SharedClock};

    #[test]
    fn a_changed_file_is_in_use_soon_and_a_lost_one_keeps_its_last_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "one\n").unwrap();
        let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
        let secret = ReloadingSecret::new(SecretSource::File(path.clone()), Arc::clone(&clock) as SharedClock);
        let now = || secret.with(str::to_owned).unwrap();
        assert_eq!(now(), "one");
        std::fs::write(&path, " two ").unwrap();
        assert_eq!(now(), "one");
        clock.advance(LOOK_INTERVAL);
        assert_eq!(now(), "two");
        std::fs::remove_file(&path).unwrap();
        clock.advance(LOOK_INTERVAL);
        assert_eq!(now(), "two");
        std::fs::write(&path, "three").unwrap();
        clock.advance(LOOK_INTERVAL);
        assert_eq!(now(), "three");
    }

    #[test]
    fn what_was_never_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
        let secret = ReloadingSecret::new(SecretSource::File(path.clone()), clock);
        assert!(matches!(secret.current(), Err(SecretError::Unreadable { .. })));
        std::fs::write(&path, "  \n").unwrap();
        assert!(matches!(secret.current(), Err(SecretError::Unusable(_))));
    }
}
