//! How users are told in logs and traces, from the configuration.

use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use crate::config::{SHORTEST_HASH_KEY, SecretSource, TelemetryConfig, UserIds};
use crate::telemetry::{NoRandomness, UserNames};

/// Users cannot be told as the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum UserNamesError {
    /// The key's file cannot be read.
    #[error("its file cannot be read: {0}")]
    Unreadable(#[source] std::io::Error),
    /// The file holds no text that is long enough.
    #[error("its file must hold {SHORTEST_HASH_KEY} characters at least")]
    TooShort,
    /// No key can be made up.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// The rule of `telemetry.user_ids`. The key is read once: with another, everybody would be somebody else.
pub(super) fn user_names(config: &TelemetryConfig) -> Result<UserNames, UserNamesError> {
    let key = key(config)?;
    if config.user_ids == UserIds::Hash && key.is_none() {
        tracing::info!(
            "telemetry.user_hash_key is not set: users have other hashes in each replica and after each start"
        );
    }
    Ok(UserNames::new(config.user_ids, key.as_ref().map(|key| key.as_bytes()))?)
}

/// What is wrong with the key, if anything.
pub(super) fn check(config: &TelemetryConfig) -> Option<UserNamesError> {
    key(config).err()
}

fn key(config: &TelemetryConfig) -> Result<Option<Zeroizing<String>>, UserNamesError> {
    match &config.user_hash_key {
        None => Ok(None),
        Some(SecretSource::Value(key)) => Ok(Some(Zeroizing::new(key.expose_secret().to_owned()))),
        Some(SecretSource::File(path)) => {
            let text = Zeroizing::new(std::fs::read_to_string(path).map_err(UserNamesError::Unreadable)?);
            let key = Zeroizing::new(text.trim().to_owned());
            if key.len() < SHORTEST_HASH_KEY {
                return Err(UserNamesError::TooShort);
            }
            Ok(Some(key))
        }
    }
}
