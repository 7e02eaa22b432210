//! Text in JSON (RFC 8259 section 7).

/// Adds what stands between the quotes of a JSON string to `buffer`.
///
/// The serializer of `serde_json` looks at each byte by itself. Nearly every text has nothing to escape, and a token can be
/// thousands long: it is looked at and copied in blocks, and only what has something to escape goes to the serializer.
#[inline]
pub fn push_escaped(buffer: &mut Vec<u8>, text: &str) {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    let mut blocks = text.as_bytes().chunks(64);
    if blocks.all(|block| block.iter().fold(true, |all, byte| all & is_plain(byte))) {
        buffer.extend_from_slice(text.as_bytes());
    } else {
        let quoted = serde_json::Value::from(text).to_string();
        // Without its quotes.
        buffer.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
    }
}

/// Adds a JSON string to `buffer`.
#[inline]
pub fn push_string(buffer: &mut Vec<u8>, text: &str) {
    buffer.push(b'"');
    push_escaped(buffer, text);
    buffer.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whatever_a_text_holds_it_is_the_same_in_json() {
        let long = "eyJ0eXAiOiJKV1QifQ.".repeat(100);
        for text in [
            "",
            "8:acs:1",
            &long,
            "a\"b",
            "a\\b",
            "a\nb",
            "\u{1}",
            "ü",
            "\u{7f}",
            &format!("{long}\""),
        ] {
            let mut body = Vec::new();
            push_string(&mut body, text);
            assert_eq!(serde_json::from_slice::<String>(&body).unwrap(), text);
        }
    }

    proptest! {
        /// In whatever pieces it comes.
        #[test]
        fn a_text_is_escaped_as_serde_json_does_it(pieces in proptest::collection::vec(".{0,80}|[ -~]{60,140}|[\"\\\\\u{0}-\u{1f}\u{7f}]{0,3}", 0..4)) {
            let mut line = Vec::new();
            for piece in &pieces {
                push_escaped(&mut line, piece);
            }
            let whole = serde_json::to_string(&pieces.concat()).unwrap();
            prop_assert_eq!(format!("\"{}\"", String::from_utf8(line).unwrap()), whole);
        }
    }
}
