//! Managed identity endpoints, in the form of App Service and Container Apps and in that of virtual machines (IMDS).
//!
//! <https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference>,
//! <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use uuid::Uuid;

use super::endpoint::{IDENTITY_ENDPOINT, IMDS};
use super::entra::apis::Api;
use super::entra::app_token::{AppPrincipal, issue};
use super::entra::state::Entra;
use super::request::query_parameter;

/// The endpoints' routes. They are Azure's, not controls, though one address begins like theirs.
pub(super) fn routes(entra: Arc<Entra>) -> Router {
    Router::new()
        .without_v07_checks()
        .route(IDENTITY_ENDPOINT, get(app_service))
        .route(IMDS, get(imds))
        .with_state(entra)
}

/// `GET {IDENTITY_ENDPOINT}?resource=…&api-version=2019-08-01`.
async fn app_service(State(entra): State<Arc<Entra>>, request: Request) -> Response {
    let sent = header(request.headers(), "x-identity-header");
    // What keeps a program that can be made to send requests from getting tokens.
    if sent != Some(entra.scenario.managed_identity.identity_header.as_str()) {
        let body = json!({"statusCode": 401, "message": "The X-IDENTITY-HEADER is missing or not the expected one."});
        return (StatusCode::UNAUTHORIZED, Json(body)).into_response();
    }
    let query = request.uri().query();
    if query_parameter(query, "api-version").as_deref() != Some("2019-08-01") {
        return refused("UnsupportedApiVersion", "The api-version must be 2019-08-01.").into_response();
    }
    match token(&entra, query) {
        Err(refused) => refused.into_response(),
        Ok(token) => Json(json!({
            "access_token": token.access_token,
            "client_id": token.client_id,
            "expires_on": token.expires_on.to_string(),
            "resource": token.resource,
            "token_type": "Bearer",
        }))
        .into_response(),
    }
}

/// `GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=…`.
async fn imds(State(entra): State<Arc<Entra>>, request: Request) -> Response {
    let sent = header(request.headers(), "metadata");
    if !sent.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return refused("bad_request_102", "Required metadata header not specified").into_response();
    }
    let query = request.uri().query();
    let version = query_parameter(query, "api-version");
    if !matches!(version.as_deref(), Some("2018-02-01" | "2019-08-01")) {
        let text = "Required query variable 'api-version' is missing or not supported";
        return refused("invalid_request", text).into_response();
    }
    match token(&entra, query) {
        Err(refused) => refused.into_response(),
        Ok(token) => Json(json!({
            "access_token": token.access_token,
            "client_id": token.client_id,
            "expires_in": token.expires_in.to_string(),
            "expires_on": token.expires_on.to_string(),
            "ext_expires_in": token.expires_in.to_string(),
            "not_before": token.not_before.to_string(),
            "resource": token.resource,
            "token_type": "Bearer",
        }))
        .into_response(),
    }
}

struct IdentityToken {
    access_token: String,
    client_id: String,
    expires_in: i64,
    expires_on: i64,
    not_before: i64,
    resource: String,
}

fn token(entra: &Entra, query: Option<&str>) -> Result<IdentityToken, Refused> {
    let identity = &entra.scenario.managed_identity;
    let resource = query_parameter(query, "resource")
        .filter(|resource| !resource.is_empty())
        .ok_or_else(|| refused("invalid_request", "Required query variable 'resource' is missing"))?;
    // There is one identity only: a request that names an identity must name this one.
    let names = [
        ("client_id", identity.client_id),
        ("object_id", identity.object_id),
        ("principal_id", identity.object_id),
    ];
    for (name, expected) in names {
        if query_parameter(query, name).is_some_and(|sent| Uuid::try_parse(&sent).ok() != Some(expected)) {
            return Err(refused("invalid_request", "Identity not found"));
        }
    }
    let api = Api::from_name(&entra.scenario, &resource).ok_or_else(|| {
        let shown: String = resource.chars().take(100).collect();
        let text = format!("AADSTS500011: The resource principal named {shown} was not found in the tenant.");
        refused("invalid_resource", text)
    })?;
    let roles: &[String] = if api == Api::Graph { &identity.graph_roles } else { &[] };
    let issued = issue(entra, &AppPrincipal::for_identity(identity), api, roles);
    let issued = issued.ok().flatten().ok_or_else(|| Refused {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        ..refused("unknown", "Failed to retrieve token.")
    })?;
    let now = entra.site.now().as_second();
    Ok(IdentityToken {
        access_token: issued.access_token,
        client_id: identity.client_id.to_string(),
        expires_in: issued.expires_in,
        expires_on: now.saturating_add(issued.expires_in),
        not_before: now,
        resource,
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What a managed identity endpoint refuses with.
struct Refused {
    status: StatusCode,
    error: &'static str,
    description: String,
}

fn refused(error: &'static str, description: impl Into<String>) -> Refused {
    Refused {
        status: StatusCode::BAD_REQUEST,
        error,
        description: description.into(),
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = json!({"error": self.error, "error_description": self.description});
        (self.status, Json(body)).into_response()
    }
}
