//! Words of an upstream for the log, without what could be a token.

use base::untrusted::Untrusted;

/// No GUID, code or word of a message is longer; a longer run is taken for a token or a secret.
const LONGEST_WORD: usize = 36;
/// What tokens, signatures and Entra's client secrets are made of beside letters and digits.
const IN_WORDS: &str = "-_.+/=~%@";

/// An upstream's text, harmless to write down: an upstream might quote the token that it was sent, or name its user.
pub(super) fn harmless(text: &str) -> Untrusted {
    Untrusted::new(&without_tokens(text))
}

fn without_tokens(text: &str) -> String {
    text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || IN_WORDS.contains(c)))
        .map(|word| {
            let bare = word.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || IN_WORDS.contains(c)));
            let is_address = bare.contains('@');
            if bare.len() > LONGEST_WORD || is_address {
                "[redacted] "
            } else {
                word
            }
        })
        .collect()
}

/// The same without what was sent: however short a secret is, an upstream that quotes it must not bring it into a log.
pub(super) fn harmless_without(text: &str, secrets: &[&str]) -> Untrusted {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "[redacted]");
    }
    harmless(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_secret_or_a_person_is_left_out() {
        let guid = "0a1b2c3d-0000-4000-8000-00000000abcd";
        let secret = "AbC8Q~Zx9kLmN2pQrS4tUvW6xYz0aBcDeFgHiJkL";
        for (text, shown) in [
            (
                format!("AADSTS50013: app '{guid}' {guid}."),
                format!("AADSTS50013: app '{guid}' [redacted] "),
            ),
            (
                format!("client_secret={secret} is wrong"),
                "[redacted] is wrong".to_owned(),
            ),
            (
                "User account 'adele.vance@fabrikam.com' from".to_owned(),
                "User account '[redacted]  from".to_owned(),
            ),
            ("not in the directory".to_owned(), "not in the directory".to_owned()),
        ] {
            assert_eq!(without_tokens(&text), shown);
        }
    }

    #[test]
    fn what_was_sent_is_not_quoted() {
        let shown = harmless_without("bad secret: short and p@ss word", &["short", "p@ss word", "", "absent"]);
        assert_eq!(shown.to_string(), "bad secret: [redacted] and [redacted]");
    }
}
