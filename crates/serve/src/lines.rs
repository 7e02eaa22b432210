//! Where the head of an HTTP/1.1 request ends, and its body (RFC 9112 section 2.1).
//!
//! Only that: hyper reads the messages. It does not say when the first byte of a head has come, which the time for a
//! head counts from, nor how much it holds of one.

use super::meter::Found;

/// What the client sends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// A head, of which this much has come.
    Head {
        /// Bytes so far.
        bytes: usize,
        /// Whether something of the line has come, line ends left out.
        filled: bool,
        /// Whether there was a line that is not empty. Empty ones may stand before a request.
        begun: bool,
    },
    /// A body, of which this much is still to come.
    Body(u64),
    /// A body that marks its own end, of which this much has come since. What follows it is taken for a part of it.
    Chunked(usize),
}

impl Lines {
    pub(super) const START: Self = Self::Head {
        bytes: 0,
        filled: false,
        begun: false,
    };

    /// Looks at what has come, up to the end of a head or a body. Returns how far that is.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> (usize, Found) {
        match self {
            Self::Head {
                bytes: seen,
                filled,
                begun,
            } => {
                let has_text = |part: &[u8]| part.iter().any(|byte| *byte != b'\r');
                let mut start = 0;
                for end in memchr::memchr_iter(b'\n', bytes) {
                    *filled |= has_text(&bytes[start..end]);
                    start = end + 1;
                    if *begun && !*filled {
                        *seen += start;
                        return (start, Found::head_ended(*seen));
                    }
                    *begun |= *filled;
                    *filled = false;
                }
                *filled |= has_text(&bytes[start..]);
                *begun |= *filled;
                *seen += bytes.len();
                (bytes.len(), Found::in_head(*seen))
            }
            Self::Body(remaining) => {
                let taken = usize::try_from(*remaining).map_or(bytes.len(), |remaining| remaining.min(bytes.len()));
                *remaining -= taken as u64;
                if *remaining == 0 {
                    *self = Self::START;
                }
                (taken, Found::in_body(taken))
            }
            Self::Chunked(seen) => {
                *seen = seen.saturating_add(bytes.len());
                (bytes.len(), Found::in_body(*seen))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of `bytes`, and where heads ended.
    fn ends(mut lines: Lines, bytes: &[u8], body: u64) -> Vec<usize> {
        let (mut ends, mut place) = (Vec::new(), 0);
        while place < bytes.len() {
            let (taken, found) = lines.advance(&bytes[place..]);
            assert!(taken > 0);
            place += taken;
            if found.head_ended {
                ends.push(place);
                lines = if body > 0 { Lines::Body(body) } else { Lines::START };
            }
        }
        ends
    }

    #[test]
    fn heads_end_at_the_first_empty_line() {
        for (text, body, ended) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0, &[27][..]),
            ("GET / HTTP/1.1\nHost: x\n\n", 0, &[24]),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", 0, &[22]),
            ("GET / HTTP/1.1\r\nHost: x\r\n\r", 0, &[]),
            ("A / B\r\n\r\nA / B\r\n\r\nA", 0, &[9, 18]),
            ("A / B\r\n\r\n\r\n\r\nA / B\r\n\r\n", 4, &[9, 22]),
        ] {
            assert_eq!(ends(Lines::START, text.as_bytes(), body), ended, "{text:?}");
            // The same byte by byte.
            let mut lines = Lines::START;
            let mut found = Vec::new();
            for (place, byte) in text.bytes().enumerate() {
                if lines.advance(&[byte]).1.head_ended {
                    found.push(place + 1);
                    lines = if body > 0 { Lines::Body(body) } else { Lines::START };
                }
            }
            assert_eq!(found, ended, "{text:?}");
        }
    }

    #[test]
    fn a_chunked_body_is_left_to_hyper() {
        let mut lines = Lines::Chunked(0);
        assert_eq!(lines.advance(b"0\r\n\r\nGET"), (8, Found::in_body(8)));
        assert_eq!(lines, Lines::Chunked(8));
    }
}
