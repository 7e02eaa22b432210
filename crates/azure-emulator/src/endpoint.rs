//! The names of what the emulator serves, for faults and the journal.

use http::Method;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

/// The managed identity endpoint in App Service's form: what `IDENTITY_ENDPOINT` is set to, after the origin.
pub(super) const IDENTITY_ENDPOINT: &str = "/_emulator/msi/token";
/// The managed identity endpoint in IMDS's form, which is at `http://169.254.169.254` in Azure.
pub(super) const IMDS: &str = "/metadata/identity/oauth2/token";

/// A group of addresses that faults and counts treat as one.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Endpoint {
    /// Both of Entra's discovery documents.
    Discovery,
    /// Both of Entra's key sets.
    Keys,
    /// Entra's token endpoint, with every grant.
    Token,
    /// The token endpoint's on-behalf-of grant; counted with `Token` too.
    OnBehalfOf,
    /// The token endpoint's client credentials grant; counted with `Token` too.
    ClientCredentials,
    /// Entra's authorization endpoint, with its pages.
    Authorize,
    /// Entra's device authorization endpoint.
    DeviceCode,
    /// Both forms of the managed identity endpoint.
    ManagedIdentity,
    /// Microsoft Graph.
    Graph,
    /// ACS's exchange of Entra tokens.
    Exchange,
    /// ACS's exchange of Teams Phone extension tokens.
    TeamsExchange,
    /// ACS's exchange of Teams users' tokens.
    TeamsUser,
    /// ACS's Entra assignments.
    Assignments,
    /// ACS's Teams Phone extension assignments.
    TeamsAssignments,
    /// ACS's identities.
    Identities,
}

impl Endpoint {
    /// All of them.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The endpoint's name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The endpoint with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// Which endpoint a request is for, the token endpoint's grants aside. A browser's
    /// preflight is for none: the browser sends it, not the caller.
    pub(crate) fn for_request(method: &Method, path: &str) -> Option<Self> {
        if method == Method::OPTIONS {
            return None;
        }
        let in_tree = |root: &str| {
            path.strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if path == "/access/entra/:exchangeAccessToken" {
            Some(Self::Exchange)
        } else if path == "/access/teamsExtension/:exchangeAccessToken" {
            Some(Self::TeamsExchange)
        } else if path == "/teamsUser/:exchangeAccessToken" {
            Some(Self::TeamsUser)
        } else if in_tree("/access/teamsExtension/tenants") {
            Some(Self::TeamsAssignments)
        } else if path == IDENTITY_ENDPOINT || path == IMDS {
            Some(Self::ManagedIdentity)
        } else if in_tree("/v1.0") {
            Some(Self::Graph)
        } else if in_tree("/_emulator") {
            None
        } else if in_tree("/access/entra/assignments") {
            Some(Self::Assignments)
        } else if in_tree("/identities") {
            Some(Self::Identities)
        } else if path.ends_with("/.well-known/openid-configuration") {
            Some(Self::Discovery)
        } else if path.ends_with("/discovery/keys") || path.ends_with("/discovery/v2.0/keys") {
            Some(Self::Keys)
        } else if path.ends_with("/oauth2/v2.0/token") {
            Some(Self::Token)
        } else if path.ends_with("/oauth2/v2.0/authorize") {
            Some(Self::Authorize)
        } else if path.ends_with("/oauth2/v2.0/devicecode") {
            Some(Self::DeviceCode)
        } else {
            None
        }
    }

    /// Whether the endpoint answers with an ACS token that has an end.
    pub(crate) fn gives_acs_tokens(self) -> bool {
        matches!(
            self,
            Self::Exchange | Self::TeamsExchange | Self::TeamsUser | Self::Identities
        )
    }

    /// Whether errors have the shape of Entra's: managed identities' are much alike.
    pub(crate) fn is_entra(self) -> bool {
        matches!(
            self,
            Self::Discovery
                | Self::Keys
                | Self::Token
                | Self::OnBehalfOf
                | Self::ClientCredentials
                | Self::Authorize
                | Self::DeviceCode
                | Self::ManagedIdentity
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_map_to_endpoints() {
        let cases = [
            ("/t/v2.0/.well-known/openid-configuration", Some(Endpoint::Discovery)),
            ("/t/.well-known/openid-configuration", Some(Endpoint::Discovery)),
            ("/t/discovery/v2.0/keys", Some(Endpoint::Keys)),
            ("/t/discovery/keys", Some(Endpoint::Keys)),
            ("/t/oauth2/v2.0/token", Some(Endpoint::Token)),
            ("/t/oauth2/v2.0/authorize", Some(Endpoint::Authorize)),
            ("/t/oauth2/v2.0/devicecode", Some(Endpoint::DeviceCode)),
            ("/access/entra/:exchangeAccessToken", Some(Endpoint::Exchange)),
            ("/access/entra/assignments", Some(Endpoint::Assignments)),
            ("/access/entra/assignments/x", Some(Endpoint::Assignments)),
            ("/access/entra/assignmentsx", None),
            ("/identities", Some(Endpoint::Identities)),
            ("/identities/8%3Aacs/:issueAccessToken", Some(Endpoint::Identities)),
            (
                "/access/teamsExtension/:exchangeAccessToken",
                Some(Endpoint::TeamsExchange),
            ),
            ("/teamsUser/:exchangeAccessToken", Some(Endpoint::TeamsUser)),
            (
                "/access/teamsExtension/tenants/t/assignments/o",
                Some(Endpoint::TeamsAssignments),
            ),
            ("/v1.0/users/u/checkMemberGroups", Some(Endpoint::Graph)),
            ("/metadata/identity/oauth2/token", Some(Endpoint::ManagedIdentity)),
            ("/_emulator/msi/token", Some(Endpoint::ManagedIdentity)),
            ("/_emulator/faults", None),
            ("/_emulator/federated/c/.well-known/openid-configuration", None),
        ];
        for (path, expected) in cases {
            assert_eq!(Endpoint::for_request(&Method::GET, path), expected, "{path}");
            assert_eq!(Endpoint::for_request(&Method::OPTIONS, path), None);
        }
        for &endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::from_name(endpoint.name()), Some(endpoint));
            assert_eq!(serde_json::to_value(endpoint).unwrap(), endpoint.name());
        }
    }
}
