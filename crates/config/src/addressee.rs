//! Which API a token is for, by its audience, and which scopes count there.

/// ACS's client interfaces: the application id (v2 tokens), and what its name begins with in every cloud (v1 tokens).
pub(super) const ACS_CLIENTS_APP: &str = "2a04943b-b6a7-4f65-8786-2bb6131b59f6";
const ACS_CLIENTS_URI: &str = "https://communication.azure.";
/// The same of the API of its Teams Phone extension and of Teams users.
pub(super) const TEAMS_APP: &str = "1fd5118e-2576-4263-8130-9503064c837a";
const TEAMS_URI: &str = "https://auth.msft.communication.azure.";

/// The API that a token is for, by `aud`. One for ACS counts as that, even if it is for others too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressee {
    /// ACS's client interfaces.
    AcsClients,
    /// ACS's API for Teams Phone extension and for Teams users.
    AcsTeams,
    /// Both of them.
    AcsBoth,
    /// Some other API: the broker's own.
    OwnApi,
}

impl Addressee {
    /// The API that a token with these audiences is for.
    #[must_use]
    pub fn from_audiences<T: AsRef<str>>(audiences: &[T]) -> Self {
        let is = |app: &str, uri: &str| {
            let mut audiences = audiences.iter().map(AsRef::as_ref);
            audiences.any(|audience: &str| audience.eq_ignore_ascii_case(app) || audience.starts_with(uri))
        };
        let clients = is(ACS_CLIENTS_APP, ACS_CLIENTS_URI);
        let teams = is(TEAMS_APP, TEAMS_URI);
        match (clients, teams) {
            (true, true) => Self::AcsBoth,
            (true, false) => Self::AcsClients,
            (false, true) => Self::AcsTeams,
            (false, false) => Self::OwnApi,
        }
    }

    /// Whether that is ACS.
    #[must_use]
    pub fn is_acs(self) -> bool {
        self != Self::OwnApi
    }

    /// Whether a scope of that name is one of the API that the token is for. Any API may have a scope that is named as
    /// one of ACS: it says nothing about ACS, and the scope of ACS says nothing about that API.
    #[must_use]
    pub fn has_scope(self, scope: &str) -> bool {
        self.is_acs() == is_acs_scope(scope)
    }
}

/// Whether ACS has scopes of that name: of its client interfaces, its Teams Phone extension and its Teams users.
fn is_acs_scope(scope: &str) -> bool {
    let family = scope.split_once('.');
    matches!(scope, "VoIP" | "Chat")
        || matches!(family, Some(("VoIP" | "Chat" | "TeamsExtension" | "Teams", name)) if !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audience_decides_which_api_a_token_is_for() {
        use Addressee::{AcsBoth, AcsClients, AcsTeams, OwnApi};
        for (audiences, addressee) in [
            (&["2a04943b-b6a7-4f65-8786-2bb6131b59f6"][..], AcsClients),
            (&["2A04943B-B6A7-4F65-8786-2BB6131B59F6"], AcsClients),
            (&["https://communication.azure.com/clients"], AcsClients),
            (&["https://communication.azure.us/clients"], AcsClients),
            (&["1fd5118e-2576-4263-8130-9503064c837a"], AcsTeams),
            (&["https://auth.msft.communication.azure.com"], AcsTeams),
            (&["https://auth.msft.communication.azure.us"], AcsTeams),
            (
                &[
                    "https://auth.msft.communication.azure.com",
                    "https://communication.azure.com/clients",
                ],
                AcsBoth,
            ),
            (&["api://broker", "https://communication.azure.com/clients"], AcsClients),
            (&["api://broker"], OwnApi),
            (&["https://graph.microsoft.com"], OwnApi),
            (&[], OwnApi),
        ] {
            assert_eq!(Addressee::from_audiences(audiences), addressee, "{audiences:?}");
        }
    }

    #[test]
    fn a_scope_belongs_to_one_api() {
        for (scope, of_acs) in [
            ("VoIP", true),
            ("VoIP.Join", true),
            ("Chat", true),
            ("Chat.Join", true),
            ("Chat.Join.Limited", true),
            ("TeamsExtension.ManageCalls", true),
            ("Teams.ManageCalls", true),
            ("Teams.ManageChats", true),
            ("access", false),
            ("access_as_user", false),
            ("VoIPX", false),
            ("voip", false),
            ("Chats.Read", false),
            ("Chatbot", false),
            ("TeamsExtension", false),
            ("Teams", false),
            ("Teams.", false),
            ("TeamsApp.Use", false),
            ("My.VoIP", false),
        ] {
            use Addressee::{AcsBoth, AcsClients, AcsTeams, OwnApi};
            for acs in [AcsClients, AcsTeams, AcsBoth] {
                assert_eq!(acs.has_scope(scope), of_acs, "{scope}");
            }
            assert_eq!(OwnApi.has_scope(scope), !of_acs, "{scope}");
        }
    }
}
