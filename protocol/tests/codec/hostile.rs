//! What a hostile or broken peer sends is an error that names it; it never panics and never costs memory.

use bytes::{BufMut, Bytes, BytesMut};
use streamkeeper_protocol::command::CommandKind;
use streamkeeper_protocol::event::EventKind;
use streamkeeper_protocol::{Command, ErrorCode, Event, Frame, WireError, frame};

use crate::{frame_of, vectors, whole_frame};

#[test]
fn kinds_of_the_other_direction_and_unknown_kinds_are_refused() {
    for kind in 0..=u8::MAX {
        let unknown = WireError::UnknownKind { kind };
        let frame = frame_of(kind, Bytes::new());
        let refused = Command::decode(&frame) == Err(unknown.clone());
        assert_eq!(
            refused,
            CommandKind::of(kind).is_none(),
            "command {kind:#04x}"
        );
        let refused = Event::decode(&frame) == Err(unknown.clone());
        assert_eq!(refused, EventKind::of(kind).is_none(), "event {kind:#04x}");
        assert_eq!(unknown.code(), ErrorCode::UnknownKind);
    }
}

#[test]
fn bytes_after_the_last_part_are_refused() {
    for (name, bytes) in vectors::golden("commands.json") {
        let Frame { header, body } = whole_frame(&bytes);
        let longer = Frame {
            header,
            body: [&body[..], b"!!"].concat().into(),
        };
        match Command::decode(&longer) {
            // Whether records end where they should is for whoever verifies them.
            Ok(Command::Append(append)) => assert!(append.records.ends_with(b"!!"), "{name}"),
            other => {
                let expected = WireError::TrailingBytes {
                    kind: header.kind,
                    count: 2,
                };
                assert_eq!(other, Err(expected), "{name}");
            }
        }
    }
    for (name, bytes) in vectors::golden("events.json") {
        let Frame { header, body } = whole_frame(&bytes);
        let longer = Frame {
            header,
            body: [&body[..], b"!!"].concat().into(),
        };
        match Event::decode(&longer) {
            Ok(Event::Records(records)) => assert!(records.runs().any(|run| run.is_err())),
            Ok(Event::Deliver(deliver)) => assert!(deliver.runs().any(|run| run.is_err())),
            other => {
                let expected = WireError::TrailingBytes {
                    kind: header.kind,
                    count: 2,
                };
                assert_eq!(other, Err(expected), "{name}");
            }
        }
    }
}

#[test]
fn a_hostile_length_is_refused_before_room_is_made_for_it() {
    for length in [4097, 1 << 24, u32::MAX] {
        let mut buffer = BytesMut::with_capacity(16);
        buffer.put_u32(length);
        let refused = frame::split(&mut buffer, 4096);
        assert_eq!(
            refused,
            Err(WireError::FrameTooLarge {
                have: length,
                limit: 4096
            })
        );
        assert!(buffer.capacity() <= 16);
    }
}

#[test]
fn a_length_that_cannot_hold_the_header_is_refused() {
    for have in 0..6 {
        let mut buffer = BytesMut::new();
        buffer.put_u32(have);
        assert_eq!(
            frame::split(&mut buffer, 4096),
            Err(WireError::FrameTooShort { have })
        );
    }
}

#[test]
fn a_hostile_count_is_refused_by_the_bytes_that_are_there() {
    for kind in [EventKind::Confirm, EventKind::Listed] {
        for count in [1u32, 1000, 1_000_000, u32::MAX] {
            let body = Bytes::copy_from_slice(&count.to_be_bytes());
            let error = Event::decode(&frame_of(kind.number(), body)).unwrap_err();
            assert_eq!(
                error.code(),
                ErrorCode::MalformedFrame,
                "{kind:?} of {count}"
            );
        }
    }
}

#[test]
fn text_must_be_utf8() {
    let bad: [(&[u8], usize); 5] = [
        (b"\xff", 0),
        (b"ab\x80", 2),
        (b"\xc0\xaf", 0),
        (b"\xed\xa0\x80", 0),
        (b"a\xe2\x82", 1),
    ];
    for (bytes, valid_up_to) in bad {
        let mut body = BytesMut::new();
        body.put_u16(bytes.len().try_into().unwrap());
        body.put_slice(bytes);
        let refused = Command::decode(&frame_of(CommandKind::Delete.number(), body));
        assert_eq!(
            refused,
            Err(WireError::InvalidUtf8 { valid_up_to }),
            "{bytes:x?}"
        );
    }
}

#[test]
fn control_characters_have_no_place_in_a_stream_name() {
    for name in ["\0", "a\nb", "tab\t", "\u{7f}", "\u{85}", "\u{9f}"] {
        let mut body = BytesMut::new();
        body.put_u16(name.len().try_into().unwrap());
        body.put_slice(name.as_bytes());
        let error = Command::decode(&frame_of(CommandKind::Stat.number(), body)).unwrap_err();
        assert!(matches!(error, WireError::StreamName { .. }), "{name:?}");
        assert_eq!(error.code(), ErrorCode::InvalidName);
        assert!(
            !error.code().is_fatal(),
            "the frame was delimited; the connection goes on"
        );
    }
}
