//! Invisible characters: what editors, shells and web pages leave in settings.
//!
//! `docker run --env-file` keeps the carriage return of a file from Windows, blanks at the end of a line, and quotes
//! around a value; a text pasted from a page brings no-break spaces and characters of no width. Around a value they
//! can't be meant, and are taken away. Within one they are a problem that names the character, never the value, since
//! "is not a URL" would send its reader to look for what cannot be seen.

use super::units::Reason;

/// Quotes as they are typed, and as word processors make of them.
const QUOTES: [(char, &str); 6] = [
    ('"', "QUOTATION MARK"),
    ('\'', "APOSTROPHE"),
    ('\u{201c}', "LEFT DOUBLE QUOTATION MARK"),
    ('\u{201d}', "RIGHT DOUBLE QUOTATION MARK"),
    ('\u{2018}', "LEFT SINGLE QUOTATION MARK"),
    ('\u{2019}', "RIGHT SINGLE QUOTATION MARK"),
];

/// What is met most, by the name that the Unicode standard gives it.
const NAMES: [(char, &str); 24] = [
    ('\0', "NULL"),
    ('\t', "CHARACTER TABULATION"),
    ('\n', "LINE FEED"),
    ('\r', "CARRIAGE RETURN"),
    ('\u{85}', "NEXT LINE"),
    ('\u{a0}', "NO-BREAK SPACE"),
    ('\u{ad}', "SOFT HYPHEN"),
    ('\u{2007}', "FIGURE SPACE"),
    ('\u{200b}', "ZERO WIDTH SPACE"),
    ('\u{200c}', "ZERO WIDTH NON-JOINER"),
    ('\u{200d}', "ZERO WIDTH JOINER"),
    ('\u{200e}', "LEFT-TO-RIGHT MARK"),
    ('\u{200f}', "RIGHT-TO-LEFT MARK"),
    ('\u{2028}', "LINE SEPARATOR"),
    ('\u{2029}', "PARAGRAPH SEPARATOR"),
    ('\u{202a}', "LEFT-TO-RIGHT EMBEDDING"),
    ('\u{202c}', "POP DIRECTIONAL FORMATTING"),
    ('\u{202f}', "NARROW NO-BREAK SPACE"),
    ('\u{2060}', "WORD JOINER"),
    ('\u{2066}', "LEFT-TO-RIGHT ISOLATE"),
    ('\u{2069}', "POP DIRECTIONAL ISOLATE"),
    ('\u{3000}', "IDEOGRAPHIC SPACE"),
    ('\u{feff}', "ZERO WIDTH NO-BREAK SPACE (byte order mark)"),
    ('\u{fffd}', "REPLACEMENT CHARACTER"),
];

/// A setting's text without what surrounds it: invisible characters, blanks, a pair of quotes.
///
/// A text with an invisible character within, or with one quote at an end, is refused.
pub fn plain(text: &str) -> Result<&str, Reason> {
    let text = bare(text);
    match quote_of(text) {
        Some((place, quote)) => Err(format!("{place} with {}", name(quote))),
        None => visible(text),
    }
}

/// The same for a text in which quotes may well be meant: a name, a filter.
pub(super) fn words(text: &str) -> Result<&str, Reason> {
    visible(trim(text))
}

/// The same for a secret: quotes around it might be part of it, so they are not taken away but refused.
pub fn secret(text: &str) -> Result<&str, Reason> {
    let text = visible(trim(text))?;
    match quote_of(text) {
        Some((place, quote)) => Err(format!("{place} with {}, which is hardly part of it", name(quote))),
        None => Ok(text),
    }
}

/// The quote at an end, and at which.
fn quote_of(text: &str) -> Option<(&'static str, char)> {
    let is_quote = |c: &char| QUOTES.iter().any(|(quote, _)| quote == c);
    let first = text.chars().next().filter(is_quote).map(|quote| ("begins", quote));
    first.or_else(|| text.chars().next_back().filter(is_quote).map(|quote| ("ends", quote)))
}

/// A text without invisible characters and blanks around it, and without a pair of quotes around the whole.
#[must_use]
pub fn bare(text: &str) -> &str {
    let text = trim(text);
    let inner = ['"', '\''].iter().find_map(|quote| {
        text.strip_prefix(*quote)?
            .strip_suffix(*quote)
            .map(|inner| (*quote, inner))
    });
    match inner {
        // `"a","b"` is a list of two, but `"["a","b"]"` is a quoted one.
        Some((quote, inner)) if !inner.contains(quote) || trim(inner).starts_with(['[', '{']) => trim(inner),
        _ => text,
    }
}

/// A text without invisible characters and blanks around it.
#[must_use]
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c == ' ' || is_invisible(c))
}

/// The first invisible character within, by its name.
#[must_use]
pub fn found(text: &str) -> Option<String> {
    text.chars().find(|c| is_invisible(*c)).map(name)
}

fn visible(text: &str) -> Result<&str, Reason> {
    match found(text) {
        None => Ok(text),
        Some(name) => Err(format!("holds {name}")),
    }
}

/// As in `U+00A0 NO-BREAK SPACE`.
fn name(c: char) -> String {
    let known = NAMES.iter().chain(&QUOTES).find(|(other, _)| *other == c);
    let words = match known {
        Some((_, name)) => name,
        None if c.is_control() => "(a control character)",
        None if c.is_whitespace() => "(a kind of space)",
        None => "(an invisible character)",
    };
    format!("U+{:04X} {words}", u32::from(c))
}

/// Whether it is invisible, except for the blank, which has its place in paths and names.
fn is_invisible(c: char) -> bool {
    c != ' '
        && (c.is_control()
            || c.is_whitespace()
            || matches!(c,
                '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
                | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffd}' | '\u{e0000}'..='\u{e0fff}'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_surrounds_a_value_is_taken_away() {
        for text in [
            "v",
            "v\r",
            "v\r\n",
            "v\n",
            "v  ",
            "\tv\t",
            "\u{feff}v",
            "v\u{a0}",
            "\u{200b}v\u{200b}",
            "\u{2060}v\u{202f}",
            "\"v\"",
            "'v'",
            "\"v\"\r",
            "\" v \r\"",
            " 'v' ",
        ] {
            assert_eq!(plain(text), Ok("v"), "{text:?}");
        }
        assert_eq!(plain("/etc/my secrets/key \r"), Ok("/etc/my secrets/key"));
        for text in ["", "\r", " ", "\"\"", "\"\r\"", "\u{feff}"] {
            assert_eq!(plain(text), Ok(""), "{text:?}");
        }
    }

    #[test]
    fn what_stands_within_is_named() {
        for (text, reason) in [
            ("a\rb", "holds U+000D CARRIAGE RETURN"),
            ("a\nb", "holds U+000A LINE FEED"),
            ("a\tb", "holds U+0009 CHARACTER TABULATION"),
            ("a\0b", "holds U+0000 NULL"),
            ("a\u{7}b", "holds U+0007 (a control character)"),
            ("a\u{a0}b", "holds U+00A0 NO-BREAK SPACE"),
            ("a\u{2003}b", "holds U+2003 (a kind of space)"),
            ("a\u{200b}b", "holds U+200B ZERO WIDTH SPACE"),
            ("a\u{feff}b", "holds U+FEFF ZERO WIDTH NO-BREAK SPACE (byte order mark)"),
            ("a\u{ad}b", "holds U+00AD SOFT HYPHEN"),
            ("a\u{fe0f}b", "holds U+FE0F (an invisible character)"),
            ("\"a", "begins with U+0022 QUOTATION MARK"),
            ("a'", "ends with U+0027 APOSTROPHE"),
            ("\u{201c}a\u{201d}", "begins with U+201C LEFT DOUBLE QUOTATION MARK"),
        ] {
            assert_eq!(plain(text).unwrap_err(), reason, "{text:?}");
        }
    }

    #[test]
    fn quotes_around_a_secret_are_refused() {
        assert_eq!(secret(" s~8Q.x-y \r\n"), Ok("s~8Q.x-y"));
        assert_eq!(secret("a\"b"), Ok("a\"b"));
        for text in ["\"hunter2\"", "'hunter2'", "\"hunter2", "hunter2\"\r"] {
            let reason = secret(text).unwrap_err();
            assert!(reason.contains("U+0022") || reason.contains("U+0027"), "{reason}");
            assert!(!reason.contains("hunter2"), "{reason}");
        }
        assert_eq!(secret("hun\u{a0}ter2").unwrap_err(), "holds U+00A0 NO-BREAK SPACE");
    }

    #[test]
    fn a_quoted_list_is_one_and_a_list_of_quoted_is_none() {
        assert_eq!(bare("\"[\"a\", \"b\"]\""), "[\"a\", \"b\"]");
        assert_eq!(bare("'{ a = 'b' }'\r"), "{ a = 'b' }");
        assert_eq!(bare("\"a,b\""), "a,b");
        assert_eq!(bare("\"a\",\"b\""), "\"a\",\"b\"");
    }

    #[test]
    fn letters_of_all_scripts_and_blanks_are_seen() {
        for text in [
            "Contoso GmbH & Co. KG",
            "Bücher",
            "مثال",
            "例え",
            "https://contoso.com/a?b=c#d",
            "a+b==",
        ] {
            assert_eq!(plain(text), Ok(text));
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_has_nothing_invisible_and_is_taken_again(text in any::<String>()) {
            for read in [plain, words, secret] {
                if let Ok(read_once) = read(&text) {
                    prop_assert!(!read_once.chars().any(is_invisible));
                    prop_assert_eq!(read_once.trim(), read_once);
                    prop_assert!(text.contains(read_once));
                }
            }
        }
    }
}
