//! How the broker shows who it is: its secrets, and what it proves with them.

mod reloading;
mod service_tokens;

pub use self::reloading::{ReloadingFile, ReloadingSecret, SecretError};
pub use self::service_tokens::{NoServiceTokens, acs_auth, service_tokens};
