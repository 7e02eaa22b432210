//! ACS access tokens: opaque to everyone but ACS and its SDKs, which read `exp` and `skypeid`.

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{AcsError, expires_on_text};
use crate::world::World;

/// Mints a token for an identity, as the `accessToken` member of an answer. Each one is a different string.
pub(super) fn mint(world: &World, identity: &str, scopes: &[&str], end: Timestamp) -> Result<Value, AcsError> {
    let now = world.now();
    let key = &world.acs.key;
    let header = json!({"alg": "RS256", "kid": key.kid, "x5t": key.kid, "typ": "JWT"});
    let claims = json!({
        // The SDKs' users read the identity from here; it is the raw id without "8:".
        "skypeid": identity.strip_prefix("8:").unwrap_or(identity),
        "scp": 1792,
        "csi": now.as_second().to_string(),
        "iat": now.as_second(),
        "exp": end.as_second(),
        "rgn": "emea",
        "acsScope": scopes.join(","),
        "resourceId": world.scenario.resource.id.to_string(),
        "resourceLocation": "europe",
        // Not in real tokens; two tokens of the same second would be the same string without it.
        "jti": Uuid::new_v4().to_string(),
    });
    let token = key.sign(&header, &claims).map_err(|_| {
        let message = "An internal error has occurred.";
        AcsError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message)
    })?;
    Ok(json!({"token": token, "expiresOn": expires_on_text(end, 0, "+00:00")}))
}
