//! Where the header blocks of an HTTP/2 connection begin and end, and how many streams are reset (RFC 9113 sections 4.1,
//! 4.3 and 6.4).
//!
//! Only that: h2 reads the frames. It keeps a block that has not come in full without a limit of time, and one byte of
//! it can be a field of 150 bytes in memory (HPACK's indexed fields), which nothing shows before the request is there.

use super::memory::FIELD;
use super::meter::Found;

/// What a client sends first.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// What the client sends now.
#[derive(Debug)]
pub(super) struct Frames {
    preface_left: usize,
    head: [u8; FRAME_HEAD],
    head_filled: usize,
    payload_left: usize,
    /// Whether the frame whose payload comes is the last of a header block.
    ends_block: bool,
    in_block: bool,
    last_stream: u32,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            preface_left: PREFACE.len(),
            head: [0; FRAME_HEAD],
            head_filled: 0,
            payload_left: 0,
            ends_block: false,
            in_block: false,
            last_stream: 0,
        }
    }

    /// The stream of the latest request.
    pub(super) fn latest(&self) -> u32 {
        self.last_stream
    }

    /// Looks at what has come, up to the end of a header block. Returns how far that is.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> (usize, Found) {
        let mut place = self.preface_left.min(bytes.len());
        self.preface_left -= place;
        let mut found = Found::default();
        while place < bytes.len() {
            if self.head_filled < FRAME_HEAD {
                let taken = (FRAME_HEAD - self.head_filled).min(bytes.len() - place);
                self.head[self.head_filled..][..taken].copy_from_slice(&bytes[place..][..taken]);
                self.head_filled += taken;
                place += taken;
                if self.head_filled < FRAME_HEAD {
                    break;
                }
                self.begin(&mut found);
            }
            let taken = self.payload_left.min(bytes.len() - place);
            self.payload_left -= taken;
            place += taken;
            if self.payload_left > 0 {
                break;
            }
            self.head_filled = 0;
            if std::mem::take(&mut self.ends_block) {
                self.in_block = false;
                found.head_ended = true;
                break;
            }
        }
        found.in_head = self.in_block;
        found.lasting = place;
        (place, found)
    }

    /// A frame whose head has come.
    fn begin(&mut self, found: &mut Found) {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        self.payload_left = u32::from_be_bytes([0, a, b, c]) as usize;
        if kind == RST_STREAM {
            found.resets += 1;
        }
        if kind != HEADERS && kind != CONTINUATION {
            return;
        }
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        if kind == HEADERS {
            if stream <= self.last_stream {
                // Trailers: they are kept until the body is read. No client sends any here.
                found.lasting_more += self.payload_left * FIELD;
            }
            self.last_stream = self.last_stream.max(stream);
        }
        self.in_block = true;
        self.ends_block = flags & END_HEADERS != 0;
        // Within one frame the bytes are still bytes; what follows it is kept decoded.
        found.in_parts |= !self.ends_block;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, stream];
        frame.extend(payload);
        frame
    }

    #[test]
    fn each_header_block_ends_by_itself() {
        let frames = [
            PREFACE.to_vec(),
            frame(4, 0, 0, &[]),
            frame(HEADERS, END_HEADERS, 1, b"abc"),
            frame(0, 1, 1, b"body"),
            frame(HEADERS, 0, 3, b"d"),
            frame(CONTINUATION, 0, 3, b""),
            frame(CONTINUATION, END_HEADERS, 3, b"e"),
            frame(6, 0, 0, b"12345678"),
        ]
        .concat();
        // The ends, and whether the block came in parts.
        let wanted = [(24 + 9 + 12, false), (24 + 9 + 12 + 13 + 10 + 9 + 10, true)];
        for step in [1, 2, 7, frames.len()] {
            let (mut reader, mut place, mut ends, mut parts) = (Frames::new(), 0, Vec::new(), false);
            while place < frames.len() {
                let (taken, found) = reader.advance(&frames[place..frames.len().min(place + step)]);
                assert!(taken > 0);
                assert_eq!((found.lasting, found.lasting_more), (taken, 0));
                place += taken;
                parts |= found.in_parts;
                if found.head_ended {
                    assert!(!found.in_head);
                    ends.push((place, std::mem::take(&mut parts)));
                }
            }
            assert_eq!(ends, wanted, "in steps of {step}");
            assert!(!reader.in_block);
        }
    }

    #[test]
    fn a_block_that_stops_halfway_is_one_that_is_awaited() {
        for (sent, in_head) in [
            (frame(HEADERS, END_HEADERS, 1, b"abc"), false),
            (frame(HEADERS, END_HEADERS, 1, b"abc")[..11].to_vec(), true),
            (frame(HEADERS, END_HEADERS, 1, b"abc")[..8].to_vec(), false),
            (frame(HEADERS, 0, 1, b"abc"), true),
            (
                [frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 0, 1, b"")].concat(),
                true,
            ),
        ] {
            let mut reader = Frames::new();
            reader.advance(PREFACE);
            assert_eq!(reader.advance(&sent).1.in_head, in_head, "{sent:?}");
        }
    }

    #[test]
    fn trailers_are_taken_for_what_they_can_become() {
        let mut reader = Frames::new();
        reader.advance(PREFACE);
        reader.advance(&frame(HEADERS, END_HEADERS, 5, b"abc"));
        let (_, found) = reader.advance(&frame(HEADERS, END_HEADERS, 5, b"xy"));
        assert_eq!(found.lasting_more, 2 * FIELD);
    }

    #[test]
    fn whatever_is_sent_is_read_on() {
        // Lengths that h2 refuses, unknown kinds.
        let mut reader = Frames::new();
        reader.advance(PREFACE);
        for byte in 0..=255u8 {
            let (taken, _) = reader.advance(&[byte; 64]);
            assert!(taken > 0);
        }
    }
}
