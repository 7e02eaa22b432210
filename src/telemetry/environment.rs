//! What the standard `OTEL_*` variables say about traces and logs; for metrics, see `metrics/settings.rs`.
//!
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/> and
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>. An empty value counts as unset there.
//!
//! Read here: whether to export, where, how and how long, the sampler, the resource, and how much may wait. Read by
//! opentelemetry-otlp itself from the process environment: `OTEL_EXPORTER_OTLP[_TRACES|_LOGS]_{HEADERS,COMPRESSION,
//! INSECURE}`; by the SDK: the rest of `OTEL_BSP_*` and `OTEL_BLRP_*`, and `OTEL_SPAN_*_LIMIT`. What these cannot take
//! is found here all the same (`libraries`). Trust anchors for a collector are the system's (`SSL_CERT_FILE`).
//! The broker is stricter than the specification, which has unknown values ignored with a warning: a typing error
//! that silently loses all traces is found when they are needed.

mod libraries;

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::Sampler;
use url::Url;

use super::TelemetryError;
use super::sampler::RequestSampler;
use crate::build_info;

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

const SDK_DISABLED: &str = "OTEL_SDK_DISABLED";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
const SPAN_QUEUE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";
const LOG_QUEUE: &str = "OTEL_BLRP_MAX_QUEUE_SIZE";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// The specification's default for one export.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a signal may wait if nothing is said: the specification's default.
const QUEUE: usize = 2048;
/// More would be a way to fill the memory.
const LARGEST_QUEUE: usize = 1 << 20;

/// The variables of one signal.
pub(super) struct Signal {
    pub(super) exporter: &'static str,
    pub(super) endpoint: &'static str,
    pub(super) protocol: &'static str,
    pub(super) timeout: &'static str,
    /// What is added to the general endpoint in HTTP.
    pub(super) path: &'static str,
    /// Values of `exporter` that mean that nothing is pushed.
    pub(super) not_pushed: &'static [&'static str],
}

const TRACES: Signal = Signal {
    exporter: "OTEL_TRACES_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    protocol: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    timeout: "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    path: "v1/traces",
    not_pushed: &["none"],
};

const LOGS: Signal = Signal {
    exporter: "OTEL_LOGS_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    protocol: "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
    timeout: "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
    path: "v1/logs",
    not_pushed: &["none"],
};

/// All of it.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) traces: Option<ExporterSettings>,
    pub(super) logs: Option<ExporterSettings>,
    pub(super) sampler: SamplerSettings,
    pub(super) span_queue: usize,
    pub(super) log_queue: usize,
    pub(super) resource: Vec<KeyValue>,
}

/// `OTEL_TRACES_SAMPLER`
#[derive(Debug)]
pub(super) struct SamplerSettings {
    root: Sampler,
    parent_based: bool,
}

impl SamplerSettings {
    /// The sampler; a caller is obeyed only if he is trusted and the variable asks for parents.
    pub(super) fn sampler(self, trust_callers: bool) -> RequestSampler {
        RequestSampler {
            root: self.root,
            obeys_callers: self.parent_based && trust_callers,
        }
    }
}

/// Where a signal goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExporterSettings {
    pub(super) protocol: Protocol,
    /// Complete: in HTTP with the signal's path.
    pub(super) endpoint: String,
    /// For one export, retries included.
    pub(super) timeout: Duration,
}

/// `OTEL_EXPORTER_OTLP_PROTOCOL`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// `http/protobuf`
    HttpProtobuf,
    /// `grpc`
    Grpc,
}

impl Settings {
    pub(super) fn read(environment: Environment<'_>) -> Result<Self, TelemetryError> {
        if let Some(problem) = libraries::problems(environment).next() {
            return Err(problem);
        }
        let get = |name| set(environment, name);
        Ok(Self {
            traces: exporter(&TRACES, &get)?,
            logs: exporter(&LOGS, &get)?,
            sampler: sampler(get(SAMPLER).as_deref(), get(SAMPLER_ARG).as_deref())?,
            span_queue: queue(&get, SPAN_QUEUE)?,
            log_queue: queue(&get, LOG_QUEUE)?,
            resource: resource(get(SERVICE_NAME), get(RESOURCE_ATTRIBUTES).as_deref())?,
        })
    }
}

/// Everything that is not supported but for what only metrics have.
pub(super) fn problems(environment: Environment<'_>) -> Vec<TelemetryError> {
    let get = |name| set(environment, name);
    let own = [
        exporter(&TRACES, &get).err(),
        exporter(&LOGS, &get).err(),
        sampler(get(SAMPLER).as_deref(), get(SAMPLER_ARG).as_deref()).err(),
        queue(&get, SPAN_QUEUE).err(),
        queue(&get, LOG_QUEUE).err(),
        resource(None, get(RESOURCE_ATTRIBUTES).as_deref()).err(),
    ];
    own.into_iter()
        .flatten()
        .chain(libraries::problems(environment))
        .collect()
}

/// A variable that is not empty, by its name.
pub(super) fn set(environment: Environment<'_>, name: &'static str) -> Option<String> {
    let value = environment(name)?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

pub(super) fn number(
    name: &'static str,
    get: &dyn Fn(&'static str) -> Option<String>,
) -> Result<Option<u64>, TelemetryError> {
    let number = get(name).map(|text| text.parse().ok().filter(|number| *number > 0));
    match number {
        Some(None) => Err(invalid(name, "not a whole number above 0")),
        Some(number) => Ok(number),
        None => Ok(None),
    }
}

fn queue(get: &dyn Fn(&'static str) -> Option<String>, name: &'static str) -> Result<usize, TelemetryError> {
    match get(name) {
        None => Ok(QUEUE),
        Some(text) => text
            .parse()
            .ok()
            .filter(|size| (1..=LARGEST_QUEUE).contains(size))
            .ok_or_else(|| invalid(name, "not a number from 1 to 1048576")),
    }
}

pub(super) fn exporter(
    signal: &Signal,
    get: &dyn Fn(&'static str) -> Option<String>,
) -> Result<Option<ExporterSettings>, TelemetryError> {
    // The specification: only a case-insensitive "true" is true.
    let disabled = get(SDK_DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let wanted = match get(signal.exporter).as_deref() {
        None | Some("otlp") => true,
        Some(other) if signal.not_pushed.contains(&other) => false,
        Some(_) => return Err(invalid(signal.exporter, "neither otlp nor none")),
    };
    let protocol = match first(get, [signal.protocol, PROTOCOL]) {
        None => Protocol::HttpProtobuf,
        Some((name, value)) => match value.as_str() {
            "http/protobuf" => Protocol::HttpProtobuf,
            "grpc" => Protocol::Grpc,
            _ => return Err(invalid(name, "neither http/protobuf nor grpc")),
        },
    };
    let Some((name, mut endpoint)) = first(get, [signal.endpoint, ENDPOINT]) else {
        return Ok(None);
    };
    // gRPC endpoints may be a mere host and port; `OTEL_EXPORTER_OTLP_INSECURE` then decides about TLS.
    if protocol == Protocol::HttpProtobuf || endpoint.contains("://") {
        let http = Url::parse(&endpoint).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !http {
            return Err(invalid(name, "not an http or https URL"));
        }
    }
    // The general endpoint is a base for all signals, the one for one signal is taken as it is.
    if protocol == Protocol::HttpProtobuf && name == ENDPOINT {
        if !endpoint.ends_with('/') {
            endpoint.push('/');
        }
        endpoint.push_str(signal.path);
    }
    let timeout = match first(get, [signal.timeout, TIMEOUT]) {
        Some((name, _)) => number(name, get)?.map_or(DEFAULT_TIMEOUT, Duration::from_millis),
        None => DEFAULT_TIMEOUT,
    };
    Ok((wanted && !disabled).then_some(ExporterSettings {
        protocol,
        endpoint,
        timeout,
    }))
}

fn first(get: &dyn Fn(&'static str) -> Option<String>, names: [&'static str; 2]) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| Some((name, get(name)?)))
}

fn sampler(name: Option<&str>, argument: Option<&str>) -> Result<SamplerSettings, TelemetryError> {
    let name = name.unwrap_or("parentbased_always_on");
    let (parent_based, root) = match name.strip_prefix("parentbased_") {
        Some(root) => (true, root),
        None => (false, name),
    };
    let root = match root {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(match argument {
            // The specification's default.
            None => 1.0,
            Some(text) => text
                .parse()
                .ok()
                .filter(|ratio| (0.0..=1.0).contains(ratio))
                .ok_or_else(|| invalid(SAMPLER_ARG, "not a number from 0 to 1"))?,
        }),
        _ => {
            return Err(invalid(
                SAMPLER,
                "none of always_on, always_off, traceidratio, alone or after parentbased_",
            ));
        }
    };
    Ok(SamplerSettings { root, parent_based })
}

/// Attributes of this process. The name in `OTEL_SERVICE_NAME` goes before that among the attributes, which go
/// before the broker's own.
fn resource(name: Option<String>, attributes: Option<&str>) -> Result<Vec<KeyValue>, TelemetryError> {
    let mut resource = vec![
        KeyValue::new("service.name", env!("CARGO_PKG_NAME")),
        KeyValue::new("service.version", build_info::VERSION),
        KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
    ];
    let mut set = |key: String, value: String| {
        resource.retain(|own| own.key.as_str() != key);
        resource.push(KeyValue::new(key, value));
    };
    for pair in attributes.unwrap_or_default().split_terminator(',') {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or_else(|| invalid(RESOURCE_ATTRIBUTES, "not a list of key=value"))?;
        let decoded = |text: &str| {
            let malformed = || invalid(RESOURCE_ATTRIBUTES, "malformed percent encoding");
            decode(text.trim()).ok_or_else(malformed)
        };
        set(decoded(key)?, decoded(value)?);
    }
    if let Some(name) = name {
        set("service.name".to_owned(), name);
    }
    Ok(resource)
}

/// Undoes percent encoding; `None` where it is malformed.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        // `from_str_radix` alone would take a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

pub(super) fn invalid(name: &'static str, reason: &'static str) -> TelemetryError {
    TelemetryError::Variable { name, reason }
}

#[cfg(test)]
mod tests;
