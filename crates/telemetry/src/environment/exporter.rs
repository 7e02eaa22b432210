//! Whether a signal is sent, where and how.

use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use url::Url;

use super::reader::{Reader, decode, number};
use crate::otlp::Tls;

const SDK_DISABLED: &str = "OTEL_SDK_DISABLED";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The specification's default for one export.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The variables that a signal has of its own beside a general one, in the order of the arrays below.
#[derive(Clone, Copy)]
enum Variable {
    Endpoint,
    Protocol,
    Timeout,
    Headers,
    Compression,
    Insecure,
    Certificate,
    ClientCertificate,
    ClientKey,
}

const GENERAL: [&str; 9] = [
    ENDPOINT,
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_INSECURE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
];

/// The variables of one signal.
pub(super) struct Signal {
    exporter: &'static str,
    own: [&'static str; 9],
    /// What is added to the general endpoint in HTTP.
    path: &'static str,
    /// What `exporter` may name beside: it is there without being pushed.
    at_hand: Option<&'static str>,
}

impl Signal {
    /// The signal's own variable, which goes before the general one, and that.
    fn names(&self, variable: Variable) -> [&'static str; 2] {
        [self.own[variable as usize], GENERAL[variable as usize]]
    }
}

pub(super) const TRACES: Signal = Signal {
    exporter: "OTEL_TRACES_EXPORTER",
    own: [
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    ],
    path: "v1/traces",
    at_hand: None,
};

pub(super) const LOGS: Signal = Signal {
    exporter: "OTEL_LOGS_EXPORTER",
    own: [
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
        "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
        "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION",
        "OTEL_EXPORTER_OTLP_LOGS_INSECURE",
        "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY",
    ],
    path: "v1/logs",
    at_hand: None,
};

pub(super) const METRICS: Signal = Signal {
    exporter: "OTEL_METRICS_EXPORTER",
    own: [
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
        "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
        "OTEL_EXPORTER_OTLP_METRICS_INSECURE",
        "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY",
    ],
    path: "v1/metrics",
    at_hand: Some("prometheus"),
};

/// Where a signal goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExporterSettings {
    pub(crate) protocol: Protocol,
    /// A URL; in HTTP with the signal's path.
    pub(crate) endpoint: String,
    /// For one attempt.
    pub(crate) timeout: Duration,
    /// Marked as sensitive.
    pub(crate) headers: HeaderMap,
    pub(crate) gzip: bool,
    pub(crate) tls: Tls,
}

/// `OTEL_EXPORTER_OTLP_PROTOCOL`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `http/protobuf`
    HttpProtobuf,
    /// `grpc`
    Grpc,
}

/// Where the signal goes, if it is sent. Everything is looked at, so that all there is to say is said at once.
pub(super) fn exporter(signal: &Signal, reader: &Reader<'_>) -> Option<ExporterSettings> {
    let wanted = !disabled(reader) && is_pushed(signal, reader);
    let protocol = protocol(signal, reader);
    let endpoint = endpoint(signal, reader, protocol);
    let timeout = reader.first(&signal.names(Variable::Timeout), number);
    let headers = headers(signal, reader);
    let gzip = reader.first(&signal.names(Variable::Compression), |text| {
        match text.to_ascii_lowercase().as_str() {
            "gzip" => Ok(true),
            "none" => Ok(false),
            _ => Err("neither gzip nor none; ignored"),
        }
    });
    let tls = tls(signal, reader);
    endpoint.filter(|_| wanted).map(|endpoint| ExporterSettings {
        protocol,
        endpoint,
        timeout: timeout.map_or(DEFAULT_TIMEOUT, |(_, limit)| Duration::from_millis(limit)),
        headers,
        gzip: gzip.is_some_and(|(_, gzip)| gzip),
        tls,
    })
}

fn boolean(text: &str) -> Option<bool> {
    [("true", true), ("false", false)]
        .into_iter()
        .find_map(|(name, value)| text.eq_ignore_ascii_case(name).then_some(value))
}

fn disabled(reader: &Reader<'_>) -> bool {
    let disabled = reader.first(&[SDK_DISABLED], |text| {
        boolean(text).ok_or("neither true nor false; false counts")
    });
    disabled.is_some_and(|(_, disabled)| disabled)
}

/// A list of exporters. One that shows what it has on this machine's console is as good as none; of others nothing is
/// known, so that they are passed over as if nothing had been said.
fn is_pushed(signal: &Signal, reader: &Reader<'_>) -> bool {
    let Some(list) = reader.get(signal.exporter) else {
        return true;
    };
    let (mut pushed, mut known) = (false, false);
    for name in list.split(',').map(|name| name.trim().to_ascii_lowercase()) {
        match name.as_str() {
            "otlp" => (pushed, known) = (true, true),
            "none" => known = true,
            name if signal.at_hand == Some(name) => known = true,
            "console" | "logging" | "otlp/stdout" => {
                known = true;
                reader.warn(
                    signal.exporter,
                    "nothing is shown on the console but the log; otlp sends, none does not",
                );
            }
            "" => {}
            _ => reader.warn(
                signal.exporter,
                "names an exporter that is not here; otlp sends, none does not",
            ),
        }
    }
    pushed || !known
}

fn protocol(signal: &Signal, reader: &Reader<'_>) -> Protocol {
    let found = reader.first(&signal.names(Variable::Protocol), |text| {
        Ok(match text.to_ascii_lowercase().as_str() {
            "http/protobuf" => (Protocol::HttpProtobuf, true),
            "http/json" => (Protocol::HttpProtobuf, false),
            "grpc" => (Protocol::Grpc, true),
            _ => return Err("neither http/protobuf nor grpc; ignored"),
        })
    });
    match found {
        Some((name, (protocol, exact))) => {
            if !exact {
                reader.warn(name, "http/json is not served; http/protobuf counts");
            }
            protocol
        }
        None => Protocol::HttpProtobuf,
    }
}

fn endpoint(signal: &Signal, reader: &Reader<'_>, protocol: Protocol) -> Option<String> {
    let insecure = reader.first(&signal.names(Variable::Insecure), |text| {
        boolean(text).ok_or("neither true nor false; ignored")
    });
    let insecure = insecure.is_some_and(|(_, insecure)| insecure);
    let (name, mut endpoint) = reader.first(&signal.names(Variable::Endpoint), |text| {
        let text = match protocol {
            // gRPC endpoints may be a mere host and port.
            Protocol::Grpc if !text.contains("://") => {
                format!("{}://{text}", if insecure { "http" } else { "https" })
            }
            _ => text.to_owned(),
        };
        let url = Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let uri = text.parse::<Uri>().is_ok_and(|uri| uri.host().is_some());
        if url && uri {
            Ok(text)
        } else {
            Err("not an http or https URL; nothing is sent there")
        }
    })?;
    // The general endpoint is a base for all signals, the one for one signal is taken as it is.
    if protocol == Protocol::HttpProtobuf && name == ENDPOINT {
        if !endpoint.ends_with('/') {
            endpoint.push('/');
        }
        endpoint.push_str(signal.path);
    }
    Some(endpoint)
}

/// A list of `header=value`, percent-encoded. What cannot be sent is left out.
fn headers(signal: &Signal, reader: &Reader<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let found = reader.first(&signal.names(Variable::Headers), |list| Ok(list.to_owned()));
    let Some((name, list)) = found else {
        return headers;
    };
    for pair in list.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        match header(pair) {
            Some((key, value)) => {
                headers.append(key, value);
            }
            None => reader.warn(
                name,
                "a part of it is not header=value, percent-encoded; that part is not sent",
            ),
        }
    }
    headers
}

fn header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let value = decode(value.trim()).filter(|value| !value.is_empty())?;
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
}

fn tls(signal: &Signal, reader: &Reader<'_>) -> Tls {
    let mut tls = Tls::default();
    // A file that cannot be used leaves the system's anchors: they trust no collector that only that file vouches for.
    let trusted = reader.first(&signal.names(Variable::Certificate), |file| {
        Tls::trusting(Path::new(file))
    });
    if let Some((_, trusting)) = trusted {
        tls = trusting;
    }
    let set = |variable| {
        let names = signal.names(variable);
        let found = reader.first(&names, |file| Ok(file.to_owned()));
        found.unwrap_or((names[1], String::new()))
    };
    let (certificate, key) = (set(Variable::ClientCertificate), set(Variable::ClientKey));
    match (certificate.1.is_empty(), key.1.is_empty()) {
        (true, true) => {}
        (false, true) => reader.warn(
            certificate.0,
            "there is no key beside it; no certificate is shown to the collector",
        ),
        (true, false) => reader.warn(
            key.0,
            "there is no certificate beside it; none is shown to the collector",
        ),
        (false, false) => {
            if let Err(reason) = tls.show(Path::new(&certificate.1), Path::new(&key.1)) {
                reader.warn(certificate.0, reason);
            }
        }
    }
    tls
}
