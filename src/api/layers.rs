//! What happens around every request, whatever becomes of it: context, span, limits, headers, the access line.

use std::any::Any;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use opentelemetry::KeyValue;
use tokio::time::Instant;
use tower_http::cors::CorsLayer;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::context::RequestContext;
use super::error::ApiError;
use super::told::Told;
use super::{Api, ApiSettings, answer};
use crate::serve::Scheme;
use crate::telemetry::metrics::Answered;
use crate::telemetry::metrics::labels::Refusal;
use crate::telemetry::trace::{LateSpan, RequestTrace};

/// The largest header section served.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
/// What a method that is none of RFC 9110's or RFC 5789's is called in telemetry.
const OTHER_METHOD: &str = "_OTHER";
/// What an OPTIONS request that is no preflight is called on its way through the CORS layer.
const PLAIN_OPTIONS: &str = "OPTIONS-NO-PREFLIGHT";

/// The outermost layer: gives the request its context and span, renders errors, and writes the access line.
pub(super) async fn observe(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let started = api.pipeline.clock.monotonic();
    let deadline = Instant::now() + api.settings.request_timeout;
    let context = RequestContext::new(request.method(), request.uri(), request.headers(), deadline);
    let head = Head::of(&request);
    let _active = api.pipeline.metrics.request_began(head.method, head.scheme);
    let trace = RequestTrace::begin(request.headers());
    let span = trace.span(|| server_span(&head, &context));
    request.extensions_mut().insert(context.clone());
    let version = request.version();
    let response = trace.carry(next.run(request).instrument(span.clone())).await;

    let cause = ApiError::cause_of(&response);
    let told = cause.as_deref().map(ApiError::told);
    let mut response = match &told {
        Some(told) => rendered(told, &context, &api.settings, response.headers()),
        None => response,
    };
    let headers = response.headers_mut();
    common_headers(headers, &context);
    if version < Version::HTTP_2 && told.as_ref().is_some_and(Told::leaves_body_unread) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let status = i64::from(response.status().as_u16());
    span.record("http.response.status_code", status);
    if let Some(told) = &told {
        span.record("error.type", told.code);
        if told.is_ours() {
            span.record("otel.status_code", "ERROR");
        }
    }
    let duration = api.pipeline.clock.monotonic().saturating_sub(started);
    record(&api, &head, status, told.as_ref(), duration);
    trace.within(|| {
        span.in_scope(|| {
            access_line(
                status,
                duration.as_secs_f64() * 1e3,
                &head,
                &context,
                cause.as_deref().zip(told.as_ref()),
            );
        });
    });
    trace.leave(told.as_ref().is_some_and(Told::is_ours), duration, || LateSpan {
        name: head.span_name(),
        end: api.pipeline.clock.now(),
        attributes: late_attributes(&head, &context, status, told.as_ref()),
    });
    response
}

fn record(api: &Api, head: &Head, status: i64, told: Option<&Told>, duration: Duration) {
    let error = told.map(|told| told.code);
    if let Some(refusal) = error.and_then(Refusal::of_code) {
        api.pipeline.metrics.refused(refusal);
    }
    let answered = Answered {
        method: head.method,
        route: head.route,
        status,
        scheme: head.scheme,
        version: head.version,
        error,
    };
    api.pipeline.metrics.answered(&answered, duration);
}

fn rendered(told: &Told, context: &RequestContext, settings: &ApiSettings, inner: &HeaderMap) -> Response {
    let mut response = answer::error(told, context, settings);
    // Those of the layers within, CORS above all; the length is that of the bare response.
    for (name, value) in inner.iter().filter(|(name, _)| *name != CONTENT_LENGTH) {
        if !response.headers().contains_key(name) {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

fn common_headers(headers: &mut HeaderMap, context: &RequestContext) {
    let mut buffer = uuid::Uuid::encode_buffer();
    if let Ok(id) = HeaderValue::from_str(context.request_id.hyphenated().encode_lower(&mut buffer)) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(id) = &context.client_request_id {
        headers.insert(CLIENT_REQUEST_ID, id.clone());
    }
}

/// One line per request; the operator reads here exactly why it failed.
fn access_line(
    status: i64,
    duration_ms: f64,
    head: &Head,
    context: &RequestContext,
    failure: Option<(&ApiError, &Told)>,
) {
    let cause = failure.map(|(cause, _)| tracing::field::display(cause));
    let code = failure.map(|(_, told)| told.code);
    let inner_code = failure.and_then(|(_, told)| told.inner);
    // The level is part of a call site, so it takes one for each.
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                http.request.method = head.method,
                http.route = head.route,
                http.response.status_code = status,
                duration_ms,
                request_id = %context.request_id,
                error.code = code,
                error.inner_code = inner_code,
                error.cause = cause,
                "request"
            )
        };
    }
    match failure {
        None => line!(info),
        Some((_, told)) if told.is_ours() => line!(error),
        Some(_) => line!(warn),
    }
}

/// Server span after the OpenTelemetry HTTP semantic conventions. The path is told only where it is one of ours:
/// any other is whatever a caller makes up.
fn server_span(head: &Head, context: &RequestContext) -> Span {
    tracing::info_span!(
        "http_server",
        otel.name = head.span_name(),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = head.method,
        http.route = head.route,
        http.response.status_code = Empty,
        url.path = head.route,
        url.scheme = head.scheme,
        network.protocol.version = head.version,
        request_id = %context.request_id,
        error.type = Empty,
    )
}

/// What the server span of a request tells that was not sampled.
fn late_attributes(head: &Head, context: &RequestContext, status: i64, told: Option<&Told>) -> Vec<KeyValue> {
    let texts = [
        ("http.request.method", Some(head.method)),
        ("http.route", head.route),
        ("url.path", head.route),
        ("url.scheme", Some(head.scheme)),
        ("network.protocol.version", Some(head.version)),
        ("error.type", told.map(|told| told.code)),
    ];
    let texts = texts
        .into_iter()
        .filter_map(|(key, text)| Some(KeyValue::new(key, text?)));
    let rest = [
        KeyValue::new("http.response.status_code", status),
        KeyValue::new("request_id", context.request_id.to_string()),
    ];
    texts.chain(rest).collect()
}

/// What of a request's first line and connection may be told.
struct Head {
    method: &'static str,
    route: Option<&'static str>,
    scheme: &'static str,
    version: &'static str,
}

impl Head {
    fn of(request: &Request) -> Self {
        Self {
            method: known_method(request.method()),
            route: super::route_of(request.uri().path()),
            // Always there, but in a test without a socket.
            scheme: request
                .extensions()
                .get()
                .map_or("http", |scheme: &Scheme| scheme.as_str()),
            version: protocol_version(request.version()),
        }
    }

    /// `{method} {route}`; an unknown method is called HTTP in a span's name (semantic conventions for HTTP spans).
    fn span_name(&self) -> String {
        let verb = if self.method == OTHER_METHOD {
            "HTTP"
        } else {
            self.method
        };
        self.route
            .map_or_else(|| verb.to_owned(), |route| format!("{verb} {route}"))
    }
}

fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::CONNECT => "CONNECT",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::PATCH => "PATCH",
        _ => OTHER_METHOD,
    }
}

/// The listener speaks no other.
fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// The CORS layer answers every OPTIONS request itself; one without `Access-Control-Request-Method` is no
/// preflight (Fetch standard, section 3.2.2) and must be told 404 or 405 like any other.
pub(super) async fn tell_preflights(mut request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS
        && !request
            .headers()
            .contains_key(http::header::ACCESS_CONTROL_REQUEST_METHOD)
        && let Ok(method) = Method::from_bytes(PLAIN_OPTIONS.as_bytes())
    {
        *request.method_mut() = method;
    }
    next.run(request).await
}

/// CORS for exact origins, never with credentials.
pub(super) fn cors(allowed_origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> = allowed_origins
        .iter()
        .filter_map(|origin| origin.parse().ok())
        .collect();
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::POST])
        .allow_headers(
            [
                "authorization",
                "content-type",
                "accept",
                "x-ms-client-request-id",
                "x-ms-useragent",
                "traceparent",
                "tracestate",
            ]
            .map(HeaderName::from_static),
        )
        .expose_headers(
            [
                "x-ms-request-id",
                "x-ms-error-code",
                "retry-after",
                "www-authenticate",
                "server-timing",
                "x-cache",
            ]
            .map(HeaderName::from_static),
        )
        .vary([http::header::ORIGIN])
        .max_age(std::time::Duration::from_mins(10))
}

/// Refuses what is over the limits before anything reads it.
pub(super) async fn limit(State(api): State<Api>, request: Request, next: Next) -> Response {
    let bytes: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len())
        .sum();
    if bytes + request.uri().path_and_query().map_or(0, |path| path.as_str().len()) > MAX_HEADER_BYTES {
        return ApiError::HeadersTooLarge.into_response();
    }
    // RFC 9112 section 3.2. Which of two the one in front of us went by, nobody knows.
    if request.headers().get_all(HOST).iter().count() > 1 {
        return ApiError::InvalidRequest("Send one Host header.").into_response();
    }
    if api.stopping.is_cancelled() {
        return ApiError::ShuttingDown.into_response();
    }
    next.run(request).await
}

/// A panic is a bug of ours; the caller is told nothing of it.
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::Internal.into_response()
}
