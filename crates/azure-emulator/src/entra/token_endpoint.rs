//! `POST /{tenant}/oauth2/v2.0/token`: what Entra checks before it issues.
//!
//! Each grant has a file of its own; it gets the parsed form and the tenant, and returns a token or Entra's error.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use uuid::Uuid;

use super::error::{EntraError, shortened};
use super::form::{Form, TokenCall, is_form};
use super::issue::IssuedToken;
use super::session_grants::{DEVICE_CODE, DRAFT_DEVICE_CODE};
use super::state::Entra;
use super::{client_credentials, on_behalf_of, password, session_grants};
use crate::request::read_body;
use crate::scenario::{Scenario, Tenant};

/// The grant type of on-behalf-of (RFC 7523 2.1).
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The paths that stand for the tenant of whoever signs in. Each demo tenant is an organization's.
pub(super) const MANY_TENANTS: [&str; 2] = ["common", "organizations"];

/// What the path says of the tenant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Directory<'a> {
    One(&'a Tenant),
    /// The user's own.
    Users,
}

impl<'a> Directory<'a> {
    /// The directory of a path's first segment.
    pub(super) fn parse(scenario: &'a Scenario, segment: &str) -> Result<Self, EntraError> {
        if MANY_TENANTS.iter().any(|many| many.eq_ignore_ascii_case(segment)) {
            return Ok(Self::Users);
        }
        let tenant = scenario.tenant(segment).map(Self::One);
        tenant.ok_or_else(|| EntraError::unknown_tenant(segment))
    }

    /// The one tenant's id.
    pub(super) fn tenant(self) -> Option<Uuid> {
        match self {
            Self::One(tenant) => Some(tenant.id),
            Self::Users => None,
        }
    }

    /// Its name, for errors.
    pub(super) fn name(self) -> &'a str {
        match self {
            Self::One(tenant) => &tenant.name,
            Self::Users => "organizations",
        }
    }
}

/// The handler.
pub(super) async fn token(State(entra): State<Arc<Entra>>, Path(tenant): Path<String>, request: Request) -> Response {
    let headers = request.headers().clone();
    let origin = entra.site.request_origin(request.extensions()).to_owned();
    let Ok(body) = read_body(request).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    // Entra does not look into another content type: to it, every parameter is missing.
    let form = Form::parse(if is_form(&headers) { &body } else { b"" }).with_basic(&headers);
    let from_page = headers.contains_key(header::ORIGIN);
    let mut response = match grant(&entra, &tenant, &form, &origin, from_page) {
        Ok(token) => Json(token.to_json()).into_response(),
        Err(error) => error.into_response(entra.site.now(), correlation_id(&headers)),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// The grant that a form's body asks for, for the journal and faults.
pub(crate) fn grant_type(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    if !is_form(headers) {
        return None;
    }
    Form::parse(body).optional("grant_type").map(str::to_owned)
}

pub(super) fn correlation_id(headers: &HeaderMap) -> Option<Uuid> {
    let value = headers.get("client-request-id")?.to_str().ok()?;
    Uuid::try_parse(value).ok()
}

/// Chooses the grant.
fn grant(entra: &Entra, tenant: &str, form: &Form, origin: &str, from_page: bool) -> Result<IssuedToken, EntraError> {
    let directory = Directory::parse(&entra.scenario, tenant)?;
    if let Some(name) = form.duplicate() {
        let text = format!("The request is not properly formatted. The parameter '{name}' is duplicated.");
        return Err(EntraError::bad_request("invalid_request", 9_000_411, text));
    }
    let grant_type = form.required("grant_type")?;
    let call = TokenCall {
        entra,
        tenant: tenant_of(entra, directory, grant_type, form)?,
        form,
        origin,
        from_page,
    };
    match grant_type {
        "authorization_code" => session_grants::authorization_code(&call),
        "refresh_token" => session_grants::refresh_token(&call),
        DEVICE_CODE | DRAFT_DEVICE_CODE => session_grants::device_code(&call),
        "password" => password::grant(&call),
        "client_credentials" => client_credentials::grant(&call),
        JWT_BEARER => on_behalf_of::grant(&call),
        other => {
            let text = format!(
                "The app requested an unsupported grant type '{}'. The app returned an unsupported grant type.",
                shortened(other)
            );
            Err(EntraError::bad_request("unsupported_grant_type", 70003, text))
        }
    }
}

/// The tenant of a request: the path's, or the home tenant of the user whom the grant is for.
fn tenant_of<'a>(
    entra: &'a Entra,
    directory: Directory<'a>,
    grant_type: &str,
    form: &Form,
) -> Result<&'a Tenant, EntraError> {
    if let Directory::One(tenant) = directory {
        return Ok(tenant);
    }
    let (tenants, by_id) = (&entra.scenario.tenants, |id| {
        entra.scenario.tenants.iter().find(|tenant| tenant.id == id)
    });
    let home = match grant_type {
        // Nobody's yet, or nobody's at all: the grant says so, whichever tenant it is asked in.
        "authorization_code" | "refresh_token" | DEVICE_CODE | DRAFT_DEVICE_CODE => {
            session_grants::tenant_of(entra, grant_type, form)
                .and_then(by_id)
                .or_else(|| tenants.first())
        }
        "password" => form
            .optional("username")
            .and_then(|login| password::person_by_login(&entra.scenario, login))
            .and_then(|user| by_id(user.tenant_id))
            .or_else(|| tenants.first()),
        "client_credentials" | JWT_BEARER => None,
        // Refused, whichever tenant it is asked in.
        _ => tenants.first(),
    };
    home.ok_or_else(|| {
        let text = "No tenant-identifying information found in either the request or implied by any provided \
                    credentials.";
        EntraError::bad_request("invalid_request", 50059, text)
    })
}
