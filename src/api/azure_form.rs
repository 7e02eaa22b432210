//! The requests in ACS's own shape: `POST /token` and the two paths that ACS itself serves.

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Uri, Version};
use http_body::Body as _;

use super::content::{Content, Read};
use super::context::RequestContext;
use super::error::ApiError;
use super::media::{self, Media};
use super::{Api, answer, audit, bearer, token_exchange};
use crate::exchange::Operation;
use crate::pipeline::{Issued, PendingAuthentication, Requested};
use base::json;
use base::untrusted::Untrusted;

/// Headers of an answer with a token, at most.
const HEADERS: usize = 12;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `POST /token`: the form content type makes it an RFC 8693 request, unless a token is in the head.
pub(super) async fn token(api: Api, context: RequestContext, request: Request) -> Result<Response, ApiError> {
    let headers = request.headers();
    if !headers.contains_key(AUTHORIZATION) && media::from_headers(headers)? == Media::Form {
        return token_exchange::exchange(&api, &context, request).await;
    }
    let form = token_exchange::refused_credential(headers);
    exchange(&api, &context, request, None, form).await
}

/// `POST /access/entra/:exchangeAccessToken?api-version=…`: what ACS itself serves under its endpoint.
pub(super) async fn acs_path(api: Api, context: RequestContext, request: Request) -> Result<Response, ApiError> {
    check_api_version(request.uri(), "api_versions", &api.settings.api_versions)?;
    on_acs_path(&api, &context, request, Operation::Entra).await
}

/// `POST /access/teamsExtension/:exchangeAccessToken?api-version=…`: the same for a Teams Phone extension app.
pub(super) async fn teams_extension_path(
    api: Api,
    context: RequestContext,
    request: Request,
) -> Result<Response, ApiError> {
    check_api_version(request.uri(), "teams_api_versions", &api.settings.teams_api_versions)?;
    on_acs_path(&api, &context, request, Operation::TeamsExtension).await
}

async fn on_acs_path(
    api: &Api,
    context: &RequestContext,
    request: Request,
    operation: Operation,
) -> Result<Response, ApiError> {
    exchange(api, context, request, Some(operation), ApiError::UnsupportedMediaType).await
}

/// What follows from the head is found out before the content is read: a request without a good token takes neither memory
/// nor a permit for it. The first failure in the published order counts all the same. `form` is the error for a form.
async fn exchange(
    api: &Api,
    context: &RequestContext,
    request: Request,
    operation: Option<Operation>,
    form: ApiError,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let expected = Content::from_head(&head.headers, form)?;
    let mut authentication = bearer::from_headers(&head.headers)
        .and_then(|token| Ok(api.pipeline.begin_authentication(token, operation)?));
    let is_refused = authentication.as_ref().map_or(true, PendingAuthentication::is_refused);
    let version = head.version;
    // Not kept while anything is waited for.
    drop(head);
    let mut read = Read::Whole;
    if !body.is_end_stream() {
        if let Ok(authentication) = &mut authentication {
            authentication.release_permit();
        }
        read = expected.read(body, is_refused, context.deadline).await?;
        if let Ok(authentication) = &mut authentication
            && !is_refused
        {
            authentication.reacquire_permit()?;
        }
    }
    let outcome = match authentication {
        Ok(authentication) => api.issue(context, authentication, &Requested::default()).await,
        Err(error) => Err(error),
    };
    let mut response = match outcome {
        Ok(issued) => {
            let mut answer = Response::new(token_response(&issued).into());
            // Room for all that will be added.
            *answer.headers_mut() = HeaderMap::with_capacity(HEADERS);
            answer.headers_mut().insert(CONTENT_TYPE, JSON);
            answer::issued(&api.settings, &issued, answer)
        }
        Err(error) => {
            let mut response = error.into_response();
            response.extensions_mut().insert(BearerForm);
            response
        }
    };
    if read == Read::Part && version < Version::HTTP_2 {
        // The rest of the content would be taken for the next request.
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Of an error for a request whose token was in its head, whatever its content type said.
#[derive(Debug, Clone, Copy)]
pub(super) struct BearerForm;

impl Api {
    pub(super) async fn issue(
        &self,
        context: &RequestContext,
        authentication: PendingAuthentication,
        requested: &Requested,
    ) -> Result<Issued, ApiError> {
        let (outcome, audit) = self.pipeline.issue(authentication, requested, context.deadline).await;
        let outcome = outcome.map_err(ApiError::from);
        if let Some(audit) = &audit {
            context.mark_verified();
            if self.settings.audit {
                audit::record(audit, &outcome, context);
            }
        }
        outcome
    }
}

/// `setting` is the one that lists the `accepted` versions.
fn check_api_version(uri: &Uri, setting: &'static str, accepted: &[String]) -> Result<(), ApiError> {
    let mut versions = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .filter_map(|(name, value)| (name == "api-version").then_some(value));
    let version = versions
        .next()
        .filter(|version| !version.is_empty())
        .ok_or(ApiError::MissingApiVersion)?;
    if versions.next().is_some() {
        return Err(ApiError::InvalidRequest("Send one api-version."));
    }
    if accepted.iter().any(|accepted| *accepted == version) {
        Ok(())
    } else {
        Err(ApiError::UnsupportedApiVersion {
            version: Untrusted::new(loggable_version(&version)),
            setting,
        })
    }
}

/// A version that is not accepted, for the log, if it has a version's form. Anything else could be a token that was
/// put in the wrong place.
fn loggable_version(version: &str) -> &str {
    const LONGEST: usize = 32;
    let dated = version.len() <= LONGEST
        && version.bytes().take(4).all(|byte| byte.is_ascii_digit())
        && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if dated { version } else { "(of another form)" }
}

/// `CommunicationIdentityAccessTokenResult` of ACS's data plane, as JSON.
fn token_response(issued: &Issued) -> Vec<u8> {
    let grant = &issued.token.grant;
    let members = [
        (r#"{"identity":{"id":"#, &*grant.identity_id),
        (r#"},"accessToken":{"token":"#, grant.token.expose()),
        (r#","expiresOn":"#, &*grant.expires_on_text),
    ];
    let length = members.iter().map(|(name, value)| name.len() + value.len() + 2);
    let end = "}}";
    let mut body = Vec::with_capacity(length.sum::<usize>() + end.len());
    for (name, value) in members {
        body.extend_from_slice(name.as_bytes());
        json::push_string(&mut body, value);
    }
    body.extend_from_slice(end.as_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_in_the_form_of_a_version_is_logged() {
        for (version, is_loggable) in [
            ("2024-01-01", true),
            ("2025-03-02-preview", true),
            ("1", true),
            ("eyJhbGciOiJSUzI1NiJ9", false),
            ("eyJ0.e30.c2ln", false),
            ("2025-03-02-preview-and-much-more-of-it", false),
            ("2025 03", false),
        ] {
            assert_eq!(loggable_version(version) == version, is_loggable, "{version}");
        }
    }

    #[test]
    fn the_api_version_is_checked() {
        let accepted = ["2025-03-02-preview".to_owned()];
        for (uri, code) in [
            ("/x?api-version=2025-03-02-preview", None),
            ("/x?a=b&api-version=2025-03-02-preview", None),
            ("/x", Some("MissingApiVersionParameter")),
            ("/x?", Some("MissingApiVersionParameter")),
            ("/x?api-version=", Some("MissingApiVersionParameter")),
            ("/x?api-version", Some("MissingApiVersionParameter")),
            ("/x?api-version=2024-01-01", Some("UnsupportedApiVersionValue")),
            (
                "/x?api-version=2025-03-02-preview&api-version=2025-03-02-preview",
                Some("InvalidRequest"),
            ),
        ] {
            let outcome = check_api_version(&uri.parse().unwrap(), "api_versions", &accepted);
            assert_eq!(outcome.err().map(|error| error.response().code), code, "{uri}");
        }
    }
}
