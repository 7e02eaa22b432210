//! What sign-in libraries ask before anything else: which hosts are one authority, and where a user's password belongs.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use http::{Extensions, Uri};
use serde_json::json;

use super::error::EntraError;
use super::state::Entra;
use crate::request::query_parameter;

/// `GET /common/discovery/instance`: MSAL's instance discovery. The emulator's hosts are one authority.
pub(super) async fn instance(
    State(entra): State<Arc<Entra>>,
    RawQuery(query): RawQuery,
    extensions: Extensions,
) -> Response {
    let own = entra.site.request_origin(&extensions);
    let asked = query_parameter(query.as_deref(), "authorization_endpoint").unwrap_or_else(|| own.to_owned());
    let uri = asked.parse::<Uri>().ok();
    let authority = uri.as_ref().and_then(|uri| uri.authority());
    let (Some(uri), Some(authority)) = (&uri, authority.filter(|host| entra.site.is_own_host(host.as_str()))) else {
        let error = EntraError::bad_request("invalid_instance", 50049, "Unknown or invalid instance.");
        return error.into_response(entra.site.now(), None);
    };
    let tenant = uri.path().split('/').find(|part| !part.is_empty()).unwrap_or("common");
    let port = authority.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    let preferred = authority.as_str();
    let mut aliases = vec![preferred.to_owned()];
    for name in ["localhost", "127.0.0.1"] {
        let alias = format!("{name}{port}");
        if !aliases.contains(&alias) {
            aliases.push(alias);
        }
    }
    Json(json!({
        "tenant_discovery_endpoint": format!("{own}/{tenant}/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{"preferred_network": preferred, "preferred_cache": preferred, "aliases": aliases}],
    }))
    .into_response()
}

/// `GET /common/userrealm/{upn}`: users of the demo tenants have their passwords at Entra (`Managed`), not at another
/// identity provider.
pub(super) async fn user_realm(State(entra): State<Arc<Entra>>, Path((_, upn)): Path<(String, String)>) -> Response {
    let domain = upn.rsplit_once('@').map(|(_, domain)| domain).unwrap_or_default();
    let tenants = &entra.scenario.tenants;
    let known = tenants.iter().find(|tenant| tenant.domain.eq_ignore_ascii_case(domain));
    Json(match known {
        Some(tenant) => json!({
            "ver": "1.0",
            "account_type": "Managed",
            "domain_name": tenant.domain,
            "cloud_instance_name": "microsoftonline.com",
            "cloud_audience_urn": "urn:federation:MicrosoftOnline",
        }),
        None => json!({"ver": "1.0", "account_type": "Unknown", "cloud_instance_name": "microsoftonline.com"}),
    })
    .into_response()
}
