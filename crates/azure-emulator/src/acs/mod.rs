//! The Azure Communication Services side: the exchanges of Entra tokens, assignments, and identities.

pub(crate) mod assignments;
mod authorization;
mod exchange;
mod identities;
mod signing;
pub(crate) mod teams;
mod token;
mod verify;

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::body::Bytes;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::{Map, Value, json};
use uuid::{Uuid, uuid};

#[cfg(test)]
pub(super) use self::signing::sign as sign_for_test;

use self::assignments::Assignment;
use self::teams::TeamsAssignment;
use super::journal::query_parameter;
use super::jwt::{CryptoFailed, SigningKey};
use super::router::read_body;
use super::scenario::Scenario;
use super::world::SharedWorld;

/// The application id of "Azure Communication Services Clients", the audience of v2 tokens for ACS.
pub(crate) const ACS_CLIENTS_APP: Uuid = uuid!("2a04943b-b6a7-4f65-8786-2bb6131b59f6");
/// Its App ID URI: the prefix of its scopes and the audience of v1 tokens.
pub(crate) const ACS_CLIENTS_URI: &str = "https://communication.azure.com/clients";

/// The application id of Teams Phone extension at ACS, the audience of its v2 tokens.
pub(crate) const TEAMS_EXTENSION_APP: Uuid = uuid!("1fd5118e-2576-4263-8130-9503064c837a");
/// Its App ID URI.
pub(crate) const TEAMS_EXTENSION_URI: &str = "https://auth.msft.communication.azure.com";

/// The api-versions that know the Entra exchange and assignments.
const ENTRA_VERSIONS: &[&str] = &["2025-03-02-preview"];
/// The api-versions that know Teams Phone extension.
const TEAMS_VERSIONS: &[&str] = &["2025-03-02-preview", "2025-06-30"];
/// The api-versions of the identity operations.
const IDENTITY_VERSIONS: &[&str] = &[
    "2021-03-07",
    "2022-06-01",
    "2022-10-01",
    "2023-10-01",
    "2025-03-02-preview",
    "2025-06-30",
];

/// What the resource remembers.
#[derive(Debug)]
pub(crate) struct AcsState {
    /// The key that signs ACS tokens; no one but ACS looks into these.
    key: SigningKey,
    /// Assignments by object id.
    pub(crate) assignments: Mutex<BTreeMap<Uuid, Assignment>>,
    /// Teams Phone extension assignments by tenant and object id.
    pub(crate) teams_assignments: Mutex<BTreeMap<(Uuid, Uuid), TeamsAssignment>>,
    /// Identities by id, with their custom id.
    identities: Mutex<BTreeMap<String, Option<String>>>,
}

impl AcsState {
    /// A resource as the scenario describes it.
    pub(crate) fn new(scenario: &Scenario) -> Result<Self, CryptoFailed> {
        Ok(Self {
            key: SigningKey::generate()?,
            assignments: Mutex::new(
                scenario
                    .assignments
                    .iter()
                    .map(|assignment| (assignment.object_id, assignment.clone()))
                    .collect(),
            ),
            teams_assignments: Mutex::new(
                scenario
                    .teams_assignments
                    .iter()
                    .map(|assignment| ((assignment.tenant_id, assignment.object_id), assignment.clone()))
                    .collect(),
            ),
            identities: Mutex::default(),
        })
    }
}

/// The access key as connection strings write it.
pub(crate) fn access_key_text(scenario: &Scenario) -> String {
    STANDARD.encode(&scenario.resource.access_key)
}

/// ACS's routes. Everything but the exchanges takes the resource's access key, or an app's Entra token.
pub(super) fn routes(world: &SharedWorld) -> Router<SharedWorld> {
    let managed = Router::new()
        .without_v07_checks()
        .route(
            "/access/entra/assignments",
            get(assignments::list).patch(assignments::patch),
        )
        .route(
            "/access/entra/assignments/{id}",
            get(assignments::get).put(assignments::put).delete(assignments::delete),
        )
        .route(
            "/access/teamsExtension/tenants/{tenant}/assignments/{id}",
            get(teams::get).put(teams::put).delete(teams::delete),
        )
        .route("/identities", post(identities::create))
        .route("/identities/{id}", delete(identities::delete))
        .route("/identities/{id}/:issueAccessToken", post(identities::issue))
        .route("/identities/{id}/:revokeAccessTokens", post(identities::revoke))
        .route_layer(from_fn_with_state(world.clone(), authorization::require));
    Router::new()
        .without_v07_checks()
        .route("/access/entra/:exchangeAccessToken", post(exchange::exchange))
        .route("/access/teamsExtension/:exchangeAccessToken", post(teams::exchange))
        .merge(managed)
}

/// An error as ACS tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AcsError {
    status: StatusCode,
    code: &'static str,
    message: String,
    target: Option<String>,
    inner: Option<&'static str>,
}

impl AcsError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            target: None,
            inner: None,
        }
    }

    fn invalid(target: &str, message: impl Into<String>) -> Self {
        Self {
            target: Some(target.to_owned()),
            ..Self::new(StatusCode::BAD_REQUEST, "ValidationError", message)
        }
    }

    fn denied(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Denied", message)
    }

    fn too_large() -> Self {
        let message = "The request body is too large.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    fn inner(self, code: &'static str) -> Self {
        Self {
            inner: Some(code),
            ..self
        }
    }

    fn into_response(self) -> Response {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(target) = self.target {
            error["target"] = json!(target);
        }
        if let Some(inner) = self.inner {
            error["innererror"] = json!({"code": inner});
        }
        let mut response = (self.status, Json(json!({ "error": error }))).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Checks the `api-version` parameter and gives it back.
fn api_version(uri: &http::Uri, supported: &[&'static str]) -> Result<&'static str, AcsError> {
    let Some(asked) = query_parameter(uri.query(), "api-version").filter(|version| !version.is_empty()) else {
        return Err(AcsError::new(
            StatusCode::BAD_REQUEST,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        ));
    };
    supported
        .iter()
        .find(|version| **version == asked)
        .copied()
        .ok_or_else(|| {
            let message = format!(
                "The HTTP resource that matches the request URI '{}' does not support the API version '{}'. The \
                 supported api-versions are '{}'.",
                uri.path(),
                asked.chars().take(64).collect::<String>(),
                supported.join(", ")
            );
            AcsError::new(StatusCode::BAD_REQUEST, "UnsupportedApiVersionValue", message)
        })
}

/// Reads a JSON object of one of these content types.
async fn json_object(request: Request, types: &[&str]) -> Result<Map<String, Value>, AcsError> {
    let (content_type, body) = typed_body(request).await?;
    parse_object(content_type.as_deref(), &body, types)
}

/// The same where the contract leaves the body out at will: the SDKs' `createUser()` sends none, under the content
/// type of JSON.
async fn optional_json_object(request: Request, types: &[&str]) -> Result<Map<String, Value>, AcsError> {
    let (content_type, body) = typed_body(request).await?;
    if body.is_empty() {
        return Ok(Map::new());
    }
    parse_object(content_type.as_deref(), &body, types)
}

/// The body, and its content type without parameters.
async fn typed_body(request: Request) -> Result<(Option<String>, Bytes), AcsError> {
    let content_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(';').next())
        .map(|text| text.trim().to_ascii_lowercase());
    let body = read_body(request).await.map_err(|_| AcsError::too_large())?;
    Ok((content_type, body))
}

fn parse_object(content_type: Option<&str>, body: &[u8], types: &[&str]) -> Result<Map<String, Value>, AcsError> {
    if !content_type.is_some_and(|found| types.contains(&found)) {
        return Err(AcsError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            format!("The content type must be {}.", types.join(" or ")),
        ));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(AcsError::new(
            StatusCode::BAD_REQUEST,
            "InvalidRequestBody",
            "The request body must be a JSON object.",
        )),
    }
}

/// Only plain JSON.
const JSON: &[&str] = &["application/json"];

/// A point in time as ACS writes it: seven fractional digits and an offset, which is given as seconds and text.
pub(crate) fn expires_on_text(end: Timestamp, offset_seconds: i32, offset: &str) -> String {
    let at = Offset::from_seconds(offset_seconds)
        .unwrap_or(Offset::UTC)
        .to_datetime(end);
    let fraction = at.subsec_nanosecond() / 100;
    format!("{}.{fraction:07}{offset}", at.strftime("%Y-%m-%dT%H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_have_seven_digits_and_an_offset() {
        let end: Timestamp = "2025-04-10T21:39:39.3244584Z".parse().unwrap();
        assert_eq!(expires_on_text(end, 0, "+00:00"), "2025-04-10T21:39:39.3244584+00:00");
        assert_eq!(
            expires_on_text(end, -25200, "-07:00"),
            "2025-04-10T14:39:39.3244584-07:00"
        );
    }

    #[test]
    fn api_versions() {
        let check = |uri: &str| api_version(&uri.parse().unwrap(), ENTRA_VERSIONS).map_err(|error| error.code);
        assert_eq!(check("/x?api-version=2025-03-02-preview"), Ok("2025-03-02-preview"));
        assert_eq!(check("/x"), Err("MissingApiVersionParameter"));
        assert_eq!(check("/x?api-version="), Err("MissingApiVersionParameter"));
        assert_eq!(check("/x?api-version=2023-10-01"), Err("UnsupportedApiVersionValue"));
    }
}
