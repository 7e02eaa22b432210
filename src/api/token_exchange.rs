//! OAuth 2.0 Token Exchange (RFC 8693): `POST /oauth2/token`, and the form on `POST /token`.

mod form;

use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{AUTHORIZATION, PRAGMA};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde::Serialize;
use url::Url;

use self::form::ExchangeRequest;
use super::context::RequestContext;
use super::error::ApiError;
use super::media::{self, Media};
use super::{Api, answer, bearer};
use crate::pipeline::Issued;
use crate::route::ResourceName;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Why a form with content is refused beside an Authorization header. No client is authenticated here, and a token has
/// one place.
pub(super) fn refused_credential(headers: &HeaderMap) -> ApiError {
    if bearer::has_basic(headers) {
        ApiError::InvalidClient
    } else {
        ApiError::InvalidRequest("Send the token as subject_token or in the Authorization header, not both ways.")
    }
}

/// `POST /oauth2/token`: the form alone.
pub(super) async fn oauth2_token(api: Api, context: RequestContext, request: Request) -> Result<Response, ApiError> {
    let headers = request.headers();
    match media::from_headers(headers) {
        Ok(Media::Form) => {}
        Ok(_) | Err(ApiError::UnsupportedMediaType) => return Err(ApiError::FormRequired),
        Err(error) => return Err(error),
    }
    if headers.contains_key(AUTHORIZATION) {
        return Err(refused_credential(headers));
    }
    exchange(&api, &context, request).await
}

/// The request has no Authorization header: with one it is not this form.
pub(super) async fn exchange(api: &Api, context: &RequestContext, request: Request) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let body = api.bodies.read(&head.headers, body, context.deadline).await?;
    let form = ExchangeRequest::parse(&body, &api.settings.targets, &api.settings.scope_prefixes)?;
    drop(body);
    let authentication = api.pipeline.begin_authentication(form.subject_token, None)?;
    let issued = api.issue(context, authentication, &form.requested).await?;
    let now = api.pipeline.clock.now();
    let mut response = Json(ExchangeResponse::new(&issued, now)).into_response();
    response
        .headers_mut()
        .insert(PRAGMA, HeaderValue::from_static("no-cache"));
    Ok(answer::issued(&api.settings, &issued, response))
}

/// The token of a form and what is asked for, for the fuzz targets.
#[cfg(fuzzing)]
pub(super) fn read_form(
    content: &[u8],
    targets: &[Target],
    prefixes: &[String],
) -> Result<(base::secret::BearerToken, crate::pipeline::Requested), ApiError> {
    let form = ExchangeRequest::parse(content, targets, prefixes)?;
    Ok((form.subject_token, form.requested))
}

/// An ACS resource that this broker exchanges for.
#[derive(Debug, Clone)]
pub struct Target {
    endpoint: Url,
    name: ResourceName,
}

impl Target {
    /// The ACS resource at `endpoint`, with the name that the operator gave it, if any.
    #[must_use]
    pub fn new(endpoint: Url, name: Option<&str>) -> Self {
        Self {
            endpoint,
            name: name.map(Arc::from),
        }
    }

    /// The resource's name is the first label of its host, or the operator's for it.
    fn has_name(&self, text: &str) -> bool {
        let label = match self.endpoint.host() {
            Some(url::Host::Domain(domain)) => domain.split('.').next(),
            _ => None,
        };
        let is_name = |name: &str| name.eq_ignore_ascii_case(text);
        label.is_some_and(is_name) || self.name.as_deref().is_some_and(is_name)
    }
}

/// RFC 8693 section 2.2.1.
#[derive(Serialize)]
struct ExchangeResponse<'t> {
    access_token: &'t str,
    issued_token_type: &'static str,
    token_type: &'static str,
    expires_in: i64,
    scope: String,
}

impl<'t> ExchangeResponse<'t> {
    fn new(issued: &'t Issued, now: Timestamp) -> Self {
        Self {
            access_token: issued.token.grant.token.expose(),
            issued_token_type: ACCESS_TOKEN_TYPE,
            token_type: "Bearer",
            expires_in: issued.token.grant.expires_on.duration_since(now).as_secs().max(0),
            scope: issued.token.scopes.to_string(),
        }
    }
}
