//! Every maximum: the limit itself is accepted, one more is not.

use bytes::{BufMut, Bytes, BytesMut};
use streamkeeper_protocol::command::{
    Append, Connect, Create, Delete, List, Producer, Start, Subscribe,
};
use streamkeeper_protocol::event::{ErrorEvent, Event, EventKind, Listed, ListedStream};
use streamkeeper_protocol::limits::{
    BATCH_RECORDS_MAX, CLIENT_TEXT_BYTES_MAX, CONFIRM_ENTRIES_MAX, CONTENT_TYPE_BYTES_MAX,
    ENVELOPE_BYTES_MAX, ERROR_MESSAGE_BYTES_MAX, FRAME_BYTES_CEILING, FRAME_BYTES_FLOOR,
    FRAME_BYTES_MAX, LIST_ENTRIES_MAX, Limits, PRODUCER_ID_BYTES_MAX, RECORD_BYTES_CEILING,
    RECORD_BYTES_MAX, SEQ_BYTES_MAX, STREAM_NAME_BYTES_MAX, TOKEN_BYTES_MAX,
    UNAUTHENTICATED_FRAME_BYTES_MAX,
};
use streamkeeper_protocol::{Command, ErrorCode, RecordBlock, Str, WireError, frame};

use crate::{encoded_command, encoded_event, frame_of, whole_frame};

/// The code that refuses a command, after its way over the wire.
fn refusal(command: &Command) -> Option<ErrorCode> {
    let frame = whole_frame(&encoded_command(command));
    Command::decode(&frame).err().map(|error| error.code())
}

fn text(bytes: usize) -> Str {
    Str::from("n".repeat(bytes))
}

fn append(change: impl FnOnce(&mut Append)) -> Command {
    let mut append = Append {
        stream: "s".into(),
        close_after: true,
        ..Append::default()
    };
    change(&mut append);
    Command::Append(append)
}

fn connect(change: impl FnOnce(&mut Connect)) -> Command {
    let (name, library, library_version) = (Str::new(), Str::new(), Str::new());
    let mut connect = Connect {
        version: 1,
        name,
        library,
        library_version,
        token: None,
    };
    change(&mut connect);
    Command::Connect(connect)
}

#[test]
fn a_stream_name_has_1_to_1024_bytes() {
    let name = |bytes| {
        refusal(&Command::Delete(Delete {
            stream: text(bytes),
        }))
    };
    assert_eq!(name(0), Some(ErrorCode::InvalidName));
    assert_eq!(name(1), None);
    assert_eq!(name(STREAM_NAME_BYTES_MAX), None);
    assert_eq!(
        name(STREAM_NAME_BYTES_MAX + 1),
        Some(ErrorCode::InvalidName)
    );
}

#[test]
fn a_name_too_long_for_its_length_field_is_refused_and_not_taken_for_another() {
    for bytes in [65_535, 65_536, 200_000] {
        let stream = Str::from("é".repeat(bytes / 2));
        let subscribe = Subscribe {
            subscription: 1,
            stream,
            start: Start::Now,
            credit: 0,
        };
        assert_eq!(
            refusal(&Command::Subscribe(subscribe)),
            Some(ErrorCode::InvalidName)
        );
    }
}

#[test]
fn list_texts_have_at_most_1024_bytes() {
    let list = |prefix, after| {
        refusal(&Command::List(List {
            prefix: text(prefix),
            after: text(after),
            limit: 1,
        }))
    };
    assert_eq!(list(STREAM_NAME_BYTES_MAX, STREAM_NAME_BYTES_MAX), None);
    assert_eq!(
        list(STREAM_NAME_BYTES_MAX + 1, 0),
        Some(ErrorCode::InvalidName)
    );
    assert_eq!(
        list(0, STREAM_NAME_BYTES_MAX + 1),
        Some(ErrorCode::InvalidName)
    );
}

#[test]
fn a_content_type_has_1_to_255_bytes() {
    let create = |bytes| {
        let content_type = Some(text(bytes));
        refusal(&Command::Create(Create {
            stream: text(1),
            content_type,
            ..Create::default()
        }))
    };
    assert_eq!(create(0), Some(ErrorCode::InvalidOptions));
    assert_eq!(create(CONTENT_TYPE_BYTES_MAX), None);
    assert_eq!(
        create(CONTENT_TYPE_BYTES_MAX + 1),
        Some(ErrorCode::InvalidOptions)
    );
    assert_eq!(
        create(100_000),
        Some(ErrorCode::InvalidOptions),
        "even if the encoder cuts it"
    );
}

#[test]
fn a_seq_has_1_to_256_bytes() {
    let seq = |bytes| refusal(&append(|it| it.seq = Some(Bytes::from(vec![7; bytes]))));
    assert_eq!(seq(0), Some(ErrorCode::InvalidOptions));
    assert_eq!(seq(SEQ_BYTES_MAX), None);
    assert_eq!(seq(SEQ_BYTES_MAX + 1), Some(ErrorCode::InvalidOptions));
    assert_eq!(seq(100_000), Some(ErrorCode::InvalidOptions));
}

#[test]
fn a_producer_id_has_1_to_256_bytes() {
    let id = |bytes| {
        refusal(&append(|it| {
            it.producer = Some(Producer {
                id: text(bytes),
                epoch: 0,
                seq: 0,
            });
        }))
    };
    assert_eq!(id(0), Some(ErrorCode::InvalidOptions));
    assert_eq!(id(PRODUCER_ID_BYTES_MAX), None);
    assert_eq!(
        id(PRODUCER_ID_BYTES_MAX + 1),
        Some(ErrorCode::InvalidOptions)
    );
    assert_eq!(id(100_000), Some(ErrorCode::InvalidOptions));
}

#[test]
fn texts_and_token_of_connect_are_bounded() {
    assert_eq!(
        refusal(&connect(|it| it.name = text(CLIENT_TEXT_BYTES_MAX))),
        None
    );
    let malformed = Some(ErrorCode::MalformedFrame);
    assert_eq!(
        refusal(&connect(|it| it.name = text(CLIENT_TEXT_BYTES_MAX + 1))),
        malformed
    );
    assert_eq!(
        refusal(&connect(|it| it.library = text(CLIENT_TEXT_BYTES_MAX + 1))),
        malformed
    );
    let token = |bytes| refusal(&connect(|it| it.token = Some(vec![b't'; bytes].into())));
    assert_eq!(token(TOKEN_BYTES_MAX), None);
    assert_eq!(token(TOKEN_BYTES_MAX + 1), malformed);
}

#[test]
fn the_largest_connect_fits_the_frame_limit_before_authentication() {
    let largest = connect(|it| {
        it.name = text(CLIENT_TEXT_BYTES_MAX);
        it.library = text(CLIENT_TEXT_BYTES_MAX);
        it.library_version = text(CLIENT_TEXT_BYTES_MAX);
        it.token = Some(vec![b't'; TOKEN_BYTES_MAX].into());
    });
    let mut bytes = encoded_command(&largest);
    assert!(matches!(
        frame::split(&mut bytes, UNAUTHENTICATED_FRAME_BYTES_MAX),
        Ok(Some(_))
    ));
}

#[test]
fn an_append_without_records_must_close_the_stream() {
    assert_eq!(refusal(&append(|it| it.close_after = true)), None);
    let empty = refusal(&append(|it| it.close_after = false));
    assert_eq!(empty, Some(ErrorCode::EmptyBatch));
}

#[test]
fn a_frame_of_exactly_the_limit_is_taken() {
    for limit in [6u32, 7, 4096] {
        for (length, fits) in [(limit, true), (limit + 1, false)] {
            let mut buffer = BytesMut::new();
            buffer.put_u32(length);
            buffer.put_bytes(0, length as usize);
            match frame::split(&mut buffer, limit) {
                Ok(Some(frame)) => assert!(fits && frame.encoded_bytes() == length as usize + 4),
                refused => {
                    assert!(!fits);
                    assert_eq!(
                        refused,
                        Err(WireError::FrameTooLarge {
                            have: length,
                            limit
                        })
                    );
                }
            }
        }
    }
}

#[test]
fn a_listed_page_has_at_most_its_limit_of_streams() {
    let listed = |count| {
        let stream = ListedStream {
            stream: "s".into(),
            tail: 1,
            earliest: 0,
            closed: false,
        };
        let page = Listed {
            more: false,
            streams: vec![stream; count],
        };
        Event::decode(&whole_frame(&encoded_event(&Event::Listed(page))))
    };
    assert!(listed(LIST_ENTRIES_MAX as usize).is_ok());
    assert!(matches!(
        listed(LIST_ENTRIES_MAX as usize + 1),
        Err(WireError::OverLimit { .. })
    ));
}

#[test]
fn a_confirm_has_at_most_its_limit_of_entries() {
    let confirm = |count: u32| {
        let mut body = BytesMut::new();
        body.put_u32(count);
        body.put_bytes(0, count as usize * 13);
        Event::decode(&frame_of(EventKind::Confirm.number(), body))
    };
    assert!(confirm(CONFIRM_ENTRIES_MAX).is_ok());
    assert!(matches!(
        confirm(CONFIRM_ENTRIES_MAX + 1),
        Err(WireError::OverLimit { .. })
    ));
}

#[test]
fn a_long_error_message_is_cut_between_characters() {
    for message in [
        "x".repeat(1025),
        "é".repeat(600),
        "流".repeat(400),
        "🦀".repeat(300),
    ] {
        let error = ErrorEvent::new(ErrorCode::Internal, message.clone());
        let frame = whole_frame(&encoded_event(&Event::Err(error)));
        let Ok(Event::Err(received)) = Event::decode(&frame) else {
            panic!("an ERR")
        };
        assert!(message.starts_with(received.message.as_str()));
        assert!(received.message.len() > ERROR_MESSAGE_BYTES_MAX - 4);
    }
}

#[test]
fn defaults_lie_within_the_hard_limits() {
    let defaults = Limits::default();
    assert_eq!(defaults.frame_bytes_max, FRAME_BYTES_MAX);
    assert!((FRAME_BYTES_FLOOR..=FRAME_BYTES_CEILING).contains(&defaults.frame_bytes_max));
    assert_eq!(defaults.record_bytes_max, RECORD_BYTES_MAX);
    assert!(defaults.record_bytes_max <= RECORD_BYTES_CEILING);
    assert_eq!(defaults.batch_records_max, BATCH_RECORDS_MAX);
    const { assert!(4 + CONFIRM_ENTRIES_MAX * 13 + 6 <= FRAME_BYTES_FLOOR) };
}

#[test]
fn everything_in_an_append_but_its_payload_fits_the_envelope() {
    let largest = append(|it| {
        it.stream = text(STREAM_NAME_BYTES_MAX);
        it.seq = Some(vec![1; SEQ_BYTES_MAX].into());
        it.producer = Some(Producer {
            id: text(PRODUCER_ID_BYTES_MAX),
            epoch: 1,
            seq: 1,
        });
        it.expected_tail = Some(1);
        it.count = 1;
        it.records = RecordBlock::from_payloads([""]).into_bytes();
    });
    assert_eq!(refusal(&largest), None);
    assert!(encoded_command(&largest).len() <= ENVELOPE_BYTES_MAX as usize);
}
