//! The layers around every route: limits, CORS and the panic barrier.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::header::{self, ACCESS_CONTROL_EXPOSE_HEADERS, HOST, ORIGIN, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::error::ApiError;
use super::{Api, ApiSettings};
use crate::admission::Overloaded;
use crate::limits::address::FORWARDED_FOR;
use ::serve::{Excess, HeadLimits};
use base::loopback::is_loopback_host;

/// The largest header section served.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;

/// The most fields in one; clients send twenty, and proxies add some.
pub const MAX_HEADER_FIELDS: usize = 100;

pub(super) const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
/// What an OPTIONS request that is no preflight is called on its way through the CORS layer.
const PLAIN_OPTIONS: &str = "OPTIONS-NO-PREFLIGHT";
/// What the public listener keeps of a head. Code that reads another field needs it listed here: the others are dropped
/// before the request comes to the router.
#[must_use]
pub fn head_limits() -> HeadLimits {
    HeadLimits {
        fields: MAX_HEADER_FIELDS,
        bytes: MAX_HEADER_BYTES,
        read: [
            header::AUTHORIZATION,
            header::CONTENT_ENCODING,
            header::CONTENT_LENGTH,
            header::CONTENT_TYPE,
            header::EXPECT,
            header::HOST,
            header::ORIGIN,
            header::ACCESS_CONTROL_REQUEST_METHOD,
            header::ACCESS_CONTROL_REQUEST_HEADERS,
            CLIENT_REQUEST_ID,
            FORWARDED_FOR,
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("tracestate"),
        ]
        .into(),
        on_refusal: [header::CONTENT_TYPE, header::HOST, header::ORIGIN, FORWARDED_FOR].into(),
    }
}

/// The CORS layer answers every OPTIONS request itself; one without `Access-Control-Request-Method` is no
/// preflight (Fetch standard, section 3.2.2) and must be answered with 404 or 405 like any other.
pub(super) fn mark_plain_options(request: &mut Request) {
    if request.method() == Method::OPTIONS
        && !request
            .headers()
            .contains_key(http::header::ACCESS_CONTROL_REQUEST_METHOD)
        && let Ok(method) = Method::from_bytes(PLAIN_OPTIONS.as_bytes())
    {
        *request.method_mut() = method;
    }
}

/// Request headers that browsers may send from other origins.
const ALLOWED_HEADERS: [&str; 7] = [
    "authorization",
    "content-type",
    "accept",
    "x-ms-client-request-id",
    "x-ms-useragent",
    "traceparent",
    "tracestate",
];

/// Headers of answers that pages of other origins may read.
const EXPOSED_HEADERS: &str = "x-ms-request-id,x-ms-error-code,retry-after,www-authenticate,server-timing,x-cache";

/// CORS for exact origins, never with credentials. `allowed_headers` are allowed beside our own.
pub(super) fn cors(settings: &ApiSettings) -> CorsLayer {
    let more = settings.allowed_headers.iter().map(String::as_str);
    let more = more.filter(|name| !ALLOWED_HEADERS.contains(name));
    let headers: Vec<HeaderName> = ALLOWED_HEADERS
        .into_iter()
        .chain(more)
        .filter_map(|name| name.parse().ok())
        .collect();
    let origins: Vec<HeaderValue> = settings
        .allowed_origins
        .iter()
        .filter_map(|origin| origin.parse().ok())
        .collect();
    let origins = if settings.loopback_origins {
        AllowOrigin::predicate(move |origin, _| origins.contains(origin) || is_loopback_origin(origin))
    } else {
        AllowOrigin::list(origins)
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::POST])
        .allow_headers(headers)
        .expose_headers(
            EXPOSED_HEADERS
                .split(',')
                .map(HeaderName::from_static)
                .collect::<Vec<_>>(),
        )
        .vary([http::header::ORIGIN])
        .max_age(std::time::Duration::from_mins(10))
}

/// Has `within` answer, with what CORS adds. Only a request with an origin, or a preflight, goes through the layer: that
/// copies its configuration for each. All others get the same headers without it.
pub(super) async fn shared<W, F>(cors: &CorsLayer, request: Request, within: W) -> Response
where
    W: FnOnce(Request) -> F,
    F: Future<Output = Response>,
{
    if request.method() != Method::OPTIONS && !request.headers().contains_key(ORIGIN) {
        let mut response = within(request).await;
        add_to_answer_without_origin(response.headers_mut());
        return response;
    }
    let mut within = Some(within);
    // Called once at most, as `oneshot` does.
    let within = service_fn(move |request| {
        let answer = within.take().map(|within| within(request));
        async move {
            Ok::<_, Infallible>(match answer {
                // On the heap, or every request had room for a preflight's copies of all that it may do.
                Some(answer) => Box::pin(answer).await,
                None => ApiError::Internal.into_response(),
            })
        }
    });
    let Ok(response) = cors.layer(within).oneshot(request).await;
    response
}

/// What the layer adds where no origin is named. A cache must know that the origin counts.
fn add_to_answer_without_origin(headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("origin"));
    headers.append(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
}

/// Whether it is the origin of a page on this machine.
fn is_loopback_origin(origin: &HeaderValue) -> bool {
    let text = origin.to_str().ok();
    let host = text.and_then(|text| text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")));
    host.is_some_and(is_loopback_host)
}

/// Answers a request within the panic barrier. A panic is a bug of ours; the caller learns nothing of it.
pub(super) async fn guarded<R, F>(api: &Api, request: Request, routed: R) -> Response
where
    R: FnOnce(Api, Request) -> F,
    F: Future<Output = Response>,
{
    // What a panic leaves behind is dropped with the request.
    AssertUnwindSafe(limit(api, request, routed))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| ApiError::Internal.into_response())
}

/// Refuses what is over the limits before anything reads it.
async fn limit<R, F>(api: &Api, request: Request, routed: R) -> Response
where
    R: FnOnce(Api, Request) -> F,
    F: Future<Output = Response>,
{
    match request.extensions().get() {
        // Found where the head came in; what remains of it is within the limits.
        Some(Excess::Head) => return ApiError::HeadersTooLarge.into_response(),
        Some(Excess::Memory) => return ApiError::from(Overloaded::Memory).into_response(),
        None => {}
    }
    // RFC 9112 section 3.2. Which of two a proxy before us used is not known.
    if request.headers().get_all(HOST).iter().count() > 1 {
        return ApiError::InvalidRequest("Send one Host header.").into_response();
    }
    if api.stopping.is_cancelled() {
        return ApiError::ShuttingDown.into_response();
    }
    routed(api.clone(), request).await
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
