//! What a token says, read without judging it: whether it may say so is the gates' business.

use base::secret::BearerToken;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// Header and payload of a token. The signature is not kept.
#[derive(Debug, Clone)]
pub struct Claims {
    header: Map<String, Value>,
    payload: Map<String, Value>,
}

impl Claims {
    /// Reads `token`, if it is a JWT in compact form at all.
    #[must_use]
    pub fn read(token: &BearerToken) -> Option<Self> {
        let mut parts = token.expose().split('.');
        let header = object(parts.next()?)?;
        let payload = object(parts.next()?)?;
        (parts.count() == 1).then_some(Self { header, payload })
    }

    /// `alg`
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.header.get("alg").and_then(Value::as_str).unwrap_or_default()
    }

    /// `kid`
    #[must_use]
    pub fn kid(&self) -> &str {
        self.header.get("kid").and_then(Value::as_str).unwrap_or_default()
    }

    /// A claim that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.payload.get(name).and_then(Value::as_str)
    }

    /// Whether there is such a claim.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.payload.contains_key(name)
    }

    /// A claim that is a time.
    #[must_use]
    pub fn instant(&self, name: &str) -> Option<Timestamp> {
        let value = self.payload.get(name)?;
        #[expect(clippy::cast_possible_truncation, reason = "out of range is no time, and saturates")]
        let seconds = value
            .as_i64()
            .or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64))?;
        Timestamp::from_second(seconds).ok()
    }

    /// `aud`: one text, or several.
    #[must_use]
    pub fn audiences(&self) -> Vec<String> {
        match self.payload.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    /// `azp` or `appid`.
    #[must_use]
    pub fn client_app(&self) -> Option<&str> {
        self.text("azp").or_else(|| self.text("appid"))
    }

    /// `groups`, as far as it is there.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let groups = self.payload.get("groups").and_then(Value::as_array);
        groups.into_iter().flatten().filter_map(Value::as_str)
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    match serde_json::from_slice(&bytes).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}
