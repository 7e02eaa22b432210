//! An issuer other than Entra, as a Kubernetes cluster has one for its service accounts (workload identity).
//!
//! Its tokens stand in for a client credential: an app registration names issuer, subject and audience.
//! <https://azure.github.io/azure-workload-identity/docs/concepts.html>

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::{Extensions, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::jwt::{CryptoFailed, SigningKey};
use super::lock::lock;
use super::scenario::{CLUSTER, SERVICE_ACCOUNT, TOKEN_EXCHANGE_AUDIENCE};
use super::site::Site;

/// What the issuers' addresses begin with, after the origin.
const ROOT: &str = "/_emulator/federated/";
/// How long a projected service account token lives by default.
const DEFAULT_LIFETIME_SECONDS: i64 = 3600;

/// The clusters' signing keys, each made at its first use: most scenarios use none.
#[derive(Debug)]
pub(crate) struct Clusters {
    site: Arc<Site>,
    keys: Mutex<BTreeMap<String, Arc<SigningKey>>>,
}

impl Clusters {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Self {
            site,
            keys: Mutex::default(),
        }
    }

    /// The key of a cluster. Any name is a cluster's.
    pub(crate) fn key(&self, cluster: &str) -> Result<Arc<SigningKey>, CryptoFailed> {
        let mut keys = lock(&self.keys);
        if let Some(key) = keys.get(cluster) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(SigningKey::generate()?);
        keys.insert(cluster.to_owned(), Arc::clone(&key));
        Ok(key)
    }

    /// The key with this id, of a cluster that has one already.
    pub(crate) fn find(&self, cluster: &str, kid: &str) -> Option<Arc<SigningKey>> {
        lock(&self.keys).get(cluster).filter(|key| key.kid == kid).cloned()
    }
}

/// The issuer of a cluster's tokens.
pub(crate) fn issuer(origin: &str, cluster: &str) -> String {
    format!("{origin}{ROOT}{cluster}")
}

/// The cluster whose issuer this is.
pub(crate) fn cluster_of<'a>(origin: &str, issuer: &'a str) -> Option<&'a str> {
    issuer
        .strip_prefix(origin)?
        .strip_prefix(ROOT)
        .filter(|cluster| is_name(cluster))
}

/// What a service account token shall say other than by default. As JSON it is the body of
/// `POST /_emulator/federated-token`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FederatedTokenRequest {
    /// The cluster; by default the one that the demo federated credential names.
    pub cluster: Option<String>,
    /// `sub`; by default the broker's service account.
    pub subject: Option<String>,
    /// `aud`; by default `api://AzureADTokenExchange`.
    pub audience: Option<String>,
    /// Seconds from now to `exp`; by default an hour.
    pub lifetime: Option<i64>,
    /// Further claims, which replace the ones of the same name; `null` takes a claim out.
    pub claims: Map<String, Value>,
}

/// A cluster's name is a part of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cluster's name has letters, digits and hyphens only")]
pub(crate) struct InvalidCluster;

/// A token with what is to be known of it.
#[derive(Debug)]
pub(crate) struct FederatedToken {
    pub(crate) token: String,
    pub(crate) claims: Map<String, Value>,
}

/// Issues a token as the kubelet projects it into a pod. `None` if the cluster's name cannot be one.
pub(crate) fn issue(
    clusters: &Clusters,
    request: &FederatedTokenRequest,
) -> Result<Result<FederatedToken, InvalidCluster>, CryptoFailed> {
    let cluster = request.cluster.as_deref().unwrap_or(CLUSTER);
    if !is_name(cluster) {
        return Ok(Err(InvalidCluster));
    }
    let key = clusters.key(cluster)?;
    let now = clusters.site.now().as_second();
    let subject = request.subject.as_deref().unwrap_or(SERVICE_ACCOUNT);
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("iss", json!(issuer(clusters.site.issuer_origin(), cluster)));
    set("sub", json!(subject));
    // Kubernetes always writes a list.
    set(
        "aud",
        json!([request.audience.as_deref().unwrap_or(TOKEN_EXCHANGE_AUDIENCE)]),
    );
    set("iat", json!(now));
    set("nbf", json!(now));
    let lifetime = request.lifetime.unwrap_or(DEFAULT_LIFETIME_SECONDS);
    set("exp", json!(now.saturating_add(lifetime)));
    set("jti", json!(Uuid::new_v4().to_string()));
    if let Some((namespace, name)) = subject
        .strip_prefix("system:serviceaccount:")
        .and_then(|account| account.split_once(':'))
    {
        set(
            "kubernetes.io",
            json!({"namespace": namespace, "serviceaccount": {"name": name}}),
        );
    }
    for (name, value) in &request.claims {
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.clone(), value.clone());
        }
    }
    let header = json!({"alg": "RS256", "kid": key.kid});
    let token = key.sign(&header, &Value::Object(claims.clone()))?;
    Ok(Ok(FederatedToken { token, claims }))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 63 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// `GET /_emulator/federated/{cluster}/.well-known/openid-configuration`.
pub(super) async fn document(
    State(clusters): State<Arc<Clusters>>,
    Path(cluster): Path<String>,
    extensions: Extensions,
) -> Response {
    if !is_name(&cluster) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let keys = issuer(clusters.site.request_origin(&extensions), &cluster);
    Json(json!({
        "issuer": issuer(clusters.site.issuer_origin(), &cluster),
        "jwks_uri": format!("{keys}/openid/v1/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
    .into_response()
}

/// `GET /_emulator/federated/{cluster}/openid/v1/jwks`.
pub(super) async fn keys(State(clusters): State<Arc<Clusters>>, Path(cluster): Path<String>) -> Response {
    if !is_name(&cluster) {
        return StatusCode::NOT_FOUND.into_response();
    }
    match clusters.key(&cluster) {
        Ok(key) => {
            let keys: Vec<Value> = key.to_jwk(None).into_iter().collect();
            Json(json!({ "keys": keys })).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
