use std::collections::HashMap;

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Settings, TelemetryError> {
    let variables: HashMap<String, String> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Settings::read(&|name| variables.get(name).cloned())
}

fn exporter(variables: &[(&str, &str)]) -> Option<(Protocol, String)> {
    let settings = read(variables).unwrap();
    settings.traces.map(|exporter| (exporter.protocol, exporter.endpoint))
}

#[test]
fn endpoint_and_protocol_follow_the_specification() {
    use Protocol::{Grpc, HttpProtobuf};
    let found = |protocol, endpoint: &str| Some((protocol, endpoint.to_owned()));
    assert_eq!(exporter(&[]), None);
    assert_eq!(exporter(&[(ENDPOINT, " ")]), None);
    assert_eq!(
        exporter(&[(ENDPOINT, "http://c:4318")]),
        found(HttpProtobuf, "http://c:4318/v1/traces")
    );
    assert_eq!(
        exporter(&[(ENDPOINT, "http://c:4318/otlp/")]),
        found(HttpProtobuf, "http://c:4318/otlp/v1/traces")
    );
    assert_eq!(
        exporter(&[(ENDPOINT, "http://c:4318"), (TRACES.endpoint, "https://t/in")]),
        found(HttpProtobuf, "https://t/in")
    );
    assert_eq!(
        exporter(&[(ENDPOINT, "http://c:4317"), (PROTOCOL, "grpc")]),
        found(Grpc, "http://c:4317")
    );
    assert_eq!(
        exporter(&[
            (ENDPOINT, "http://c:4318"),
            (PROTOCOL, "grpc"),
            (TRACES.protocol, "http/protobuf")
        ]),
        found(HttpProtobuf, "http://c:4318/v1/traces")
    );
    assert_eq!(
        exporter(&[(ENDPOINT, "c:4317"), (PROTOCOL, "grpc")]),
        found(Grpc, "c:4317")
    );
    assert_eq!(exporter(&[(ENDPOINT, "http://c"), (TRACES.exporter, "none")]), None);
    assert_eq!(exporter(&[(ENDPOINT, "http://c"), (SDK_DISABLED, "True")]), None);
}

#[test]
fn unknown_values_are_told_by_name() {
    for (variables, name) in [
        (&[(PROTOCOL, "http/json")][..], PROTOCOL),
        (&[(PROTOCOL, "grpc"), (TRACES.protocol, "udp")], TRACES.protocol),
        (&[(ENDPOINT, "collector:4318")], ENDPOINT),
        (&[(TRACES.endpoint, "ftp://c"), (PROTOCOL, "grpc")], TRACES.endpoint),
        (&[(TRACES.exporter, "zipkin")], TRACES.exporter),
        (&[(SAMPLER, "jaeger_remote")], SAMPLER),
        (&[(SAMPLER, "parentbased_")], SAMPLER),
        (&[(SAMPLER, "traceidratio"), (SAMPLER_ARG, "1.5")], SAMPLER_ARG),
        (&[(SAMPLER, "traceidratio"), (SAMPLER_ARG, "NaN")], SAMPLER_ARG),
        (&[(LOGS.exporter, "console")], LOGS.exporter),
        (&[(SPAN_QUEUE, "0")], SPAN_QUEUE),
        (&[(LOG_QUEUE, "many")], LOG_QUEUE),
        (&[(RESOURCE_ATTRIBUTES, "a=1,b")], RESOURCE_ATTRIBUTES),
        (&[(RESOURCE_ATTRIBUTES, "a=%+1")], RESOURCE_ATTRIBUTES),
    ] {
        match read(variables) {
            Err(TelemetryError::Variable { name: told, .. }) => assert_eq!(told, name),
            other => panic!("{variables:?}: {other:?}"),
        }
    }
}

#[test]
fn each_signal_has_its_own_variables() {
    let settings = read(&[
        (ENDPOINT, "http://c:4318"),
        (LOGS.endpoint, "http://l:4317"),
        (LOGS.protocol, "grpc"),
        (LOG_QUEUE, "100"),
    ])
    .unwrap();
    assert_eq!(settings.traces.unwrap().endpoint, "http://c:4318/v1/traces");
    let logs = settings.logs.unwrap();
    assert_eq!(
        (logs.protocol, logs.endpoint.as_str()),
        (Protocol::Grpc, "http://l:4317")
    );
    assert_eq!((settings.span_queue, settings.log_queue), (QUEUE, 100));
    let settings = read(&[(ENDPOINT, "http://c:4318"), (LOGS.exporter, "none")]).unwrap();
    assert!(settings.traces.is_some() && settings.logs.is_none());
}

#[test]
fn samplers_by_name() {
    for (name, argument, root, parent_based) in [
        (None, None, "AlwaysOn", true),
        (Some("always_off"), None, "AlwaysOff", false),
        (Some("traceidratio"), Some("0.25"), "TraceIdRatioBased(0.25)", false),
        (Some("parentbased_traceidratio"), None, "TraceIdRatioBased(1.0)", true),
    ] {
        let settings = sampler(name, argument).unwrap();
        assert_eq!(format!("{:?}", settings.root), root);
        assert_eq!(settings.sampler(true).obeys_callers, parent_based, "{name:?}");
        assert!(!sampler(name, argument).unwrap().sampler(false).obeys_callers);
    }
}

#[test]
fn the_resource_can_be_renamed() {
    let value = |variables: &[(&str, &str)], key: &str| {
        let resource = read(variables).unwrap().resource;
        let mut found = resource.into_iter().filter(|attribute| attribute.key.as_str() == key);
        let value = found.next().map(|attribute| attribute.value.to_string());
        assert!(found.next().is_none(), "{key} once only");
        value
    };
    assert_eq!(value(&[], "service.name").unwrap(), "acs-token-broker");
    assert!(value(&[], "service.instance.id").is_some());
    let attributes = (
        RESOURCE_ATTRIBUTES,
        "service.name=a, deployment.environment.name=pr%2Fod ,service.instance.id=7",
    );
    assert_eq!(value(&[attributes], "service.name").unwrap(), "a");
    assert_eq!(value(&[attributes], "deployment.environment.name").unwrap(), "pr/od");
    assert_eq!(value(&[attributes], "service.instance.id").unwrap(), "7");
    assert_eq!(value(&[attributes, (SERVICE_NAME, "b")], "service.name").unwrap(), "b");
}
