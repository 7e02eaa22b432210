//! Names of span and log fields, and the wrapper for untrusted values in them.
//!
//! Names come from OpenTelemetry's semantic conventions for HTTP spans (stable since 1.23) and for exceptions;
//! those of the broker itself begin with `acs_broker.`. Numbers are recorded as `i64`: tracing-opentelemetry
//! exports unsigned ones as strings.

use std::fmt::{self, Write as _};

/// Span name as exported, where it is not known when the span is made.
pub const OTEL_NAME: &str = "otel.name";
/// Span kind as exported: `server`, `client` or `internal`.
pub const OTEL_KIND: &str = "otel.kind";
/// Span status as exported: `error` or nothing.
pub const OTEL_STATUS_CODE: &str = "otel.status_code";

/// Request method; `_OTHER` for one that is not of RFC 9110 or RFC 5789.
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
/// The matched route, not the path.
pub const HTTP_ROUTE: &str = "http.route";
/// Status of the answer.
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
/// Which attempt of a retried call this is, from 1.
pub const HTTP_REQUEST_RESEND_COUNT: &str = "http.request.resend_count";
/// Size of the request's body.
pub const HTTP_REQUEST_BODY_SIZE: &str = "http.request.body.size";
/// Size of the answer's body.
pub const HTTP_RESPONSE_BODY_SIZE: &str = "http.response.body.size";
/// Path of a matched route; an unmatched one could be anything, a token too.
pub const URL_PATH: &str = "url.path";
/// `http` or `https`
pub const URL_SCHEME: &str = "url.scheme";
/// URL of an outgoing call, its query redacted except for `api-version`.
pub const URL_FULL: &str = "url.full";
/// Host that a request was sent to.
pub const SERVER_ADDRESS: &str = "server.address";
/// Port that a request was sent to.
pub const SERVER_PORT: &str = "server.port";
/// Address of the peer's end of the connection.
pub const CLIENT_ADDRESS: &str = "client.address";
/// `User-Agent`, escaped.
pub const USER_AGENT_ORIGINAL: &str = "user_agent.original";
/// `1.1` or `2`
pub const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
/// What went wrong, of a small set: a status, an `error.code` or the kind of a failure.
pub const ERROR_TYPE: &str = "error.type";

/// `x-ms-request-id` of the answer.
pub const REQUEST_ID: &str = "acs_broker.request.id";
/// `x-ms-client-request-id` of the request, escaped.
pub const CLIENT_REQUEST_ID: &str = "acs_broker.client_request.id";
/// `error.code` of the answer.
pub const ERROR_CODE: &str = "acs_broker.error.code";
/// `innererror.code` of the answer.
pub const ERROR_INNER_CODE: &str = "acs_broker.error.inner_code";
/// Why, for operators only.
pub const ERROR_CAUSE: &str = "acs_broker.error.cause";
/// Tenant of a verified caller.
pub const TENANT_ID: &str = "acs_broker.tenant.id";
/// Tenant that an unverified token claims, escaped.
pub const CLAIMED_TENANT_ID: &str = "acs_broker.claimed.tenant.id";
/// Client application of a verified caller.
pub const CLIENT_APP_ID: &str = "acs_broker.client_app.id";
/// Key that a token says it is signed with, escaped.
pub const KEY_ID: &str = "acs_broker.key.id";
/// `hit`, `miss` or `shared`
pub const CACHE_OUTCOME: &str = "acs_broker.cache.outcome";
/// How tokens are exchanged.
pub const EXCHANGE_MODE: &str = "acs_broker.exchange.mode";
/// Kind of the assignment that allowed the exchange: `user`, `group` or `tenant`.
pub const ASSIGNMENT_KIND: &str = "acs_broker.assignment.kind";
/// Which upstream an outgoing call goes to: `entra` or `acs`.
pub const UPSTREAM: &str = "acs_broker.upstream";
/// Time taken, in milliseconds.
pub const DURATION_MS: &str = "acs_broker.duration_ms";

/// Longest text that [`Escaped`] writes, in characters.
const LIMIT: usize = 128;

/// Ends a text that was cut.
const ELLIPSIS: char = '…';

/// Shows untrusted text harmlessly: control characters, quotes and invisible characters escaped as in a Rust
/// literal, so that nothing can forge a log line or drive a terminal, and at most 128 characters in all.
///
/// No escape is cut in the middle; a text that does not fit ends in `…`.
#[derive(Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut written = 0;
        let mut characters = self.0.chars();
        // The last place is kept for the ellipsis until it is known whether the rest fits.
        while let Some(character) = characters.next() {
            let escape = character.escape_debug();
            let width = escape.len();
            let fits = written + width < LIMIT || (written + width == LIMIT && characters.as_str().is_empty());
            if !fits {
                return f.write_char(ELLIPSIS);
            }
            write!(f, "{escape}")?;
            written += width;
        }
        Ok(())
    }
}

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn untrusted_text_is_escaped() {
        let cases = [
            ("VoIP.Join", "VoIP.Join"),
            ("two\r\nlines", "two\\r\\nlines"),
            ("\u{1b}[31mred\u{7}", "\\u{1b}[31mred\\u{7}"),
            ("\"quoted\" \\ ", "\\\"quoted\\\" \\\\ "),
            ("\u{202e}reversed\u{0}", "\\u{202e}reversed\\0"),
            ("Zoë 漢", "Zoë 漢"),
        ];
        for (text, shown) in cases {
            assert_eq!(Escaped(text).to_string(), shown);
        }
    }

    #[test]
    fn long_text_is_cut_by_characters() {
        let exact = "漢".repeat(128);
        assert_eq!(Escaped(&exact).to_string(), exact);
        let cut = Escaped(&"漢".repeat(129)).to_string();
        assert_eq!(cut, format!("{}…", "漢".repeat(127)));
        let escapes = Escaped(&"\u{1b}".repeat(1000)).to_string();
        assert_eq!(escapes, format!("{}…", "\\u{1b}".repeat(21)));
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_short_line(text in any::<String>()) {
            let shown = Escaped(&text).to_string();
            prop_assert!(shown.chars().count() <= LIMIT);
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }
}
