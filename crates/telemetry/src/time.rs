//! The time of a log line as text.

use std::cell::Cell;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// `2026-11-24T12:00:00`
const TO_SECONDS: usize = 19;

/// An instant in UTC to the microsecond (RFC 3339): `2026-11-24T12:00:00.123456Z`.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineTime(pub(super) Timestamp);

thread_local! {
    // The second that this thread wrote last, as text. Under load thousands of lines are of the same one.
    static LAST: Cell<Option<(i64, [u8; TO_SECONDS])>> = const { Cell::new(None) };
}

impl Serialize for LineTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(seconds) = seconds(self.0) else {
            return serializer.collect_str(&format_args!("{:.6}", self.0));
        };
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        text[..TO_SECONDS].copy_from_slice(&seconds);
        let mut rest = self.0.subsec_microsecond().unsigned_abs();
        for digit in text[TO_SECONDS + 1..TO_SECONDS + 7].iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// The instant's second, if it is of this era and has four digits of year: others have a form of their own.
fn seconds(instant: Timestamp) -> Option<[u8; TO_SECONDS]> {
    let second = instant.as_second();
    if second < 0 || instant.subsec_nanosecond() < 0 {
        return None;
    }
    if let Some((_, text)) = LAST.get().filter(|(last, _)| *last == second) {
        return Some(text);
    }
    let whole = Timestamp::from_second(second).ok()?.to_string();
    let (text, end) = whole.as_bytes().split_first_chunk()?;
    if end != b"Z" {
        return None;
    }
    LAST.set(Some((second, *text)));
    Some(*text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_text_of_the_instant() {
        for instant in [
            "1970-01-01T00:00:00Z",
            "2026-11-24T12:00:00.123456Z",
            "2026-11-24T12:00:00.000001999Z",
            "2026-11-24T12:00:00.999999999Z",
            "2026-11-24T12:00:01Z",
            "2026-11-24T12:00:00.5Z",
            "1969-12-31T23:59:59.25Z",
            "-000044-03-15T12:00:00Z",
            "9999-12-30T22:00:00.999999999Z",
        ] {
            let instant: Timestamp = instant.parse().unwrap();
            let expected = format!("\"{instant:.6}\"");
            assert_eq!(serde_json::to_string(&LineTime(instant)).unwrap(), expected);
        }
    }
}
