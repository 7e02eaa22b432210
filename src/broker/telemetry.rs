//! How users are named in logs and traces, from the configuration.

use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use config::{SHORTEST_HASH_KEY, SecretSource, TelemetryConfig, UserIds, invisible};
use telemetry::{NoRandomness, UserNames};

/// Users cannot be named as the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum UserNamesError {
    /// The key's file cannot be read.
    #[error("its file cannot be read: {0}")]
    Unreadable(#[source] std::io::Error),
    /// The file holds no text that is long enough.
    #[error("its file must hold {SHORTEST_HASH_KEY} characters at least")]
    TooShort,
    /// The file holds a character that is hardly part of a key.
    #[error("its file {0}")]
    Doubtful(String),
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

/// The hash of users by the configured key, if there is one: what other runs of a broker with this key write.
pub fn configured_user_hash(config: &TelemetryConfig) -> Result<Option<UserNames>, UserNamesError> {
    let Some(key) = key(config)? else {
        return Ok(None);
    };
    Ok(Some(UserNames::new(UserIds::Hash, Some(key.as_bytes()))?))
}

fn key(config: &TelemetryConfig) -> Result<Option<Zeroizing<String>>, UserNamesError> {
    match &config.user_hash_key {
        None => Ok(None),
        Some(SecretSource::Value(key)) => Ok(Some(Zeroizing::new(key.expose_secret().to_owned()))),
        Some(SecretSource::File(path)) => {
            let text = Zeroizing::new(std::fs::read_to_string(path).map_err(UserNamesError::Unreadable)?);
            let key = invisible::secret(&text).map_err(UserNamesError::Doubtful)?;
            let key = Zeroizing::new(key.to_owned());
            if key.chars().count() < SHORTEST_HASH_KEY {
                return Err(UserNamesError::TooShort);
            }
            Ok(Some(key))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::load::{Environment, load};

    const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");

    fn configured(name: &str, value: &str) -> Result<TelemetryConfig, String> {
        let variable = (format!("ACS_TOKEN_BROKER__TELEMETRY__{name}"), value.to_owned());
        let environment: Environment = [variable].into_iter().collect();
        let loaded = load(Some(EXAMPLE.as_ref()), &environment).map_err(|problems| problems.to_string())?;
        Ok(loaded.config.telemetry)
    }

    #[test]
    fn a_key_is_counted_in_characters_and_has_no_byte_order_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let in_file = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let config = configured("USER_HASH_KEY_FILE", path.to_str().unwrap()).unwrap();
            key(&config).map(|key| key.unwrap().to_string())
        };
        let (short, long) = ("ü".repeat(15), "ü".repeat(16));
        assert!(matches!(in_file(&short), Err(UserNamesError::TooShort)));
        assert!(matches!(
            in_file(&format!("\u{feff}{short}")),
            Err(UserNamesError::TooShort)
        ));
        for text in [long.clone(), format!("\u{feff}{long}\r\n")] {
            assert_eq!(in_file(&text).unwrap(), long);
        }
        let problems = configured("USER_HASH_KEY", &short).unwrap_err();
        assert!(problems.contains("telemetry.user_hash_key"), "{problems}");
        assert!(configured("USER_HASH_KEY", &long).is_ok());
    }
}
