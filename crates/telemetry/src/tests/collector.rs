//! What reaches a collector, and what happens to what does not.

use super::*;

type Received = mpsc::UnboundedSender<ExportTraceServiceRequest>;

async fn receive_http(State(received): State<Received>, body: Bytes) {
    received.send(ExportTraceServiceRequest::decode(body).unwrap()).unwrap();
}

/// One unary gRPC call: each message has a prefix of one byte for compression and four for its length.
async fn receive_grpc(State(received): State<Received>, body: Bytes) -> Response {
    received
        .send(ExportTraceServiceRequest::decode(body.slice(5..)).unwrap())
        .unwrap();
    grpc_answer()
}

fn grpc_answer() -> Response {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let empty = Full::new(Bytes::from_static(&[0; 5])).with_trailers(std::future::ready(Some(Ok(trailers))));
    Response::builder()
        .header("content-type", "application/grpc")
        .body(Body::new(empty))
        .unwrap()
}

/// A collector for both protocols.
async fn collector() -> (SocketAddr, mpsc::UnboundedReceiver<ExportTraceServiceRequest>) {
    let (received, export) = mpsc::unbounded_channel();
    let router = Router::new()
        .route("/v1/traces", post(receive_http))
        .route(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            post(receive_grpc),
        )
        .with_state(received);
    (serve(router).await, export)
}

async fn serve(router: Router) -> SocketAddr {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address();
    let heads = HeadLimits {
        fields: 100,
        bytes: 32 * 1024,
        read: vec![
            http::header::CONTENT_TYPE,
            http::header::CONTENT_ENCODING,
            http::header::CONTENT_LENGTH,
        ],
        on_refusal: Vec::new(),
    };
    let options = ServeOptions {
        drain_timeout: Duration::ZERO,
        ..ServeOptions::new(8, heads)
    };
    tokio::spawn(run(listener, router, options, ShutdownSignals::default()));
    address
}

async fn spans_arrive(protocol: &str) {
    let (address, mut export) = collector().await;
    let variables = HashMap::from([
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
        ("OTEL_SERVICE_NAME", "broker-under-test".to_owned()),
    ]);
    let output = Output::default();
    let (dispatch, guard) = assemble(&options("info"), &|name| variables.get(name).cloned(), output).unwrap();
    tracing::dispatcher::with_default(&dispatch, || {
        request_span().in_scope(|| {
            tracing::info_span!(target: "hyper", "foreign", authorization = "Bearer eyJ").in_scope(|| {
                tracing::info_span!("call", http.response.status_code = 200_i64).in_scope(|| {
                    tracing::info!("not a span event");
                });
            });
        });
    });
    // Blocks this thread within the runtime, as the end of the process does.
    guard.shutdown(Duration::from_secs(10));

    let request = export.recv().await.unwrap();
    let [resource] = &request.resource_spans[..] else {
        panic!("{request:?}")
    };
    let name = &resource.resource.as_ref().unwrap().attributes;
    assert!(format!("{name:?}").contains("broker-under-test"), "{name:?}");
    let [scope] = &resource.scope_spans[..] else {
        panic!("{request:?}")
    };
    let [call, server] = &scope.spans[..] else {
        panic!("{request:?}")
    };
    assert_eq!((call.name.as_str(), server.name.as_str()), ("call", "POST /token"));
    let trace_id = TraceId::from_bytes(server.trace_id[..].try_into().unwrap());
    let parent_id = SpanId::from_bytes(server.parent_span_id[..].try_into().unwrap());
    assert_eq!(trace_id.to_string(), TRACE_ID);
    assert_eq!(parent_id.to_string(), "00f067aa0ba902b7");
    assert_eq!(call.parent_span_id, server.span_id);
    assert!(call.events.is_empty() && server.attributes.is_empty(), "{request:?}");
    let [status] = &call.attributes[..] else {
        panic!("{call:?}")
    };
    assert!(format!("{status:?}").contains("IntValue(200)"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn spans_arrive_over_http() {
    spans_arrive("http/protobuf").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn spans_arrive_over_grpc() {
    spans_arrive("grpc").await;
}

/// Once over each protocol, both signals of one process to one collector.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn metrics_arrive_over_both_protocols() {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;

    async fn receive(State(received): State<mpsc::UnboundedSender<Bytes>>, body: Bytes) -> Response {
        received.send(body).unwrap();
        grpc_answer()
    }

    for (protocol, prefix) in [("http/protobuf", 0), ("grpc", 5)] {
        let (received, mut exports) = mpsc::unbounded_channel();
        let grpc = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
        let router = Router::new()
            .route("/v1/metrics", post(receive))
            .route(grpc, post(receive))
            .with_state(received);
        let endpoint = format!("http://{}", serve(router).await);
        let environment = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
            "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(protocol.to_owned()),
            "OTEL_SERVICE_NAME" => Some("broker-under-test".to_owned()),
            _ => None,
        };
        let (_dispatch, guard) = assemble(&options("off"), &environment, std::io::sink).unwrap();
        guard.metrics().authenticated(metrics::labels::Authentication::Accepted);
        guard.shutdown(Duration::from_secs(10));
        let body = exports.recv().await.unwrap();
        let request = ExportMetricsServiceRequest::decode(body.slice(prefix..)).unwrap();
        let [resource] = &request.resource_metrics[..] else {
            panic!("{request:?}")
        };
        assert!(format!("{:?}", resource.resource).contains("broker-under-test"));
        let names: Vec<&str> = resource.scope_metrics[0]
            .metrics
            .iter()
            .map(|metric| metric.name.as_str())
            .collect();
        assert!(names.contains(&"acs_broker.authentication"), "{protocol}: {names:?}");
    }
}

/// What has been added since the last export is sent once, so it must not be lost with an export.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn differences_are_sent_until_they_are_taken() {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;

    const AWAY: usize = 4;
    let (received, mut exports) = mpsc::unbounded_channel();
    let attempts = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let router = Router::new().route(
        "/v1/metrics",
        post(async move |body: Bytes| {
            if attempts.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < AWAY {
                return http::StatusCode::SERVICE_UNAVAILABLE;
            }
            received.send(body).unwrap();
            http::StatusCode::OK
        }),
    );
    let endpoint = format!("http://{}", serve(router).await);
    let environment = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE" => Some("delta".to_owned()),
        "OTEL_METRIC_EXPORT_INTERVAL" => Some("20".to_owned()),
        _ => None,
    };
    let (_dispatch, guard) = assemble(&options("off"), &environment, std::io::sink).unwrap();
    let add = || guard.metrics().authenticated(metrics::labels::Authentication::Accepted);
    let counted = |body: Bytes| -> i64 {
        let request = ExportMetricsServiceRequest::decode(body).unwrap();
        let resources = request.resource_metrics.into_iter();
        let all = resources
            .flat_map(|resource| resource.scope_metrics)
            .flat_map(|scope| scope.metrics);
        let own = all.filter(|metric| metric.name == "acs_broker.authentication");
        let points = own.flat_map(|metric| match metric.data {
            Some(Data::Sum(sum)) => sum.data_points,
            other => panic!("{other:?}"),
        });
        points
            .map(|point| match point.value {
                Some(Value::AsInt(value)) => value,
                other => panic!("{other:?}"),
            })
            .sum()
    };
    (0..5).for_each(|_| add());
    let mut sum = 0;
    while sum < 5 {
        sum += counted(exports.recv().await.unwrap());
    }
    add();
    let lost = guard.metrics().scrape().unwrap();
    guard.shutdown(Duration::from_secs(10));
    exports.close();
    while let Some(body) = exports.recv().await {
        sum += counted(body);
    }
    assert_eq!(sum, 6);
    assert!(
        lost.contains("acs_broker_telemetry_dropped_total{acs_broker_signal=\"metrics\"} 0"),
        "{lost}"
    );
}

#[tokio::test]
async fn a_dead_collector_does_not_hold_up_the_end() {
    // Accepts, in the kernel's backlog, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let away = "http://127.0.0.1:1".to_owned();
    for (protocol, endpoint) in [
        ("http/protobuf", &silent),
        ("grpc", &silent),
        ("http/protobuf", &away),
        ("grpc", &away),
    ] {
        let environment = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
            "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(protocol.to_owned()),
            _ => None,
        };
        let (dispatch, guard) = assemble(&options("off"), &environment, std::io::sink).unwrap();
        tracing::dispatcher::with_default(&dispatch, || drop(request_span()));
        let clock = SystemClock::new();
        guard.shutdown(Duration::from_millis(200));
        drop(dispatch);
        assert!(clock.monotonic() < Duration::from_secs(3), "{protocol}");
    }
}

#[tokio::test]
async fn what_a_silent_collector_does_not_take_is_dropped_and_counted() {
    const QUEUE: u64 = 8;
    const SENT: u64 = 2_000;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let environment = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        "OTEL_BSP_MAX_QUEUE_SIZE" | "OTEL_BLRP_MAX_QUEUE_SIZE" => Some(QUEUE.to_string()),
        _ => None,
    };
    let (dispatch, guard) = assemble(&options("info"), &environment, std::io::sink).unwrap();
    tracing::dispatcher::with_default(&dispatch, || {
        for _ in 0..SENT {
            request_span().in_scope(|| tracing::info!("request"));
        }
    });
    let reported = guard.metrics().scrape().unwrap();
    // All but one batch on its way, which hangs, and one queue behind it.
    for signal in ["traces", "logs"] {
        let name = format!("acs_broker_telemetry_dropped_total{{acs_broker_signal=\"{signal}\"}} ");
        let lost = reported
            .lines()
            .find_map(|line| line.strip_prefix(name.as_str()))
            .unwrap();
        let lost: u64 = lost.parse().unwrap();
        assert!((SENT - 2 * QUEUE..SENT).contains(&lost), "{signal}: {lost}");
    }
    guard.shutdown(Duration::from_millis(200));
}

/// Log lines that come faster than they are sent push out others of their kind, and no audit event.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn log_lines_push_out_no_audit_event() {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;

    const EVENTS: usize = 40;
    let (received, mut exports) = mpsc::unbounded_channel();
    let receive = async move |body: Bytes| {
        received.send(ExportLogsServiceRequest::decode(body).unwrap()).unwrap();
    };
    let endpoint = format!("http://{}", serve(Router::new().route("/v1/logs", post(receive))).await);
    let environment = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        "OTEL_BLRP_MAX_QUEUE_SIZE" => Some("64".to_owned()),
        _ => None,
    };
    let (dispatch, guard) = assemble(&options("info"), &environment, std::io::sink).unwrap();
    tracing::dispatcher::with_default(&dispatch, || {
        for _ in 0..EVENTS {
            tracing::info!(target: AUDIT_TARGET, "token");
            (0..200).for_each(|_| tracing::info!("request"));
        }
    });
    guard.shutdown(Duration::from_secs(10));
    drop(dispatch);
    exports.close();
    let (mut events, mut lines) = (0, 0);
    while let Some(request) = exports.recv().await {
        let scopes = request
            .resource_logs
            .into_iter()
            .flat_map(|resource| resource.scope_logs);
        for record in scopes.flat_map(|scope| scope.log_records) {
            let body = format!("{:?}", record.body);
            *if body.contains("token") {
                &mut events
            } else {
                &mut lines
            } += 1;
        }
    }
    assert_eq!(events, EVENTS);
    assert!(lines < 200 * EVENTS, "{lines}");
}
