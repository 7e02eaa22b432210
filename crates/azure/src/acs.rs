//! The wire contract of ACS's token exchanges (data-plane Identity, `2025-03-02-preview`, `2025-06-30`, `2026-09-23`).

use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::{Response, SendError, Upstream, UpstreamFailure, operation_url};
use base::secret::{AcsToken, BearerToken};
use telemetry::metrics::labels::Peer;

/// `expiresOn` has up to seven fractional digits and an offset; anything much longer is something else.
const MAX_TIMESTAMP: usize = 64;

/// ACS's exchange operations: which one depends on what the Entra token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `/access/entra/:exchangeAccessToken`, for tokens with scopes of ACS Clients.
    Entra,
    /// `/access/teamsExtension/:exchangeAccessToken`, for tokens with scopes of `auth.msft.communication.azure.com`.
    TeamsExtension,
}

impl Operation {
    /// Its path at ACS, and here.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Entra => "/access/entra/:exchangeAccessToken",
            Self::TeamsExtension => "/access/teamsExtension/:exchangeAccessToken",
        }
    }

    /// Its name, which does not change.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Entra => "entra",
            Self::TeamsExtension => "teams_extension",
        }
    }

    /// The operation for a token with this scope, as it is asked for at Entra.
    #[must_use]
    pub fn for_scope(scope: &str) -> Self {
        if scope.starts_with("https://auth.msft.communication.azure.") {
            Self::TeamsExtension
        } else {
            Self::Entra
        }
    }
}

/// The exchange operations of one ACS resource.
pub struct AcsExchange {
    upstream: Upstream,
    entra: Url,
    teams_extension: Url,
}

/// What ACS grants.
#[derive(Debug)]
pub struct Granted {
    /// `identity.id`
    pub identity_id: Box<str>,
    /// `accessToken.token`
    pub token: AcsToken,
    /// `accessToken.expiresOn`
    pub expires_on: Timestamp,
    /// The same, as ACS wrote it.
    pub expires_on_text: Box<str>,
}

impl AcsExchange {
    /// The operations at `endpoint`, an origin, each with its `api-version`.
    #[must_use]
    pub fn new(upstream: Upstream, endpoint: &Url, api_version: &str, teams_extension_api_version: &str) -> Self {
        let url = |operation: Operation, version: &str| operation_url(endpoint, operation.path(), version);
        Self {
            upstream,
            entra: url(Operation::Entra, api_version),
            teams_extension: url(Operation::TeamsExtension, teams_extension_api_version),
        }
    }

    /// Sends one exchange request.
    pub async fn send(
        &self,
        operation: Operation,
        token: &BearerToken,
        deadline: Instant,
    ) -> Result<Response, SendError> {
        let url = match operation {
            Operation::Entra => &self.entra,
            Operation::TeamsExtension => &self.teams_extension,
        };
        let request = self
            .upstream
            .request(http::Method::POST, url.clone())
            .bearer_auth(token.expose())
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body("{}");
        self.upstream.send(Peer::Acs, request, deadline).await
    }
}

/// An access token as every answer has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccessToken {
    token: String,
    expires_on: Box<str>,
}

impl AccessToken {
    /// The token for `identity_id`, if it is one.
    fn granted_to(self, identity_id: Box<str>) -> Result<Granted, UpstreamFailure> {
        if identity_id.is_empty() || self.token.is_empty() {
            let fault = "body is not the JSON that the contract says: empty id or token";
            return Err(UpstreamFailure::invalid(fault));
        }
        let text = self.expires_on;
        // RFC 9557 suffixes in brackets are no part of the contract.
        let expires_on = Some(&text)
            .filter(|text| text.len() <= MAX_TIMESTAMP && !text.contains('['))
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| UpstreamFailure::invalid("expiresOn is no timestamp"))?;
        Ok(Granted {
            identity_id,
            token: AcsToken::new(self.token),
            expires_on,
            expires_on_text: text,
        })
    }
}

/// Reads the body of a 200 that is an access token alone, for an identity that is known.
pub fn read_access_token(response: &Response, identity_id: &str) -> Result<Granted, UpstreamFailure> {
    response.json::<AccessToken>()?.granted_to(identity_id.into())
}

/// Reads the body of a 200.
pub fn read_grant(response: &Response) -> Result<Granted, UpstreamFailure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        identity: Identity,
        access_token: AccessToken,
    }
    #[derive(Deserialize)]
    struct Identity {
        id: Box<str>,
    }
    let body: Body = response.json()?;
    body.access_token.granted_to(body.identity.id)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use serde_json::{Value, json};

    use super::*;

    fn response(content_type: &str, body: &str) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, content_type.parse().unwrap());
        Response {
            status: StatusCode::OK,
            headers,
            body: body.to_owned().into(),
        }
    }

    fn fault(failure: UpstreamFailure) -> String {
        match failure {
            UpstreamFailure::InvalidResponse(fault) => fault,
            failure => panic!("{failure:?}"),
        }
    }

    fn grant(expires_on: &str) -> Value {
        json!({"identity": {"id": "8:acs:1"}, "accessToken": {"token": "t", "expiresOn": expires_on}})
    }

    #[test]
    fn a_grant_is_read_with_any_offset() {
        for text in [
            "2025-04-10T21:39:39.3244584+00:00",
            "2025-04-10T21:39:39Z",
            "2025-04-10T14:39:39.3244584-07:00",
        ] {
            let granted = read_grant(&response("application/json; charset=utf-8", &grant(text).to_string())).unwrap();
            assert_eq!(granted.expires_on.as_second(), 1_744_321_179);
            assert_eq!(&*granted.expires_on_text, text);
            assert_eq!(granted.token.expose(), "t");
        }
    }

    #[test]
    fn what_is_no_grant() {
        let good = grant("2025-04-10T21:39:39Z").to_string();
        assert_eq!(
            read_grant(&response("text/html", &good)).unwrap_err(),
            UpstreamFailure::invalid("content type is not application/json")
        );
        for text in [
            "",
            "tomorrow",
            "2025-04-10T21:39:39",
            "2025-04-10",
            "1744321179",
            "2025-04-10T21:39:39Z[UTC]",
        ] {
            let body = grant(text).to_string();
            assert_eq!(
                read_grant(&response("application/json", &body)).unwrap_err(),
                UpstreamFailure::invalid("expiresOn is no timestamp"),
                "{text}"
            );
        }
        for body in [
            "",
            "{",
            "[]",
            "null",
            r#"{"identity":{"id":"x"}}"#,
            r#"{"identity":{},"accessToken":{"token":"t","expiresOn":"2025-04-10T21:39:39Z"}}"#,
            r#"{"identity":{"id":""},"accessToken":{"token":"t","expiresOn":"2025-04-10T21:39:39Z"}}"#,
            r#"{"identity":{"id":"x"},"accessToken":{"token":"","expiresOn":"2025-04-10T21:39:39Z"}}"#,
            r#"{"identity":{"id":"x"},"accessToken":{"token":5,"expiresOn":"2025-04-10T21:39:39Z"}}"#,
        ] {
            let error = fault(read_grant(&response("application/json", body)).unwrap_err());
            assert!(
                error.starts_with("body is not the JSON that the contract says: "),
                "{body}: {error}"
            );
        }
    }

    #[test]
    fn an_access_token_alone_is_read() {
        let body = json!({"token": "t", "expiresOn": "2025-04-10T21:39:39.3244584+00:00"}).to_string();
        let granted = read_access_token(&response("application/json", &body), "8:orgid:1").unwrap();
        assert_eq!((&*granted.identity_id, granted.token.expose()), ("8:orgid:1", "t"));
        assert_eq!(granted.expires_on.as_second(), 1_744_321_179);
        for body in [
            r#"{"token":"t"}"#,
            r#"{"expiresOn":"2025-04-10T21:39:39Z"}"#,
            r#"{"token":"","expiresOn":"2025-04-10T21:39:39Z"}"#,
            r#"{"token":"t","expiresOn":"soon"}"#,
            r#"{"accessToken":{"token":"t","expiresOn":"2025-04-10T21:39:39Z"}}"#,
        ] {
            let response = response("application/json", body);
            assert!(read_access_token(&response, "8:orgid:1").is_err(), "{body}");
        }
    }

    #[test]
    fn a_fault_never_quotes_the_body() {
        let error = read_grant(&response("application/json", r#"{"identity":"secret-token"}"#)).unwrap_err();
        let error = fault(error);
        assert!(!error.contains("secret"), "{error}");
    }
}
