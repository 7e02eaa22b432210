//! The keys of the store: one names and seals what is written, all are tried when something is looked up.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::{hmac, rand};
use base::changing_file::{ChangingFile, Look};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::entry::{EntryId, StoredValue};

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// No file of keys is as large.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// Of a key's name.
const MAX_NAME: usize = 64;
/// The form of a sealed value, its first byte.
const VERSION: u8 = 1;
/// What the keys that are derived are for.
const NAMES: &[u8] = b"acs-token-broker shared cache names 1";
const VALUES: &[u8] = b"acs-token-broker shared cache values 1";

/// Why a file of keys cannot be used. Lines are counted from 1; nothing of a key is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(std::io::ErrorKind),
    /// It is not UTF-8.
    #[error("is not text")]
    NotText,
    /// It has no line with a key.
    #[error("holds no key")]
    NoKey,
    /// A line is not a name and a key.
    #[error("line {0} is not a name and a key in base64 with a space between them")]
    Form(usize),
    /// A name is too long.
    #[error("line {0} has a name of more than {MAX_NAME} characters")]
    LongName(usize),
    /// A key is not one.
    #[error("line {0} does not hold {KEY_BYTES} bytes in base64")]
    Key(usize),
    /// A name or a key stands there twice.
    #[error("line {0} has the name or the key of another line")]
    Twice(usize),
}

/// Keys in their order: the first is written with.
pub struct EncryptionKeys(Vec<EncryptionKey>);

/// One key: what is derived from it.
struct EncryptionKey {
    name: String,
    names: hmac::Key,
    values: Prk,
}

/// An entry as one key names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryName {
    // Which key, by its place.
    key: usize,
    text: String,
}

impl EntryName {
    /// Unpadded base64url, 43 characters.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// What was found does not open under its name: foreign, altered, moved from another name, or of an unknown version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unopened;

impl EncryptionKeys {
    /// Reads a file's text: on each line a name, a space and 32 bytes in base64. Empty lines and those that begin with `#` do
    /// not count.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let mut keys = Vec::new();
        let mut seen = HashSet::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let number = index + 1;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let (Some(name), Some(encoded), None) = (words.next(), words.next(), words.next()) else {
                return Err(KeyFileError::Form(number));
            };
            if name.chars().count() > MAX_NAME {
                return Err(KeyFileError::LongName(number));
            }
            let decoded = STANDARD.decode(encoded).map(Zeroizing::new);
            let Ok(bytes) = decoded
                .map_err(|_| ())
                .and_then(|bytes| <[u8; KEY_BYTES]>::try_from(&**bytes).map_err(|_| ()))
            else {
                return Err(KeyFileError::Key(number));
            };
            let bytes = Zeroizing::new(bytes);
            let key = EncryptionKey::new(name, &bytes).ok_or(KeyFileError::Key(number))?;
            // The same key under two names gives the same names in the store.
            let fingerprint = hmac::sign(&key.names, b"").as_ref().to_vec();
            if !seen.insert(fingerprint) || !seen.insert(name.as_bytes().to_vec()) {
                return Err(KeyFileError::Twice(number));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(KeyFileError::NoKey);
        }
        Ok(Self(keys))
    }

    /// The names of the keys, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| key.name.as_str())
    }

    /// What the entry is called under each key; the first is the one that is written.
    pub(crate) fn entry_names(&self, id: &EntryId) -> Vec<EntryName> {
        let name = |(key, of): (usize, &EncryptionKey)| EntryName {
            key,
            text: URL_SAFE_NO_PAD.encode(hmac::sign(&of.names, id.encoded()).as_ref()),
        };
        self.0.iter().enumerate().map(name).collect()
    }

    /// Seals `value` for the place that `name` is. `None` if the system has no randomness to give.
    pub(crate) fn seal(&self, name: &EntryName, value: &StoredValue) -> Option<Vec<u8>> {
        let key = self.0.get(name.key)?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let cipher = key.cipher(name)?;
        let mut content = value.content(AES_256_GCM.tag_len());
        cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), key.aad(name), &mut *content)
            .ok()?;
        Some([&[VERSION], &nonce[..], &content[..]].concat())
    }

    /// Opens what was found at `name`.
    pub(crate) fn open(&self, name: &EntryName, sealed: &[u8]) -> Result<StoredValue, Unopened> {
        let opened = || {
            let key = self.0.get(name.key)?;
            let (nonce, content) = sealed.strip_prefix(&[VERSION])?.split_at_checked(NONCE_LEN)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut content = Zeroizing::new(content.to_vec());
            let content = key
                .cipher(name)?
                .open_in_place(nonce, key.aad(name), &mut content)
                .ok()?;
            StoredValue::from_content(content)
        };
        opened().ok_or(Unopened)
    }
}

impl EncryptionKey {
    fn new(name: &str, bytes: &[u8; KEY_BYTES]) -> Option<Self> {
        let values = Salt::new(HKDF_SHA256, &[]).extract(bytes);
        let names = hmac::Key::from(values.expand(&[NAMES], hmac::HMAC_SHA256).ok()?);
        Some(Self {
            name: name.to_owned(),
            names,
            values,
        })
    }

    /// A key for this entry alone, so that random nonces can never be used up.
    fn cipher(&self, name: &EntryName) -> Option<LessSafeKey> {
        let info = [VALUES, name.text.as_bytes()];
        let derived = self.values.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(derived)))
    }

    /// What is authenticated beside the value: version, the key's name, the entry's name. The last has a fixed length.
    fn aad(&self, name: &EntryName) -> Aad<Vec<u8>> {
        Aad::from([&[VERSION], self.name.as_bytes(), &[0], name.text.as_bytes()].concat())
    }
}

impl fmt::Debug for EncryptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// The keys of a file, which follow it. A file that cannot be used leaves the last good ones.
pub(crate) struct KeyFile {
    file: ChangingFile,
    current: ArcSwapOption<EncryptionKeys>,
}

impl KeyFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            file: ChangingFile::new(path, MAX_FILE_BYTES),
            current: ArcSwapOption::empty(),
        }
    }

    /// The keys in use, if there are any.
    pub(crate) fn current(&self) -> Option<Arc<EncryptionKeys>> {
        self.current.load_full()
    }

    /// Looks at the file, and takes what is new. Blocks.
    pub(crate) fn look(&self) {
        let Look { is_new, content } = self.file.look();
        if !is_new {
            return;
        }
        let path = self.file.path().display();
        match usable(content) {
            Ok(keys) => {
                let names: Vec<_> = keys.names().collect();
                tracing::info!(%path, keys = ?names, "the keys of the shared cache are read");
                self.current.store(Some(Arc::new(keys)));
            }
            Err(error) if self.current.load().is_some() => {
                tracing::warn!(%path, %error, "the keys of the shared cache cannot be read again; the last good ones stay");
            }
            Err(error) => {
                tracing::warn!(%path, %error, "the keys of the shared cache cannot be used; it counts as away");
            }
        }
    }
}

fn usable(content: std::io::Result<Zeroizing<Vec<u8>>>) -> Result<EncryptionKeys, KeyFileError> {
    let content = content.map_err(|error| KeyFileError::Unreadable(error.kind()))?;
    EncryptionKeys::parse(std::str::from_utf8(&content).map_err(|_| KeyFileError::NotText)?)
}

impl EncryptionKeys {
    /// Reads a file once, as `check-config` and `doctor` do. Blocks.
    pub fn load(path: PathBuf) -> Result<Self, KeyFileError> {
        usable(ChangingFile::new(path, MAX_FILE_BYTES).look().content)
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
