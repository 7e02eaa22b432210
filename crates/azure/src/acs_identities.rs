//! The wire contract of ACS's identities: `POST /identities`, which gives an identity for a custom id, and a token
//! for it at once.
//!
//! `customId` is known to preview versions of the API alone.

use http::StatusCode;
use serde::Serialize;
use tokio::time::Instant;
use url::Url;

use super::Response;
use super::acs_signing::{Refused, SignedAcs, SignedPost, SignedSendError};
pub use super::azure_error::read_error;
use config::IdentityScope;

/// The identity operation of one ACS resource.
pub struct AcsIdentities(SignedPost);

/// Whose identity, and what its token is good for.
#[derive(Debug, Clone, Copy)]
pub struct IdentityRequest<'a> {
    /// The same text gives the same identity; at most 256 characters.
    pub custom_id: &'a str,
    /// What the token allows; at least one.
    pub scopes: &'a [IdentityScope],
    /// How long it lives: 60 to 1440 minutes.
    pub expires_in_minutes: u16,
}

impl AcsIdentities {
    /// The operation at `endpoint`, an origin.
    #[must_use]
    pub fn new(acs: SignedAcs, endpoint: &Url, api_version: &str) -> Self {
        Self(SignedPost::new(acs, endpoint, "/identities", api_version))
    }

    /// Asks for an identity with a token, once. What [`is_grant`] accepts is read with [`read_grant`](super::acs::read_grant).
    /// `refused` says what becomes of a token of the broker's own that ACS refuses.
    pub async fn send(
        &self,
        request: IdentityRequest<'_>,
        refused: Refused,
        deadline: Instant,
    ) -> Result<Response, SignedSendError> {
        self.0.send(&body(request), refused, is_refused, deadline).await
    }

    /// Whether the broker shows a token of its own, which can be asked for anew.
    #[must_use]
    pub fn can_renew(&self) -> bool {
        self.0.can_renew()
    }
}

/// Whether ACS refuses the broker: nothing in the request is the caller's.
#[must_use]
pub fn is_refused(response: &Response) -> bool {
    response.status == StatusCode::UNAUTHORIZED
}

/// Whether the status says that there is an identity: a new one (201), or the one that has the custom id (200).
#[must_use]
pub fn is_grant(status: StatusCode) -> bool {
    matches!(status, StatusCode::OK | StatusCode::CREATED)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    custom_id: &'a str,
    create_token_with_scopes: Vec<&'static str>,
    expires_in_minutes: u16,
}

fn body(request: IdentityRequest<'_>) -> Body<'_> {
    Body {
        custom_id: request.custom_id,
        create_token_with_scopes: request.scopes.iter().map(|scope| scope.name()).collect(),
        expires_in_minutes: request.expires_in_minutes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let body = serde_json::to_value(body(IdentityRequest {
            custom_id: "t/o",
            scopes: &[IdentityScope::Chat, IdentityScope::ChatJoinLimited],
            expires_in_minutes: 60,
        }))
        .unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "customId": "t/o",
                "createTokenWithScopes": ["chat", "chat.join.limited"],
                "expiresInMinutes": 60,
            })
        );
    }

    #[test]
    fn new_and_known_identities_are_grants() {
        for (status, wanted) in [(200, true), (201, true), (202, false), (204, false), (401, false)] {
            assert_eq!(is_grant(StatusCode::from_u16(status).unwrap()), wanted, "{status}");
        }
    }
}
