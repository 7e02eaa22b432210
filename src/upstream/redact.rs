//! Words of an upstream for the log, without what could be a token.

use crate::untrusted::Untrusted;

/// No GUID, code or word of a message is as long; a longer run is taken for a token.
const LONGEST_WORD: usize = 40;

/// An upstream's text, harmless to write down: an upstream might quote the token that it was sent.
pub(super) fn harmless(text: &str) -> Untrusted {
    Untrusted::new(&without_tokens(text))
}

fn without_tokens(text: &str) -> String {
    text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || "-_.+/=".contains(c)))
        .map(|word| if word.len() > LONGEST_WORD { "[redacted] " } else { word })
        .collect()
}
