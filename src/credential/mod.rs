//! How the broker shows who it is: its secrets, and what it proves with them.

mod reloading;

pub use self::reloading::{ReloadingFile, ReloadingSecret, SecretError};
