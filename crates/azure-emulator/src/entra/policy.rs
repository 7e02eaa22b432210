//! What stands between a user and a token: consent, and conditional access. Controls change it while the emulator runs.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::EntraError;
use crate::lock::lock;
use crate::scenario::{Scenario, User};

/// The authentication context that a step-up demands of users for whom the scenario names none.
const STEP_UP_CONTEXT: &str = "c1";

/// Whether a user has consented to what the client app asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Consent {
    /// The sign-in page asks for it; without a page there is `consent_required` (AADSTS65001).
    Required,
    /// Nothing is asked.
    Given,
}

/// What conditional access does to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConditionalAccess {
    /// Nothing.
    None,
    /// On behalf of the user there is a token only after a sign-in with more proof: AADSTS50076, with the claims to ask
    /// for.
    StepUp,
    /// There is no token at all: AADSTS53003.
    Blocked,
}

/// What holds for one user. As JSON it is the body of `PUT /_emulator/users/{name}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct UserPolicy {
    /// Whether the user has consented.
    pub(crate) consent: Consent,
    /// What conditional access demands.
    pub(crate) conditional_access: ConditionalAccess,
}

/// What holds for every user.
#[derive(Debug)]
pub(crate) struct Policies {
    /// By the user's short name.
    state: Mutex<BTreeMap<String, UserPolicy>>,
}

impl Policies {
    /// As the scenario begins: all have consented, and some need a step-up.
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let initial = |user: &User| UserPolicy {
            consent: Consent::Given,
            conditional_access: match user.step_up {
                Some(_) => ConditionalAccess::StepUp,
                None => ConditionalAccess::None,
            },
        };
        let users = scenario.users.iter();
        Self {
            state: Mutex::new(users.map(|user| (user.name.clone(), initial(user))).collect()),
        }
    }

    /// What holds for a user now.
    pub(crate) fn of(&self, user: &User) -> UserPolicy {
        lock(&self.state).get(&user.name).copied().unwrap_or(UserPolicy {
            consent: Consent::Given,
            conditional_access: ConditionalAccess::None,
        })
    }

    /// Changes what holds for a user.
    pub(crate) fn set(&self, user: &User, policy: UserPolicy) {
        lock(&self.state).insert(user.name.clone(), policy);
    }

    /// Notes that a user has consented.
    pub(super) fn give_consent(&self, user: &User) {
        let consent = Consent::Given;
        self.set(
            user,
            UserPolicy {
                consent,
                ..self.of(user)
            },
        );
    }

    /// The authentication context that is demanded of a user, if one is.
    pub(crate) fn step_up(&self, user: &User) -> Option<String> {
        (self.of(user).conditional_access == ConditionalAccess::StepUp)
            .then(|| user.step_up.clone().unwrap_or_else(|| STEP_UP_CONTEXT.to_owned()))
    }

    /// Conditional access blocks the user.
    pub(super) fn is_blocked(&self, user: &User) -> bool {
        self.of(user).conditional_access == ConditionalAccess::Blocked
    }

    /// The user has yet to consent.
    pub(super) fn lacks_consent(&self, user: &User) -> bool {
        self.of(user).consent == Consent::Required
    }
}

/// Conditional access lets nobody of the user's kind in.
pub(super) fn blocked(error: &'static str) -> EntraError {
    let text =
        "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.";
    EntraError::bad_request(error, 53003, text).suberror("message_only")
}

/// More proof is needed. The claims say what the client has to request.
/// <https://learn.microsoft.com/entra/identity-platform/v2-conditional-access-dev-guide>
pub(super) fn step_up_required(context: &str, resource: &str) -> EntraError {
    let text = format!(
        "Due to a configuration change made by your administrator, or because you moved to a new location, you must use \
         multi-factor authentication to access '{resource}'."
    );
    let claims = json!({"access_token": {"acrs": {"essential": true, "value": context}}});
    EntraError::bad_request("invalid_grant", 50076, text)
        .suberror("basic_action")
        .claims(claims.to_string())
}
