//! `[exchange]`: where and how tokens are exchanged.

use std::time::Duration;

use strum::{VariantArray, VariantNames};
use url::Url;

use super::units::Reason;
use super::{AcsAuthConfig, AppConfig, Rate, RateOrOff};

/// `[exchange]`
#[derive(Debug, Clone, PartialEq)]
pub struct ExchangeConfig {
    /// What is sent to ACS.
    pub mode: ExchangeMode,
    /// Origin of the ACS resource.
    pub endpoint: Url,
    /// `api-version` sent to ACS.
    pub api_version: String,
    /// `api-version` sent to ACS for Teams Phone extension: its exchange and its assignments.
    pub teams_extension_api_version: String,
    /// Limit for opening a connection to ACS.
    pub connect_timeout: Duration,
    /// Limit for one exchange in all, a retry included.
    pub timeout: Duration,
    /// Requests that the endpoint gets from all replicas together; resources of one endpoint have the same. `None`: any
    /// number.
    pub budget: Option<Rate>,
    /// What the resource itself says of it, in place of `limits.upstream_exchanges`.
    pub own_budget: Option<RateOrOff>,
}

/// `exchange.mode` with the settings of its own.
#[derive(Debug, Clone, PartialEq, strum::EnumDiscriminants)]
#[strum_discriminants(
    name(ExchangeModeName),
    doc = "`exchange.mode` without its settings.",
    derive(strum::EnumString, strum::VariantNames, strum::IntoStaticStr),
    strum(serialize_all = "snake_case")
)]
pub enum ExchangeMode {
    /// The caller's Entra token goes to ACS as it is.
    Passthrough,
    /// The caller's Entra token is for the broker's own API; Entra issues one for ACS on the caller's behalf.
    OnBehalfOf(OnBehalfOfConfig),
    /// The broker gets, in its own name, a token for an ACS identity that stands for the caller.
    Identity(IdentityConfig),
    /// The broker hands ACS the Entra token of a Teams user, in its own name; ACS gives one for that user.
    TeamsUser(TeamsUserConfig),
}

impl ExchangeMode {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        ExchangeModeName::from(self).into()
    }

    /// Whether callers' tokens are for ACS, not for an API of the broker's own.
    #[must_use]
    pub fn takes_acs_tokens(&self) -> bool {
        match self {
            Self::Passthrough | Self::TeamsUser(_) => true,
            Self::OnBehalfOf(_) | Self::Identity(_) => false,
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
    /// How the broker shows ACS who asks.
    pub auth: AcsAuthConfig,
    /// The most that anyone may get, by ACS's names.
    pub scopes: Vec<IdentityScope>,
    /// How long tokens live, in whole minutes.
    pub lifetime: Duration,
    /// `api-version` of the identity operations.
    pub api_version: String,
}

/// `[exchange.teams_user]`
#[derive(Debug, Clone, PartialEq)]
pub struct TeamsUserConfig {
    /// How the broker shows ACS who asks.
    pub auth: AcsAuthConfig,
    /// `api-version` of the exchange.
    pub api_version: String,
    /// The cloud of the users' Teams.
    pub cloud: TeamsCloud,
}

/// `exchange.teams_user.teams_cloud`: how a Teams user is named at ACS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum TeamsCloud {
    /// The worldwide one.
    #[default]
    Public,
    /// US Government Community Cloud High.
    Gcch,
    /// US Department of Defense.
    Dod,
}

impl TeamsCloud {
    /// What a Teams user's identifier at ACS begins with, before the object id.
    #[must_use]
    pub fn identifier_prefix(self) -> &'static str {
        match self {
            Self::Public => "8:orgid:",
            Self::Gcch => "8:gcch:",
            Self::Dod => "8:dod:",
        }
    }
}

/// A scope of an ACS identity's token (`createTokenWithScopes`).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
    strum::VariantNames,
)]
pub enum IdentityScope {
    /// `chat`
    #[strum(serialize = "chat")]
    Chat,
    /// `chat.join`
    #[strum(serialize = "chat.join")]
    ChatJoin,
    /// `chat.join.limited`
    #[strum(serialize = "chat.join.limited")]
    ChatJoinLimited,
    /// `voip`
    #[strum(serialize = "voip")]
    Voip,
    /// `voip.join`
    #[strum(serialize = "voip.join")]
    VoipJoin,
}

impl IdentityScope {
    /// All of them.
    pub const ALL: &[Self] = <Self as VariantArray>::VARIANTS;

    /// The names of all of them, in the same order.
    pub const NAMES: &[&str] = <Self as VariantNames>::VARIANTS;

    /// Its name at ACS.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The scope with this name at ACS. The reason for a problem lists all names.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        text.parse().map_err(|_| {
            let names = Self::NAMES.join("\", \"");
            format!("is not a scope of ACS identities; there are \"{names}\"")
        })
    }
}
