//! The APIs that tokens can be requested for, and their names.

use serde::Deserialize;
use uuid::{Uuid, uuid};

use crate::scenario::{Scenario, TOKEN_EXCHANGE_AUDIENCE};

/// The application id of "Azure Communication Services Clients", the audience of v2 tokens for ACS.
pub(crate) const ACS_CLIENTS_APP: Uuid = uuid!("2a04943b-b6a7-4f65-8786-2bb6131b59f6");
/// Its App ID URI: the prefix of its scopes and the audience of v1 tokens.
pub(crate) const ACS_CLIENTS_URI: &str = "https://communication.azure.com/clients";

/// The application id of Teams Phone extension at ACS, the audience of its v2 tokens.
pub(crate) const TEAMS_EXTENSION_APP: Uuid = uuid!("1fd5118e-2576-4263-8130-9503064c837a");
/// Its App ID URI.
pub(crate) const TEAMS_EXTENSION_URI: &str = "https://auth.msft.communication.azure.com";

/// The application id of Microsoft Graph.
pub(crate) const GRAPH_APP: Uuid = uuid!("00000003-0000-0000-c000-000000000000");
/// The resource of Microsoft Graph.
pub(crate) const GRAPH_URI: &str = "https://graph.microsoft.com";
/// The resource of ACS's management of its own data: assignments, identities.
pub(crate) const ACS_URI: &str = "https://communication.azure.com";
/// The resource of Azure Managed Redis.
/// <https://learn.microsoft.com/azure/redis/entra-for-authentication>
pub(crate) const REDIS_URI: &str = "https://redis.azure.com";

/// The version of an access token, which at Entra the API's registration decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TokenVersion {
    /// `ver` 1.0: `appid`, and ACS's App ID URI as the default audience.
    #[serde(rename = "1.0")]
    V1,
    /// `ver` 2.0: `azp`.
    #[serde(rename = "2.0")]
    V2,
}

/// An API that the emulated Entra issues tokens for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    /// "Azure Communication Services Clients": what users' tokens are for.
    AcsClients,
    /// Teams Phone extension and Teams users.
    TeamsExtension,
    /// The broker's own API.
    Broker,
    /// The client app's own API.
    ClientApp,
    /// Microsoft Graph.
    Graph,
    /// ACS with an Entra token in place of the access key.
    Acs,
    /// Azure Managed Redis, where a token is the password of a connection.
    Redis,
    /// Tokens that stand in for a client credential.
    TokenExchange,
}

impl Api {
    const ALL: [Self; 8] = [
        Self::AcsClients,
        Self::TeamsExtension,
        Self::Broker,
        Self::ClientApp,
        Self::Graph,
        Self::Acs,
        Self::Redis,
        Self::TokenExchange,
    ];

    /// The API with this client id or resource URI. A slash at the end does not matter: Microsoft's own clients
    /// ask for `https://communication.azure.com//.default`.
    pub(crate) fn from_name(scenario: &Scenario, name: &str) -> Option<Self> {
        let name = name.strip_suffix('/').unwrap_or(name);
        Self::ALL.into_iter().find(|api| {
            name == api.uri(scenario)
                || api
                    .app_id(scenario)
                    .is_some_and(|id| name.eq_ignore_ascii_case(&id.to_string()))
        })
    }

    /// The resource URI: the audience of v1 tokens, and what scopes begin with.
    pub(crate) fn uri(self, scenario: &Scenario) -> String {
        match self {
            Self::AcsClients => ACS_CLIENTS_URI.to_owned(),
            Self::TeamsExtension => TEAMS_EXTENSION_URI.to_owned(),
            Self::Broker => scenario.api_app.app_id_uri.clone(),
            Self::ClientApp => format!("api://{}", scenario.client_app.client_id),
            Self::Graph => GRAPH_URI.to_owned(),
            Self::Acs => ACS_URI.to_owned(),
            Self::Redis => REDIS_URI.to_owned(),
            Self::TokenExchange => TOKEN_EXCHANGE_AUDIENCE.to_owned(),
        }
    }

    /// The client id: the audience of v2 tokens. `None` where tokens are known by the URI alone.
    pub(crate) fn app_id(self, scenario: &Scenario) -> Option<Uuid> {
        match self {
            Self::AcsClients => Some(ACS_CLIENTS_APP),
            Self::TeamsExtension => Some(TEAMS_EXTENSION_APP),
            Self::Broker => Some(scenario.api_app.client_id),
            Self::ClientApp => Some(scenario.client_app.client_id),
            Self::Graph => Some(GRAPH_APP),
            Self::Acs | Self::Redis | Self::TokenExchange => None,
        }
    }

    /// The audience of tokens of a version.
    pub(crate) fn audience(self, scenario: &Scenario, version: TokenVersion) -> String {
        match (version, self.app_id(scenario)) {
            (TokenVersion::V2, Some(id)) => id.to_string(),
            _ => self.uri(scenario),
        }
    }

    /// The version of app-only tokens. Microsoft Graph, ACS and Redis take v1; for the others it does not matter here.
    pub(crate) fn app_token_version(self) -> TokenVersion {
        match self {
            Self::Graph | Self::Acs | Self::Redis => TokenVersion::V1,
            _ => TokenVersion::V2,
        }
    }

    /// The delegated scopes that are consented to, which `.default` stands for. In the preview, Chat is not among
    /// those of ACS.
    pub(crate) fn consented_scopes(self, scenario: &Scenario) -> Vec<String> {
        let fixed: &[&str] = match self {
            Self::AcsClients => &["VoIP", "VoIP.Join"],
            Self::TeamsExtension => &["TeamsExtension.ManageCalls", "Teams.ManageCalls", "Teams.ManageChats"],
            Self::Broker => return scenario.api_app.scopes.clone(),
            Self::ClientApp => &["access_as_user"],
            Self::Graph | Self::Acs | Self::Redis | Self::TokenExchange => &[],
        };
        fixed.iter().map(|scope| (*scope).to_owned()).collect()
    }

    /// Whether Microsoft owns it. A customer cannot configure the `groups` claim of such an API's tokens.
    pub(crate) fn is_first_party(self) -> bool {
        !matches!(self, Self::Broker | Self::ClientApp)
    }
}
