//! Access tokens as Entra issues them.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::discovery::{v1_issuer, v2_issuer};
use crate::emulator::acs::{ACS_CLIENTS_APP, ACS_CLIENTS_URI};
use crate::emulator::jwt::{CryptoFailed, random_text, sha256};
use crate::emulator::scenario::{User, UserKind};
use crate::emulator::world::World;

/// A JWT lists at most this many groups; beyond it the overage marker stands in for them.
const GROUPS_IN_A_TOKEN: usize = 200;
/// Entra dates its tokens back by this much, for clocks that run behind.
const DATED_BACK_SECONDS: i64 = 300;

/// What a token shall say other than by default. As JSON it is the body of `POST /_emulator/users/{name}/token`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenRequest {
    /// `aud`; by default ACS Clients. Anything else is some API of one's own, whose tokens tell groups.
    pub audience: Option<String>,
    /// Delegated scopes, a space-separated string or a list; `VoIP VoIP.Join` by default. An empty list leaves
    /// `scp` out.
    #[serde(deserialize_with = "string_or_list")]
    pub scopes: Option<Vec<String>>,
    /// Seconds from now to `exp`; zero and less makes a token that has ended. By default 60 to 90 minutes.
    pub lifetime: Option<i64>,
    /// The token version.
    pub version: Option<TokenVersion>,
    /// `azp` or `appid`; by default the scenario's client app.
    pub client_id: Option<String>,
    /// How groups are told.
    pub groups: Option<GroupsClaim>,
    /// Further claims, which replace the ones of the same name; `null` takes a claim out.
    pub claims: Map<String, Value>,
}

/// The version of an access token, which at Entra the API's registration decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TokenVersion {
    /// `ver` 1.0: `appid`, and ACS's App ID URI as the default audience.
    #[serde(rename = "1.0")]
    V1,
    /// `ver` 2.0: `azp`.
    #[serde(rename = "2.0")]
    V2,
}

/// How a token tells groups, whatever its audience and the user's directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupsClaim {
    /// The overage marker.
    Overage,
    /// The list, however long.
    Listed,
    /// Not at all.
    None,
}

/// A token with what a token endpoint says beside it.
#[derive(Debug, Clone)]
pub(crate) struct IssuedToken {
    pub(crate) access_token: String,
    pub(crate) scope: String,
    pub(crate) expires_in: i64,
}

impl IssuedToken {
    /// The token endpoint's answer.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "token_type": "Bearer",
            "scope": self.scope,
            "expires_in": self.expires_in,
            "ext_expires_in": self.expires_in,
            "access_token": self.access_token,
        })
    }
}

/// Issues a token for a user of the scenario; `None` if its tenant has no keys.
pub(crate) fn issue(world: &World, user: &User, request: &TokenRequest) -> Result<Option<IssuedToken>, CryptoFailed> {
    let Some(key) = world.keys.current(user.tenant_id) else {
        return Ok(None);
    };
    let now = world.now();
    let claims = claims(world, user, request, now);
    let version_1 = request.version == Some(TokenVersion::V1);
    let mut header = json!({"typ": "JWT", "alg": "RS256", "kid": key.kid});
    if version_1 {
        header["x5t"] = json!(key.kid);
    }
    let expires_in = claims
        .get("exp")
        .and_then(Value::as_i64)
        .map_or(0, |exp| exp.saturating_sub(now.as_second()).max(0));
    let audience = claims.get("aud").and_then(Value::as_str).unwrap_or_default();
    let resource = if is_acs(audience) { ACS_CLIENTS_URI } else { audience };
    let scope = match claims.get("scp").and_then(Value::as_str) {
        Some(scopes) => scopes
            .split_whitespace()
            .map(|scope| format!("{resource}/{scope}"))
            .collect::<Vec<_>>()
            .join(" "),
        None => format!("{resource}/.default"),
    };
    Ok(Some(IssuedToken {
        access_token: key.sign(&header, &Value::Object(claims))?,
        scope,
        expires_in,
    }))
}

/// Whether an audience is ACS Clients, in either form.
fn is_acs(audience: &str) -> bool {
    audience.eq_ignore_ascii_case(&ACS_CLIENTS_APP.to_string()) || audience == ACS_CLIENTS_URI
}

/// The claims, with the overrides merged last.
fn claims(world: &World, user: &User, request: &TokenRequest, now: Timestamp) -> Map<String, Value> {
    let version = request.version.unwrap_or(TokenVersion::V2);
    let lifetime = request.lifetime.unwrap_or_else(|| fastrand::i64(3600..5400));
    let start = now.as_second() - DATED_BACK_SECONDS;
    let client = request
        .client_id
        .clone()
        .unwrap_or_else(|| world.scenario.client_app.client_id.to_string());
    let audience = request.audience.clone().unwrap_or_else(|| match version {
        TokenVersion::V1 => ACS_CLIENTS_URI.to_owned(),
        TokenVersion::V2 => ACS_CLIENTS_APP.to_string(),
    });
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| {
        claims.insert(name.to_owned(), value);
    };
    set("aud", json!(audience));
    set("iat", json!(start));
    set("nbf", json!(start));
    set("exp", json!(now.as_second().saturating_add(lifetime)));
    set("aio", json!(random_text(48)));
    set("rh", json!(format!("1.{}.", random_text(36))));
    set("uti", json!(random_text(16)));
    set("oid", json!(user.object_id.to_string()));
    set("tid", json!(user.tenant_id.to_string()));
    let public_client = match user.kind {
        UserKind::Person => "0",
        UserKind::Daemon { .. } => "1",
    };
    match version {
        TokenVersion::V1 => {
            set("iss", json!(v1_issuer(&world.origin, user.tenant_id)));
            set("appid", json!(client));
            set("appidacr", json!(public_client));
            set("ver", json!("1.0"));
        }
        TokenVersion::V2 => {
            set("iss", json!(v2_issuer(&world.origin, user.tenant_id)));
            set("azp", json!(client));
            set("azpacr", json!(public_client));
            set("ver", json!("2.0"));
        }
    }
    match &user.kind {
        UserKind::Person => {
            let login = world.scenario.user_principal_name(user);
            set("name", json!(user.display_name));
            // Different for each API, as at Entra, so that nobody takes it for an identity.
            set("sub", json!(pairwise_subject(user.object_id, &audience)));
            if version == TokenVersion::V1 {
                set("acr", json!("1"));
                set("amr", json!(["pwd"]));
                set("unique_name", json!(login));
                set("upn", json!(login));
            } else {
                set("preferred_username", json!(login));
            }
            let scopes = request
                .scopes
                .as_ref()
                .map_or_else(|| "VoIP VoIP.Join".to_owned(), |scopes| scopes.join(" "));
            if !scopes.is_empty() {
                set("scp", json!(scopes));
            }
        }
        UserKind::Daemon { roles } => {
            set("idtyp", json!("app"));
            set("sub", json!(user.object_id.to_string()));
            set("roles", json!(roles));
        }
    }
    claims.extend(groups(user, &audience, request.groups));
    for (name, value) in &request.claims {
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.clone(), value.clone());
        }
    }
    claims
}

/// The groups claim or the overage marker. A customer cannot configure the `groups` claim of a Microsoft
/// first-party API, so a token for ACS tells nothing of groups.
fn groups(user: &User, audience: &str, asked: Option<GroupsClaim>) -> Map<String, Value> {
    let told = asked.unwrap_or_else(|| {
        if is_acs(audience) || user.kind != UserKind::Person {
            GroupsClaim::None
        } else if user.groups.len() > GROUPS_IN_A_TOKEN {
            GroupsClaim::Overage
        } else {
            GroupsClaim::Listed
        }
    });
    let mut claims = Map::new();
    match told {
        GroupsClaim::None => {}
        GroupsClaim::Listed => {
            let ids: Vec<String> = user.groups.iter().map(Uuid::to_string).collect();
            // Entra leaves the claim out for a user in no group.
            if !ids.is_empty() {
                claims.insert("groups".to_owned(), json!(ids));
            }
        }
        GroupsClaim::Overage => {
            claims.insert("_claim_names".to_owned(), json!({"groups": "src1"}));
            let endpoint = format!(
                "https://graph.windows.net/{}/users/{}/getMemberObjects",
                user.tenant_id, user.object_id
            );
            claims.insert("_claim_sources".to_owned(), json!({"src1": {"endpoint": endpoint}}));
        }
    }
    claims
}

fn pairwise_subject(object_id: Uuid, audience: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha256(format!("{object_id}\n{audience}").as_bytes()))
}

fn string_or_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        List(Vec<String>),
    }
    Ok(Option::<Either>::deserialize(deserializer)?.map(|either| match either {
        Either::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
        Either::List(list) => list,
    }))
}
