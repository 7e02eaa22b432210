//! Variables that opentelemetry-otlp and the SDK read by themselves. They pass over a value that they do not
//! understand; here it is told. Values are judged as they are, blanks included, since nobody cuts those off there.

use http::{HeaderName, HeaderValue};

use super::{Environment, decode, invalid};
use crate::telemetry::TelemetryError;

const TIMEOUT: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
    "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
];
const COMPRESSION: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION",
    "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
];
const HEADERS: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
];
const INSECURE: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_INSECURE",
    "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
    "OTEL_EXPORTER_OTLP_LOGS_INSECURE",
    "OTEL_EXPORTER_OTLP_METRICS_INSECURE",
];
/// Nothing reads these. Passed over, they would leave a collector to be trusted by other anchors than was meant.
const CERTIFICATE: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
];
/// Nor these.
const CLIENT: [&str; 8] = [
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE",
];
/// Whole numbers above 0.
const NUMBERS: [&str; 7] = [
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_MAX_CONCURRENT_EXPORTS",
    "OTEL_BLRP_SCHEDULE_DELAY",
    "OTEL_BLRP_EXPORT_TIMEOUT",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
];
const SPAN_LIMITS: [&str; 3] = [
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
];

/// Why a value is not supported; nothing if it is. The value itself is never told: headers hold keys.
type Judge = fn(&str) -> Option<&'static str>;

const RULES: [(&[&str], Judge); 8] = [
    (&TIMEOUT, positive),
    (&COMPRESSION, |text| {
        let known = ["gzip", "none"].iter().any(|name| text.eq_ignore_ascii_case(name));
        (!known).then_some("neither gzip nor none")
    }),
    (&HEADERS, |text| {
        (!is_header_list(text)).then_some("not a list of header=value, percent-encoded")
    }),
    (&INSECURE, |text| {
        let known = ["true", "false"].iter().any(|name| text.eq_ignore_ascii_case(name));
        (!known).then_some("neither true nor false")
    }),
    (&CERTIFICATE, |_| {
        Some("not supported; a collector is trusted by the system's anchors (SSL_CERT_FILE)")
    }),
    (&CLIENT, |_| {
        Some("not supported; the broker shows a collector no certificate")
    }),
    (&NUMBERS, positive),
    (&SPAN_LIMITS, |text| {
        text.parse::<u32>()
            .is_err()
            .then_some("not a whole number up to 4294967295")
    }),
];

/// What of these is not supported.
pub(super) fn problems(environment: Environment<'_>) -> impl Iterator<Item = TelemetryError> {
    let rules = RULES
        .iter()
        .flat_map(|(names, judge)| names.iter().map(move |name| (*name, judge)));
    rules.filter_map(move |(name, judge)| {
        let text = environment(name).filter(|text| !text.trim().is_empty())?;
        judge(&text).map(|reason| invalid(name, reason))
    })
}

fn positive(text: &str) -> Option<&'static str> {
    // A sign would do for the libraries, but is a slip.
    let number = text.bytes().all(|digit| digit.is_ascii_digit()) && text.parse::<u64>().is_ok_and(|number| number > 0);
    (!number).then_some("not a whole number above 0")
}

/// Whether each header will be sent: the exporter leaves out those that it cannot make.
fn is_header_list(text: &str) -> bool {
    text.split_terminator(',').all(|pair| {
        pair.split_once('=').is_some_and(|(name, value)| {
            let value = decode(value.trim()).unwrap_or_default();
            HeaderName::from_bytes(name.trim().as_bytes()).is_ok()
                && !value.is_empty()
                && HeaderValue::from_str(&value).is_ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_libraries_would_pass_over_is_told() {
        let told = |name: &str, value: &str| {
            let environment = |asked: &str| (asked == name).then(|| value.to_owned());
            let mut problems = problems(&environment).map(|problem| problem.to_string());
            let told = problems.next();
            assert!(problems.next().is_none(), "{name} once only");
            told
        };
        for name in TIMEOUT.into_iter().chain(NUMBERS) {
            for good in ["1", "10000", "", " "] {
                assert_eq!(told(name, good), None, "{name}={good}");
            }
            for bad in ["0", "10s", "-1", "+1", "1.5", " 5", "18446744073709551616"] {
                assert_eq!(
                    told(name, bad),
                    Some(format!("{name}: not a whole number above 0")),
                    "{bad}"
                );
            }
        }
        for (names, good, bad) in [
            (
                &COMPRESSION[..],
                &["gzip", "none", "GZIP"][..],
                &["zstd", "deflate", "gzip "][..],
            ),
            (&INSECURE, &["true", "False"], &["1", "yes"]),
            (&SPAN_LIMITS, &["0", "128"], &["many", "-1", "4294967296"]),
            (&CERTIFICATE, &[""], &["/etc/ca.pem"]),
            (&CLIENT, &[""], &["/etc/key.pem"]),
            (
                &HEADERS,
                &["api-key=s3cret", "a=1, b=2,", "authorization=Basic%20dTpw==", "a=x=y"],
                &[
                    "s3cret",
                    "a=1,s3cret",
                    "a b=s3cret",
                    "a=",
                    "=s3cret",
                    "a=s3cret%0a",
                    "a=s3cret%2",
                    "a=1,,b=2",
                ],
            ),
        ] {
            for name in names {
                for value in good {
                    assert_eq!(told(name, value), None, "{name}={value}");
                }
                for value in bad {
                    let told = told(name, value).unwrap_or_else(|| panic!("{name}={value}"));
                    assert!(
                        told.starts_with(&format!("{name}: ")) && !told.contains("s3cret"),
                        "{told}"
                    );
                }
            }
        }
    }
}
