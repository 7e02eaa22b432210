//! An ACS token as it is kept in the store, before it is sealed.

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::exchange::IssuedToken;
use azure::acs::Granted;
use base::ids::Scopes;
use base::secret::AcsToken;

/// The form of what follows. Another one is as if there were nothing.
const FORM: u8 = 1;

/// The token's own bytes: the form, then each text behind its length.
pub(super) fn write(token: &IssuedToken) -> Zeroizing<Vec<u8>> {
    let scopes = token.scopes.to_string();
    let texts = [
        token.grant.token.expose(),
        &token.grant.identity_id,
        &token.grant.expires_on_text,
        &scopes,
    ];
    let length = texts.iter().map(|text| size_of::<u64>() + text.len()).sum::<usize>();
    // Made at its full size: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 + length));
    bytes.push(FORM);
    for text in texts {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// The token that these bytes are, if they are one.
pub(super) fn read(bytes: &[u8], expires_on: Timestamp) -> Option<IssuedToken> {
    let (&FORM, mut rest) = bytes.split_first()? else {
        return None;
    };
    let [token, identity_id, expires_on_text, scopes] =
        [text(&mut rest)?, text(&mut rest)?, text(&mut rest)?, text(&mut rest)?];
    if !rest.is_empty() {
        return None;
    }
    Some(IssuedToken {
        grant: Granted {
            identity_id: identity_id.into(),
            token: AcsToken::new(token),
            expires_on,
            expires_on_text: expires_on_text.into(),
        },
        scopes: Scopes::parse(scopes),
        // Of another replica's exchange nothing is known here.
        span: None,
    })
}

fn text<'b>(rest: &mut &'b [u8]) -> Option<&'b str> {
    let (length, after) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
    let (text, after) = after.split_at_checked(length)?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(texts: [&str; 3], scopes: &str) -> IssuedToken {
        let [token, identity, expires_on] = texts;
        IssuedToken {
            grant: Granted {
                identity_id: identity.into(),
                token: AcsToken::new(token),
                expires_on: Timestamp::UNIX_EPOCH,
                expires_on_text: expires_on.into(),
            },
            scopes: Scopes::parse(scopes),
            span: None,
        }
    }

    fn shown(token: &IssuedToken) -> [String; 4] {
        [
            token.grant.token.expose().to_owned(),
            token.grant.identity_id.to_string(),
            token.grant.expires_on_text.to_string(),
            token.scopes.to_string(),
        ]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(texts in any::<[String; 3]>(), scopes in "[a-zA-Z. ]{0,30}") {
            let written = token(texts.each_ref().map(String::as_str), &scopes);
            let bytes = write(&written);
            prop_assert_eq!(shown(&read(&bytes, Timestamp::UNIX_EPOCH).unwrap()), shown(&written));
            for end in 0..bytes.len() {
                prop_assert!(read(&bytes[..end], Timestamp::UNIX_EPOCH).is_none(), "cut off at {}", end);
            }
            let mut longer = bytes.to_vec();
            longer.push(0);
            prop_assert!(read(&longer, Timestamp::UNIX_EPOCH).is_none());
            longer.pop();
            longer[0] = FORM + 1;
            prop_assert!(read(&longer, Timestamp::UNIX_EPOCH).is_none(), "another form");
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in any::<Vec<u8>>()) {
            let _ = read(&bytes, Timestamp::UNIX_EPOCH);
        }
    }
}
