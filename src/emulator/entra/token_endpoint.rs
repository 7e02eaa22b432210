//! `POST /{tenant}/oauth2/v2.0/token`: what Entra checks before it issues.
//!
//! Only the password grant is served now. A further grant is one more arm in [`grant`]; it gets the parsed form
//! and the tenant, and returns a token or Entra's error.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};

use super::issue::{IssuedToken, TokenRequest, issue};
use super::{EntraError, shortened};
use crate::emulator::acs::{ACS_CLIENTS_APP, ACS_CLIENTS_URI};
use crate::emulator::router::read_body;
use crate::emulator::scenario::{Tenant, UserKind};
use crate::emulator::world::{SharedWorld, World};

/// The scopes that admins have consented to for the client app. In the preview, Chat is not among them.
const CONSENTED: [&str; 2] = ["VoIP", "VoIP.Join"];
/// `OpenID` Connect's own scopes, which name no API.
const OPENID_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// The handler.
pub(super) async fn token(State(world): State<SharedWorld>, Path(tenant): Path<String>, request: Request) -> Response {
    let is_form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .to_ascii_lowercase()
                .starts_with("application/x-www-form-urlencoded")
        });
    let Ok(body) = read_body(request).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    // Entra does not look into another content type: to it, every parameter is missing.
    let form = Form::parse(if is_form { &body } else { b"" });
    let mut response = match grant(&world, &tenant, &form) {
        Ok(token) => Json(token.to_json()).into_response(),
        Err(error) => error.into_response(&world),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// Chooses the grant.
fn grant(world: &World, tenant: &str, form: &Form) -> Result<IssuedToken, EntraError> {
    let Some(tenant) = world.scenario.tenant(tenant) else {
        return Err(EntraError::unknown_tenant(tenant));
    };
    if let Some(name) = form.duplicate() {
        let text = format!("The request is not properly formatted. The parameter '{name}' is duplicated.");
        return Err(EntraError::bad_request("invalid_request", 9_000_411, text));
    }
    match form.required("grant_type")? {
        "password" => password_grant(world, tenant, form),
        other => {
            let text = format!(
                "The app requested an unsupported grant type '{}'. The app returned an unsupported grant type.",
                shortened(other)
            );
            Err(EntraError::bad_request("unsupported_grant_type", 70003, text))
        }
    }
}

/// The resource owner password grant, for demo users.
fn password_grant(world: &World, tenant: &Tenant, form: &Form) -> Result<IssuedToken, EntraError> {
    known_client(world, tenant, form)?;
    let request = requested(world, form.required("scope")?)?;
    let login = form.required("username")?;
    let password = form.required("password")?;
    let user = world
        .scenario
        .users
        .iter()
        .filter(|user| user.tenant_id == tenant.id && user.kind == UserKind::Person)
        .find(|user| world.scenario.user_principal_name(user).eq_ignore_ascii_case(login))
        .ok_or_else(|| {
            let text = format!(
                "The user account {{EUII Hidden}} does not exist in the {} directory. To sign into this application, \
                 the account must be added to the directory.",
                tenant.id
            );
            EntraError::bad_request("invalid_grant", 50034, text)
        })?;
    if password != world.scenario.password {
        return Err(EntraError::bad_request(
            "invalid_grant",
            50126,
            "Error validating credentials due to invalid username or password.",
        ));
    }
    match issue(world, user, &request) {
        Ok(Some(token)) => Ok(token),
        Ok(None) | Err(_) => Err(EntraError {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: "server_error",
            code: 90033,
            text: "A transient error has occurred. Please try again.".to_owned(),
        }),
    }
}

/// Every grant names the client app, which the tenant must know.
fn known_client(world: &World, tenant: &Tenant, form: &Form) -> Result<(), EntraError> {
    let client = form.required("client_id")?;
    if client.eq_ignore_ascii_case(&world.scenario.client_app.client_id.to_string()) {
        return Ok(());
    }
    let text = format!(
        "Application with identifier '{}' was not found in the directory '{}'. This can happen if the application has \
         not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have \
         sent your authentication request to the wrong tenant.",
        shortened(client),
        tenant.name
    );
    Err(EntraError::bad_request("unauthorized_client", 700_016, text))
}

/// What the `scope` parameter asks for: one API, by its scopes or `.default`. Known are ACS Clients and the
/// client app's own API (`api://{client_id}`, or its client id).
fn requested(world: &World, scope: &str) -> Result<TokenRequest, EntraError> {
    let mut api: Option<&str> = None;
    let mut names = Vec::new();
    for full in scope.split_whitespace().filter(|scope| !OPENID_SCOPES.contains(scope)) {
        let (resource, name) = full
            .rsplit_once('/')
            .filter(|(resource, name)| !resource.is_empty() && !name.is_empty())
            .ok_or_else(|| invalid_scope(full))?;
        if *api.get_or_insert(resource) != resource {
            return Err(EntraError::bad_request(
                "invalid_request",
                28000,
                "Provided value for the input parameter scope is not valid because it contains more than one resource.",
            ));
        }
        names.push(name);
    }
    let api = api.ok_or_else(|| invalid_scope(scope))?;
    let everything = names.contains(&".default");
    let client = world.scenario.client_app.client_id.to_string();
    if api == ACS_CLIENTS_URI || api == ACS_CLIENTS_APP.to_string() {
        if !everything && names.iter().any(|name| !CONSENTED.contains(name)) {
            let text = format!(
                "The user or administrator has not consented to use the application with ID '{client}' named '{}'. Send \
                 an interactive authorization request for this user and resource.",
                world.scenario.client_app.name
            );
            return Err(EntraError::bad_request("invalid_grant", 65001, text));
        }
        let names = if everything { CONSENTED.to_vec() } else { names };
        return Ok(TokenRequest {
            scopes: Some(names.into_iter().map(str::to_owned).collect()),
            ..TokenRequest::default()
        });
    }
    if api == client || api == format!("api://{client}") {
        let names = if everything { vec!["access_as_user"] } else { names };
        return Ok(TokenRequest {
            audience: Some(client),
            scopes: Some(names.into_iter().map(str::to_owned).collect()),
            ..TokenRequest::default()
        });
    }
    let text = format!(
        "The resource principal named {} was not found in the tenant. This can happen if the application has not been \
         installed by the administrator of the tenant or consented to by any user in the tenant.",
        shortened(api)
    );
    Err(EntraError::bad_request("invalid_resource", 500_011, text))
}

fn invalid_scope(scope: &str) -> EntraError {
    let text = format!(
        "The provided value for the input parameter 'scope' is not valid. The scope {} is not valid.",
        shortened(scope)
    );
    EntraError::bad_request("invalid_scope", 70011, text)
}

/// The form's parameters, in order.
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    fn required(&self, name: &str) -> Result<&str, EntraError> {
        self.0
            .iter()
            .find(|(found, value)| found == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| {
                let text = format!("The request body must contain the following parameter: '{name}'.");
                EntraError::bad_request("invalid_request", 900_144, text)
            })
    }

    fn duplicate(&self) -> Option<String> {
        self.0
            .iter()
            .enumerate()
            .find(|(index, (name, _))| self.0.iter().take(*index).any(|(earlier, _)| earlier == name))
            .map(|(_, (name, _))| shortened(name))
    }
}
