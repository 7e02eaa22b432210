//! Text from outside that is about to be written down.

use std::fmt::{self, Write as _};

/// Longest text that [`Escaped`] writes, in characters.
const LIMIT: usize = 128;

/// Ends a text that was cut.
const ELLIPSIS: char = '…';

/// Shows untrusted text harmlessly: control characters, quotes and invisible characters escaped as in a Rust
/// literal, so that nothing can forge a log line or drive a terminal, and at most 128 characters in all.
///
/// No escape is cut in the middle; a text that does not fit ends in `…`.
#[derive(Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut written = 0;
        let mut characters = self.0.chars();
        // The last place is kept for the ellipsis until it is known whether the rest fits.
        while let Some(character) = characters.next() {
            let escape = character.escape_debug();
            let width = escape.len();
            let fits = written + width < LIMIT || (written + width == LIMIT && characters.as_str().is_empty());
            if !fits {
                return f.write_char(ELLIPSIS);
            }
            write!(f, "{escape}")?;
            written += width;
        }
        Ok(())
    }
}

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Untrusted text kept for later, harmless to show: see [`Escaped`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untrusted(Box<str>);

impl Untrusted {
    /// Escapes and cuts `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Escaped(text).to_string().into())
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn untrusted_text_is_escaped() {
        let cases = [
            ("VoIP.Join", "VoIP.Join"),
            ("two\r\nlines", "two\\r\\nlines"),
            ("\u{1b}[31mred\u{7}", "\\u{1b}[31mred\\u{7}"),
            ("\"quoted\" \\ ", "\\\"quoted\\\" \\\\ "),
            ("\u{202e}reversed\u{0}", "\\u{202e}reversed\\0"),
            ("Zoë 漢", "Zoë 漢"),
        ];
        for (text, shown) in cases {
            assert_eq!(Escaped(text).to_string(), shown);
        }
    }

    #[test]
    fn long_text_is_cut_by_characters() {
        let exact = "漢".repeat(128);
        assert_eq!(Escaped(&exact).to_string(), exact);
        let cut = Escaped(&"漢".repeat(129)).to_string();
        assert_eq!(cut, format!("{}…", "漢".repeat(127)));
        let escapes = Escaped(&"\u{1b}".repeat(1000)).to_string();
        assert_eq!(escapes, format!("{}…", "\\u{1b}".repeat(21)));
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_short_line(text in any::<String>()) {
            let shown = Escaped(&text).to_string();
            prop_assert!(shown.chars().count() <= LIMIT);
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }
}
