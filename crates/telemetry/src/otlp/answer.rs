//! What a collector's answer means: taken, refused for good, or worth another attempt.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A collector that asks for a longer pause is asked again after this time: what waits here does not get younger.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Taken, but for so many items.
    Taken { rejected: u64 },
    /// Not taken, and another attempt would fare no better.
    Refused { reason: String },
    /// Not taken now.
    Later {
        reason: String,
        /// How long the collector wants to be left alone, if it said so.
        pause: Option<Duration>,
    },
}

impl Outcome {
    /// No answer came: the connection failed, or the time was up.
    pub(super) fn unanswered(reason: &str) -> Self {
        Self::Later {
            reason: reason.to_owned(),
            pause: None,
        }
    }

    /// OTLP over http, "Failures": 429, 502, 503 and 504 may pass, with `Retry-After` or without; nothing else.
    pub(super) fn from_http_status(status: StatusCode, retry_after: Option<&str>, now: Timestamp) -> Self {
        let reason = format!("status {}", status.as_u16());
        match status.as_u16() {
            429 | 502..=504 => Self::Later {
                reason,
                pause: retry_after.and_then(|text| pause(text, now)),
            },
            _ => Self::Refused { reason },
        }
    }

    /// OTLP over gRPC, "Failures". The server's words are left out: they may quote a header.
    pub(super) fn from_grpc_status(status: &Status) -> Self {
        let pause = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let may_pass = match status.code() {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => true,
            Code::ResourceExhausted => pause.is_some(),
            // Not the server's word but the transport's: a connection that was lost.
            Code::Unknown | Code::Internal => is_transport(status),
            _ => false,
        };
        let reason = format!("gRPC status {:?}", status.code());
        if may_pass {
            Self::Later {
                reason,
                pause: pause.map(|pause| pause.min(LONGEST_PAUSE)),
            }
        } else {
            Self::Refused { reason }
        }
    }
}

/// RFC 9110 section 10.2.3: seconds, or a date.
fn pause(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let pause = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let date = Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()?;
        Duration::try_from(date.duration_since(now)).unwrap_or_default()
    };
    Some(pause.min(LONGEST_PAUSE))
}

/// Whether a status was made here, of an error below gRPC.
pub(super) fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn later(pause: Option<u64>) -> impl Fn(&Outcome) -> bool {
        let pause = pause.map(Duration::from_secs);
        move |outcome| matches!(outcome, Outcome::Later { pause: asked, .. } if *asked == pause)
    }

    #[test]
    fn only_what_may_pass_is_sent_again_over_http() {
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let of =
            |status, retry_after| Outcome::from_http_status(StatusCode::from_u16(status).unwrap(), retry_after, now);
        for status in [429, 502, 503, 504] {
            assert!(later(None)(&of(status, None)), "{status}");
            assert!(later(Some(7))(&of(status, Some("7"))), "{status}");
        }
        for (text, wanted) in [
            (" 3 ", Some(3)),
            ("0", Some(0)),
            ("31536000", Some(300)),
            ("Tue, 24 Nov 2026 12:00:30 GMT", Some(30)),
            ("Tue, 24 Nov 2026 11:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert!(later(wanted)(&of(503, Some(text))), "{text}");
        }
        for status in [300, 307, 400, 401, 403, 404, 408, 413, 500, 501] {
            let refused = of(status, Some("7"));
            assert!(matches!(refused, Outcome::Refused { .. }), "{status}: {refused:?}");
        }
    }

    #[test]
    fn only_what_may_pass_is_sent_again_over_grpc() {
        for code in [
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unavailable,
            Code::DataLoss,
        ] {
            assert!(
                later(None)(&Outcome::from_grpc_status(&Status::new(code, "s3cret"))),
                "{code:?}"
            );
        }
        for code in [
            Code::Unknown,
            Code::InvalidArgument,
            Code::NotFound,
            Code::AlreadyExists,
            Code::PermissionDenied,
            Code::ResourceExhausted,
            Code::FailedPrecondition,
            Code::Unimplemented,
            Code::Internal,
            Code::Unauthenticated,
        ] {
            let refused = Outcome::from_grpc_status(&Status::new(code, "s3cret"));
            assert!(matches!(refused, Outcome::Refused { .. }), "{code:?}: {refused:?}");
            assert!(!format!("{refused:?}").contains("s3cret"));
        }
        for (code, asked, wanted) in [
            (Code::ResourceExhausted, 7, 7),
            (Code::Unavailable, 7, 7),
            (Code::ResourceExhausted, 86_400, 300),
        ] {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(asked)));
            let status = Status::with_error_details(code, "", details);
            assert!(later(Some(wanted))(&Outcome::from_grpc_status(&status)), "{code:?}");
        }
        let lost = Status::from_error(Box::new(std::io::Error::other("a connection was lost")));
        assert!(later(None)(&Outcome::from_grpc_status(&lost)), "{lost:?}");
    }
}
