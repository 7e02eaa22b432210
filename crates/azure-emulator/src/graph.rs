//! Microsoft Graph: whether a user is in certain groups.
//!
//! <https://learn.microsoft.com/graph/api/directoryobject-checkmembergroups>,
//! errors: <https://learn.microsoft.com/graph/errors>

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::entra::apis::{Api, GRAPH_URI};
use super::entra::signed::{self, Lifetime, NotEntras};
use super::router::{bearer_token, read_body};
use super::scenario::{User, UserKind};
use super::world::{SharedWorld, World};

/// No call may ask for more groups.
const MOST_GROUPS: usize = 20;
/// Application permissions, any one of which suffices.
const PERMISSIONS: [&str; 4] = [
    "GroupMember.Read.All",
    "Group.Read.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
];
/// The permission to read other users, which goes with the first of them.
const USER_PERMISSIONS: [&str; 4] = [
    "User.Read.All",
    "User.ReadBasic.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
];

/// Graph's routes.
pub(super) fn routes() -> Router<SharedWorld> {
    Router::new()
        .without_v07_checks()
        .route("/v1.0/users/{user}/checkMemberGroups", post(check_member_groups))
        .route("/v1.0/{*rest}", axum::routing::any(not_served))
}

/// An error as Graph tells it.
struct GraphError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl GraphError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Request_BadRequest", message)
    }

    fn bad_token(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken", message)
    }

    fn into_response(self, now: Timestamp) -> Response {
        let body = Json(error_body(self.code, &self.message, now));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"\", error=\"invalid_token\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// The body of an error.
pub(super) fn error_body(code: &str, message: &str, now: Timestamp) -> Value {
    let id = Uuid::new_v4().to_string();
    json!({"error": {
        "code": code,
        "message": message,
        "innerError": {
            "date": now.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
            "request-id": id,
            "client-request-id": id,
        },
    }})
}

/// `POST /v1.0/users/{id}/checkMemberGroups`.
async fn check_member_groups(State(world): State<SharedWorld>, Path(user): Path<String>, request: Request) -> Response {
    match answer(&world, &user, request).await {
        Ok(groups) => Json(json!({
            "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#Collection(Edm.String)",
            "value": groups.iter().map(Uuid::to_string).collect::<Vec<_>>(),
        }))
        .into_response(),
        Err(error) => error.into_response(world.now()),
    }
}

/// Whatever else Graph has, the emulator does not.
async fn not_served(State(world): State<SharedWorld>) -> Response {
    let message = "Resource not found for the segment: the emulator serves users/{id}/checkMemberGroups only.";
    GraphError::new(StatusCode::NOT_FOUND, "ResourceNotFound", message).into_response(world.now())
}

async fn answer(world: &World, user: &str, request: Request) -> Result<Vec<Uuid>, GraphError> {
    let tenant = authorize(world, bearer_token(request.headers()))?;
    let is_json = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("application/json"));
    let body = read_body(request)
        .await
        .map_err(|_| GraphError::bad_request("The request body is too large."))?;
    if !is_json {
        let message = "Write requests (excluding DELETE) must contain the Content-Type header declaration.";
        return Err(GraphError::bad_request(message));
    }
    let asked = group_ids(&body)?;
    let found = person(world, tenant, user).ok_or_else(|| {
        let message = format!(
            "Resource '{}' does not exist or one of its queried reference-property objects are not present.",
            user.chars().take(100).collect::<String>()
        );
        GraphError::new(StatusCode::NOT_FOUND, "Request_ResourceNotFound", message)
    })?;
    let groups = world.scenario.groups_of(found);
    Ok(asked.into_iter().filter(|id| groups.contains(id)).collect())
}

/// The tenant whose directory an app may read with this token.
fn authorize(world: &World, token: Option<&str>) -> Result<Uuid, GraphError> {
    let text = token
        .filter(|text| !text.is_empty())
        .ok_or_else(|| GraphError::bad_token("Access token is empty."))?;
    let token = signed::read(text, &world.keys, world.issuer_origin(), None).map_err(|fault| {
        GraphError::bad_token(match fault {
            NotEntras::Malformed => "IDX14100: JWT is not well formed, there are no dots (.).",
            NotEntras::InvalidSignature => "Access token validation failure. Signature is invalid.",
            NotEntras::InvalidIssuer => "Access token validation failure. Invalid issuer.",
            _ => "Access token validation failure.",
        })
    })?;
    if !token.is_for(Api::Graph.app_id(&world.scenario), GRAPH_URI) {
        return Err(GraphError::bad_token(
            "Access token validation failure. Invalid audience.",
        ));
    }
    if !matches!(token.lifetime(world.now()), Lifetime::Current(_)) {
        let message = "Lifetime validation failed, the token is expired.";
        return Err(GraphError::bad_token(message));
    }
    let roles = token.list("roles");
    let has_any = |wanted: &[&str]| wanted.iter().any(|role| roles.contains(role));
    // Only application permissions exist here: nobody consents to delegated ones.
    if token.is_delegated() || !has_any(&PERMISSIONS) || !has_any(&USER_PERMISSIONS) {
        let message = "Insufficient privileges to complete the operation.";
        return Err(GraphError::new(
            StatusCode::FORBIDDEN,
            "Authorization_RequestDenied",
            message,
        ));
    }
    Ok(token.tenant)
}

fn group_ids(body: &[u8]) -> Result<Vec<Uuid>, GraphError> {
    let value: Value = serde_json::from_slice(body).map_err(|_| {
        GraphError::new(
            StatusCode::BAD_REQUEST,
            "BadRequest",
            "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON \
             format.",
        )
    })?;
    let ids = value
        .get("groupIds")
        .and_then(Value::as_array)
        .filter(|ids| !ids.is_empty())
        .ok_or_else(|| GraphError::bad_request("The parameter 'groupIds' must be a collection that is not empty."))?;
    if ids.len() > MOST_GROUPS {
        let message = format!(
            "The number of values in 'groupIds' ({}) exceeds the maximum of {MOST_GROUPS}.",
            ids.len()
        );
        return Err(GraphError::bad_request(message));
    }
    ids.iter()
        .map(|id| {
            let text = id.as_str().unwrap_or_default();
            Uuid::try_parse(text).map_err(|_| {
                let shown: String = text.chars().take(100).collect();
                GraphError::bad_request(format!("Invalid object identifier '{shown}'."))
            })
        })
        .collect()
}

/// The person with this object id or user principal name in a tenant's directory.
fn person<'a>(world: &'a World, tenant: Uuid, text: &str) -> Option<&'a User> {
    if let Ok(id) = Uuid::try_parse(text) {
        return world.scenario.person(tenant, id);
    }
    world
        .scenario
        .users
        .iter()
        .filter(|user| user.tenant_id == tenant && user.kind == UserKind::Person)
        .find(|user| world.scenario.user_principal_name(user).eq_ignore_ascii_case(text))
}
