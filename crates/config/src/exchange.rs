//! `[exchange]`: where and how tokens are exchanged.

use std::time::Duration;

use url::Url;

use super::{AppConfig, SecretSource};

/// `[exchange]`
#[derive(Debug, Clone, PartialEq)]
pub struct ExchangeConfig {
    /// What is sent to ACS.
    pub mode: ExchangeMode,
    /// Origin of the ACS resource.
    pub endpoint: Url,
    /// `api-version` sent to ACS.
    pub api_version: String,
    /// Limit for opening a connection to ACS.
    pub connect_timeout: Duration,
    /// Limit for one exchange in all, a retry included.
    pub timeout: Duration,
}

/// `exchange.mode` with the settings of its own.
#[derive(Debug, Clone, PartialEq)]
pub enum ExchangeMode {
    /// The caller's Entra token goes to ACS as it is.
    Passthrough,
    /// The caller's Entra token is for the broker's own API; Entra issues one for ACS on the caller's behalf.
    OnBehalfOf(OnBehalfOfConfig),
    /// The broker's access key gets a token for an ACS identity that stands for the caller.
    Identity(IdentityConfig),
}

impl ExchangeMode {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passthrough => "passthrough",
            Self::OnBehalfOf(_) => "on_behalf_of",
            Self::Identity(_) => "identity",
        }
    }
}

/// `[exchange.on_behalf_of]`
#[derive(Debug, Clone, PartialEq)]
pub struct OnBehalfOfConfig {
    /// The broker's own app, whose API the callers' tokens are for.
    pub app: AppConfig,
    /// What is asked for: scopes of ACS, separated by blanks.
    pub scope: String,
}

/// `[exchange.identity]`
#[derive(Debug, Clone, PartialEq)]
pub struct IdentityConfig {
    /// The resource's access key, base64 as Azure shows it.
    pub access_key: SecretSource,
    /// The most that anyone may get, by ACS's names.
    pub scopes: Vec<IdentityScope>,
    /// How long tokens live, in whole minutes.
    pub lifetime: Duration,
    /// `api-version` of the identity operations.
    pub api_version: String,
}

/// A scope of an ACS identity's token (`createTokenWithScopes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdentityScope {
    /// `chat`
    Chat,
    /// `chat.join`
    ChatJoin,
    /// `chat.join.limited`
    ChatJoinLimited,
    /// `voip`
    Voip,
    /// `voip.join`
    VoipJoin,
}

impl IdentityScope {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Chat,
        Self::ChatJoin,
        Self::ChatJoinLimited,
        Self::Voip,
        Self::VoipJoin,
    ];

    /// Its name at ACS.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::ChatJoin => "chat.join",
            Self::ChatJoinLimited => "chat.join.limited",
            Self::Voip => "voip",
            Self::VoipJoin => "voip.join",
        }
    }

    /// The scope of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}
