//! Faults that can be switched on, per endpoint.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::endpoint::Endpoint;
use super::lock::lock;

/// Ten minutes outlast every client's timeout.
const MAX_LATENCY_MS: u64 = 600_000;
/// More would only exhaust the emulator itself.
const MAX_OVERSIZE_BYTES: usize = 64 * 1024 * 1024;

/// What goes wrong at an endpoint. Unset members do nothing.
///
/// At most one of `status`, `drop_connection` and `redirect` may be set: each stands in for the answer, which is
/// then not worked out at all. The members after them spoil a good answer, and may be combined.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that stand beside each other on the wire too"
)]
pub struct Fault {
    /// Only the next so many calls; then the fault clears itself. Without it, until cleared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Milliseconds to wait before anything else; on its own, service is normal after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,

    /// Answer with this status, with Azure's error body unless `body` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The body that goes with `status`; a string is sent as it is, anything else as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// The content type that goes with `status`; `application/json` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Retry-After`, in seconds or as a date, that goes with `status`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub retry_after: Option<String>,
    /// Further headers that go with `status`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Close the connection without an answer.
    #[serde(skip_serializing_if = "is_false")]
    pub drop_connection: bool,
    /// Answer 302 with this `Location`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<String>,

    /// Cut the JSON body in half.
    #[serde(skip_serializing_if = "is_false")]
    pub broken_json: bool,
    /// Send the good body as `text/html`.
    #[serde(skip_serializing_if = "is_false")]
    pub wrong_content_type: bool,
    /// Leave out a member, by its dotted path: `accessToken.expiresOn`, `keys.0.kid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_field: Option<String>,
    /// `expiresOn` one minute ago.
    #[serde(skip_serializing_if = "is_false")]
    pub past_expires_on: bool,
    /// `expiresOn` this many seconds from now, whatever the token says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<i64>,
    /// The same `expiresOn` written with this offset: `-07:00`, `+00:00` or `Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_on_offset: Option<String>,
    /// Pad the JSON body to at least this many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oversize: Option<usize>,
    /// A key set without keys.
    #[serde(skip_serializing_if = "is_false")]
    pub empty_key_set: bool,
}

/// A fault that its endpoint cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fault for `{endpoint}`: {reason}")]
pub struct InvalidFault {
    endpoint: &'static str,
    reason: &'static str,
}

impl Fault {
    /// Answers with this status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }

    /// Waits, then serves as usual.
    #[must_use]
    pub fn latency(latency: Duration) -> Self {
        Self {
            latency_ms: Some(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)),
            ..Self::default()
        }
    }

    /// Closes the connection without an answer.
    #[must_use]
    pub fn drop_connection() -> Self {
        Self {
            drop_connection: true,
            ..Self::default()
        }
    }

    /// The same fault for the next `times` calls only.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// The same fault with a `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, value: impl Into<String>) -> Self {
        self.retry_after = Some(value.into());
        self
    }

    /// Says what is wrong with a fault at this endpoint.
    fn check(&self, endpoint: Endpoint) -> Result<(), InvalidFault> {
        let rules: [(bool, &'static str); 14] = [
            (self.times == Some(0), "`times` must be 1 or more"),
            (
                self.latency_ms.is_some_and(|ms| ms > MAX_LATENCY_MS),
                "`latency_ms` must be 600000 or less",
            ),
            (
                self.stand_ins() > 1,
                "only one of `status`, `drop_connection` and `redirect` can be set",
            ),
            (
                self.stand_ins() > 0 && self.spoils(),
                "an answer that is replaced by `status`, `drop_connection` or `redirect` cannot be spoiled too",
            ),
            (
                self.status
                    .is_some_and(|status| !(200..=599).contains(&status) || StatusCode::from_u16(status).is_err()),
                "`status` must be between 200 and 599",
            ),
            (
                self.status.is_none()
                    && (self.body.is_some()
                        || self.content_type.is_some()
                        || self.retry_after.is_some()
                        || !self.headers.is_empty()),
                "`body`, `content_type`, `retry_after` and `headers` need `status`",
            ),
            (
                self.content_type
                    .iter()
                    .chain(&self.retry_after)
                    .chain(&self.redirect)
                    .chain(self.headers.values())
                    .any(|value| HeaderValue::from_str(value).is_err()),
                "not a header value",
            ),
            (
                self.headers.keys().any(|name| HeaderName::try_from(name).is_err()),
                "not a header name",
            ),
            (
                self.expires_on_offset
                    .as_ref()
                    .is_some_and(|text| parse_offset(text).is_none()),
                "`expires_on_offset` must look like -07:00 or Z",
            ),
            (
                (self.past_expires_on || self.lifetime.is_some() || self.expires_on_offset.is_some())
                    && !endpoint.gives_acs_tokens(),
                "there is no `expiresOn` here",
            ),
            (
                self.past_expires_on && self.lifetime.is_some(),
                "`past_expires_on` and `lifetime` exclude each other",
            ),
            (
                self.empty_key_set && endpoint != Endpoint::Keys,
                "`empty_key_set` is for `keys` only",
            ),
            (
                self.oversize.is_some_and(|bytes| bytes > MAX_OVERSIZE_BYTES),
                "`oversize` must be 67108864 or less",
            ),
            (
                self.missing_field.as_ref().is_some_and(String::is_empty),
                "`missing_field` is empty",
            ),
        ];
        match rules.into_iter().find(|(broken, _)| *broken) {
            Some((_, reason)) => Err(InvalidFault {
                endpoint: endpoint.name(),
                reason,
            }),
            None => Ok(()),
        }
    }

    fn stand_ins(&self) -> usize {
        usize::from(self.status.is_some()) + usize::from(self.drop_connection) + usize::from(self.redirect.is_some())
    }

    /// Whether a good answer is to be changed.
    pub(crate) fn spoils(&self) -> bool {
        self.broken_json
            || self.wrong_content_type
            || self.missing_field.is_some()
            || self.past_expires_on
            || self.lifetime.is_some()
            || self.expires_on_offset.is_some()
            || self.oversize.is_some()
            || self.empty_key_set
    }
}

/// The faults switched on now.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    set: Mutex<BTreeMap<Endpoint, Fault>>,
}

impl Faults {
    /// Replaces all faults, or none if one of them is invalid.
    pub(crate) fn replace(&self, faults: BTreeMap<Endpoint, Fault>) -> Result<(), InvalidFault> {
        for (endpoint, fault) in &faults {
            fault.check(*endpoint)?;
        }
        *lock(&self.set) = faults;
        Ok(())
    }

    /// Replaces the fault of one endpoint.
    pub(crate) fn set(&self, endpoint: Endpoint, fault: Fault) -> Result<(), InvalidFault> {
        fault.check(endpoint)?;
        lock(&self.set).insert(endpoint, fault);
        Ok(())
    }

    /// Switches one endpoint's fault off, or all.
    pub(crate) fn clear(&self, endpoint: Option<Endpoint>) {
        let mut set = lock(&self.set);
        match endpoint {
            Some(endpoint) => {
                set.remove(&endpoint);
            }
            None => set.clear(),
        }
    }

    /// The faults as they stand, with the calls left to each.
    pub(crate) fn current(&self) -> BTreeMap<Endpoint, Fault> {
        lock(&self.set).clone()
    }

    /// The fault for one call, which uses up one of its times.
    pub(crate) fn take(&self, endpoint: Endpoint) -> Option<Fault> {
        let mut set = lock(&self.set);
        let fault = set.get_mut(&endpoint)?;
        let taken = fault.clone();
        if let Some(times) = &mut fault.times {
            *times -= 1;
            if *times == 0 {
                set.remove(&endpoint);
            }
        }
        Some(taken)
    }
}

/// Seconds east of UTC.
pub(crate) fn parse_offset(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |text: &str, most: i32| {
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<i32>().ok())
            .flatten()
            .filter(|number| *number <= most)
    };
    Some(sign * (number(hours, 18)? * 3600 + number(minutes, 59)? * 60))
}

fn text_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    Ok(Option::<Either>::deserialize(deserializer)?.map(|either| match either {
        Either::Number(number) => number.to_string(),
        Either::Text(text) => text,
    }))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_counts_down_and_clears_itself() {
        let faults = Faults::default();
        faults.set(Endpoint::Exchange, Fault::status(503).times(2)).unwrap();
        assert!(faults.take(Endpoint::Keys).is_none());
        assert!(faults.take(Endpoint::Exchange).is_some());
        assert_eq!(faults.current()[&Endpoint::Exchange].times, Some(1));
        assert!(faults.take(Endpoint::Exchange).is_some());
        assert!(faults.take(Endpoint::Exchange).is_none());
        assert!(faults.current().is_empty());
    }

    #[test]
    fn without_times_a_fault_stays() {
        let faults = Faults::default();
        faults.set(Endpoint::Keys, Fault::drop_connection()).unwrap();
        for _ in 0..3 {
            assert!(faults.take(Endpoint::Keys).is_some());
        }
        faults.clear(Some(Endpoint::Keys));
        assert!(faults.take(Endpoint::Keys).is_none());
    }

    #[test]
    fn nonsense_is_refused() {
        let cases = [
            (Endpoint::Exchange, json!({"times": 0})),
            (Endpoint::Exchange, json!({"status": 99})),
            (Endpoint::Exchange, json!({"status": 503, "drop_connection": true})),
            (Endpoint::Exchange, json!({"status": 503, "broken_json": true})),
            (Endpoint::Exchange, json!({"body": {}})),
            (Endpoint::Exchange, json!({"retry_after": 3})),
            (Endpoint::Exchange, json!({"empty_key_set": true})),
            (Endpoint::Keys, json!({"past_expires_on": true})),
            (Endpoint::Exchange, json!({"past_expires_on": true, "lifetime": 1})),
            (Endpoint::Exchange, json!({"expires_on_offset": "7"})),
            (Endpoint::Exchange, json!({"redirect": "\n"})),
            (Endpoint::Exchange, json!({"status": 500, "headers": {"a b": "c"}})),
            (Endpoint::Exchange, json!({"latency_ms": 600_001})),
        ];
        for (endpoint, fault) in cases {
            let parsed: Fault = serde_json::from_value(fault.clone()).unwrap();
            assert!(Faults::default().set(endpoint, parsed).is_err(), "{fault}");
        }
        assert!(serde_json::from_value::<Fault>(json!({"statuss": 1})).is_err());
    }

    #[test]
    fn offsets() {
        for (text, seconds) in [("Z", 0), ("+00:00", 0), ("-07:00", -25200), ("+05:30", 19800)] {
            assert_eq!(parse_offset(text), Some(seconds));
        }
        for text in ["", "07:00", "+7:00", "+07", "+99:00", "é07:00"] {
            assert_eq!(parse_offset(text), None, "{text}");
        }
    }
}
