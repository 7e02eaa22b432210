//! The panic barrier, by a route of the test's own under the real layers.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::post;
use http::Request as HttpRequest;
use http_body_util::BodyExt as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::*;
use crate::admission::{Admission, Overloaded};
use crate::api::context::RequestContext;
use crate::api::{ApiSettings, TOKEN_PATH, layered};
use crate::authenticate::{Authenticator, AuthenticatorParts, Policy, RefreshSettings};
use crate::cache::TokenCache;
use crate::pipeline::TokenPipeline;
use crate::route::Routes;
use ::serve::Budget;
use azure::Upstream;
use base::clock::{ManualClock, SharedClock};
use base::tasks::Tasks;
use config::UserIds;
use config::load::{Environment, load};
use telemetry::UserNames;
use telemetry::metrics::Metrics;

const PAYLOAD: &str = "what-it-choked-on";
const ORIGIN: &str = "https://app.contoso.com";

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An API that knows no tenant and no resource.
fn api(clock: &SharedClock, metrics: &Metrics) -> Api {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");
    let config = load(Some(example.as_ref()), &Environment::default()).unwrap().config;
    let second = Duration::from_secs(1);
    let authenticator = Authenticator::new(AuthenticatorParts {
        upstream: Upstream::new(&config.upstream, second).unwrap(),
        tenants: Vec::new(),
        policy: Policy::new(&[], &[], second),
        refresh: RefreshSettings {
            interval: second,
            cooldown: second,
            wait: second,
            max_age: second,
            withdrawal_grace: second,
        },
        waiting_room: 1,
        clock: Arc::clone(clock),
        tasks: Tasks::default(),
        metrics: metrics.clone(),
    });
    let pipeline = TokenPipeline {
        authenticator: Arc::new(authenticator),
        routes: Routes::new(Vec::new()),
        cache: TokenCache::new(&config.cache, Arc::clone(clock)),
        limits: crate::limits::CallerLimits::unlimited(clock),
        admission: Admission::new(1, Overloaded::Requests),
        exchange_limit: Admission::new(1, Overloaded::Exchanges),
        users: UserNames::new(UserIds::Hash, None).unwrap(),
        clock: Arc::clone(clock),
        metrics: metrics.clone(),
    };
    let settings = ApiSettings {
        memory: Budget::new(1 << 20),
        audit: true,
        trusted_proxies: Vec::new(),
        access_lines: Arc::new(crate::api::AccessLines::new(config::AccessLog::All)),
        api_versions: Vec::new(),
        teams_api_versions: Vec::new(),
        base_path: String::new(),
        request_timeout: second,
        diagnostic_headers: true,
        allowed_origins: vec![ORIGIN.to_owned()],
        loopback_origins: false,
        allowed_headers: Vec::new(),
        required_scopes: String::new(),
        targets: Vec::new(),
        scope_prefixes: Vec::new(),
        sign_in: crate::api::SignIn::new(&"https://login.example".parse().unwrap(), []),
    };
    Api::new(Arc::new(pipeline), settings, CancellationToken::new())
}

/// Where spans are sent, and what arrives there.
async fn collector() -> (String, mpsc::UnboundedReceiver<Bytes>) {
    let (sender, arrived) = mpsc::unbounded_channel();
    let receive = move |body: Bytes| async move {
        sender.send(body).unwrap();
    };
    let router = Router::new().route("/v1/traces", post(receive));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (endpoint, arrived)
}

#[expect(clippy::panic, reason = "what is tested")]
async fn panicking(_: Api, _: RequestContext, _: Request) -> Response {
    panic!("{PAYLOAD}")
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_its_text_stays_inside() {
    let clock: SharedClock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
    let (endpoint, mut arrived) = collector().await;
    let output = Output::default();
    let writer = output.clone();
    let variable = |name: &str| (name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").then(|| endpoint.clone());
    let telemetry = ::telemetry::for_test(&variable, Arc::clone(&clock), move || writer.clone());
    let (dispatch, guard) = telemetry.unwrap();
    let metrics = guard.metrics();
    let api = api(&clock, &metrics);
    let handler = layered(api, panicking);

    let request = HttpRequest::post(TOKEN_PATH)
        .header("origin", ORIGIN)
        .body(Body::empty())
        .unwrap();
    let subscriber = tracing::dispatcher::set_default(&dispatch);
    let response = handler.answer(request).await;
    drop(subscriber);
    let scraped = metrics.scrape().unwrap();
    tokio::task::spawn_blocking(move || guard.shutdown(Duration::from_secs(10)))
        .await
        .unwrap();

    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    assert_eq!(head.status, 500);
    for (name, value) in [
        ("x-ms-error-code", "InternalError"),
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("access-control-allow-origin", ORIGIN),
    ] {
        assert_eq!(head.headers[name], value);
    }
    assert!(head.headers.contains_key("access-control-expose-headers"));
    let error: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(error["error"]["code"], "InternalError");

    let log = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [line] = &lines[..] else { panic!("{log}") };
    assert_eq!((&line["level"], &line["message"]), (&"ERROR".into(), &"request".into()));
    assert_eq!(line["acs_broker.error.code"], "InternalError");
    assert_eq!(line["http.response.status_code"], 500);
    assert_eq!(line["request_id"], head.headers["x-ms-request-id"].to_str().unwrap());

    let counted = scraped.lines().any(|line| {
        line.starts_with("http_server_request_duration_seconds_count{error_type=\"InternalError\"")
            && line.contains("http_response_status_code=\"500\"")
            && line.ends_with(" 1")
    });
    assert!(counted, "{scraped}");
    let active = "http_server_active_requests{http_request_method=\"POST\",url_scheme=\"http\"} 0";
    assert!(scraped.lines().any(|line| line == active), "{scraped}");

    let exported = arrived.recv().await.unwrap();
    let request = ExportTraceServiceRequest::decode(exported.clone()).unwrap();
    let [span] = &request.resource_spans[0].scope_spans[0].spans[..] else {
        panic!("{request:?}")
    };
    assert_eq!(span.name, "POST /token");
    assert_eq!(span.status.as_ref().unwrap().code, 2);
    assert!(format!("{:?}", span.attributes).contains("InternalError"), "{span:?}");

    let headers = format!("{:?}", head.headers);
    let spans = String::from_utf8_lossy(&exported).into_owned();
    for written in [
        String::from_utf8_lossy(&body).into_owned(),
        headers,
        log,
        scraped,
        spans,
    ] {
        assert!(!written.contains(PAYLOAD), "{written}");
    }
}

#[tokio::test]
async fn an_answer_without_an_origin_has_the_headers_that_the_layer_gives_it() {
    let clock: SharedClock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
    let cors = cors(&api(&clock, &Metrics::noop()).settings);
    let request = || HttpRequest::post(TOKEN_PATH).body(Body::empty()).unwrap();
    let answer = |_: Request| async { Response::new(Body::empty()) };
    let by_layer = service_fn(|request| async move { Ok::<_, Infallible>(answer(request).await) });
    let by_layer = cors.layer(by_layer).oneshot(request()).await.unwrap();
    assert!(by_layer.headers().contains_key(VARY));
    assert_eq!(shared(&cors, request(), answer).await.headers(), by_layer.headers());
}

#[test]
fn a_request_takes_no_more_memory_than_is_set_aside_for_it() {
    let clock: SharedClock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
    let api = api(&clock, &Metrics::noop());
    let cors = cors(&api.settings);
    let request = HttpRequest::post(TOKEN_PATH).body(Body::empty()).unwrap();
    let context = RequestContext::new(
        request.method(),
        request.uri(),
        request.headers(),
        true,
        tokio::time::Instant::now(),
    );
    let routed = |api, request| crate::api::routed(api, context, request);
    let worked_on = shared(&cors, request, |request| {
        crate::api::limits::count(api, request, routed)
    });
    // Half of `serve`'s part for a request. What is rare must not be in it: it is set aside for each.
    let bytes = size_of_val(&worked_on);
    assert!(bytes <= 8 * 1024, "{bytes}");
}
