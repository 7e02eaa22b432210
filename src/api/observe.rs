//! The outermost layer: gives each request its context and span, and records how it ended in the access line, the
//! metrics and the trace.

use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::header::{CONNECTION, CONTENT_LENGTH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use http_body::Body as _;
use opentelemetry::KeyValue;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::access_log::{Ended, Failure};
use super::azure_form::BearerForm;
use super::context::RequestContext;
use super::error::ApiError;
use super::error_response::ErrorResponse;
use super::head::Head;
use super::layers::{CLIENT_REQUEST_ID, mark_plain_options};
use super::{Api, ApiSettings, answer};
use ::serve::Connected;
use telemetry::metrics::labels::Refusal;
use telemetry::metrics::{ActiveRequest, Answered};
use telemetry::trace::{LateSpan, RequestTrace};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
/// The outcome that telemetry has for a request whose client left. No answer has it as its code.
const CLIENT_CLOSED: &str = "ClientClosed";
/// The same for a request that a stop cut off; a request that comes after the stop is refused with this code.
const SHUTTING_DOWN: &str = Refusal::ShuttingDown.into_str();

/// The outermost layer: gives the request its context and span, has it answered `within`, renders errors, and writes the
/// access line.
pub(super) async fn observe<W, F>(api: Api, mut request: Request, within: W) -> Response
where
    W: FnOnce(Request, RequestContext) -> F,
    F: Future<Output = Response>,
{
    let deadline = Instant::now() + api.settings.request_timeout;
    let is_bodiless = request.body().is_end_stream();
    let context = RequestContext::new(
        request.method(),
        request.uri(),
        request.headers(),
        is_bodiless,
        deadline,
    );
    let version = request.version();
    let mut observed = Observed::begin(api, &request, context.clone());
    mark_plain_options(&mut request);
    // On the heap, as it is large, and would be moved from one wrapper to the next.
    let work = Box::pin(within(request, context)).instrument(observed.span.clone());
    let response = observed.trace.carry(work).await;

    if response.extensions().get::<BearerForm>().is_some() {
        observed.context.oauth = false;
    }
    let cause = ApiError::cause_of(&response);
    let error = cause.as_deref().map(ApiError::response);
    let mut response = match &error {
        Some(error) => rendered(error, &observed.context, &observed.api.settings, response.headers()),
        None => response,
    };
    let headers = response.headers_mut();
    common_headers(headers, &observed.context);
    if version < Version::HTTP_2 && error.as_ref().is_some_and(ErrorResponse::leaves_body_unread) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let failure = cause.as_deref().zip(error.as_ref()).map(|(cause, error)| Failure {
        code: error.code,
        inner_code: error.inner,
        cause,
        is_ours: error.is_ours(),
    });
    observed.end(Some(i64::from(response.status().as_u16())), failure.as_ref());
    response
}

/// A request on its way. If it is dropped before its end was recorded, its client waits for no answer any more.
struct Observed {
    api: Api,
    context: RequestContext,
    head: Head,
    trace: RequestTrace,
    span: Span,
    // Monotonic time.
    started: Duration,
    connected: Option<Connected>,
    ended: bool,
    _active: ActiveRequest,
}

impl Observed {
    fn begin(api: Api, request: &Request, context: RequestContext) -> Self {
        let started = api.pipeline.clock.monotonic();
        let head = Head::from_request(request);
        let active = api.pipeline.metrics.request_began(head.method, head.scheme);
        let trace = RequestTrace::begin(request.headers());
        let span = trace.span(|| server_span(&head, &context, &api.settings.base_path));
        Self {
            api,
            context,
            head,
            trace,
            span,
            started,
            connected: request.extensions().get().cloned(),
            ended: false,
            _active: active,
        }
    }

    /// Records the end in logs, metrics and traces. Without a status there was no answer.
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
        let ended = Ended {
            head: &self.head,
            context: &self.context,
            status,
            duration,
            failure,
        };
        let now = self.started + duration;
        self.trace
            .within(|| self.span.in_scope(|| self.api.settings.access_lines.write(&ended, now)));
        self.trace.record_late_span(is_ours, duration, || LateSpan {
            name: self.head.span_name(),
            end: self.api.pipeline.clock.now(),
            attributes: late_attributes(&self.head, &self.context, &self.api.settings.base_path, status, failure),
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
        let (code, cause) = if self.connected.as_ref().is_some_and(Connected::is_cut) {
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

fn rendered(error: &ErrorResponse, context: &RequestContext, settings: &ApiSettings, inner: &HeaderMap) -> Response {
    let mut response = answer::error_response(error, context, settings);
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

/// Server span after the OpenTelemetry HTTP semantic conventions. The path is recorded only where it is one of ours:
/// any other is whatever a caller makes up. The route leaves `server.base_path` out, the path has it.
fn server_span(head: &Head, context: &RequestContext, base_path: &str) -> Span {
    tracing::info_span!(
        "http_server",
        otel.name = head.span_name(),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = head.method,
        http.route = head.route,
        http.response.status_code = Empty,
        url.path = head.path(base_path),
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
    base_path: &str,
    status: Option<i64>,
    failure: Option<&Failure<'_>>,
) -> Vec<KeyValue> {
    let texts = [
        ("http.request.method", Some(head.method)),
        ("http.route", head.route),
        ("url.scheme", Some(head.scheme)),
        ("network.protocol.version", Some(head.version)),
        ("error.type", failure.map(|failure| failure.code)),
    ];
    let texts = texts
        .into_iter()
        .filter_map(|(key, text)| Some(KeyValue::new(key, text?)));
    let status = status.map(|status| KeyValue::new("http.response.status_code", status));
    let path = head.path(base_path).map(|path| KeyValue::new("url.path", path));
    let id = KeyValue::new("request_id", context.request_id.to_string());
    texts.chain(path).chain(status).chain([id]).collect()
}
