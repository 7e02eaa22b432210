//! Identifiers of the Microsoft identity platform: parsed once, compared by value.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use uuid::Uuid;

/// The text is not a GUID in its usual form (`xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a GUID")]
pub struct NotAGuid;

/// Only the hyphenated form counts: braces and URN prefixes do not occur in tokens or at ACS.
fn parse_guid(text: &str) -> Result<Uuid, NotAGuid> {
    if text.len() == uuid::fmt::Hyphenated::LENGTH {
        Uuid::try_parse(text).map_err(|_| NotAGuid)
    } else {
        Err(NotAGuid)
    }
}

/// The same as a regular expression, for schemas.
const GUID_PATTERN: &str = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$";

macro_rules! guid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl FromStr for $name {
            type Err = NotAGuid;

            fn from_str(text: &str) -> Result<Self, NotAGuid> {
                parse_guid(text).map(Self)
            }
        }

        impl $name {
            /// The id's sixteen bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": GUID_PATTERN })
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(GuidVisitor).map(Self)
            }
        }
    };
}

struct GuidVisitor;

impl Visitor<'_> for GuidVisitor {
    type Value = Uuid;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a GUID")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Uuid, E> {
        parse_guid(text).map_err(E::custom)
    }
}

guid_type!(
    /// A Microsoft Entra tenant (`tid`).
    TenantId
);
guid_type!(
    /// A user or a group within a tenant (`oid`, or a member of `groups`).
    ObjectId
);
guid_type!(
    /// A client application (`azp` in v2 tokens, `appid` in v1 tokens).
    ClientAppId
);

impl TenantId {
    /// The object id under which ACS lists an assignment of the whole tenant.
    #[must_use]
    pub fn as_object_id(self) -> ObjectId {
        ObjectId(self.0)
    }
}

/// A set of OAuth 2.0 scope values (RFC 6749 section 3.3), kept sorted so that equal sets are equal values. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Scopes(Arc<[Box<str>]>);

impl Scopes {
    /// Parses a space-separated list; order and repetition do not matter.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.split(' ').filter(|scope| !scope.is_empty()).collect()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `scope` is in the set. Scope values are case-sensitive (RFC 6749 section 3.3).
    #[must_use]
    pub fn contains(&self, scope: &str) -> bool {
        self.0.binary_search_by(|own| (**own).cmp(scope)).is_ok()
    }

    /// The scopes in sorted order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|scope| &**scope)
    }

    /// Bytes held by the set, for weighing cache entries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|scope| scope.len() + size_of::<Box<str>>()).sum()
    }
}

impl<'a> FromIterator<&'a str> for Scopes {
    fn from_iter<I: IntoIterator<Item = &'a str>>(scopes: I) -> Self {
        let mut scopes: Vec<Box<str>> = scopes.into_iter().map(Box::from).collect();
        scopes.sort_unstable();
        scopes.dedup();
        Self(scopes.into())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_compare_without_regard_to_case_and_in_one_form_only() {
        let lower: TenantId = "0a1b2c3d-0000-4000-8000-00000000abcd".parse().unwrap();
        let upper: TenantId = "0A1B2C3D-0000-4000-8000-00000000ABCD".parse().unwrap();
        assert_eq!(lower, upper);
        assert_eq!(upper.to_string(), "0a1b2c3d-0000-4000-8000-00000000abcd");
        for bad in [
            "",
            "common",
            "0a1b2c3d00004000800000000000abcd",
            "{0a1b2c3d-0000-4000-8000-00000000abcd}",
            "urn:uuid:0a1b2c3d-0000-4000-8000-00000000abcd",
            "0a1b2c3d-0000-4000-8000-00000000abcg",
            " 0a1b2c3d-0000-4000-8000-00000000abc",
        ] {
            assert_eq!(bad.parse::<TenantId>(), Err(NotAGuid), "{bad:?}");
        }
    }

    #[test]
    fn scopes_are_a_set() {
        let scopes = Scopes::parse("VoIP.Join  VoIP VoIP");
        assert_eq!(scopes, Scopes::parse("VoIP VoIP.Join"));
        assert_eq!(scopes.to_string(), "VoIP VoIP.Join");
        assert!(scopes.contains("VoIP"));
        assert!(!scopes.contains("voip"));
        assert!(Scopes::parse("  ").is_empty());
    }
}
