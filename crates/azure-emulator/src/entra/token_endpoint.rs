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
use super::form::{Form, TokenCall};
use super::issue::IssuedToken;
use super::state::Entra;
use super::{client_credentials, on_behalf_of, password};
use crate::request::read_body;

/// The grant type of on-behalf-of (RFC 7523 2.1).
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The handler.
pub(super) async fn token(State(entra): State<Arc<Entra>>, Path(tenant): Path<String>, request: Request) -> Response {
    let headers = request.headers().clone();
    let origin = entra.site.request_origin(request.extensions()).to_owned();
    let Ok(body) = read_body(request).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    // Entra does not look into another content type: to it, every parameter is missing.
    let form = Form::parse(if is_form(&headers) { &body } else { b"" }).with_basic(&headers);
    let mut response = match grant(&entra, &tenant, &form, &origin) {
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

fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .to_ascii_lowercase()
                .starts_with("application/x-www-form-urlencoded")
        })
}

fn correlation_id(headers: &HeaderMap) -> Option<Uuid> {
    let value = headers.get("client-request-id")?.to_str().ok()?;
    Uuid::try_parse(value).ok()
}

/// Chooses the grant.
fn grant(entra: &Entra, tenant: &str, form: &Form, origin: &str) -> Result<IssuedToken, EntraError> {
    if ["common", "organizations", "consumers"]
        .iter()
        .any(|many| many.eq_ignore_ascii_case(tenant))
    {
        let text = "No tenant-identifying information found in either the request or implied by any provided \
                    credentials.";
        return Err(EntraError::bad_request("invalid_request", 50059, text));
    }
    let Some(tenant) = entra.scenario.tenant(tenant) else {
        return Err(EntraError::unknown_tenant(tenant));
    };
    if let Some(name) = form.duplicate() {
        let text = format!("The request is not properly formatted. The parameter '{name}' is duplicated.");
        return Err(EntraError::bad_request("invalid_request", 9_000_411, text));
    }
    let call = TokenCall {
        entra,
        tenant,
        form,
        origin,
    };
    match form.required("grant_type")? {
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
