//! Teams users: how they are named at ACS.

use base::ids::ObjectId;
use config::TeamsCloud;

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
