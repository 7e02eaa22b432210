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
        write_cut(f, self.0, LIMIT, |_| false)
    }
}

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A message that may repeat text from outside, as one line of at most so many characters: as [`Escaped`], but with quotes and
/// backslashes as they are, since the message has its own.
#[derive(Debug, Clone, Copy)]
pub struct OneLine<'a>(pub &'a str, pub usize);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_cut(f, self.0, self.1, |character| matches!(character, '"' | '\'' | '\\'))
    }
}

/// Adds text to a page of HTML, for content or a quoted attribute.
pub fn push_html(page: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            other => page.push(other),
        }
    }
}

/// Writes at most `limit` characters, each escaped unless `is_plain` says that it is harmless.
fn write_cut(f: &mut fmt::Formatter<'_>, text: &str, limit: usize, is_plain: fn(char) -> bool) -> fmt::Result {
    // Nearly every text is one that needs nothing.
    let is_harmless = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\');
    if text.len() <= limit && text.bytes().all(is_harmless) {
        return f.write_str(text);
    }
    let mut written = 0;
    let mut characters = text.chars();
    // The last place is kept for the ellipsis until it is known whether the rest fits.
    while let Some(character) = characters.next() {
        let escape = character.escape_debug();
        let width = if is_plain(character) { 1 } else { escape.len() };
        let fits = written + width < limit || (written + width == limit && characters.as_str().is_empty());
        if !fits {
            return f.write_char(ELLIPSIS);
        }
        if is_plain(character) {
            f.write_char(character)?;
        } else {
            write!(f, "{escape}")?;
        }
        written += width;
    }
    Ok(())
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

    #[test]
    fn a_message_keeps_its_quotes() {
        let line = OneLine("must be \"a\\b\" or 'c'\n\u{1b}[31m", 100).to_string();
        assert_eq!(line, "must be \"a\\b\" or 'c'\\n\\u{1b}[31m");
        assert_eq!(OneLine("\"\"\"\"", 4).to_string(), "\"\"\"\"");
        assert_eq!(OneLine("\"\"\"\"\"", 4).to_string(), "\"\"\"…");
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
