//! Who the broker says it is to a server.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::settings::Settings;
use config::{SecretSource, StoreAuth};

/// Gives access tokens for the store (of Azure: scope `https://redis.azure.com/.default`).
pub trait TokenSource: Send + Sync {
    /// A token that lives for at least `fresh_for`, if one can be had; else one that lives.
    fn token(&self, fresh_for: Duration) -> BoxFuture<'_, Result<AccessToken, TokenError>>;
}

/// An access token for the store.
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// The token itself: the password of the connection.
    pub token: Arc<SecretString>,
    /// When it ends.
    pub expires_on: Timestamp,
}

/// No access token for the store can be had. Its text holds no token and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TokenError(pub String);

/// Why the broker cannot show who it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The file of the password cannot be read.
    #[error("{path}: {kind}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        kind: std::io::ErrorKind,
    },
    /// The file of the password is empty, or no text.
    #[error("{0}: holds no password")]
    NoPassword(String),
    /// It is not there in time.
    #[error("no credential for the store in time")]
    TooLate,
    /// No access token.
    #[error("no access token for the store: {0}")]
    Token(#[from] TokenError),
    /// The access token names no object id, and no username is set.
    #[error("the access token for the store has no oid, and shared_cache.username is not set")]
    NoObjectId,
}

/// How the broker shows a server who it is.
#[derive(Clone)]
pub(crate) enum Authentication {
    /// Not at all.
    None,
    /// By a password, which is read anew for each connection.
    Password {
        username: Option<String>,
        password: SecretSource,
    },
    /// By an access token, as Azure Managed Redis takes them. The user is the token's `oid` if absent.
    Token {
        username: Option<String>,
        tokens: Arc<dyn TokenSource>,
    },
}

/// What is sent with `AUTH`.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Arc<SecretString>,
    // When the server stops taking it.
    pub(crate) expires_on: Option<Timestamp>,
}

impl Authentication {
    /// Towards the store itself.
    pub(crate) fn new(settings: &Settings) -> Self {
        match (&settings.config.auth, &settings.tokens) {
            (StoreAuth::Password { username, password }, _) => Self::by_password(username.as_ref(), password.as_ref()),
            (StoreAuth::Token { username, .. }, Some(tokens)) => Self::Token {
                username: username.clone(),
                tokens: Arc::clone(tokens),
            },
            (StoreAuth::Token { .. }, None) => Self::None,
        }
    }

    /// By a password, if there is one.
    pub(crate) fn by_password(username: Option<&String>, password: Option<&SecretSource>) -> Self {
        password.map_or(Self::None, |password| Self::Password {
            username: username.cloned(),
            password: password.clone(),
        })
    }

    /// What is to be sent now, if anything. `fresh_for`: how long an access token should live yet.
    pub(crate) async fn login(&self, fresh_for: Duration) -> Result<Option<Login>, CredentialError> {
        match self {
            Self::None => Ok(None),
            Self::Password { username, password } => Ok(Some(Login {
                username: username.clone(),
                password: read(password).await?,
                expires_on: None,
            })),
            Self::Token { username, tokens } => {
                let AccessToken { token, expires_on } = tokens.token(fresh_for).await?;
                let username = match username {
                    Some(username) => username.clone(),
                    None => object_id(token.expose_secret()).ok_or(CredentialError::NoObjectId)?,
                };
                Ok(Some(Login {
                    username: Some(username),
                    password: token,
                    expires_on: Some(expires_on),
                }))
            }
        }
    }
}

async fn read(source: &SecretSource) -> Result<Arc<SecretString>, CredentialError> {
    let path = match source {
        SecretSource::Value(value) => return Ok(Arc::new(value.clone())),
        SecretSource::File(path) => path.clone(),
    };
    let shown = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || fs::read(path).map(Zeroizing::new)).await;
    let content = match read {
        Ok(Ok(content)) => content,
        Ok(Err(error)) => {
            return Err(CredentialError::Unreadable {
                path: shown,
                kind: error.kind(),
            });
        }
        Err(_) => return Err(CredentialError::NoPassword(shown)),
    };
    let text = std::str::from_utf8(&content).unwrap_or_default();
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(CredentialError::NoPassword(shown));
    }
    Ok(Arc::new(SecretString::from(text)))
}

/// The object id in the broker's own token, which needs no verification: whoever takes it as a password verifies it.
fn object_id(token: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Claims {
        oid: String,
    }
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?);
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    Some(claims.oid).filter(|oid| !oid.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_id_of_a_token() {
        let token = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(object_id(&token(r#"{"oid":"abc","sub":"x"}"#)).as_deref(), Some("abc"));
        assert_eq!(object_id(&token(r#"{"oid":""}"#)), None);
        assert_eq!(object_id(&token(r#"{"sub":"x"}"#)), None);
        assert_eq!(object_id("opaque"), None);
    }

    #[tokio::test]
    async fn a_password_of_a_file_is_read_anew_and_trimmed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let authentication = Authentication::Password {
            username: None,
            password: SecretSource::File(path.clone()),
        };
        let login = async || authentication.login(Duration::ZERO).await;
        assert!(matches!(login().await, Err(CredentialError::Unreadable { .. })));
        fs::write(&path, " \n").unwrap();
        assert!(matches!(login().await, Err(CredentialError::NoPassword(_))));
        fs::write(&path, "\u{feff}first\n").unwrap();
        assert_eq!(login().await.unwrap().unwrap().password.expose_secret(), "first");
        fs::write(&path, "second").unwrap();
        let second = login().await.unwrap().unwrap();
        assert_eq!(second.password.expose_secret(), "second");
        assert!(!format!("{second:?}").contains("second"));
    }
}
