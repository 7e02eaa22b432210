//! App-only tokens: of the client credentials grant, and of managed identities.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::apis::{Api, TokenVersion};
use super::directory::catalog::service_principal_id;
use super::issue::{DATED_BACK_SECONDS, IssuedToken, default_lifetime, header, signing_key};
use super::issuer::{v1_issuer, v2_issuer};
use super::state::Entra;
use crate::jwt::{CryptoFailed, random_text};
use crate::scenario::ManagedIdentity;

/// The app or the managed identity that an app-only token is for.
#[derive(Debug, Clone)]
pub(crate) struct AppPrincipal {
    client_id: Uuid,
    /// Of the service principal in the tenant.
    object_id: Uuid,
    tenant: Uuid,
    name: String,
    /// How it authenticated: the claim `azpacr` or `appidacr`.
    acr: &'static str,
    is_managed_identity: bool,
}

impl AppPrincipal {
    /// An app registration's service principal in a tenant. Its object id is another one in each tenant, and always
    /// the same.
    pub(crate) fn for_app(client_id: Uuid, name: &str, tenant: Uuid, acr: &'static str) -> Self {
        Self {
            client_id,
            object_id: service_principal_id(client_id, tenant),
            tenant,
            name: name.to_owned(),
            acr,
            is_managed_identity: false,
        }
    }

    /// A managed identity. It authenticates with a certificate that Azure renews.
    pub(crate) fn for_identity(identity: &ManagedIdentity) -> Self {
        Self {
            client_id: identity.client_id,
            object_id: identity.object_id,
            tenant: identity.tenant_id,
            name: identity.name.clone(),
            acr: "2",
            is_managed_identity: true,
        }
    }
}

/// Issues an app-only token; `None` if the tenant has no keys.
pub(crate) fn issue(
    entra: &Entra,
    principal: &AppPrincipal,
    api: Api,
    roles: &[String],
) -> Result<Option<IssuedToken>, CryptoFailed> {
    let version = api.app_token_version();
    let audience = api.audience(&entra.scenario, version);
    let Some(key) = signing_key(entra, principal.tenant, &audience, None) else {
        return Ok(None);
    };
    let now = entra.site.now().as_second();
    let lifetime = entra.settings.get().token_lifetime.unwrap_or_else(default_lifetime);
    let issuer = match version {
        TokenVersion::V1 => v1_issuer(entra.site.issuer_origin(), principal.tenant),
        TokenVersion::V2 => v2_issuer(entra.site.issuer_origin(), principal.tenant),
    };
    let (app, acr) = match version {
        TokenVersion::V1 => ("appid", "appidacr"),
        TokenVersion::V2 => ("azp", "azpacr"),
    };
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("aud", json!(audience));
    set("iss", json!(issuer));
    set("iat", json!(now - DATED_BACK_SECONDS));
    set("nbf", json!(now - DATED_BACK_SECONDS));
    set("exp", json!(now.saturating_add(lifetime)));
    set("aio", json!(random_text(48)));
    set(app, json!(principal.client_id.to_string()));
    set(acr, json!(principal.acr));
    set("idtyp", json!("app"));
    set("oid", json!(principal.object_id.to_string()));
    set("sub", json!(principal.object_id.to_string()));
    set("tid", json!(principal.tenant.to_string()));
    set("rh", json!(format!("1.{}.", random_text(36))));
    set("uti", json!(random_text(16)));
    if version == TokenVersion::V1 {
        set("app_displayname", json!(principal.name));
        set("idp", json!(issuer));
        set("ver", json!("1.0"));
    } else {
        set("ver", json!("2.0"));
    }
    if principal.is_managed_identity {
        set(
            "xms_mirid",
            json!(format!(
                "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/contoso/providers/\
                 Microsoft.ManagedIdentity/userAssignedIdentities/{}",
                principal.name
            )),
        );
    }
    if !roles.is_empty() {
        set("roles", json!(roles));
    }
    let access_token = key.sign(&header(&key, version), &Value::Object(claims))?;
    Ok(Some(IssuedToken::new(access_token, None, lifetime)))
}
