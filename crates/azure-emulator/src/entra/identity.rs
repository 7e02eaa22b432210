//! What says to a client who has signed in: the ID token, and `client_info`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::apis::TokenVersion;
use super::issue::{DATED_BACK_SECONDS, header, pairwise_subject};
use super::issuer::v2_issuer;
use super::scope::OpenidScopes;
use super::state::Entra;
use crate::jwt::{CryptoFailed, random_text};
use crate::scenario::User;

/// How long an ID token is good: an hour.
const LIFETIME_SECONDS: i64 = 3600;

/// An ID token for a client; `None` if the tenant has no keys.
/// <https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference>
pub(super) fn id_token(
    entra: &Entra,
    user: &User,
    client: Uuid,
    scopes: OpenidScopes,
    nonce: Option<&str>,
) -> Result<Option<String>, CryptoFailed> {
    let Some(key) = entra.keys.current(user.tenant_id) else {
        return Ok(None);
    };
    let now = entra.site.now().as_second();
    let login = entra.scenario.user_principal_name(user);
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("aud", json!(client.to_string()));
    set("iss", json!(v2_issuer(entra.site.issuer_origin(), user.tenant_id)));
    set("iat", json!(now - DATED_BACK_SECONDS));
    set("nbf", json!(now - DATED_BACK_SECONDS));
    set("exp", json!(now + LIFETIME_SECONDS));
    set("oid", json!(user.object_id.to_string()));
    set("tid", json!(user.tenant_id.to_string()));
    set("sub", json!(pairwise_subject(user.object_id, &client.to_string())));
    set("rh", json!(format!("1.{}.", random_text(36))));
    set("uti", json!(random_text(16)));
    set("ver", json!("2.0"));
    if scopes.profile {
        set("name", json!(user.display_name));
        set("preferred_username", json!(login));
    }
    if scopes.email {
        set("email", json!(login));
    }
    if let Some(nonce) = nonce {
        set("nonce", json!(nonce));
    }
    key.sign(&header(&key, TokenVersion::V2), &Value::Object(claims))
        .map(Some)
}

/// The account's ids, from which MSAL makes the id of its account. Entra sends it to who asks with `client_info=1`.
pub(super) fn client_info(user: &User) -> String {
    let ids = json!({"uid": user.object_id.to_string(), "utid": user.tenant_id.to_string()});
    URL_SAFE_NO_PAD.encode(ids.to_string())
}
