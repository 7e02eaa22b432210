//! National clouds: which hosts and names belong together.
//!
//! Sources: "National clouds" of the Microsoft identity platform, "Microsoft Graph national cloud deployments", and
//! the audiences of workload identity federation.

use url::Url;

/// `entra.cloud`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Cloud {
    /// The worldwide one.
    #[default]
    Public,
    /// US Government.
    UsGov,
    /// China, operated by 21Vianet.
    China,
}

impl Cloud {
    /// Origin of Microsoft Entra ID.
    #[must_use]
    pub fn authority(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::UsGov => "https://login.microsoftonline.us",
            Self::China => "https://login.partner.microsoftonline.cn",
        }
    }

    /// Origin of Microsoft Graph.
    #[must_use]
    pub fn graph(self) -> &'static str {
        match self {
            Self::Public => "https://graph.microsoft.com",
            Self::UsGov => "https://graph.microsoft.us",
            Self::China => "https://microsoftgraph.chinacloudapi.cn",
        }
    }

    /// ACS as a resource at Entra, for calls of the broker's own.
    #[must_use]
    pub fn acs(self) -> &'static str {
        match self {
            Self::Public => "https://communication.azure.com",
            Self::UsGov => "https://communication.azure.us",
            Self::China => "https://communication.azure.cn",
        }
    }

    /// The App ID URI of ACS's client interfaces: the audience of v1 tokens, and what their scopes begin with.
    #[must_use]
    pub fn acs_clients(self) -> &'static str {
        match self {
            Self::Public => "https://communication.azure.com/clients",
            Self::UsGov => "https://communication.azure.us/clients",
            Self::China => "https://communication.azure.cn/clients",
        }
    }

    /// The App ID URI of ACS's API for Teams Phone extension and for Teams users.
    #[must_use]
    pub fn acs_teams(self) -> &'static str {
        match self {
            Self::Public => "https://auth.msft.communication.azure.com",
            Self::UsGov => "https://auth.msft.communication.azure.us",
            Self::China => "https://auth.msft.communication.azure.cn",
        }
    }

    /// The audience of managed identity tokens that serve as client assertions.
    #[must_use]
    pub fn token_exchange_audience(self) -> &'static str {
        match self {
            Self::Public => "api://AzureADTokenExchange",
            Self::UsGov => "api://AzureADTokenExchangeUSGov",
            Self::China => "api://AzureADTokenExchangeChina",
        }
    }
}

/// One of the addresses above.
pub(super) fn url(text: &'static str) -> Option<Url> {
    Url::parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_a_url() {
        for cloud in [Cloud::Public, Cloud::UsGov, Cloud::China] {
            for text in [
                cloud.authority(),
                cloud.graph(),
                cloud.acs(),
                cloud.acs_clients(),
                cloud.acs_teams(),
            ] {
                assert_eq!(url(text).map(|url| url.scheme().to_owned()).as_deref(), Some("https"));
            }
        }
    }
}
