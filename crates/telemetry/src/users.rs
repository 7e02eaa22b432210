//! How users are named in logs and traces: as `telemetry.user_ids` says.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{hmac, rand};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use base::ids::{ObjectId, TenantId};
use config::UserIds;

/// Bytes of a hash that make a pseudonym: enough for no two users to share it.
const PSEUDONYM_BYTES: usize = 16;

/// Digits of an id's beginning that distinguish a user from most others.
const IDENTIFYING_DIGITS: usize = 8;

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
            (UserIds::None, _) => Rule::Nothing,
            (UserIds::Hash, Some(key)) => Rule::Hash(Box::new(hmac::Key::new(hmac::HMAC_SHA256, key))),
            (UserIds::Hash, None) => {
                let mut key = [0; 32];
                rand::fill(&mut key).map_err(|_| NoRandomness)?;
                Rule::Hash(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &key)))
            }
        };
        Ok(Self(Arc::new(rule)))
    }

    /// How this user is named.
    #[must_use]
    pub fn name(&self, tenant: TenantId, user: ObjectId) -> UserName {
        match &*self.0 {
            Rule::Hash(key) => {
                let tag = hmac::sign(key, &text_of(tenant, user));
                // HMAC-SHA256 has twice as many bytes.
                let mut half = [0; PSEUDONYM_BYTES];
                half.copy_from_slice(&tag.as_ref()[..PSEUDONYM_BYTES]);
                let digits = Uuid::from_bytes(half).simple();
                UserName::Pseudonym(digits.encode_lower(&mut Uuid::encode_buffer()).to_owned())
            }
            Rule::Plain => UserName::Plain(user),
            Rule::Nothing => UserName::Omitted,
        }
    }
}

/// `TENANT/USER`, in lower case.
fn text_of(tenant: TenantId, user: ObjectId) -> [u8; 2 * Hyphenated::LENGTH + 1] {
    let mut text = [b'/'; 2 * Hyphenated::LENGTH + 1];
    for (place, id) in [(0, tenant.as_bytes()), (Hyphenated::LENGTH + 1, user.as_bytes())] {
        Uuid::from_bytes(*id).hyphenated().encode_lower(&mut text[place..]);
    }
    text
}

/// A user, as telemetry may name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserName {
    /// `enduser.pseudo.id`: the first half of HMAC-SHA256 over `TENANT/USER`, in hex.
    Pseudonym(String),
    /// `enduser.id`: Entra's object id.
    Plain(ObjectId),
    /// Not at all.
    Omitted,
}

impl UserName {
    /// For the attribute `enduser.pseudo.id`.
    #[must_use]
    pub fn pseudonym(&self) -> Option<&str> {
        match self {
            Self::Pseudonym(text) => Some(text),
            Self::Plain(_) | Self::Omitted => None,
        }
    }

    /// For the attribute `enduser.id`.
    #[must_use]
    pub fn plain(&self) -> Option<ObjectId> {
        match self {
            Self::Plain(id) => Some(*id),
            Self::Pseudonym(_) | Self::Omitted => None,
        }
    }

    /// `text` from an upstream, with this name in place of the id of `user`, which the text may quote.
    #[must_use]
    pub fn in_place_of(&self, user: ObjectId, text: String) -> String {
        if self.plain().is_some() {
            return text;
        }
        let id = user.to_string().replace('-', "");
        let mut replaced = String::with_capacity(text.len());
        let (mut at, mut rest) = (0, 0);
        while let Some(remaining) = text.as_bytes().get(at..).filter(|remaining| !remaining.is_empty()) {
            if let Some(length) = quoted(remaining, id.as_bytes()) {
                replaced.push_str(&text[rest..at]);
                replaced.push_str(self.pseudonym().unwrap_or("(user)"));
                at += length;
                rest = at;
            } else {
                at += 1;
            }
        }
        replaced.push_str(&text[rest..]);
        replaced
    }
}

/// How much of the beginning of `text` is the id with these digits, in either case, with hyphens or without. Texts from
/// outside are cut before they come here, so its beginning counts where it ends in the ellipsis of a cut.
fn quoted(text: &[u8], digits: &[u8]) -> Option<usize> {
    let hyphen_at = |at: usize| usize::from(text.get(at) == Some(&b'-'));
    let (mut length, mut known) = (0, 0);
    for digit in digits {
        let next = if known == 0 { 0 } else { length + hyphen_at(length) };
        if !text.get(next).is_some_and(|byte| byte.eq_ignore_ascii_case(digit)) {
            break;
        }
        length = next + 1;
        known += 1;
    }
    if known == digits.len() {
        return Some(length);
    }
    length += hyphen_at(length);
    let is_cut = text.get(length..).is_some_and(|rest| rest.starts_with("…".as_bytes()));
    (known >= IDENTIFYING_DIGITS && is_cut).then_some(length)
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pseudonym(text) => write!(f, "user {text}"),
            Self::Plain(id) => write!(f, "user {id}"),
            Self::Omitted => f.write_str("a user"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        assert_eq!(name(UserIds::None, None).to_string(), "a user");
    }

    #[test]
    fn an_id_that_is_quoted_is_replaced() {
        let user: ObjectId = USER.parse().unwrap();
        let id = USER.to_lowercase();
        let bare = id.replace('-', "");
        for (text, shown) in [
            (format!("ünknown {USER} or {id}, é"), "ünknown (user) or (user), é"),
            (format!("({bare})"), "((user))"),
            (bare.to_uppercase(), "(user)"),
            (format!("{id}{id}"), "(user)(user)"),
            // Near misses: another id, one digit less, and a beginning that was not cut.
            (id.replace("ad", "ae"), "fab00000-0000-4000-8000-0000000000ae"),
            (id[..35].to_owned(), "fab00000-0000-4000-8000-0000000000a"),
            // Cut: what is left of it, if it is enough to distinguish the user from others.
            (format!("no '{}…", &id[..35]), "no '(user)…"),
            (format!("no {}… (and {id})", &id[..8]), "no (user)… (and (user))"),
            (format!("no {}…", &bare.to_uppercase()[..31]), "no (user)…"),
            (format!("no {}…", &id[..9]), "no (user)…"),
            (format!("no {}…", &id[..7]), "no fab0000…"),
            // It begins once more in the middle of what looked like it.
            (format!("fab00000{id}"), "fab00000(user)"),
            ("…".to_owned(), "…"),
            (String::new(), ""),
        ] {
            assert_eq!(name(UserIds::None, None).in_place_of(user, text.clone()), shown);
            assert_eq!(name(UserIds::Plain, None).in_place_of(user, text.clone()), text);
            let hash = name(UserIds::Hash, None);
            let shown = shown.replace("(user)", hash.pseudonym().unwrap());
            assert_eq!(hash.in_place_of(user, text), shown);
        }
    }

    proptest! {
        /// Wherever a text is cut, and however the id is written in it.
        #[test]
        fn what_is_left_of_an_id_is_less_than_eight_digits(
            user in any::<u128>(),
            before in "[ 'g-z…é-]{0,12}",
            after in "[ 'g-z…é-]{0,12}",
            hyphens in any::<bool>(),
            upper in any::<bool>(),
            cut in 0_usize..60,
        ) {
            let uuid = uuid::Uuid::from_u128(user);
            let user: ObjectId = uuid.to_string().parse().unwrap();
            let id = if hyphens { uuid.hyphenated().to_string() } else { uuid.simple().to_string() };
            let id = if upper { id.to_uppercase() } else { id };
            let text = format!("{before}{id}{after}");
            let kept: String = text.chars().take(cut).collect();
            let text = if kept == text { text } else { format!("{kept}…") };
            let shown = name(UserIds::None, None).in_place_of(user, text).to_lowercase().replace('-', "");
            prop_assert!(!shown.contains(&uuid.simple().to_string()[..8]), "{}", shown);
        }
    }
}
