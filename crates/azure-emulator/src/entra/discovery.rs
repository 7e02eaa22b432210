//! The `OpenID` Connect discovery documents, v1 and v2, and the key sets they point to.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use http::{Extensions, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::issuer::{v1_issuer, v2_issuer};
use super::state::Entra;
use super::token_endpoint::Directory;
use crate::request::query_parameter;

/// `GET /{tenant}/v2.0/.well-known/openid-configuration`.
pub(super) async fn v2_document(
    State(entra): State<Arc<Entra>>,
    Path(tenant): Path<String>,
    RawQuery(query): RawQuery,
    extensions: Extensions,
) -> Response {
    document(&entra, &tenant, &extensions, |base, tenant| {
        json!({
            "jwks_uri": format!("{base}/discovery/v2.0/keys{}", app_suffix(query.as_deref())),
            "issuer": v2_issuer(entra.site.issuer_origin(), tenant),
        })
    })
}

/// `GET /{tenant}/.well-known/openid-configuration`, and the same below the issuer of v1 tokens. The emulator has v2's
/// endpoints alone, so that this document names them too.
pub(super) async fn v1_document(
    State(entra): State<Arc<Entra>>,
    Path(tenant): Path<String>,
    RawQuery(query): RawQuery,
    extensions: Extensions,
) -> Response {
    if !entra.settings.get().v1_documents {
        return StatusCode::NOT_FOUND.into_response();
    }
    document(&entra, &tenant, &extensions, |base, tenant| {
        json!({
            "jwks_uri": format!("{base}/discovery/keys{}", app_suffix(query.as_deref())),
            "issuer": v1_issuer(entra.site.issuer_origin(), tenant),
            "microsoft_multi_refresh_token": true,
        })
    })
}

/// What stands for the tenant in the issuer of the document for many tenants: each user's tokens have the home tenant's.
/// <https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-issuer>
const ANY_TENANT: &str = "{tenantid}";

/// What both documents say alike, with what one of them says about the tenant under `base`.
fn document(entra: &Entra, tenant: &str, extensions: &Extensions, own: impl FnOnce(&str, &str) -> Value) -> Response {
    let directory = match Directory::parse(&entra.scenario, tenant) {
        Ok(directory) => directory,
        Err(error) => return error.into_response(entra.site.now(), None),
    };
    let (segment, in_issuer) = match directory {
        Directory::One(tenant) => (tenant.id.to_string(), tenant.id.to_string()),
        Directory::Users => (tenant.to_ascii_lowercase(), ANY_TENANT.to_owned()),
    };
    let base = format!("{}/{segment}", entra.site.request_origin(extensions));
    let mut document = common_fields(&base);
    if let (Value::Object(document), Value::Object(own)) = (&mut document, own(&base, &in_issuer)) {
        document.extend(own);
    }
    Json(document).into_response()
}

/// `GET /{tenant}/discovery/v2.0/keys`.
pub(super) async fn v2_keys(
    State(entra): State<Arc<Entra>>,
    Path(tenant): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    keys(&entra, &tenant, query.as_deref(), true)
}

/// `GET /{tenant}/discovery/keys`.
pub(super) async fn v1_keys(
    State(entra): State<Arc<Entra>>,
    Path(tenant): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    if !entra.settings.get().v1_documents {
        return StatusCode::NOT_FOUND.into_response();
    }
    keys(&entra, &tenant, query.as_deref(), false)
}

/// A tenant's keys, or every tenant's, each with its issuer in the v2 set.
fn keys(entra: &Entra, tenant: &str, query: Option<&str>, with_issuer: bool) -> Response {
    let tenants = match Directory::parse(&entra.scenario, tenant) {
        Ok(Directory::One(tenant)) => vec![tenant],
        Ok(Directory::Users) => entra.scenario.tenants.iter().collect(),
        Err(error) => return error.into_response(entra.site.now(), None),
    };
    let sets = tenants.into_iter().map(|tenant| {
        let issuer = with_issuer.then(|| v2_issuer(entra.site.issuer_origin(), tenant.id));
        entra.keys.jwks(tenant.id, requested_app(query), issuer.as_deref())
    });
    let all: Vec<Value> = sets
        .flat_map(|mut set| set["keys"].as_array_mut().map(std::mem::take).unwrap_or_default())
        .collect();
    Json(json!({ "keys": all })).into_response()
}

/// `?appid=` asks for the keys of an app that has its own; for any other app they are the tenant's.
///
/// <https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-signature>
fn requested_app(query: Option<&str>) -> Option<Uuid> {
    query_parameter(query, "appid").and_then(|text| Uuid::try_parse(&text).ok())
}

/// The parameter travels on to `jwks_uri`.
fn app_suffix(query: Option<&str>) -> String {
    requested_app(query)
        .map(|app| format!("?appid={app}"))
        .unwrap_or_default()
}

fn common_fields(base: &str) -> Value {
    json!({
        "token_endpoint": format!("{base}/oauth2/v2.0/token"),
        "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{base}/oauth2/v2.0/devicecode"),
        "end_session_endpoint": format!("{base}/oauth2/v2.0/logout"),
        "response_types_supported": ["code"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "code_challenge_methods_supported": ["S256"],
        "request_uri_parameter_supported": false,
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "http_logout_supported": true,
        "claims_supported": [
            "sub", "iss", "aud", "exp", "iat", "nbf", "nonce", "preferred_username", "name", "oid", "tid", "ver", "email",
        ],
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": "graph.microsoft.com",
    })
}
