//! One pass over a JSON object in which no member is named twice, at any depth (RFC 7519 section 4, RFC 8725 section 2.8).
//!
//! `serde_json` alone keeps the last of two equal names; another reader of the same token could keep the first. Anybody can
//! send a token, so nothing is built of one but what its reader takes: names are looked at where they stand.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::rejection::JsonFault;

/// The most members that all objects of a text may have together. Each costs time, before anything is known of who sent it;
/// Entra's tokens have a few dozen.
const MAX_MEMBERS: usize = 256;
/// The same of the elements of lists. A token lists 200 groups at most.
const MAX_ELEMENTS: usize = 1024;
/// Up to as many names of an object are compared one by one, which takes no memory of its own.
const FEW: usize = 24;

/// A value, as far as it is looked into.
#[derive(Debug, PartialEq)]
pub(super) enum Seen<'de> {
    Null,
    Bool(bool),
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Empty where nobody takes the text.
    Text(Cow<'de, str>),
    /// Its elements went to [`Parts::element`].
    List,
    /// Its members went to [`Parts::name`] and [`Parts::member`].
    Object,
}

/// Who takes the parts of a value.
pub(super) trait Parts {
    /// A member that is taken.
    type Member: Copy;
    /// Whether texts are taken, those in lists included.
    const TEXTS: bool;

    /// A list's next element.
    fn element(&mut self, _: &Seen<'_>) {}

    /// An object's next name. `None`: the value is not looked into.
    fn name(&mut self, name: &str) -> Option<Self::Member>;

    /// The value of a member that is taken.
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        member: Self::Member,
        value: Value<'_, 'de, A>,
    ) -> Result<(), A::Error>;
}

/// Takes no part, and of a value its text if `TEXTS`.
pub(super) struct Whole<const TEXTS: bool>;

impl<const TEXTS: bool> Parts for Whole<TEXTS> {
    type Member = ();
    const TEXTS: bool = TEXTS;

    fn name(&mut self, _: &str) -> Option<()> {
        None
    }

    fn member<'de, A: MapAccess<'de>>(&mut self, (): (), value: Value<'_, 'de, A>) -> Result<(), A::Error> {
        value.look(self).map(drop)
    }
}

/// A member's value, which must be looked at.
pub(super) struct Value<'v, 'de, A> {
    members: &'v mut A,
    names: &'v mut Names<'de>,
}

impl<'de, A: MapAccess<'de>> Value<'_, 'de, A> {
    /// Reads it; its parts go to `parts`.
    pub(super) fn look(self, parts: &mut impl Parts) -> Result<Seen<'de>, A::Error> {
        self.members.next_value_seed(Look {
            parts,
            names: self.names,
        })
    }
}

/// Reads exactly one JSON object.
pub(super) fn read(text: &[u8], parts: &mut impl Parts) -> Result<(), JsonFault> {
    let mut names = Names::default();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let look = Look {
        parts,
        names: &mut names,
    };
    let seen = look
        .deserialize(&mut deserializer)
        .and_then(|seen| deserializer.end().map(|()| seen));
    match seen {
        Ok(Seen::Object) => Ok(()),
        Ok(_) => Err(JsonFault::NotAnObject),
        Err(_) => Err(names.fault.unwrap_or(JsonFault::Syntax)),
    }
}

/// The names of all objects that are open, the innermost's last: one allocation, however many objects there are.
#[derive(Default)]
struct Names<'de> {
    open: Vec<Cow<'de, str>>,
    members: usize,
    elements: usize,
    // Why the text was not read to its end, if not for its syntax.
    fault: Option<JsonFault>,
}

/// One open object's part of [`Names`]. Many names have a set of their own: comparing each with each takes too long.
struct OpenObject<'de> {
    first: usize,
    many: Option<HashSet<Cow<'de, str>>>,
}

impl<'de> Names<'de> {
    fn open(&self) -> OpenObject<'de> {
        OpenObject {
            first: self.open.len(),
            many: None,
        }
    }

    /// Whether the object did not have the name yet, and may have one more.
    fn add(&mut self, object: &mut OpenObject<'de>, name: Cow<'de, str>) -> bool {
        let is_new = if let Some(many) = &mut object.many {
            many.insert(name)
        } else if self.open[object.first..].contains(&name) {
            false
        } else {
            self.open.push(name);
            if self.open.len() - object.first > FEW {
                object.many = Some(self.open.drain(object.first..).collect());
            }
            true
        };
        self.members += 1;
        if !is_new {
            self.fault = Some(JsonFault::DuplicateMember);
        } else if self.members > MAX_MEMBERS {
            self.fault = Some(JsonFault::TooMany);
        }
        self.fault.is_none()
    }

    /// Whether there may be one element more.
    fn add_element(&mut self) -> bool {
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            self.fault = Some(JsonFault::TooMany);
        }
        self.fault.is_none()
    }

    fn close(&mut self, object: &OpenObject<'de>) {
        self.open.truncate(object.first);
    }
}

struct Look<'l, 'de, P> {
    parts: &'l mut P,
    names: &'l mut Names<'de>,
}

impl<'de, P: Parts> DeserializeSeed<'de> for Look<'_, 'de, P> {
    type Value = Seen<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Seen<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, P: Parts> Visitor<'de> for Look<'_, 'de, P> {
    type Value = Seen<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_unit<E>(self) -> Result<Seen<'de>, E> {
        Ok(Seen::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Seen<'de>, E> {
        Ok(Seen::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Seen<'de>, E> {
        Ok(Seen::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Seen<'de>, E> {
        #[expect(clippy::cast_precision_loss, reason = "far beyond any number that a claim may have")]
        Ok(i64::try_from(value).map_or(Seen::Float(value as f64), Seen::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Seen<'de>, E> {
        Ok(Seen::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Seen<'de>, E> {
        Ok(Seen::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Seen<'de>, E> {
        Ok(Seen::Text(if P::TEXTS {
            Cow::Owned(value.to_owned())
        } else {
            Cow::Borrowed("")
        }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Seen<'de>, A::Error> {
        let Self { parts, names } = self;
        if P::TEXTS {
            while let Some(seen) = items.next_element_seed(Look {
                parts: &mut Whole::<true>,
                names: &mut *names,
            })? {
                if !names.add_element() {
                    return Err(A::Error::custom("too many elements"));
                }
                parts.element(&seen);
            }
        } else {
            while let Some(seen) = items.next_element_seed(Look {
                parts: &mut Whole::<false>,
                names: &mut *names,
            })? {
                if !names.add_element() {
                    return Err(A::Error::custom("too many elements"));
                }
                parts.element(&seen);
            }
        }
        Ok(Seen::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Seen<'de>, A::Error> {
        let Self { parts, names } = self;
        let mut object = names.open();
        while let Some(name) = members.next_key_seed(Name)? {
            let taken = parts.name(&name);
            if !names.add(&mut object, name) {
                return Err(A::Error::custom("a member that may not be"));
            }
            let value = Value {
                members: &mut members,
                names: &mut *names,
            };
            match taken {
                Some(member) => parts.member(member, value)?,
                None => value.look(&mut Whole::<false>).map(drop)?,
            }
        }
        names.close(&object);
        Ok(Seen::Object)
    }
}

/// A member's name, where it stands unless it has escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn outcome(text: &[u8]) -> Result<(), JsonFault> {
        read(text, &mut Whole::<false>)
    }

    #[test]
    fn only_one_object_without_duplicates_is_accepted() {
        use JsonFault::{DuplicateMember, NotAnObject, Syntax};
        for (text, fault) in [
            (r"", Syntax),
            (r"{", Syntax),
            (r"{} {}", Syntax),
            ("{\"a\":\"\u{1}\"}", Syntax),
            (r#"{"a":1e999}"#, Syntax),
            (r#"{"a":"\ud800"}"#, Syntax),
            (r#"{"\ud800":1}"#, Syntax),
            (r#"{"a":01}"#, Syntax),
            (r#"{"a":1,}"#, Syntax),
            (r"[]", NotAnObject),
            (r#""text""#, NotAnObject),
            (r"null", NotAnObject),
            (r#"{"a":1,"a":1}"#, DuplicateMember),
            (r#"{"a":1,"\u0061":2}"#, DuplicateMember),
            (r#"{"\u0061":1,"a":2}"#, DuplicateMember),
            (r#"{"a":{"b":1,"b":2}}"#, DuplicateMember),
            (r#"{"a":[{"b":1,"b":2}]}"#, DuplicateMember),
            (r#"{"a":{"b":1,"c":{"d":1}},"a":1}"#, DuplicateMember),
        ] {
            assert_eq!(outcome(text.as_bytes()), Err(fault), "{text}");
        }
        for text in [
            r"{}",
            // A name is an object's own: others may have it too, within it and beside it.
            r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}],"c":{"b":1}}"#,
            r#"{"a":"\ud83d\ude00","b":-0.5e-3,"c":18446744073709551615}"#,
        ] {
            assert_eq!(outcome(text.as_bytes()), Ok(()), "{text}");
        }
        assert_eq!(outcome(b"{\"a\":\"\xff\"}"), Err(Syntax));
        assert_eq!(outcome(b"{\"\xff\":1}"), Err(Syntax));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(outcome(deep.as_bytes()), Err(Syntax));
    }

    /// Of any number of names, wherever in the object the second of two equal ones stands.
    #[test]
    fn a_name_is_found_again_among_few_and_among_many() {
        for count in [2, FEW - 1, FEW, FEW + 1, FEW + 2, 3 * FEW] {
            let mut text = String::from("{");
            for number in 0..count {
                write!(text, "\"n{number}\":{{\"n0\":1,\"x\":[]}},").unwrap();
            }
            assert_eq!(outcome(format!("{text}\"n\":1}}").as_bytes()), Ok(()), "{count}");
            for again in [0, count / 2, count - 1] {
                let twice = format!("{text}\"n{again}\":1}}");
                assert_eq!(
                    outcome(twice.as_bytes()),
                    Err(JsonFault::DuplicateMember),
                    "{again} of {count}"
                );
            }
        }
    }

    #[test]
    fn members_and_elements_are_bounded_whatever_they_are_of() {
        let member = |n: usize| format!("\"n{n}\":1,");
        let members = |count: usize| (0..count).map(member).collect::<Vec<_>>().concat();
        let objects = |count: usize| "{\"a\":1},".repeat(count);
        let numbers = |count: usize| "1,".repeat(count);
        for (text, outcome_of) in [
            (format!("{{{}\"x\":1}}", members(255)), Ok(())),
            (format!("{{{}\"x\":1}}", members(256)), Err(JsonFault::TooMany)),
            (format!("{{\"x\":[{}1]}}", objects(255)), Ok(())),
            (format!("{{\"x\":[{}1]}}", objects(256)), Err(JsonFault::TooMany)),
            (format!("{{\"x\":[{}1]}}", numbers(1023)), Ok(())),
            (format!("{{\"x\":[{}1]}}", numbers(1024)), Err(JsonFault::TooMany)),
            (
                format!("{{\"x\":[{}1],\"y\":[{}1]}}", numbers(600), numbers(600)),
                Err(JsonFault::TooMany),
            ),
        ] {
            assert_eq!(outcome(text.as_bytes()), outcome_of, "{}", text.len());
        }
    }

    struct Taker(Vec<String>);

    impl Parts for Taker {
        type Member = ();
        const TEXTS: bool = true;

        fn element(&mut self, element: &Seen<'_>) {
            self.0.push(format!("{element:?}"));
        }

        fn name(&mut self, name: &str) -> Option<()> {
            (name == "taken").then_some(())
        }

        fn member<'de, A: MapAccess<'de>>(&mut self, (): (), value: Value<'_, 'de, A>) -> Result<(), A::Error> {
            let seen = value.look(self)?;
            self.0.push(format!("{seen:?}"));
            Ok(())
        }
    }

    #[test]
    fn what_is_taken_is_told_as_it_stands() {
        for (value, told) in [
            ("null", "Null"),
            ("true", "Bool(true)"),
            ("-7", "Integer(-7)"),
            ("1.5", "Float(1.5)"),
            ("18446744073709551615", "Float(1.8446744073709552e19)"),
            (r#""plain""#, r#"Text("plain")"#),
            (r#""esc\u0061ped""#, r#"Text("escaped")"#),
            (r#"["a","\u0062",1,[2]]"#, r#"Text("a") Text("b") Integer(1) List List"#),
            ("{}", "Object"),
        ] {
            let mut taker = Taker(Vec::new());
            let text = format!(r#"{{"left":{value},"taken":{value}}}"#);
            assert_eq!(read(text.as_bytes(), &mut taker), Ok(()), "{value}");
            assert_eq!(taker.0.join(" "), told, "{value}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_where_names_are_unique(names in proptest::collection::btree_map(".{0,8}", ".{0,8}", 0..40)) {
            let text = serde_json::to_vec(&names).unwrap();
            prop_assert_eq!(outcome(&text), Ok(()));
        }

        #[test]
        fn takes_no_text_that_serde_json_does_not(text in "[{}\\[\\]:,\"a1 \\\\-]{0,40}") {
            let taken = outcome(text.as_bytes());
            let parsed = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text);
            match taken {
                Ok(()) => prop_assert!(parsed.is_ok()),
                Err(JsonFault::Syntax | JsonFault::NotAnObject) => prop_assert!(parsed.is_err()),
                Err(JsonFault::DuplicateMember | JsonFault::TooMany) => {}
            }
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = outcome(&bytes);
        }
    }
}
