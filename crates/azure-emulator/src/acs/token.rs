//! ACS access tokens: opaque to everyone but ACS and its SDKs, which read `exp` and `skypeid` where they can.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::AcsError;
use super::state::Acs;

/// Mints a token for an identity, as the `accessToken` member of an answer. Each one is a different string.
pub(super) fn mint(acs: &Acs, identity: &str, scopes: &[&str], end: Timestamp) -> Result<Value, AcsError> {
    let now = acs.site.now();
    let key = &acs.key;
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
        "resourceId": acs.scenario.resource.id.to_string(),
        "resourceLocation": "europe",
        // Not in real tokens; two tokens of the same second would be the same string without it.
        "jti": Uuid::new_v4().to_string(),
    });
    let signed = key.sign(&header, &claims);
    let token = if acs.encrypted_tokens.load(Ordering::Relaxed) {
        signed.and_then(|token| acs.cipher.encrypt(&token))
    } else {
        signed
    };
    let token = token.map_err(|_| {
        let message = "An internal error has occurred.";
        AcsError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message)
    })?;
    Ok(json!({"token": token, "expiresOn": expires_on_text(end, 0, "+00:00")}))
}

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
}
