//! Controls over what is registered and set at the emulated Azure: the broker's app registration, the federated
//! issuer, settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use http::request::Parts;
use http::{StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::reply::{bad_request, optional_json, problem};
use super::state::Controls;
use crate::endpoint::IDENTITY_ENDPOINT;
use crate::entra::certificate::Certificate;
use crate::entra::state::Entra;
use crate::federated::{self, Clusters, FederatedTokenRequest};
use crate::request::{read_body, too_large};
use crate::scenario::{ClientSecret, FederatedCredential, TOKEN_EXCHANGE_AUDIENCE};
use crate::settings::{CurrentSettings, Settings};

/// These controls' routes.
pub(super) fn routes() -> Router<Controls> {
    Router::new()
        .without_v07_checks()
        .route("/_emulator/apps", get(apps))
        .route(
            "/_emulator/apps/{client_id}/certificates",
            get(certificates).post(add_certificate),
        )
        .route(
            "/_emulator/apps/{client_id}/certificates/{thumbprint}",
            delete(remove_certificate),
        )
        .route(
            "/_emulator/apps/{client_id}/federated-credentials",
            get(federated_credentials).post(add_federated).delete(clear_federated),
        )
        .route("/_emulator/apps/{client_id}/secrets", put(put_secrets))
        .route(
            "/_emulator/apps/{client_id}/consent/{tenant}",
            put(give_consent).delete(take_consent),
        )
        .route(
            "/_emulator/apps/{client_id}/signing-keys",
            post(add_signing_keys).delete(remove_signing_keys),
        )
        .route("/_emulator/settings", get(settings).put(put_settings))
        .route("/_emulator/federated-token", post(federated_token))
        .route(
            "/_emulator/federated/{cluster}/.well-known/openid-configuration",
            get(federated::document),
        )
        .route("/_emulator/federated/{cluster}/openid/v1/jwks", get(federated::keys))
}

/// `GET /_emulator/apps`: the registrations, with their demo secrets, which guard nothing.
async fn apps(State(entra): State<Arc<Entra>>, request: Request) -> Response {
    let origin = entra.site.request_origin(request.extensions());
    let (scenario, identity) = (&entra.scenario, &entra.scenario.managed_identity);
    let consented_by: Vec<String> = scenario
        .tenants
        .iter()
        .filter(|tenant| entra.directory.has_consent(scenario.api_app.client_id, tenant.id))
        .map(|tenant| tenant.id.to_string())
        .collect();
    Json(json!({
        "clientApp": {"clientId": scenario.client_app.client_id.to_string(), "name": scenario.client_app.name},
        "apiApp": {
            "clientId": scenario.api_app.client_id.to_string(),
            "name": scenario.api_app.name,
            "appIdUri": scenario.api_app.app_id_uri,
            "scopes": scenario.api_app.scopes,
            "secrets": scenario.api_app.secrets.iter().map(|secret| &secret.value).collect::<Vec<_>>(),
            "certificates": entra.registration.certificates().iter().map(describe).collect::<Vec<_>>(),
            "federatedCredentials": described_federated(&entra),
            "consentedBy": consented_by,
        },
        "managedIdentity": {
            "clientId": identity.client_id.to_string(),
            "principalId": identity.object_id.to_string(),
            "identityEndpoint": format!("{origin}{}", IDENTITY_ENDPOINT),
            "identityHeader": identity.identity_header,
        },
    }))
    .into_response()
}

/// The `{client_id}` of a path, if it is the one registration that has credentials.
struct KnownApp(Uuid);

/// No such registration; with the one that there is.
struct UnknownApp(Uuid);

impl FromRequestParts<Controls> for KnownApp {
    type Rejection = UnknownApp;

    async fn from_request_parts(parts: &mut Parts, controls: &Controls) -> Result<Self, UnknownApp> {
        let app = controls.entra.scenario.api_app.client_id;
        let named = Path::<BTreeMap<String, String>>::from_request_parts(parts, controls).await;
        let named = named
            .ok()
            .and_then(|Path(names)| Uuid::try_parse(names.get("client_id")?).ok());
        if named == Some(app) {
            Ok(Self(app))
        } else {
            Err(UnknownApp(app))
        }
    }
}

impl IntoResponse for UnknownApp {
    fn into_response(self) -> Response {
        let message = format!(
            "there is no app registration of this client id that has credentials; there is {}",
            self.0
        );
        problem(StatusCode::NOT_FOUND, "AppNotFound", message)
    }
}

fn internal() -> Response {
    problem(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalError",
        "the cryptographic library failed",
    )
}

fn describe(certificate: &Certificate) -> Value {
    json!({
        "thumbprint": certificate.thumbprint,
        "x5t": certificate.x5t,
        "x5t#S256": certificate.x5t_s256,
        "notBefore": certificate.not_before.to_string(),
        "notAfter": certificate.not_after.to_string(),
    })
}

/// `GET /_emulator/apps/{client_id}/certificates`.
async fn certificates(State(entra): State<Arc<Entra>>, _: KnownApp) -> Response {
    let list: Vec<Value> = entra.registration.certificates().iter().map(describe).collect();
    Json(list).into_response()
}

/// `POST /_emulator/apps/{client_id}/certificates`: a PEM file as it is.
async fn add_certificate(State(entra): State<Arc<Entra>>, _: KnownApp, request: Request) -> Response {
    let Ok(body) = read_body(request).await else {
        return too_large();
    };
    match entra.registration.add_certificate(&String::from_utf8_lossy(&body)) {
        Ok(certificate) => (StatusCode::CREATED, Json(describe(&certificate))).into_response(),
        Err(error) => bad_request(error.to_string()),
    }
}

/// `DELETE /_emulator/apps/{client_id}/certificates/{thumbprint}`.
async fn remove_certificate(
    State(entra): State<Arc<Entra>>,
    _: KnownApp,
    Path((_, thumbprint)): Path<(String, String)>,
) -> Response {
    if entra.registration.remove_certificate(&thumbprint) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let message = "there is no certificate with this thumbprint";
        problem(StatusCode::NOT_FOUND, "CertificateNotFound", message)
    }
}

/// The body of `POST /_emulator/apps/{client_id}/federated-credentials`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NewFederated {
    issuer: String,
    subject: String,
    /// `api://AzureADTokenExchange` by default.
    audience: Option<String>,
}

fn federated_json(credential: &FederatedCredential) -> Value {
    json!({"issuer": credential.issuer, "subject": credential.subject, "audience": credential.audience})
}

fn described_federated(entra: &Entra) -> Vec<Value> {
    entra.registration.federated().iter().map(federated_json).collect()
}

/// `GET /_emulator/apps/{client_id}/federated-credentials`.
async fn federated_credentials(State(entra): State<Arc<Entra>>, _: KnownApp) -> Response {
    Json(described_federated(&entra)).into_response()
}

/// `POST /_emulator/apps/{client_id}/federated-credentials`.
async fn add_federated(State(entra): State<Arc<Entra>>, _: KnownApp, request: Request) -> Response {
    let new: NewFederated = match optional_json(request).await {
        Ok(new) => new,
        Err(response) => return response,
    };
    if new.issuer.is_empty() || new.subject.is_empty() {
        return bad_request("`issuer` and `subject` must be given");
    }
    let credential = FederatedCredential {
        issuer: new.issuer,
        subject: new.subject,
        audience: new.audience.unwrap_or_else(|| TOKEN_EXCHANGE_AUDIENCE.to_owned()),
    };
    let added = entra.registration.add_federated(credential, entra.site.issuer_origin());
    (StatusCode::CREATED, Json(federated_json(&added))).into_response()
}

/// `DELETE /_emulator/apps/{client_id}/federated-credentials`: all of them.
async fn clear_federated(State(entra): State<Arc<Entra>>, _: KnownApp) -> Response {
    entra.registration.clear_federated();
    StatusCode::NO_CONTENT.into_response()
}

/// The body of `PUT /_emulator/apps/{client_id}/secrets`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NewSecrets {
    secrets: Vec<NewSecret>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSecret {
    value: String,
    /// When it ends; never by default.
    #[serde(default, rename = "expiresOn")]
    expires_on: Option<String>,
}

/// `PUT /_emulator/apps/{client_id}/secrets`: replaces all of them.
async fn put_secrets(State(entra): State<Arc<Entra>>, _: KnownApp, request: Request) -> Response {
    let new: NewSecrets = match optional_json(request).await {
        Ok(new) => new,
        Err(response) => return response,
    };
    let read = new.secrets.into_iter().map(|secret| {
        let expires_on = secret.expires_on.map(|text| text.parse::<Timestamp>()).transpose()?;
        Ok::<_, jiff::Error>(ClientSecret {
            value: secret.value,
            expires_on,
        })
    });
    match read.collect::<Result<Vec<_>, _>>() {
        Ok(secrets) => {
            entra.registration.set_secrets(secrets);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => bad_request(format!("`expiresOn`: {error}")),
    }
}

/// `PUT /_emulator/apps/{client_id}/consent/{tenant}`.
async fn give_consent(
    State(entra): State<Arc<Entra>>,
    _: KnownApp,
    Path((_, tenant)): Path<(String, String)>,
) -> Response {
    consent(&entra, &tenant, true)
}

/// `DELETE /_emulator/apps/{client_id}/consent/{tenant}`.
async fn take_consent(
    State(entra): State<Arc<Entra>>,
    _: KnownApp,
    Path((_, tenant)): Path<(String, String)>,
) -> Response {
    consent(&entra, &tenant, false)
}

fn consent(entra: &Entra, tenant: &str, given: bool) -> Response {
    match entra.scenario.tenant(tenant) {
        Some(tenant) => {
            entra.directory.set_broker_consent(tenant.id, given, entra.site.now());
            StatusCode::NO_CONTENT.into_response()
        }
        None => problem(StatusCode::NOT_FOUND, "TenantNotFound", "there is no such tenant"),
    }
}

/// `POST /_emulator/apps/{client_id}/signing-keys`: a key of its own in each tenant.
async fn add_signing_keys(State(entra): State<Arc<Entra>>, KnownApp(app): KnownApp) -> Response {
    let mut keys = Vec::new();
    for tenant in &entra.scenario.tenants {
        match entra.keys.add_app_key(tenant.id, app) {
            Ok(kid) => keys.push(json!({
                "tenant": {"id": tenant.id.to_string(), "name": tenant.name},
                "kid": kid,
            })),
            Err(_) => return internal(),
        }
    }
    (StatusCode::CREATED, Json(json!({ "keys": keys }))).into_response()
}

/// `DELETE /_emulator/apps/{client_id}/signing-keys`.
async fn remove_signing_keys(State(entra): State<Arc<Entra>>, KnownApp(app): KnownApp) -> Response {
    entra.keys.remove_app_keys(app);
    StatusCode::NO_CONTENT.into_response()
}

/// `GET /_emulator/settings`.
async fn settings(State(settings): State<Arc<CurrentSettings>>) -> Response {
    Json(settings.get()).into_response()
}

/// `PUT /_emulator/settings`: what is left out is as by default.
async fn put_settings(State(settings): State<Arc<CurrentSettings>>, request: Request) -> Response {
    let new: Settings = match optional_json(request).await {
        Ok(new) => new,
        Err(response) => return response,
    };
    match settings.replace(new) {
        Ok(()) => Json(settings.get()).into_response(),
        Err(error) => bad_request(error.to_string()),
    }
}

/// `POST /_emulator/federated-token`: as JSON, or the bare token where `text/plain` is accepted.
async fn federated_token(State(clusters): State<Arc<Clusters>>, request: Request) -> Response {
    let bare = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("text/plain"));
    let requested: FederatedTokenRequest = match optional_json(request).await {
        Ok(requested) => requested,
        Err(response) => return response,
    };
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    match federated::issue(&clusters, &requested) {
        Ok(Ok(issued)) if bare => (no_store, issued.token).into_response(),
        Ok(Ok(issued)) => {
            let claim = |name: &str| issued.claims.get(name).cloned().unwrap_or(Value::Null);
            let body = json!({
                "token": issued.token,
                "issuer": claim("iss"),
                "subject": claim("sub"),
                "audience": claim("aud"),
                "expires_on": claim("exp"),
            });
            (no_store, Json(body)).into_response()
        }
        Ok(Err(error)) => bad_request(error.to_string()),
        Err(_) => internal(),
    }
}
