//! `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

/// No upstream may silence the broker for longer.
pub const LONGEST: Duration = Duration::from_secs(5 * 60);
/// The wait where an upstream names none.
pub const SHORTEST: Duration = Duration::from_secs(1);

/// How long the response asks to wait, between one second and five minutes; `None` if it does not say.
#[must_use]
pub fn read(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => LONGEST,
        Err(_) => {
            let until = Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()?;
            Duration::try_from(until.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.clamp(SHORTEST, LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_bounded() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        for (text, seconds) in [
            ("7", Some(7)),
            ("0", Some(1)),
            ("300", Some(300)),
            ("301", Some(300)),
            ("99999999999999999999999", Some(300)),
            ("Tue, 24 Nov 2026 12:00:09 GMT", Some(9)),
            ("Tue, 24 Nov 2026 11:00:00 GMT", Some(1)),
            ("Wed, 25 Nov 2026 12:00:00 GMT", Some(300)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::RETRY_AFTER, text.parse().unwrap());
            assert_eq!(read(&headers, now), seconds.map(Duration::from_secs), "{text:?}");
        }
        assert_eq!(read(&HeaderMap::new(), now), None);
    }
}
