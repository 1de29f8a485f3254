//! Records and positions as server-sent events.
//!
//! ```text
//! event: data
//! data:[{"a":1},{"a":2}]
//!
//! event: control
//! data:{"streamNextOffset":"...","streamCursor":"...","upToDate":true}
//! ```
//!
//! What lies between two offsets is one data event and the control event after it, in one buffer. JSON goes out as an array,
//! text line by line, anything else as base64. A parser strips one space after `data:`, so a line that begins with a space gets one
//! more, and no other line does.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use memchr::memchr2;

use super::text::Joint;
use crate::rules::is_json;
use crate::types::Position;

/// How the records of a stream are written into data events.
#[derive(Debug)]
pub(super) enum Encoding {
    /// As elements of a JSON array.
    Json,
    /// As lines of text.
    Text(Joint),
    /// As base64.
    Base64,
}

impl Encoding {
    /// What suits the content type.
    pub(super) fn of(content_type: &[u8]) -> Self {
        let is_text = content_type
            .trim_ascii_start()
            .get(..5)
            .is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/"));
        if is_json(content_type) {
            Self::Json
        } else if is_text {
            Self::Text(Joint::default())
        } else {
            Self::Base64
        }
    }

    /// Appends the data event for `payloads`, if there is anything to say yet; the last one of the stream holds nothing back.
    pub(super) fn data(&mut self, payloads: &[Bytes], last: bool, out: &mut BytesMut) {
        let bytes: usize = payloads.iter().map(Bytes::len).sum();
        match self {
            Self::Json => {
                out.reserve(bytes + payloads.len() + EVENT_BYTES);
                out.put_slice(b"event: data\ndata:[");
                for (index, payload) in payloads.iter().enumerate() {
                    if index > 0 {
                        out.put_u8(b',');
                    }
                    put_json(payload, out);
                }
                out.put_slice(b"]\n\n");
            }
            Self::Text(joint) => {
                let mut text = joint.push(payloads);
                if last && let Some(unfinished) = joint.finish() {
                    text.to_mut().push_str(unfinished);
                }
                // Nothing but the beginning of a character: it goes out with its rest.
                if text.is_empty() && bytes > 0 {
                    return;
                }
                put_lines(&text, out);
            }
            Self::Base64 => {
                out.reserve(bytes.div_ceil(3) * 4 + EVENT_BYTES);
                out.put_slice(b"event: data\ndata:");
                put_base64(payloads, out);
                out.put_slice(b"\n\n");
            }
        }
    }

    /// Whether nothing is carried from one event into the next.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Json | Self::Base64 => true,
            Self::Text(joint) => joint.is_empty(),
        }
    }

    /// Appends what was held back, at the end of a stream that brought no more records.
    pub(super) fn finish(&mut self, out: &mut BytesMut) {
        if let Self::Text(joint) = self
            && let Some(text) = joint.finish()
        {
            put_lines(text, out);
        }
    }
}

/// About what an event takes besides its data.
const EVENT_BYTES: usize = 160;

/// JSON on one line: a line break in it is white space between tokens, since strings hold none.
fn put_json(value: &[u8], out: &mut BytesMut) {
    let mut rest = value;
    while let Some(at) = memchr2(b'\n', b'\r', rest) {
        let (line, after) = rest.split_at(at);
        out.put_slice(line);
        out.put_u8(b' ');
        rest = after.get(1..).unwrap_or_default();
    }
    out.put_slice(rest);
}

fn put_lines(text: &str, out: &mut BytesMut) {
    out.reserve(text.len() + EVENT_BYTES);
    out.put_slice(b"event: data\n");
    let mut rest = text.as_bytes();
    loop {
        let line_end = memchr2(b'\n', b'\r', rest);
        let (line, after) = line_end.map_or((rest, None), |at| {
            let (line, after) = rest.split_at(at);
            let after = after.strip_prefix(b"\r\n").or_else(|| after.get(1..));
            (line, after)
        });
        out.put_slice(b"data:");
        if line.starts_with(b" ") {
            out.put_u8(b' ');
        }
        out.put_slice(line);
        out.put_u8(b'\n');
        let Some(after) = after else { break };
        rest = after;
    }
    out.put_u8(b'\n');
}

fn put_base64(payloads: &[Bytes], out: &mut BytesMut) {
    let joined;
    let whole: &[u8] = if let [one] = payloads {
        one
    } else {
        joined = payloads.concat();
        &joined
    };
    let start = out.len();
    out.resize(start + whole.len().div_ceil(3) * 4, 0);
    let place = out.get_mut(start..).unwrap_or_default();
    let written = STANDARD.encode_slice(whole, place);
    out.truncate(start + written.expect("base64 takes four bytes for three"));
}

/// What a control event says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Control {
    /// Where to read on.
    pub(super) next: Position,
    /// To be echoed when reading on.
    pub(super) cursor: u64,
    /// Everything there is was sent.
    pub(super) up_to_date: bool,
    /// And nothing will ever follow.
    pub(super) closed: bool,
}

impl Control {
    /// Appends the event.
    pub(super) fn put(&self, out: &mut BytesMut) {
        let Self {
            next,
            cursor,
            up_to_date,
            closed,
        } = self;
        // Writing to a buffer that grows does not fail.
        let written = if *closed {
            write!(
                out,
                "event: control\ndata:{{\"streamNextOffset\":\"{next}\",\"upToDate\":true,\"streamClosed\":true}}\n\n"
            )
        } else {
            let up_to_date = if *up_to_date {
                ",\"upToDate\":true"
            } else {
                ""
            };
            write!(
                out,
                "event: control\ndata:{{\"streamNextOffset\":\"{next}\",\"streamCursor\":\"{cursor}\"{up_to_date}}}\n\n"
            )
        };
        written.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(content_type: &str, payloads: &[&[u8]]) -> String {
        let mut encoding = Encoding::of(content_type.as_bytes());
        let mut out = BytesMut::new();
        let payloads: Vec<Bytes> = payloads
            .iter()
            .map(|payload| Bytes::copy_from_slice(payload))
            .collect();
        encoding.data(&payloads, false, &mut out);
        String::from_utf8(out.to_vec()).expect("events are text")
    }

    #[test]
    fn json_is_an_array_on_one_line() {
        assert_eq!(
            data("application/json", &[b"{\"a\":\r\n1}", b"2"]),
            "event: data\ndata:[{\"a\":  1},2]\n\n"
        );
    }

    #[test]
    fn text_is_split_at_every_sort_of_line_end() {
        assert_eq!(
            data("text/plain", &[b"a\nb\r\nc\rd\r\r", b"e"]),
            "event: data\ndata:a\ndata:b\ndata:c\ndata:d\ndata:\ndata:e\n\n"
        );
        assert_eq!(
            data("text/plain", &[b"a\n"]),
            "event: data\ndata:a\ndata:\n\n"
        );
        assert_eq!(data("text/plain", &[b""]), "event: data\ndata:\n\n");
    }

    #[test]
    fn a_line_that_begins_with_a_space_gets_one_more() {
        assert_eq!(
            data("text/plain", &[b" a\n  b\nc"]),
            "event: data\ndata:  a\ndata:   b\ndata:c\n\n"
        );
    }

    #[test]
    fn text_cannot_make_events() {
        let attack = b"x\r\n\r\nevent: control\r\ndata: {}\r\rid: 7\n\n";
        let encoded = data("text/plain", &[attack]);
        let lines: Vec<&str> = encoded.trim_end().lines().skip(1).collect();
        assert!(
            lines.iter().all(|line| line.starts_with("data:")),
            "{encoded}"
        );
        assert!(!encoded.trim_end().contains("\n\n") && !encoded.contains('\r'));
    }

    #[test]
    fn bytes_are_one_piece_of_base64() {
        assert_eq!(
            data("application/octet-stream", &[&[0], &[1, 2], &[255]]),
            "event: data\ndata:AAEC/w==\n\n"
        );
        assert_eq!(data("image/png", &[b""]), "event: data\ndata:\n\n");
    }

    #[test]
    fn the_beginning_of_a_character_waits_for_its_rest() {
        let mut encoding = Encoding::of(b"text/plain");
        let mut out = BytesMut::new();
        encoding.data(&[Bytes::from_static(b"\xE2\x82")], false, &mut out);
        assert!(out.is_empty());
        encoding.data(&[Bytes::from_static(b"\xAC!")], false, &mut out);
        assert_eq!(&out[..], "event: data\ndata:€!\n\n".as_bytes());
    }

    #[test]
    fn the_last_event_holds_nothing_back() {
        let mut out = BytesMut::new();
        let cut = [Bytes::from_static(b"a\xE2\x82")];
        Encoding::Text(Joint::default()).data(&cut, true, &mut out);
        assert_eq!(&out[..], "event: data\ndata:a\u{FFFD}\n\n".as_bytes());
    }

    #[test]
    fn a_control_event_says_what_it_must() {
        let control = |closed, up_to_date| {
            let mut out = BytesMut::new();
            let control = Control {
                next: Position::START,
                cursor: 9,
                up_to_date,
                closed,
            };
            control.put(&mut out);
            String::from_utf8(out.to_vec()).expect("text")
        };
        let next = "\"streamNextOffset\":\"0000000000000000_0000000000000000\"";
        assert_eq!(
            control(false, false),
            format!("event: control\ndata:{{{next},\"streamCursor\":\"9\"}}\n\n")
        );
        assert_eq!(
            control(false, true),
            format!("event: control\ndata:{{{next},\"streamCursor\":\"9\",\"upToDate\":true}}\n\n")
        );
        assert_eq!(
            control(true, true),
            format!("event: control\ndata:{{{next},\"upToDate\":true,\"streamClosed\":true}}\n\n")
        );
    }
}
