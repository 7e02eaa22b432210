//! What is kept: what an entry is about, its value, and which of two values stays.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use zeroize::Zeroizing;

/// The two times at the head of what is sealed, each in nanoseconds since 1970.
const TIMES: usize = 2 * size_of::<i128>();

/// What an entry is about: labelled fields. It is named in the store by their HMAC, so that none stands there in clear.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryId {
    // Label and value of each field, each behind its length: no two lists of fields have the same bytes.
    encoded: Zeroizing<Vec<u8>>,
}

impl EntryId {
    /// An entry about these fields, in this order.
    #[must_use]
    pub fn new(fields: &[(&str, &[u8])]) -> Self {
        let parts = fields.iter().flat_map(|(label, value)| [label.as_bytes(), value]);
        let length = parts.clone().map(|part| size_of::<u64>() + part.len()).sum();
        // Made at its full size: a vector that grows leaves copies behind.
        let mut encoded = Zeroizing::new(Vec::with_capacity(length));
        for part in parts {
            encoded.extend_from_slice(&(part.len() as u64).to_be_bytes());
            encoded.extend_from_slice(part);
        }
        Self { encoded }
    }

    pub(crate) fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EntryId([redacted])")
    }
}

/// A value: what the broker keeps of an exchange, and the times by which it is judged.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredValue {
    /// The broker's own form of token, scopes and identity.
    pub payload: Zeroizing<Vec<u8>>,
    /// When the token ends.
    pub expires_on: Timestamp,
    /// When it was exchanged, by the clock of the replica that did so.
    pub exchanged_at: Timestamp,
}

impl fmt::Debug for StoredValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredValue")
            .field("expires_on", &self.expires_on)
            .field("exchanged_at", &self.exchanged_at)
            .finish_non_exhaustive()
    }
}

impl StoredValue {
    /// What is sealed: the two times, then the payload. There is room for `spare` bytes more: a vector that grows leaves copies
    /// behind.
    pub(crate) fn content(&self, spare: usize) -> Zeroizing<Vec<u8>> {
        let mut content = Zeroizing::new(Vec::with_capacity(TIMES + self.payload.len() + spare));
        content.extend_from_slice(&self.exchanged_at.as_nanosecond().to_be_bytes());
        content.extend_from_slice(&self.expires_on.as_nanosecond().to_be_bytes());
        content.extend_from_slice(&self.payload);
        content
    }

    /// The value that this content is, if it is one.
    pub(crate) fn from_content(content: &[u8]) -> Option<Self> {
        let (times, payload) = content.split_at_checked(TIMES)?;
        let (exchanged_at, expires_on) = times.split_at(TIMES / 2);
        Some(Self {
            payload: Zeroizing::new(payload.to_vec()),
            exchanged_at: time(exchanged_at)?,
            expires_on: time(expires_on)?,
        })
    }

    /// The value as a replica may use it at `now`: not one that is over, nor one from a future farther away than clocks differ.
    /// What is less far ahead counts as exchanged now.
    pub(crate) fn usable(mut self, now: Timestamp, clock_skew: Duration) -> Option<Self> {
        let ahead = Duration::try_from(self.exchanged_at.duration_since(now)).unwrap_or_default();
        if self.expires_on <= now || ahead > clock_skew {
            return None;
        }
        self.exchanged_at = self.exchanged_at.min(now);
        Some(self)
    }

    /// Whether this one takes the place of `held`: if its token ends later or, after a revalidation, was exchanged later.
    pub(crate) fn replaces(&self, held: &Self, revalidated: bool) -> bool {
        self.expires_on > held.expires_on || (revalidated && self.exchanged_at > held.exchanged_at)
    }

    /// How long it is kept from `now` on; `None`: not at all.
    pub(crate) fn lifetime(&self, now: Timestamp, expiry_margin: Duration) -> Option<Duration> {
        let left = Duration::try_from(self.expires_on.duration_since(now)).ok()?;
        left.checked_sub(expiry_margin).filter(|left| left.as_millis() > 0)
    }
}

fn time(bytes: &[u8]) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from_be_bytes(bytes.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn value(expires_on: i64, exchanged_at: i64) -> StoredValue {
        StoredValue {
            payload: Zeroizing::new(Vec::new()),
            expires_on: at(expires_on),
            exchanged_at: at(exchanged_at),
        }
    }

    #[test]
    fn a_value_ahead_of_the_clock_counts_as_now_or_as_absent() {
        let skew = Duration::from_secs(60);
        let exchanged_at = |ahead| value(3600, ahead).usable(at(0), skew).map(|value| value.exchanged_at);
        assert_eq!(exchanged_at(-5), Some(at(-5)));
        assert_eq!(exchanged_at(60), Some(at(0)));
        assert_eq!(exchanged_at(61), None);
        assert_eq!(value(0, -5).usable(at(0), skew), None, "its token is over");
    }

    #[test]
    fn only_a_longer_or_a_revalidated_value_replaces_another() {
        let held = value(100, 10);
        for (new, revalidated, expected) in [
            (value(101, 5), false, true),
            (value(100, 20), false, false),
            (value(99, 20), false, false),
            (value(99, 20), true, true),
            (value(99, 10), true, false),
            (value(99, 5), true, false),
            (value(101, 5), true, true),
        ] {
            assert_eq!(new.replaces(&held, revalidated), expected, "{new:?} {revalidated}");
        }
    }

    #[test]
    fn a_value_is_kept_until_its_margin() {
        let margin = Duration::from_secs(300);
        assert_eq!(value(3600, 0).lifetime(at(0), margin), Some(Duration::from_secs(3300)));
        assert_eq!(value(300, 0).lifetime(at(0), margin), None);
        assert_eq!(value(-1, 0).lifetime(at(0), Duration::ZERO), None);
    }

    type Fields = Vec<(String, Vec<u8>)>;

    fn id(fields: &Fields) -> EntryId {
        let fields: Vec<_> = fields
            .iter()
            .map(|(label, value)| (label.as_str(), value.as_slice()))
            .collect();
        EntryId::new(&fields)
    }

    fn fields() -> impl Strategy<Value = Fields> {
        // Few and short, so that ends and beginnings of fields meet.
        proptest::collection::vec(("[ab]{0,2}", proptest::collection::vec(97u8..99, 0..3)), 0..4)
    }

    proptest! {
        #[test]
        fn different_fields_are_different_entries(one in fields(), other in fields()) {
            prop_assert_eq!(one == other, id(&one) == id(&other));
        }
    }

    #[test]
    fn nothing_of_an_entry_is_shown() {
        let id = EntryId::new(&[("user", b"secret")]);
        let mut value = value(1, 0);
        value.payload.extend_from_slice(b"secret");
        assert!(!format!("{id:?} {value:?}").contains("secret"));
        assert!(!format!("{value:?}").contains("115"), "nor its bytes");
    }
}
