//! Access tokens as Entra issues them.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::apis::{Api, TokenVersion};
use super::azure_cli::{self, GRAPH};
use super::issuer::{v1_issuer, v2_issuer};
use super::state::Entra;
use crate::jwt::{CryptoFailed, SigningKey, random_text, sha256};
use crate::scenario::{User, UserKind};

/// A JWT lists at most this many groups; beyond it the overage marker stands in for them.
const GROUPS_IN_A_TOKEN: usize = 200;
/// Entra dates its tokens back by this much, for clocks that run behind.
pub(super) const DATED_BACK_SECONDS: i64 = 300;

/// What a token shall say other than by default. As JSON it is the body of `POST /_emulator/users/{name}/token`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenRequest {
    /// `aud`; by default ACS Clients. `acs`, `api` and `teams` stand for ACS Clients, the broker's own API and Teams
    /// Phone extension, each with its usual scopes; `graph` for Microsoft Graph, as the Azure CLI gets it: with an
    /// administrator's scopes for an administrator. Anything else is taken as it is, for an API of one's own, whose
    /// tokens have the groups.
    pub audience: Option<String>,
    /// Delegated scopes, a space-separated string or a list; those that are consented to by default. With the API's
    /// URI before it (`api://…/access`), the first one also sets the audience. An empty list leaves `scp` out.
    #[serde(deserialize_with = "string_or_list")]
    pub scopes: Option<Vec<String>>,
    /// Seconds from now to `exp`; zero and less makes a token that has ended. By default 60 to 90 minutes.
    pub lifetime: Option<i64>,
    /// The token version.
    pub version: Option<TokenVersion>,
    /// `azp` or `appid`; by default the scenario's client app.
    pub client_id: Option<String>,
    /// What the token says about groups.
    pub groups: Option<GroupsClaim>,
    /// The authentication contexts, such as `c1`, that the user has satisfied: a stepped-up token.
    #[serde(deserialize_with = "string_or_list")]
    pub acrs: Option<Vec<String>>,
    /// Whose key signs; by default the API's own if it has one, else the tenant's.
    pub signing_key: Option<KeyOwner>,
    /// Further claims, which replace the ones of the same name; `null` takes a claim out.
    pub claims: Map<String, Value>,
}

/// Whose key signs a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOwner {
    /// The tenant's key, which all of its apps share.
    Tenant,
    /// The key that the API's app registration has for itself.
    App,
}

/// What a token says about groups, whatever its audience and the user's directory entry.
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
    /// Of a delegated token.
    pub(crate) scope: Option<String>,
    pub(crate) expires_in: i64,
    /// Who the user is, for the client.
    pub(crate) id_token: Option<String>,
    /// For tokens to come.
    pub(crate) refresh_token: Option<String>,
    /// Seconds until it ends, where that is fixed.
    pub(crate) refresh_token_expires_in: Option<i64>,
    /// The ids of the account.
    pub(crate) client_info: Option<String>,
}

impl IssuedToken {
    /// An access token alone.
    pub(crate) fn new(access_token: String, scope: Option<String>, expires_in: i64) -> Self {
        Self {
            access_token,
            scope,
            expires_in,
            id_token: None,
            refresh_token: None,
            refresh_token_expires_in: None,
            client_info: None,
        }
    }

    /// The token endpoint's answer.
    pub(crate) fn to_json(&self) -> Value {
        let mut answer = json!({
            "token_type": "Bearer",
            "expires_in": self.expires_in,
            "ext_expires_in": self.expires_in,
            "access_token": self.access_token,
        });
        for (name, value) in [
            ("scope", &self.scope),
            ("id_token", &self.id_token),
            ("refresh_token", &self.refresh_token),
            ("client_info", &self.client_info),
        ] {
            if let Some(value) = value {
                answer[name] = json!(value);
            }
        }
        if let Some(seconds) = self.refresh_token_expires_in {
            answer["refresh_token_expires_in"] = json!(seconds);
        }
        answer
    }
}

/// How long Entra lets a token live: 60 to 90 minutes, in seconds.
/// <https://learn.microsoft.com/entra/identity-platform/access-tokens#token-lifetime>
pub(super) fn default_lifetime() -> i64 {
    fastrand::i64(3600..5400)
}

/// The key for a token of an audience, chosen as requested; `None` if there is none.
pub(super) fn signing_key(
    entra: &Entra,
    tenant: Uuid,
    audience: &str,
    requested: Option<KeyOwner>,
) -> Option<Arc<SigningKey>> {
    let own = Api::from_name(&entra.scenario, audience)
        .and_then(|api| api.app_id(&entra.scenario))
        .and_then(|app| entra.keys.of_app(tenant, app).pop());
    match requested {
        Some(KeyOwner::Tenant) => entra.keys.current(tenant),
        Some(KeyOwner::App) => own,
        None => own.or_else(|| entra.keys.current(tenant)),
    }
}

/// The header of a token of this version.
pub(super) fn header(key: &SigningKey, version: TokenVersion) -> Value {
    let mut header = json!({"typ": "JWT", "alg": "RS256", "kid": key.kid});
    if version == TokenVersion::V1 {
        header["x5t"] = json!(key.kid);
    }
    header
}

/// Issues a token for a user of the scenario; `None` if there is no key to sign it with.
pub(crate) fn issue(entra: &Entra, user: &User, request: &TokenRequest) -> Result<Option<IssuedToken>, CryptoFailed> {
    let now = entra.site.now();
    let for_graph = request.audience.as_deref() == Some(GRAPH);
    // Graph's own tokens are v1.
    let usual = if for_graph { TokenVersion::V1 } else { TokenVersion::V2 };
    let version = request.version.unwrap_or(usual);
    let target = Target::from_request(entra, user, request, version);
    let Some(key) = signing_key(entra, user.tenant_id, &target.audience, request.signing_key) else {
        return Ok(None);
    };
    let claims = claims(entra, user, request, &target, version, now);
    let expires_in = claims
        .get("exp")
        .and_then(Value::as_i64)
        .map_or(0, |exp| exp.saturating_sub(now.as_second()).max(0));
    let resource = match target.api {
        // Named by its URI, whatever the audience looks like.
        Some(api) => api.uri(&entra.scenario),
        None => target.audience,
    };
    let scope = match claims.get("scp").and_then(Value::as_str) {
        Some(scopes) => scopes
            .split_whitespace()
            .map(|scope| format!("{resource}/{scope}"))
            .collect::<Vec<_>>()
            .join(" "),
        None => format!("{resource}/.default"),
    };
    let access_token = key.sign(&header(&key, version), &Value::Object(claims))?;
    Ok(Some(IssuedToken::new(access_token, Some(scope), expires_in)))
}

/// What a user's token is for.
struct Target {
    /// `None` for an API that only the request knows.
    api: Option<Api>,
    audience: String,
    scopes: Vec<String>,
}

impl Target {
    fn from_request(entra: &Entra, user: &User, request: &TokenRequest, version: TokenVersion) -> Self {
        let scenario = &entra.scenario;
        let requested = request.scopes.as_deref();
        let (named, audience) = match request.audience.as_deref() {
            None => {
                // A scope may name its API.
                let of_scope = requested
                    .and_then(|scopes| scopes.first()?.rsplit_once('/'))
                    .and_then(|(resource, _)| Api::from_name(scenario, resource));
                (of_scope.or(Some(Api::AcsClients)), None)
            }
            Some("acs") => (Some(Api::AcsClients), None),
            Some("api") => (Some(Api::Broker), None),
            Some("teams") => (Some(Api::TeamsExtension), None),
            Some(GRAPH) => (Some(Api::Graph), None),
            Some(other) => (Api::from_name(scenario, other), Some(other.to_owned())),
        };
        let usual = || match named {
            Some(Api::Graph) if request.audience.as_deref() == Some(GRAPH) => azure_cli::scopes(user),
            named => named.unwrap_or(Api::AcsClients).consented_scopes(scenario),
        };
        let scopes = match requested {
            None => usual(),
            Some(scopes) => {
                let bare = |scope: &String| match (named, scope.rsplit_once('/')) {
                    (Some(api), Some((resource, name))) if Api::from_name(scenario, resource) == Some(api) => {
                        name.to_owned()
                    }
                    _ => scope.clone(),
                };
                let bare: Vec<String> = scopes.iter().map(bare).collect();
                if bare == [".default"] { usual() } else { bare }
            }
        };
        Self {
            api: named,
            audience: audience.unwrap_or_else(|| named.unwrap_or(Api::AcsClients).audience(scenario, version)),
            scopes,
        }
    }
}

/// The claims, with the overrides merged last.
fn claims(
    entra: &Entra,
    user: &User,
    request: &TokenRequest,
    target: &Target,
    version: TokenVersion,
    now: Timestamp,
) -> Map<String, Value> {
    let lifetime = request.lifetime.unwrap_or_else(default_lifetime);
    let end = now.as_second().saturating_add(lifetime);
    // A token that has ended was issued before that.
    let start = now.as_second().min(end).saturating_sub(DATED_BACK_SECONDS);
    let client = request
        .client_id
        .clone()
        .unwrap_or_else(|| match request.audience.as_deref() {
            Some(GRAPH) => azure_cli::CLIENT.to_string(),
            _ => entra.scenario.client_app.client_id.to_string(),
        });
    let audience = &target.audience;
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| {
        claims.insert(name.to_owned(), value);
    };
    set("aud", json!(audience));
    set("iat", json!(start));
    set("nbf", json!(start));
    set("exp", json!(end));
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
            set("iss", json!(v1_issuer(entra.site.issuer_origin(), user.tenant_id)));
            set("appid", json!(client));
            set("appidacr", json!(public_client));
            set("ver", json!("1.0"));
        }
        TokenVersion::V2 => {
            set("iss", json!(v2_issuer(entra.site.issuer_origin(), user.tenant_id)));
            set("azp", json!(client));
            set("azpacr", json!(public_client));
            set("ver", json!("2.0"));
        }
    }
    match &user.kind {
        UserKind::Person => {
            let login = entra.scenario.user_principal_name(user);
            set("name", json!(user.display_name));
            // Different for each API, as at Entra, so that it is not used as an identity.
            set("sub", json!(pairwise_subject(user.object_id, audience)));
            if version == TokenVersion::V1 {
                set("acr", json!("1"));
                set("amr", json!(["pwd"]));
                set("unique_name", json!(login));
                set("upn", json!(login));
            } else {
                set("preferred_username", json!(login));
            }
            if !target.scopes.is_empty() {
                set("scp", json!(target.scopes.join(" ")));
            }
            if let Some(acrs) = &request.acrs {
                set("acrs", json!(acrs));
            }
            if user.administrator && target.api == Some(Api::Graph) {
                set("wids", json!([azure_cli::GLOBAL_ADMINISTRATOR.to_string()]));
            }
        }
        UserKind::Daemon { roles } => {
            set("idtyp", json!("app"));
            set("sub", json!(user.object_id.to_string()));
            set("roles", json!(roles));
        }
    }
    claims.extend(groups(entra, user, target.api, request.groups));
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
/// first-party API, so a token for ACS says nothing about groups.
fn groups(entra: &Entra, user: &User, api: Option<Api>, requested: Option<GroupsClaim>) -> Map<String, Value> {
    let groups = entra.scenario.groups_of(user);
    let claim = requested.unwrap_or_else(|| {
        if api.is_some_and(Api::is_first_party) || user.kind != UserKind::Person {
            GroupsClaim::None
        } else if groups.len() > GROUPS_IN_A_TOKEN {
            GroupsClaim::Overage
        } else {
            GroupsClaim::Listed
        }
    });
    let mut claims = Map::new();
    match claim {
        GroupsClaim::None => {}
        GroupsClaim::Listed => {
            let ids: Vec<String> = groups.iter().map(Uuid::to_string).collect();
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

pub(super) fn pairwise_subject(object_id: Uuid, audience: &str) -> String {
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
