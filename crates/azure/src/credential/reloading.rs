//! Secrets that change while the broker runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use zeroize::Zeroizing;

use base::changing_file::{ChangingFile, Look};
use base::clock::SharedClock;
use config::{SecretSource, invisible};

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
    /// Its file is empty or not text.
    #[error("{0}: holds no secret")]
    Unusable(String),
    /// Its file holds a character that is hardly part of a secret.
    #[error("{path}: {reason}")]
    Doubtful {
        /// The file.
        path: String,
        /// Which character, and where; never the secret.
        reason: String,
    },
}

/// How long a caller waits for a file. One on a mount that hangs must not hold anybody up.
const READ_LIMIT: Duration = Duration::from_secs(2);

/// The bytes of a file, looked at again when that is due. The last good content stays while the file is away.
pub struct ReloadingFile {
    file: ChangingFile,
    clock: SharedClock,
    state: Mutex<Option<Looked>>,
    // Whether a look is under way that a caller waits for: one at a time, since each takes a thread.
    looking: AtomicBool,
}

/// What a file holds.
pub(super) type Content = Arc<Zeroizing<Vec<u8>>>;

#[derive(Clone)]
struct Looked {
    // Monotonic time.
    at: Duration,
    content: Content,
}

impl ReloadingFile {
    /// A file that is read at the first use.
    #[must_use]
    pub fn new(path: PathBuf, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self {
            file: ChangingFile::new(path, MAX_BYTES),
            clock,
            state: Mutex::new(None),
            looking: AtomicBool::new(false),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its content: the same `Arc` as long as that is the same. Looked at on another thread, at most every few seconds.
    pub(super) async fn latest(self: &Arc<Self>) -> Result<Content, SecretError> {
        let last = self.last();
        if let Some(looked) = last.as_ref().filter(|looked| self.is_fresh(looked)) {
            return Ok(Arc::clone(&looked.content));
        }
        if self.looking.swap(true, Ordering::AcqRel)
            && let Some(looked) = last
        {
            return Ok(looked.content);
        }
        let this = Arc::clone(self);
        let look = tokio::task::spawn_blocking(move || {
            let content = this.content();
            this.looking.store(false, Ordering::Release);
            content
        });
        match (tokio::time::timeout(READ_LIMIT, look).await, last) {
            (Ok(Ok(content)), _) => content,
            (Ok(Err(_)) | Err(_), Some(looked)) => {
                tracing::warn!(file = %self.path().display(), "a secret's file is not read in time; its last content serves");
                Ok(looked.content)
            }
            (Ok(Err(_)) | Err(_), None) => Err(self.unreadable(io::ErrorKind::TimedOut)),
        }
    }

    /// The same, on this thread: for the start, where nothing else goes on.
    pub(super) fn content(&self) -> Result<Content, SecretError> {
        let last = self.last();
        if let Some(looked) = last.as_ref().filter(|looked| self.is_fresh(looked)) {
            return Ok(Arc::clone(&looked.content));
        }
        let Look { is_new, content } = self.file.look();
        let content = match (self.checked(content), last) {
            (Ok(content), Some(looked)) if *looked.content == content => looked.content,
            (Ok(content), _) => Arc::new(content),
            (Err(error), Some(looked)) => {
                // Volumes are swapped in steps: what was there serves until the new one is whole.
                if is_new {
                    tracing::warn!(%error, "a secret's file cannot be read; its last content serves");
                }
                looked.content
            }
            (Err(error), None) => return Err(error),
        };
        let looked = Looked {
            at: self.clock.monotonic(),
            content: Arc::clone(&content),
        };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(looked);
        Ok(content)
    }

    fn checked(&self, content: io::Result<Zeroizing<Vec<u8>>>) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let content = content.map_err(|error| self.unreadable(error.kind()))?;
        let text = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&content);
        if text.trim_ascii().is_empty() {
            return Err(SecretError::Unusable(self.path().display().to_string()));
        }
        Ok(content)
    }

    fn unreadable(&self, kind: io::ErrorKind) -> SecretError {
        SecretError::Unreadable {
            path: self.path().display().to_string(),
            kind,
        }
    }

    fn last(&self) -> Option<Looked> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_fresh(&self, looked: &Looked) -> bool {
        self.clock.monotonic().saturating_sub(looked.at) < LOOK_INTERVAL
    }
}

/// A secret from the environment or from a file.
pub struct ReloadingSecret(Source);

enum Source {
    Fixed(Arc<SecretString>),
    File {
        file: Arc<ReloadingFile>,
        text: Mutex<Option<Text>>,
    },
}

/// What a file's content says.
struct Text {
    of: Content,
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

    /// The secret as it is now, without whitespace or a byte order mark around it.
    pub async fn latest(&self) -> Result<Arc<SecretString>, SecretError> {
        match &self.0 {
            Source::Fixed(secret) => Ok(Arc::clone(secret)),
            Source::File { file, text } => read_text(file, text, file.latest().await?),
        }
    }

    /// The same, read on this thread: for the start, where nothing else goes on.
    pub fn current(&self) -> Result<Arc<SecretString>, SecretError> {
        match &self.0 {
            Source::Fixed(secret) => Ok(Arc::clone(secret)),
            Source::File { file, text } => read_text(file, text, file.content()?),
        }
    }
}

fn read_text(
    file: &ReloadingFile,
    text: &Mutex<Option<Text>>,
    content: Content,
) -> Result<Arc<SecretString>, SecretError> {
    let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = text.as_ref().filter(|text| Arc::ptr_eq(&text.of, &content)) {
        return Ok(Arc::clone(&text.secret));
    }
    let secret = match secret_in(file.path(), &content) {
        Ok(secret) => secret,
        // Reported once for each content.
        Err(error) => match text.as_mut() {
            None => return Err(error),
            Some(last) => {
                tracing::warn!(%error, "a secret's file cannot be used; its last content serves");
                last.of = content;
                return Ok(Arc::clone(&last.secret));
            }
        },
    };
    let secret = Arc::new(SecretString::from(secret));
    *text = Some(Text {
        of: content,
        secret: Arc::clone(&secret),
    });
    Ok(secret)
}

fn secret_in<'c>(path: &Path, content: &'c [u8]) -> Result<&'c str, SecretError> {
    let path = || path.display().to_string();
    let text = std::str::from_utf8(content).map_err(|_| SecretError::Unusable(path()))?;
    match invisible::secret(text) {
        Ok("") => Err(SecretError::Unusable(path())),
        Ok(secret) => Ok(secret),
        Err(reason) => Err(SecretError::Doubtful { path: path(), reason }),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use base::clock::{ManualClock, SharedClock};

    #[tokio::test]
    async fn a_changed_file_is_in_use_soon_and_a_lost_one_keeps_its_last_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "one\n").unwrap();
        let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
        let secret = ReloadingSecret::new(SecretSource::File(path.clone()), Arc::clone(&clock) as SharedClock);
        let now = async || secret.latest().await.unwrap().expose_secret().to_owned();
        assert_eq!(now().await, "one");
        std::fs::write(&path, " two ").unwrap();
        assert_eq!(now().await, "one");
        clock.advance(LOOK_INTERVAL);
        assert_eq!(now().await, "two");
        std::fs::remove_file(&path).unwrap();
        clock.advance(LOOK_INTERVAL);
        assert_eq!(now().await, "two");
        std::fs::write(&path, "three").unwrap();
        clock.advance(LOOK_INTERVAL);
        assert_eq!(now().await, "three");
    }

    #[test]
    fn what_was_never_there_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
        let secret = ReloadingSecret::new(SecretSource::File(path.clone()), clock);
        assert!(matches!(secret.current(), Err(SecretError::Unreadable { .. })));
        std::fs::write(&path, "  \n").unwrap();
        assert!(matches!(secret.current(), Err(SecretError::Unusable(_))));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
            let secret = ReloadingSecret::new(SecretSource::File(path.clone()), clock).current()?;
            Ok(secret.expose_secret().to_owned())
        };
        for text in ["one", "\u{feff}one", "\u{feff} one\r\n"] {
            assert_eq!(read(text), Ok("one".to_owned()), "{text:?}");
        }
        for text in ["\u{feff}", "\u{feff}\n"] {
            assert!(matches!(read(text), Err(SecretError::Unusable(_))), "{text:?}");
        }
    }

    #[test]
    fn invisible_characters_in_a_secret_are_named_or_no_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
        let secret = ReloadingSecret::new(SecretSource::File(path.clone()), Arc::clone(&clock) as SharedClock);
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            clock.advance(LOOK_INTERVAL);
            secret.current().map(|secret| secret.expose_secret().to_owned())
        };
        for (text, character) in [
            ("hun\u{a0}ter2", "U+00A0 NO-BREAK SPACE"),
            ("hunter2\nmore", "U+000A LINE FEED"),
            ("\"hunter2\"\r\n", "U+0022 QUOTATION MARK"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(character) && !error.contains("hunter2"), "{error}");
        }
        for text in ["one", "one\r\n", "\u{feff}one\u{200b}\n", "\tone\u{a0}"] {
            assert_eq!(read(text), Ok("one".to_owned()), "{text:?}");
        }
        // A file that is pasted anew while the broker runs.
        assert_eq!(read("t\u{200b}wo"), Ok("one".to_owned()));
        assert_eq!(read("two"), Ok("two".to_owned()));
    }

    #[tokio::test]
    async fn a_file_that_hangs_holds_up_one_thread_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "one").unwrap();
        let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
        let file = ReloadingFile::new(path.clone(), Arc::clone(&clock) as SharedClock);
        assert_eq!(file.latest().await.unwrap().as_slice(), b"one");
        // A pipe without a writer: opening it waits, as reading from a mount that hangs does.
        std::fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        clock.advance(LOOK_INTERVAL);
        let waiting = tokio::spawn({
            let file = Arc::clone(&file);
            async move { file.latest().await.map(|content| content.to_vec()) }
        });
        while !file.looking.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        // The others have what was there at once.
        for _ in 0..100 {
            assert_eq!(file.latest().await.unwrap().as_slice(), b"one");
        }
        // A writer comes: the look goes on.
        std::fs::write(&path, "two").unwrap();
        assert_eq!(waiting.await.unwrap().unwrap(), b"two");
    }
}
