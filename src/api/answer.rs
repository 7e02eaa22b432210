//! Writing answers: the headers of a token response, and errors in the shape that the request calls for.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ALLOW, CACHE_CONTROL, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use super::ApiSettings;
use super::context::RequestContext;
use super::error_response::{Challenge, ErrorResponse};
use crate::pipeline::{Issued, Stages};

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// The realm of every challenge.
const REALM: &str = "acs-token-broker";

/// Adds the headers that every token response has.
pub(super) fn issued(settings: &ApiSettings, issued: &Issued, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if settings.diagnostic_headers {
        headers.insert(X_CACHE, HeaderValue::from_static(issued.outcome.name()));
        if let Ok(timing) = HeaderValue::from_str(&server_timing(issued.stages)) {
            headers.insert(SERVER_TIMING, timing);
        }
    }
    response
}

/// Server Timing (W3C): durations in milliseconds.
fn server_timing(stages: Stages) -> String {
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    format!(
        "authenticate;dur={:.3}, authorize;dur={:.3}, exchange;dur={:.3}",
        milliseconds(stages.authenticate),
        milliseconds(stages.authorize),
        milliseconds(stages.exchange),
    )
}

/// The error in Azure's shape, or in OAuth's where the request calls for it.
pub(super) fn error_response(error: &ErrorResponse, context: &RequestContext, settings: &ApiSettings) -> Response {
    let mut response = if context.oauth {
        oauth_error(error)
    } else {
        azure_error(error)
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ERROR_CODE, HeaderValue::from_static(error.code));
    if let Some(wait) = error.retry_after {
        // Rounded up: a client that comes back a fraction too early is refused again.
        headers.insert(
            RETRY_AFTER,
            HeaderValue::from(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
        );
    }
    if error.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    let is_of_form = |challenge: &&Challenge| context.oauth == (**challenge == Challenge::ClientAuthentication);
    if let Some(challenge) = error.challenge.as_ref().filter(is_of_form)
        && let Ok(challenge) = HeaderValue::from_str(&challenge_text(challenge, error.message, settings))
    {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// RFC 6750 section 3, RFC 7617 section 2.
fn challenge_text(challenge: &Challenge, message: &str, settings: &ApiSettings) -> String {
    match challenge {
        Challenge::ClientAuthentication => format!("Basic realm=\"{REALM}\""),
        Challenge::NoToken => format!("Bearer realm=\"{REALM}\""),
        Challenge::InvalidToken => {
            format!("Bearer realm=\"{REALM}\", error=\"invalid_token\", error_description=\"{message}\"")
        }
        Challenge::InsufficientScope => {
            let scopes = &settings.required_scopes;
            format!("Bearer realm=\"{REALM}\", error=\"insufficient_scope\", scope=\"{scopes}\"")
        }
        // The form that MSAL and Azure Identity clients read.
        Challenge::InsufficientClaims { claims, tenant } => {
            let place = settings.sign_in.parameters(*tenant);
            let parameters = match claims {
                Some(claims) => format!(
                    "error=\"insufficient_claims\", claims=\"{}\"",
                    STANDARD.encode(&**claims)
                ),
                None => format!("error=\"invalid_token\", error_description=\"{message}\""),
            };
            format!("Bearer {place}, {parameters}")
        }
    }
}

/// Azure's error shape (Microsoft REST API guidelines).
fn azure_error(error: &ErrorResponse) -> Response {
    #[derive(Serialize)]
    struct Body {
        error: Error,
    }
    #[derive(Serialize)]
    struct Error {
        code: &'static str,
        message: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        innererror: Option<Inner>,
    }
    #[derive(Serialize)]
    struct Inner {
        code: &'static str,
    }
    let body = Body {
        error: Error {
            code: error.code,
            message: error.message,
            target: error.target,
            innererror: error.inner.map(|code| Inner { code }),
        },
    };
    (error.status, Json(body)).into_response()
}

/// RFC 6749 section 5.2.
fn oauth_error(error: &ErrorResponse) -> Response {
    #[derive(Serialize)]
    struct Body<'t> {
        error: &'static str,
        error_description: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        claims: Option<&'t str>,
    }
    let body = Body {
        error: error.oauth,
        error_description: error.message,
        claims: match &error.challenge {
            Some(Challenge::InsufficientClaims { claims, .. }) => claims.as_deref(),
            _ => None,
        },
    };
    let mut response = (error.oauth_status(), Json(body)).into_response();
    response
        .headers_mut()
        .insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
