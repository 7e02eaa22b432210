//! The wire contract of ACS's exchange for Teams users (data-plane Identity, `2022-06-01` to `2026-09-23`): the user's
//! token is in the body of a request of the broker's own.

use http::StatusCode;
use serde::Serialize;
use tokio::time::Instant;
use url::Url;

use super::Response;
use super::acs_signing::{Refused, SignedAcs, SignedPost, SignedSendError};
use super::azure_error::read_error;
use base::ids::{ClientAppId, ObjectId};
use base::secret::BearerToken;

/// The code with which ACS refuses what shows who asks: a signature or a token of the broker's own.
const DENIED: &str = "Denied";

/// The exchange for Teams users at one ACS resource.
pub struct AcsTeamsUsers(SignedPost);

/// Whose token is exchanged. ACS compares the ids with the token's.
#[derive(Clone, Copy)]
pub struct TeamsUserToken<'a> {
    /// The user's Entra token.
    pub token: &'a BearerToken,
    /// Its client app.
    pub app: ClientAppId,
    /// Its user.
    pub user: ObjectId,
}

impl AcsTeamsUsers {
    /// The operation at `endpoint`, an origin.
    #[must_use]
    pub fn new(acs: SignedAcs, endpoint: &Url, api_version: &str) -> Self {
        let path = "/teamsUser/:exchangeAccessToken";
        Self(SignedPost::new(acs, endpoint, path, api_version))
    }

    /// Sends one exchange request. A 200 is read with [`read_access_token`](super::acs::read_access_token). `refused` says
    /// what becomes of a token of the broker's own that ACS refuses.
    pub async fn send(
        &self,
        user: TeamsUserToken<'_>,
        refused: Refused,
        deadline: Instant,
    ) -> Result<Response, SignedSendError> {
        // A 401 is about the user's token as a rule, and no reason for a new one of the broker's own.
        self.0.send(&body(user), refused, is_denied, deadline).await
    }

    /// Whether the broker shows a token of its own, which can be asked for anew.
    #[must_use]
    pub fn can_renew(&self) -> bool {
        self.0.can_renew()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    token: &'a str,
    app_id: String,
    user_id: String,
}

fn body(user: TeamsUserToken<'_>) -> Body<'_> {
    Body {
        token: user.token.expose(),
        app_id: user.app.to_string(),
        user_id: user.user.to_string(),
    }
}

/// Whether ACS refuses the broker itself, not the user's token.
#[must_use]
pub fn is_denied(response: &Response) -> bool {
    let code = || read_error(response).map(|error| error.code.to_string());
    response.status == StatusCode::UNAUTHORIZED && code().is_some_and(|code| code == DENIED)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::json;

    use super::*;

    /// As the specification's example of 2026-09-23 has it.
    #[test]
    fn what_is_sent() {
        let body = serde_json::to_value(body(TeamsUserToken {
            token: &BearerToken::new("a.b.c"),
            app: "C0A5A990-0000-4000-8000-000000000003".parse().unwrap(),
            user: "11111111-0000-4000-8000-00000000abcd".parse().unwrap(),
        }))
        .unwrap();
        assert_eq!(
            body,
            json!({
                "token": "a.b.c",
                "appId": "c0a5a990-0000-4000-8000-000000000003",
                "userId": "11111111-0000-4000-8000-00000000abcd",
            })
        );
    }

    #[test]
    fn a_refused_signature_is_not_a_refused_token() {
        for (status, body, denied) in [
            (401, r#"{"error":{"code":"Denied","message":"m"}}"#, true),
            (401, r#"{"error":{"code":"Unauthorized","message":"m"}}"#, false),
            (401, "<html>", false),
            (401, "", false),
            (403, r#"{"error":{"code":"Denied","message":"m"}}"#, false),
        ] {
            let response = Response {
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                body: body.to_owned().into(),
            };
            assert_eq!(is_denied(&response), denied, "{status} {body}");
        }
    }
}
