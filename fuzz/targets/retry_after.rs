//! `Retry-After`, behind eight bytes that say what time it is: seconds and dates as RFC 9110 writes them mean what they say, and
//! nothing silences the broker for longer than is said.
#![no_main]

use std::time::Duration;

use azure::retry_after::{LONGEST, SHORTEST, read};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((now, text)) = data.split_first_chunk() else {
        return;
    };
    // Four thousand years around today.
    let now = Timestamp::from_second(i64::from_le_bytes(*now) % 63_072_000_000 + 1_800_000_000);
    let (Ok(now), Ok(value)) = (now, HeaderValue::from_bytes(text)) else {
        return;
    };
    let wait = read(&HeaderMap::from_iter([(http::header::RETRY_AFTER, value)]), now);
    assert!(wait.is_none_or(|wait| (SHORTEST..=LONGEST).contains(&wait)));
    let Ok(text) = std::str::from_utf8(text) else { return };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse::<u64>().map_or(LONGEST, Duration::from_secs);
        assert_eq!(wait, Some(seconds.clamp(SHORTEST, LONGEST)));
    }
    // Dates before 1970 say nothing.
    let date = DateTimeParser::new()
        .parse_timestamp(text)
        .ok()
        .filter(|date| *date >= Timestamp::UNIX_EPOCH);
    let is_written_so = |date: &Timestamp| {
        DateTimePrinter::new()
            .timestamp_to_rfc9110_string(date)
            .is_ok_and(|written| written == text)
    };
    if let Some(date) = date.filter(is_written_so) {
        let until = Duration::try_from(date.duration_since(now)).unwrap_or_default();
        assert_eq!(wait, Some(until.clamp(SHORTEST, LONGEST)), "{text}");
    }
});
