mod certificates;
mod sampler;

use std::collections::HashMap;

use opentelemetry::Key;

use super::*;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

fn read(variables: &[(&str, &str)]) -> (Settings, Vec<String>) {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    let (settings, warnings) = Settings::read(&|name| variables.get(name).map(|value| (*value).to_owned()));
    (settings, warnings.into_lines())
}

/// What counts where nothing is to be said.
fn served(variables: &[(&str, &str)]) -> Settings {
    let (settings, warnings) = read(variables);
    assert_eq!(warnings, [""; 0], "{variables:?}");
    settings
}

/// What counts where one thing is to be said, of this variable, without its value.
fn warned(variables: &[(&str, &str)], name: &str) -> Settings {
    let (settings, warnings) = read(variables);
    let [warning] = &warnings[..] else {
        panic!("{variables:?}: {warnings:?}")
    };
    assert!(warning.starts_with(&format!("{name}: ")), "{warning}");
    assert!(!warning.contains("s3cret"), "{warning}");
    settings
}

fn where_to(settings: &Settings) -> Option<(Protocol, &str)> {
    let traces = settings.traces.as_ref();
    traces.map(|exporter| (exporter.protocol, exporter.endpoint.as_str()))
}

#[test]
fn endpoint_and_protocol_follow_the_specification() {
    use Protocol::{Grpc, HttpProtobuf};
    for (variables, wanted) in [
        (&[][..], None),
        (&[(ENDPOINT, " ")], None),
        (
            &[(ENDPOINT, "http://c:4318")],
            Some((HttpProtobuf, "http://c:4318/v1/traces")),
        ),
        (
            &[(ENDPOINT, "http://c:4318/otlp/")],
            Some((HttpProtobuf, "http://c:4318/otlp/v1/traces")),
        ),
        (
            &[(ENDPOINT, "http://c:4318"), (TRACES_ENDPOINT, "https://t/in")],
            Some((HttpProtobuf, "https://t/in")),
        ),
        (
            &[(ENDPOINT, "http://c:4317"), (PROTOCOL, "grpc")],
            Some((Grpc, "http://c:4317")),
        ),
        (
            &[
                (ENDPOINT, "http://c:4318"),
                (PROTOCOL, "GRPC"),
                (TRACES_PROTOCOL, "http/protobuf"),
            ],
            Some((HttpProtobuf, "http://c:4318/v1/traces")),
        ),
        (
            &[(ENDPOINT, "c:4317"), (PROTOCOL, "grpc")],
            Some((Grpc, "https://c:4317")),
        ),
        (
            &[
                (ENDPOINT, "c:4317"),
                (PROTOCOL, "grpc"),
                ("OTEL_EXPORTER_OTLP_INSECURE", "True"),
            ],
            Some((Grpc, "http://c:4317")),
        ),
        (
            &[
                (ENDPOINT, "c:4317"),
                (PROTOCOL, "grpc"),
                ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
                ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "false"),
            ],
            Some((Grpc, "https://c:4317")),
        ),
        (&[(ENDPOINT, "http://c"), ("OTEL_TRACES_EXPORTER", "none")], None),
        (&[(ENDPOINT, "http://c"), ("OTEL_SDK_DISABLED", "True")], None),
        // What editors and `--env-file` leave in a value.
        (
            &[(ENDPOINT, " \"http://c:4318\"\r\n")],
            Some((HttpProtobuf, "http://c:4318/v1/traces")),
        ),
        (
            &[(ENDPOINT, "\u{feff}'http://c:4317'"), (PROTOCOL, "grpc\r")],
            Some((Grpc, "http://c:4317")),
        ),
    ] {
        assert_eq!(where_to(&served(variables)), wanted, "{variables:?}");
    }
}

#[test]
fn what_cannot_be_served_is_said_and_the_nearest_counts() {
    use Protocol::{Grpc, HttpProtobuf};
    let base = (ENDPOINT, "http://c:4318");
    let usual = Some((HttpProtobuf, "http://c:4318/v1/traces"));
    for (variables, name, wanted) in [
        (&[base, (PROTOCOL, "http/json")][..], PROTOCOL, usual),
        (&[base, (PROTOCOL, "udp")], PROTOCOL, usual),
        (
            &[base, (PROTOCOL, "grpc"), (TRACES_PROTOCOL, "udp")],
            TRACES_PROTOCOL,
            Some((Grpc, "http://c:4318")),
        ),
        (&[(ENDPOINT, "collector:4318")], ENDPOINT, None),
        (&[(ENDPOINT, "http://")], ENDPOINT, None),
        (&[base, (TRACES_ENDPOINT, "ftp://s3cret@c")], TRACES_ENDPOINT, usual),
        (
            &[(TRACES_ENDPOINT, "unix:///run/s3cret"), (PROTOCOL, "grpc")],
            TRACES_ENDPOINT,
            None,
        ),
        (
            &[
                (ENDPOINT, "c:4317"),
                (PROTOCOL, "grpc"),
                ("OTEL_EXPORTER_OTLP_INSECURE", "yes"),
            ],
            "OTEL_EXPORTER_OTLP_INSECURE",
            Some((Grpc, "https://c:4317")),
        ),
        (&[base, ("OTEL_SDK_DISABLED", "1")], "OTEL_SDK_DISABLED", usual),
        // Unknown, as if nothing were said; the console's, as good as none.
        (
            &[base, ("OTEL_TRACES_EXPORTER", "zipkin")],
            "OTEL_TRACES_EXPORTER",
            usual,
        ),
        (
            &[base, ("OTEL_TRACES_EXPORTER", "otlp,jaeger")],
            "OTEL_TRACES_EXPORTER",
            usual,
        ),
        (
            &[base, ("OTEL_TRACES_EXPORTER", "console")],
            "OTEL_TRACES_EXPORTER",
            None,
        ),
        (
            &[base, ("OTEL_TRACES_EXPORTER", "console, otlp")],
            "OTEL_TRACES_EXPORTER",
            usual,
        ),
        (
            &[base, ("OTEL_TRACES_EXPORTER", "none,zipkin")],
            "OTEL_TRACES_EXPORTER",
            None,
        ),
        (
            &[base, ("OTEL_TRACES_EXPORTER", "prometheus")],
            "OTEL_TRACES_EXPORTER",
            usual,
        ),
    ] {
        assert_eq!(where_to(&warned(variables, name)), wanted, "{variables:?}");
    }
    for (name, value) in [
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_PROPAGATORS", "tracecontext,baggage"),
        ("OTEL_PROPAGATORS", "none"),
        ("OTEL_LOG_LEVEL", "debug"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "trace_based"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2_exponential_bucket_histogram",
        ),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "9464"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "100"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "many"),
        ("OTEL_CONFIG_FILE", "/etc/otel.yaml"),
        ("OTEL_EXPERIMENTAL_CONFIG_FILE", "/etc/otel.yaml"),
        ("OTEL_EXPORTER_ZIPKIN_ENDPOINT", "http://z:9411"),
        (TEMPORALITY, "deltoid"),
        (RESOURCE_ATTRIBUTES, "a=s3cret,b"),
        (RESOURCE_ATTRIBUTES, "a=%+1"),
    ] {
        assert_eq!(where_to(&warned(&[base, (name, value)], name)), usual, "{name}={value}");
    }
    for (name, value) in [
        ("OTEL_PROPAGATORS", "tracecontext"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_off"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "0"),
        ("OTEL_LOG_LEVEL", ""),
    ] {
        served(&[base, (name, value)]);
    }
}

#[test]
fn numbers_that_are_none_are_ignored() {
    let base = (ENDPOINT, "http://c:4318");
    for bad in ["0", "10s", "-1", "+1", "1.5", "18446744073709551616"] {
        for name in ["OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_BSP_EXPORT_TIMEOUT"] {
            let settings = warned(&[base, (name, bad)], name);
            assert_eq!(settings.traces.unwrap().timeout, Duration::from_secs(10), "{bad}");
        }
        let settings = warned(&[(METRIC_INTERVAL, bad)], METRIC_INTERVAL);
        assert_eq!(settings.metrics.interval, Duration::from_secs(60), "{bad}");
        for (name, usual) in [
            ("OTEL_BSP_MAX_QUEUE_SIZE", 2048),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 2048),
            ("OTEL_BSP_SCHEDULE_DELAY", 2048),
        ] {
            let batching = warned(&[(name, bad)], name).spans;
            let delay = Duration::from_secs(5);
            assert_eq!(
                (batching.capacity, batching.batch, batching.delay),
                (usual, 512, delay),
                "{bad}"
            );
        }
    }
    let own = [
        base,
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "7000"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", " 5 "),
        ("OTEL_BSP_EXPORT_TIMEOUT", "3000"),
        (METRIC_TIMEOUT, "30000"),
        (METRIC_INTERVAL, "1500"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "10"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "20"),
    ];
    let settings = served(&own);
    let timeout = |exporter: &Option<ExporterSettings>| exporter.as_ref().unwrap().timeout.as_millis();
    let all = [&settings.traces, &settings.logs, &settings.metrics.exporter].map(timeout);
    assert_eq!(all, [3000, 5, 7000]);
    assert_eq!(settings.metrics.interval, Duration::from_millis(1500));
    assert_eq!((settings.spans.capacity, settings.spans.batch), (100, 100));
    let records = settings.records;
    assert_eq!(
        (records.capacity, records.batch, records.delay.as_millis()),
        (2048, 10, 20)
    );
    let name = "OTEL_BSP_MAX_QUEUE_SIZE";
    assert_eq!(warned(&[(name, "1048577")], name).spans.capacity, 1 << 20);
    let (name, queue) = ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", ("OTEL_BSP_MAX_QUEUE_SIZE", "10"));
    assert_eq!(warned(&[queue, (name, "11")], name).spans.batch, 10);
}

#[test]
fn headers_that_cannot_be_sent_are_left_out_and_never_shown() {
    const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
    let shown = |settings: Settings| {
        let exporter = settings.traces.unwrap();
        assert!(!format!("{exporter:?}").contains("s3cret"));
        let mut all: Vec<String> = exporter
            .headers
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        all.sort();
        all.join(",")
    };
    let base = (ENDPOINT, "http://c:4318");
    for (list, wanted) in [
        ("api-key=s3cret", "api-key=s3cret"),
        ("a=1, b=2,", "a=1,b=2"),
        ("Authorization=Basic%20dTpw==", "authorization=Basic dTpw=="),
        ("a=x=y", "a=x=y"),
    ] {
        assert_eq!(shown(served(&[base, (HEADERS, list)])), wanted, "{list}");
    }
    for (list, wanted) in [
        ("s3cret", ""),
        ("a=1,s3cret", "a=1"),
        ("a b=s3cret,c=1", "c=1"),
        ("a=", ""),
        ("=s3cret", ""),
        ("a=s3cret%0a", ""),
        ("a=s3cret%2,b=1,c", "b=1"),
    ] {
        assert_eq!(shown(warned(&[base, (HEADERS, list)], HEADERS)), wanted, "{list}");
    }
    let own = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2");
    assert_eq!(shown(served(&[base, (HEADERS, "a=1"), own])), "b=2");
}

#[test]
fn compression_is_gzip_or_none() {
    const COMPRESSION: &str = "OTEL_EXPORTER_OTLP_COMPRESSION";
    let base = (ENDPOINT, "http://c:4318");
    for (value, wanted) in [("gzip", true), ("none", false), ("GZIP ", true)] {
        let settings = served(&[base, (COMPRESSION, value)]);
        assert_eq!(settings.traces.unwrap().gzip, wanted, "{value}");
    }
    for bad in ["zstd", "deflate", "snappy"] {
        assert!(!warned(&[base, (COMPRESSION, bad)], COMPRESSION).traces.unwrap().gzip);
        let own = "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION";
        let settings = warned(&[base, (COMPRESSION, "gzip"), (own, bad)], own);
        assert!(settings.traces.unwrap().gzip && settings.logs.unwrap().gzip);
    }
}

#[test]
fn each_signal_has_its_own_variables() {
    let base = (ENDPOINT, "http://c:4318");
    let settings = served(&[
        base,
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://l:4317"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m/in"),
        (TEMPORALITY, "Delta"),
    ]);
    assert_eq!(where_to(&settings).unwrap().1, "http://c:4318/v1/traces");
    let logs = settings.logs.unwrap();
    assert_eq!(
        (logs.protocol, logs.endpoint.as_str()),
        (Protocol::Grpc, "http://l:4317")
    );
    assert_eq!(settings.metrics.exporter.unwrap().endpoint, "http://m/in");
    assert_eq!(settings.metrics.temporality, Temporality::Delta);
    let settings = served(&[base, ("OTEL_LOGS_EXPORTER", "none")]);
    assert!(settings.traces.is_some() && settings.logs.is_none());
    assert_eq!(settings.metrics.exporter.unwrap().endpoint, "http://c:4318/v1/metrics");
    // Scraping is always possible.
    for (exporters, pushed) in [("none", false), ("prometheus", false), ("otlp,prometheus", true)] {
        let settings = served(&[base, ("OTEL_METRICS_EXPORTER", exporters)]);
        assert_eq!(settings.metrics.exporter.is_some(), pushed, "{exporters}");
    }
}

#[test]
fn the_resource_says_what_and_by_which_sdk_and_can_be_renamed() {
    let value = |variables: &[(&str, &str)], key: &'static str| {
        let resource = read(variables).0.resource;
        assert_eq!(resource.schema_url(), Some("https://opentelemetry.io/schemas/1.37.0"));
        resource.get(&Key::from_static_str(key)).map(|value| value.to_string())
    };
    assert_eq!(value(&[], "service.name").unwrap(), "acs-token-broker");
    assert!(value(&[], "service.instance.id").is_some());
    assert_eq!(value(&[], "telemetry.sdk.name").unwrap(), "opentelemetry");
    assert_eq!(value(&[], "telemetry.sdk.language").unwrap(), "rust");
    assert!(value(&[], "telemetry.sdk.version").unwrap().starts_with("0."));
    let attributes = (
        RESOURCE_ATTRIBUTES,
        "service.name=a, deployment.environment.name=pr%2Fod ,service.instance.id=7,telemetry.sdk.name=forged,",
    );
    assert_eq!(value(&[attributes], "service.name").unwrap(), "a");
    assert_eq!(value(&[attributes], "deployment.environment.name").unwrap(), "pr/od");
    assert_eq!(value(&[attributes], "service.instance.id").unwrap(), "7");
    assert_eq!(value(&[attributes], "telemetry.sdk.name").unwrap(), "opentelemetry");
    let named = [attributes, ("OTEL_SERVICE_NAME", "b")];
    assert_eq!(value(&named, "service.name").unwrap(), "b");
    // A part that is malformed spoils the whole.
    assert_eq!(value(&[(RESOURCE_ATTRIBUTES, "a=1,b")], "a"), None);
}
