//! JSON objects in which no member is named twice, at any depth (RFC 7519 section 4, RFC 8725 section 2.8).
//!
//! `serde_json` alone keeps the last of two equal names; another reader of the same token could keep the first.

use std::fmt;

use serde::Deserialize as _;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::rejection::JsonFault;

const DUPLICATE: &str = "duplicate member";

/// Parses exactly one JSON object.
pub(super) fn parse_object(text: &[u8]) -> Result<Map<String, Value>, JsonFault> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let unique = Unique::deserialize(&mut deserializer)
        .and_then(|unique| deserializer.end().map(|()| unique))
        .map_err(|error| {
            // The message is our own constant followed by a position; serde offers no typed way back.
            if error.is_data() && error.to_string().starts_with(DUPLICATE) {
                JsonFault::DuplicateMember
            } else {
                JsonFault::Syntax
            }
        })?;
    match unique.0 {
        Value::Object(members) => Ok(members),
        _ => Err(JsonFault::NotAnObject),
    }
}

struct Unique(Value);

impl<'de> serde::Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Unique)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let Unique(value) = members.next_value()?;
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom(DUPLICATE));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_one_object_without_duplicates_is_accepted() {
        use JsonFault::{DuplicateMember, NotAnObject, Syntax};
        for (text, fault) in [
            (r"", Syntax),
            (r"{", Syntax),
            (r"{} {}", Syntax),
            ("{\"a\":\"\u{1}\"}", Syntax),
            (r#"{"a":1e999}"#, Syntax),
            (r"[]", NotAnObject),
            (r#""text""#, NotAnObject),
            (r"null", NotAnObject),
            (r#"{"a":1,"a":1}"#, DuplicateMember),
            (r#"{"a":1,"\u0061":2}"#, DuplicateMember),
            (r#"{"a":{"b":1,"b":2}}"#, DuplicateMember),
            (r#"{"a":[{"b":1,"b":2}]}"#, DuplicateMember),
        ] {
            assert_eq!(parse_object(text.as_bytes()), Err(fault), "{text}");
        }
        assert_eq!(parse_object(b"{\"a\":\"\xff\"}"), Err(Syntax));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(parse_object(deep.as_bytes()), Err(Syntax));
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_where_names_are_unique(names in proptest::collection::btree_map(".{0,8}", ".{0,8}", 0..8)) {
            let text = serde_json::to_vec(&names).unwrap();
            let expected: Value = serde_json::from_slice(&text).unwrap();
            prop_assert_eq!(Value::Object(parse_object(&text).unwrap()), expected);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse_object(&bytes);
        }
    }
}
