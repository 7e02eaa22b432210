//! Teams users: how they are named at ACS, and how their tokens are exchanged.

use tokio::time::Instant;

use azure::Response;
use azure::acs_signing::SignedSendError;
use azure::acs_teams_users::{AcsTeamsUsers, Refused, TeamsUserToken, is_denied};
use azure::budget::Place;
use azure::retry::{self, CallError, Guards};
use base::clock::Clock;
use base::ids::ObjectId;
use config::TeamsCloud;

/// Calls ACS. A token of the broker's own that ACS refuses is asked for anew, once: as ACS counts that request too, only
/// if the budget has a place for it.
pub(super) async fn call(
    acs: &AcsTeamsUsers,
    user: TeamsUserToken<'_>,
    guards: Guards<'_>,
    place: Option<Place>,
    clock: &dyn Clock,
    deadline: Instant,
) -> Result<Response, CallError<SignedSendError>> {
    let attempt = || acs.send(user, Refused::Discard, deadline);
    let called = retry::call(guards, place, clock, deadline, attempt).await;
    let is_to_be_resent = matches!(&called, Ok(response) if acs.can_renew() && is_denied(response));
    if !is_to_be_resent {
        return called;
    }
    let attempt = || acs.send(user, Refused::Keep, deadline);
    retry::call_again(guards, clock, deadline, attempt)
        .await
        .unwrap_or(called)
}

/// The user's identifier at ACS ("Communication identifier types"): ACS's answer has none.
pub(super) fn identifier(cloud: TeamsCloud, user: ObjectId) -> String {
    // GUIDs print in lower case.
    format!("{}{user}", cloud.identifier_prefix())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_teams_user_is_named_by_cloud_and_object_id() {
        let user = "11111111-0000-4000-8000-00000000ABCD".parse().unwrap();
        for (cloud, identifier) in [
            (TeamsCloud::Public, "8:orgid:11111111-0000-4000-8000-00000000abcd"),
            (TeamsCloud::Gcch, "8:gcch:11111111-0000-4000-8000-00000000abcd"),
            (TeamsCloud::Dod, "8:dod:11111111-0000-4000-8000-00000000abcd"),
        ] {
            assert_eq!(super::identifier(cloud, user), identifier);
        }
    }
}
