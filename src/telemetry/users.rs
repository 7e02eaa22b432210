//! How users are told in logs and traces: as `telemetry.user_ids` says.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{hmac, rand};

use crate::config::UserIds;
use crate::ids::{ObjectId, TenantId};

/// Bytes of a hash that are told: enough for no two users to share it.
const TOLD_BYTES: usize = 16;

/// The rule of `telemetry.user_ids`, with its key.
#[derive(Clone)]
pub struct UserNames(Arc<Rule>);

enum Rule {
    Hash(Box<hmac::Key>),
    Plain,
    Nothing,
}

/// There is no randomness to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no random key can be made")]
pub struct NoRandomness;

impl fmt::Debug for UserNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.0 {
            Rule::Hash(_) => "Hash",
            Rule::Plain => "Plain",
            Rule::Nothing => "Nothing",
        })
    }
}

impl UserNames {
    /// The rule, with this key or else one made up.
    pub fn new(rule: UserIds, key: Option<&[u8]>) -> Result<Self, NoRandomness> {
        let rule = match (rule, key) {
            (UserIds::Plain, _) => Rule::Plain,
            (UserIds::Nothing, _) => Rule::Nothing,
            (UserIds::Hash, Some(key)) => Rule::Hash(Box::new(hmac::Key::new(hmac::HMAC_SHA256, key))),
            (UserIds::Hash, None) => {
                let mut key = [0; 32];
                rand::fill(&mut key).map_err(|_| NoRandomness)?;
                Rule::Hash(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &key)))
            }
        };
        Ok(Self(Arc::new(rule)))
    }

    /// How this user is told.
    #[must_use]
    pub fn name(&self, tenant: TenantId, user: ObjectId) -> UserName {
        match &*self.0 {
            Rule::Hash(key) => {
                // GUIDs print in lower case.
                let tag = hmac::sign(key, format!("{tenant}/{user}").as_bytes());
                let mut text = String::with_capacity(2 * TOLD_BYTES);
                for byte in tag.as_ref().iter().take(TOLD_BYTES) {
                    text.extend(
                        [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])),
                    );
                }
                UserName::Pseudonym(text)
            }
            Rule::Plain => UserName::Plain(user),
            Rule::Nothing => UserName::Untold,
        }
    }
}

/// A user, as he may be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserName {
    /// `enduser.pseudo.id`: the first half of HMAC-SHA256 over `TENANT/USER`, in hex.
    Pseudonym(String),
    /// `enduser.id`: Entra's object id.
    Plain(ObjectId),
    /// Not at all.
    Untold,
}

impl UserName {
    /// For the attribute `enduser.pseudo.id`.
    #[must_use]
    pub fn pseudonym(&self) -> Option<&str> {
        match self {
            Self::Pseudonym(text) => Some(text),
            Self::Plain(_) | Self::Untold => None,
        }
    }

    /// For the attribute `enduser.id`.
    #[must_use]
    pub fn plain(&self) -> Option<ObjectId> {
        match self {
            Self::Plain(id) => Some(*id),
            Self::Pseudonym(_) | Self::Untold => None,
        }
    }

    /// `text` of somebody else's making, with this in place of the id of `user`: an upstream may quote it.
    #[must_use]
    pub fn in_place_of(&self, user: ObjectId, text: String) -> String {
        if self.plain().is_some() {
            return text;
        }
        let id = user.to_string();
        // Same length, byte for byte: only ASCII letters change.
        let folded = text.to_ascii_lowercase();
        let mut told = String::with_capacity(text.len());
        let mut rest = 0;
        for (at, _) in folded.match_indices(&id) {
            told.push_str(&text[rest..at]);
            told.push_str(self.pseudonym().unwrap_or("(user)"));
            rest = at + id.len();
        }
        told.push_str(&text[rest..]);
        told
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pseudonym(text) => write!(f, "user {text}"),
            Self::Plain(id) => write!(f, "user {id}"),
            Self::Untold => f.write_str("a user"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11";
    const USER: &str = "FAB00000-0000-4000-8000-0000000000AD";

    fn name(rule: UserIds, key: Option<&[u8]>) -> UserName {
        let names = UserNames::new(rule, key).unwrap();
        names.name(TENANT.parse().unwrap(), USER.parse().unwrap())
    }

    #[test]
    fn a_hash_is_what_openssl_makes_of_it() {
        // printf %s/%s 8f1c3f2e-… fab00000-… | openssl dgst -sha256 -hmac 0123456789abcdef
        let hash = name(UserIds::Hash, Some(b"0123456789abcdef"));
        assert_eq!(hash.pseudonym(), Some("d9230f8158c27e1daab76b768f788bb0"));
        assert_ne!(name(UserIds::Hash, None), name(UserIds::Hash, None));
        assert_eq!(
            name(UserIds::Plain, None).to_string(),
            format!("user {}", USER.to_lowercase())
        );
        assert_eq!(name(UserIds::Nothing, None).to_string(), "a user");
    }

    #[test]
    fn an_id_that_is_quoted_is_replaced() {
        let text = format!("ünknown {USER} or {}, é", USER.to_lowercase());
        for (rule, told) in [
            (UserIds::Plain, text.clone()),
            (UserIds::Nothing, "ünknown (user) or (user), é".to_owned()),
        ] {
            assert_eq!(name(rule, None).in_place_of(USER.parse().unwrap(), text.clone()), told);
        }
        let hash = name(UserIds::Hash, None);
        let shown = hash.in_place_of(USER.parse().unwrap(), text);
        assert_eq!(shown.matches(hash.pseudonym().unwrap()).count(), 2, "{shown}");
        assert!(!shown.to_lowercase().contains(&USER.to_lowercase()));
    }
}
