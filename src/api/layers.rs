//! What happens around every request, whatever becomes of it: context, span, limits, headers, the access line.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{self, CONNECTION, CONTENT_LENGTH, HOST, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use http_body::Body as _;
use opentelemetry::KeyValue;
use tokio::time::Instant;
use tower_http::cors::CorsLayer;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::azure_form::BearerForm;
use super::context::RequestContext;
use super::error::ApiError;
use super::head::Head;
use super::told::Told;
use super::{Api, ApiSettings, answer};
use crate::admission::Overloaded;
use ::serve::{Cut, Excess, HeadLimits};
use telemetry::metrics::labels::Refusal;
use telemetry::metrics::{ActiveRequest, Answered};
use telemetry::trace::{LateSpan, RequestTrace};

/// The largest header section served.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;

/// The most fields in one; clients send twenty, and proxies add some.
pub const MAX_HEADER_FIELDS: usize = 100;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
/// What an OPTIONS request that is no preflight is called on its way through the CORS layer.
const PLAIN_OPTIONS: &str = "OPTIONS-NO-PREFLIGHT";
/// The outcome that telemetry has for a request whose client left. No answer has it as its code.
const CLIENT_CLOSED: &str = "ClientClosed";
/// The same for a request that a stop cut off; a request that comes after the stop is refused with this code.
const SHUTTING_DOWN: &str = Refusal::ShuttingDown.into_str();

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
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("tracestate"),
        ]
        .into(),
        on_refusal: [header::CONTENT_TYPE, header::HOST, header::ORIGIN].into(),
    }
}

/// The outermost layer: gives the request its context and span, renders errors, and writes the access line.
pub(super) async fn observe(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let deadline = Instant::now() + api.settings.request_timeout;
    let is_bodiless = request.body().is_end_stream();
    let context = RequestContext::new(
        request.method(),
        request.uri(),
        request.headers(),
        is_bodiless,
        deadline,
    );
    request.extensions_mut().insert(context.clone());
    let version = request.version();
    let mut observed = Observed::begin(api, &request, context);
    let work = next.run(request).instrument(observed.span.clone());
    let response = observed.trace.carry(work).await;

    if response.extensions().get::<BearerForm>().is_some() {
        observed.context.oauth = false;
    }
    let cause = ApiError::cause_of(&response);
    let told = cause.as_deref().map(ApiError::told);
    let mut response = match &told {
        Some(told) => rendered(told, &observed.context, &observed.api.settings, response.headers()),
        None => response,
    };
    let headers = response.headers_mut();
    common_headers(headers, &observed.context);
    if version < Version::HTTP_2 && told.as_ref().is_some_and(Told::leaves_body_unread) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let failure = cause.as_deref().zip(told.as_ref()).map(|(cause, told)| Failure {
        code: told.code,
        inner_code: told.inner,
        cause,
        is_ours: told.is_ours(),
    });
    observed.end(Some(i64::from(response.status().as_u16())), failure.as_ref());
    response
}

/// A request on its way. If it is dropped before its end was recorded, nobody waits for an answer any more.
struct Observed {
    api: Api,
    context: RequestContext,
    head: Head,
    trace: RequestTrace,
    span: Span,
    // Monotonic time.
    started: Duration,
    cut: Option<Cut>,
    ended: bool,
    _active: ActiveRequest,
}

/// Why a request got no token, or no answer.
struct Failure<'f> {
    code: &'static str,
    inner_code: Option<&'static str>,
    cause: &'f dyn fmt::Display,
    is_ours: bool,
}

impl Observed {
    fn begin(api: Api, request: &Request, context: RequestContext) -> Self {
        let started = api.pipeline.clock.monotonic();
        let head = Head::of(request);
        let active = api.pipeline.metrics.request_began(head.method, head.scheme);
        let trace = RequestTrace::begin(request.headers());
        let span = trace.span(|| server_span(&head, &context));
        Self {
            api,
            context,
            head,
            trace,
            span,
            started,
            cut: request.extensions().get().cloned(),
            ended: false,
            _active: active,
        }
    }

    /// Tells logs, metrics and traces of the end. Without a status nobody was answered.
    fn end(&mut self, status: Option<i64>, failure: Option<&Failure<'_>>) {
        self.ended = true;
        let is_ours = failure.is_some_and(|failure| failure.is_ours);
        self.span.record("http.response.status_code", status);
        if let Some(failure) = failure {
            self.span.record("error.type", failure.code);
        }
        if is_ours {
            self.span.record("otel.status_code", "ERROR");
        }
        let duration = self.api.pipeline.clock.monotonic().saturating_sub(self.started);
        self.record(status, failure, duration);
        self.trace.within(|| {
            self.span
                .in_scope(|| access_line(status, duration.as_secs_f64() * 1e3, &self.head, &self.context, failure));
        });
        self.trace.record_late_span(is_ours, duration, || LateSpan {
            name: self.head.span_name(),
            end: self.api.pipeline.clock.now(),
            attributes: late_attributes(&self.head, &self.context, status, failure),
        });
    }

    fn record(&self, status: Option<i64>, failure: Option<&Failure<'_>>, duration: Duration) {
        let metrics = &self.api.pipeline.metrics;
        let error = failure.map(|failure| failure.code);
        if let Some(refusal) = error.and_then(Refusal::from_code) {
            metrics.refused(refusal);
        }
        let answered = Answered {
            method: self.head.method,
            route: self.head.route,
            status,
            scheme: self.head.scheme,
            version: self.head.version,
            error,
        };
        metrics.answered(&answered, duration);
    }
}

impl Drop for Observed {
    /// The server drops a request whose client has left, and what a drain did not finish.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (code, cause) = if self.cut.as_ref().is_some_and(Cut::is_cut) {
            (SHUTTING_DOWN, "cut at the end of the drain")
        } else {
            (CLIENT_CLOSED, "the client left before it was answered")
        };
        let failure = Failure {
            code,
            inner_code: None,
            cause: &cause,
            is_ours: false,
        };
        self.end(None, Some(&failure));
    }
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
    status: Option<i64>,
    duration_ms: f64,
    head: &Head,
    context: &RequestContext,
    failure: Option<&Failure<'_>>,
) {
    let cause = failure.map(|failure| tracing::field::display(failure.cause));
    let code = failure.map(|failure| failure.code);
    let inner_code = failure.and_then(|failure| failure.inner_code);
    // The level is part of a call site, so it takes one for each.
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                http.request.method = head.method,
                http.route = head.route,
                http.response.status_code = status,
                duration_ms,
                request_id = %context.request_id,
                acs_broker.error.code = code,
                acs_broker.error.inner_code = inner_code,
                acs_broker.error.cause = cause,
                "request"
            )
        };
    }
    match failure {
        None => line!(info),
        Some(failure) if failure.is_ours => line!(error),
        Some(_) => line!(warn),
    }
}

/// Server span after the OpenTelemetry HTTP semantic conventions. The path is recorded only where it is one of ours:
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

/// The attributes of the server span of a request that was not sampled.
fn late_attributes(
    head: &Head,
    context: &RequestContext,
    status: Option<i64>,
    failure: Option<&Failure<'_>>,
) -> Vec<KeyValue> {
    let texts = [
        ("http.request.method", Some(head.method)),
        ("http.route", head.route),
        ("url.path", head.route),
        ("url.scheme", Some(head.scheme)),
        ("network.protocol.version", Some(head.version)),
        ("error.type", failure.map(|failure| failure.code)),
    ];
    let texts = texts
        .into_iter()
        .filter_map(|(key, text)| Some(KeyValue::new(key, text?)));
    let status = status.map(|status| KeyValue::new("http.response.status_code", status));
    let id = KeyValue::new("request_id", context.request_id.to_string());
    texts.chain(status).chain([id]).collect()
}

/// The CORS layer answers every OPTIONS request itself; one without `Access-Control-Request-Method` is no
/// preflight (Fetch standard, section 3.2.2) and must be answered with 404 or 405 like any other.
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

/// CORS for exact origins, never with credentials. `allowed_headers` are allowed beside our own.
pub(super) fn cors(allowed_origins: &[String], allowed_headers: &[String]) -> CorsLayer {
    let more = allowed_headers.iter().map(String::as_str);
    let more = more.filter(|name| !ALLOWED_HEADERS.contains(name));
    let headers: Vec<HeaderName> = ALLOWED_HEADERS
        .into_iter()
        .chain(more)
        .filter_map(|name| name.parse().ok())
        .collect();
    let origins: Vec<HeaderValue> = allowed_origins
        .iter()
        .filter_map(|origin| origin.parse().ok())
        .collect();
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::POST])
        .allow_headers(headers)
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
    match request.extensions().get() {
        // Found where the head came in; what is left of it is within the limits.
        Some(Excess::Head) => return ApiError::HeadersTooLarge.into_response(),
        Some(Excess::Memory) => return ApiError::from(Overloaded::Memory).into_response(),
        None => {}
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

/// A panic is a bug of ours; the caller learns nothing of it.
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::Internal.into_response()
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
