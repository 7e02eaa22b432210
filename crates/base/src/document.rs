//! JSON and TOML as one tree, which keeps what serde's own types lose: members that come twice.
//!
//! [`Node`] reads both formats as they are. [`read_object`] reads JSON from a stranger: within limits, and with no member
//! named twice at any depth (RFC 7519 section 4, RFC 8725 section 2.8). `serde_json` alone keeps the last of two equal
//! names; another reader of the same text could keep the first.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// The members of an object, in their order.
pub type Members<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

/// A value of either format. Texts are borrowed unless they have escapes.
#[derive(Debug, PartialEq)]
pub enum Node<'a> {
    /// JSON's null.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number of 64 bits.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Node<'a>>),
    /// An object or table.
    Object(Members<'a>),
    /// A date or time, which TOML alone has.
    DateTime,
}

impl Node<'_> {
    /// What the value is, for a message.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
            Self::DateTime => "a date or time",
        }
    }
}

/// What is wrong with a piece of JSON, without quoting it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// Syntax, nesting or encoding.
    #[error("not JSON")]
    Syntax,
    /// JSON, but not an object.
    #[error("not an object")]
    NotAnObject,
    /// More members or elements than the limits allow.
    #[error("too many members or elements")]
    TooMany,
    /// An object that names a member twice: two readers could see two different values.
    #[error("duplicate member")]
    DuplicateMember,
}

/// How much a text may hold. Each member and element costs time and memory, before anything is known of who sent it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Members of all objects together.
    pub members: usize,
    /// Elements of all lists together.
    pub elements: usize,
}

/// Reads exactly one JSON object, in which no member is named twice.
pub fn read_object(text: &[u8], limits: Limits) -> Result<Members<'_>, JsonFault> {
    let mut rules = Rules {
        left: limits,
        fault: JsonFault::Syntax,
    };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let node = Seed(Some(&mut rules)).deserialize(&mut deserializer);
    match node.and_then(|node| deserializer.end().map(|()| node)) {
        Ok(Node::Object(members)) => Ok(members),
        Ok(_) => Err(JsonFault::NotAnObject),
        Err(_) => Err(rules.fault),
    }
}

/// What holds for a stranger's text, while it is read.
struct Rules {
    left: Limits,
    // Why the text is not read to its end.
    fault: JsonFault,
}

impl Rules {
    fn refuse<E: serde::de::Error>(&mut self, fault: JsonFault) -> E {
        self.fault = fault;
        E::custom(fault)
    }

    fn take<E: serde::de::Error>(
        &mut self,
        count: usize,
        left: impl FnOnce(&mut Limits) -> &mut usize,
    ) -> Result<(), E> {
        let left = left(&mut self.left);
        match left.checked_sub(count) {
            Some(fewer) => *left = fewer,
            None => return Err(self.refuse(JsonFault::TooMany)),
        }
        Ok(())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Node<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Seed(None).deserialize(deserializer)
    }
}

/// Under this name the toml crate hands over a date or time, which serde has no type for.
const TOML_DATETIME: &str = "$__toml_private_datetime";

/// Reads a value, under rules if there are any.
struct Seed<'r>(Option<&'r mut Rules>);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node<'de>, E> {
        Ok(Node::Integer(value))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node<'de>, E> {
        #[expect(clippy::cast_precision_loss, reason = "no reader wants such a number exactly")]
        Ok(i64::try_from(value).map_or(Node::Float(value as f64), Node::Integer))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node<'de>, E> {
        self.visit_i128(value.into())
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node<'de>, E> {
        #[expect(clippy::cast_precision_loss, reason = "no reader wants such a number exactly")]
        Ok(i64::try_from(value).map_or(Node::Float(value as f64), Node::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node<'de>, E> {
        Ok(Node::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Node<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Seed(self.0.as_deref_mut()))? {
            if let Some(rules) = &mut self.0 {
                rules.take(1, |left| &mut left.elements)?;
                // Others have members, which are counted.
                if matches!(&item, Node::Object(members) if members.is_empty()) {
                    rules.take(1, |left| &mut left.members)?;
                }
            }
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Node<'de>, A::Error> {
        let mut object = Members::new();
        let mut names = Names::default();
        while let Some(name) = members.next_key_seed(Name)? {
            if let Some(rules) = &mut self.0 {
                if !names.add(&object, &name) {
                    return Err(rules.refuse(JsonFault::DuplicateMember));
                }
                let is_escaped = matches!(name, Cow::Owned(_));
                rules.take(if is_escaped { ESCAPED_NAME } else { 1 }, |left| &mut left.members)?;
            }
            let value = members.next_value_seed(Seed(self.0.as_deref_mut()))?;
            object.push((name, value));
        }
        match &object[..] {
            [(name, _)] if name == TOML_DATETIME => Ok(Node::DateTime),
            _ => Ok(Node::Object(object)),
        }
    }
}

/// As many members a name with escapes counts for: it is copied, and no issuer writes one.
const ESCAPED_NAME: usize = 8;

/// Up to as many names of an object are compared one by one, which takes no memory of its own.
const FEW: usize = 24;

/// The names of an object that has many: comparing each with each would take too long.
#[derive(Default)]
struct Names<'de>(HashSet<Cow<'de, str>>);

impl<'de> Names<'de> {
    /// Whether `object` has no member of that name yet.
    #[expect(clippy::ptr_arg, reason = "borrowed names are cloned without a copy")]
    fn add(&mut self, object: &Members<'de>, name: &Cow<'de, str>) -> bool {
        if object.len() < FEW {
            return object.iter().all(|(other, _)| other != name);
        }
        if self.0.is_empty() {
            self.0.extend(object.iter().map(|(name, _)| name.clone()));
        }
        self.0.insert(name.clone())
    }
}

/// A member's name, where it stands unless it has escapes. serde itself would always copy it.
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
mod tests;
