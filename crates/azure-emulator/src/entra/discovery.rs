//! The `OpenID` Connect discovery documents, v1 and v2, and the key sets they point to.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use http::{Extensions, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::EntraError;
use super::issuer::{v1_issuer, v2_issuer};
use super::state::Entra;
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
            "token_endpoint": format!("{base}/oauth2/v2.0/token"),
            "jwks_uri": format!("{base}/discovery/v2.0/keys{}", app_suffix(query.as_deref())),
            "issuer": v2_issuer(entra.site.issuer_origin(), tenant),
            "userinfo_endpoint": "https://graph.microsoft.com/oidc/userinfo",
            "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
            "device_authorization_endpoint": format!("{base}/oauth2/v2.0/devicecode"),
            "end_session_endpoint": format!("{base}/oauth2/v2.0/logout"),
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "request_uri_parameter_supported": false,
        })
    })
}

/// `GET /{tenant}/.well-known/openid-configuration`.
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
            "token_endpoint": format!("{base}/oauth2/token"),
            "jwks_uri": format!("{base}/discovery/keys{}", app_suffix(query.as_deref())),
            "issuer": v1_issuer(entra.site.issuer_origin(), tenant),
            "microsoft_multi_refresh_token": true,
            "authorization_endpoint": format!("{base}/oauth2/authorize"),
            "device_authorization_endpoint": format!("{base}/oauth2/devicecode"),
            "end_session_endpoint": format!("{base}/oauth2/logout"),
            "check_session_iframe": format!("{base}/oauth2/checksession"),
            "userinfo_endpoint": format!("{base}/openid/userinfo"),
            "response_types_supported": ["code", "id_token", "code id_token", "token id_token", "token"],
            "scopes_supported": ["openid"],
        })
    })
}

/// What both documents say alike, with what one of them says about the tenant under `base`.
fn document(entra: &Entra, tenant: &str, extensions: &Extensions, own: impl FnOnce(&str, Uuid) -> Value) -> Response {
    let Some(tenant) = entra.scenario.tenant(tenant) else {
        return EntraError::unknown_tenant(tenant).into_response(entra.site.now(), None);
    };
    let base = format!("{}/{}", entra.site.request_origin(extensions), tenant.id);
    let mut document = common_fields();
    if let (Value::Object(document), Value::Object(own)) = (&mut document, own(&base, tenant.id)) {
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
    match entra.scenario.tenant(&tenant) {
        Some(tenant) => {
            let issuer = v2_issuer(entra.site.issuer_origin(), tenant.id);
            Json(
                entra
                    .keys
                    .jwks(tenant.id, requested_app(query.as_deref()), Some(&issuer)),
            )
            .into_response()
        }
        None => EntraError::unknown_tenant(&tenant).into_response(entra.site.now(), None),
    }
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
    match entra.scenario.tenant(&tenant) {
        Some(tenant) => Json(entra.keys.jwks(tenant.id, requested_app(query.as_deref()), None)).into_response(),
        None => EntraError::unknown_tenant(&tenant).into_response(entra.site.now(), None),
    }
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

fn common_fields() -> Value {
    json!({
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "http_logout_supported": true,
        "frontchannel_logout_supported": true,
        "claims_supported": [
            "sub", "iss", "cloud_instance_name", "cloud_instance_host_name", "cloud_graph_host_name", "msgraph_host",
            "aud", "exp", "iat", "auth_time", "acr", "nonce", "preferred_username", "name", "tid", "ver", "at_hash",
            "c_hash", "email",
        ],
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": "graph.microsoft.com",
        "rbac_url": "https://pas.windows.net",
    })
}
