//! Round trips of everything that can be written, and refusal of everything that was not.

mod strategies;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use self::strategies::{STREAM, Written, state, text, timestamp, written};
use super::*;
use crate::rules::Effect;
use crate::types::{
    CreateOptions, Expiry, Offset, Position, RecordBlock, Retention, Run, StorageKind, Str,
};

/// The row, and where its runs lie.
fn build(all: &[Written]) -> (Bytes, Vec<std::ops::Range<usize>>) {
    let mut row = RowBuilder::new();
    let mut runs = Vec::new();
    for written in all {
        match written {
            Written::Run { first, at, batches } => {
                row.begin_run(STREAM, *first, *at);
                for batch in batches {
                    row.push_records(&RecordBlock::from_payloads(batch));
                }
                runs.push(row.end_run());
            }
            Written::Effect { effect, name } => row.effect(STREAM, name, effect),
        }
    }
    (row.finish(), runs)
}

fn expected_run(first: Position, at: Timestamp, batches: &[Vec<Vec<u8>>]) -> Run {
    let block = RecordBlock::from_payloads(batches.iter().flatten());
    Run::new(&block, first.offset.0, first.byte, at.0)
}

fn read_all(row: &Bytes) -> Result<Vec<(StreamId, Entry)>, CodecError> {
    entries(row)?.collect()
}

/// A row that is sealed properly around this body.
fn sealed(version: u8, body: &[u8]) -> Bytes {
    let mut row = open_seal(version);
    row.extend_from_slice(body);
    close_seal(&mut row);
    Bytes::from(row)
}

/// The header of an entry.
fn entry_header(kind: u8, length: u32) -> Vec<u8> {
    [&[kind][..], &length.to_be_bytes(), &STREAM.0.to_be_bytes()].concat()
}

proptest! {
    #[test]
    fn what_goes_into_a_row_comes_out_of_it(all in vec(written(), 0..8)) {
        let (row, ranges) = build(&all);
        let read = read_all(&row).unwrap();
        prop_assert_eq!(read.len(), all.len());
        let mut ranges = ranges.into_iter();
        for (written, (stream, entry)) in all.iter().zip(read) {
            prop_assert_eq!(stream, STREAM);
            match (written, entry) {
                (Written::Run { first, at, batches }, Entry::Run { run }) => {
                    prop_assert_eq!(&run, &expected_run(*first, *at, batches));
                    let mut encoded = BytesMut::new();
                    run.encode(&mut encoded);
                    let range = ranges.next().unwrap();
                    prop_assert_eq!(&encoded[..], &row[range.clone()]);
                    let records = row[range].as_ptr_range().end;
                    prop_assert_eq!(run.records.as_ptr_range().end, records, "not copied");
                }
                (Written::Effect { effect, name }, Entry::Effect { effect: read, name: read_name }) => {
                    prop_assert_eq!(format!("{effect:?}"), format!("{read:?}"));
                    prop_assert_eq!(name.as_str(), &*read_name);
                }
                (written, entry) => prop_assert!(false, "{written:?} came back as {entry:?}"),
            }
        }
    }

    #[test]
    fn a_state_comes_back_with_its_name(state in state(), name in text()) {
        let row = encode_state(&state, &name);
        prop_assert_eq!(decode_state(&row), Ok((state, name)));
    }

    #[test]
    fn a_producer_comes_back(epoch: u64, seq: u64, at in timestamp()) {
        let producer = ProducerState { epoch, seq, at };
        prop_assert_eq!(decode_producer(&encode_producer(&producer)), Ok(producer));
    }

    #[test]
    fn every_truncation_of_a_row_is_an_error(all in vec(written(), 1..4)) {
        let (row, _) = build(&all);
        for length in 0..row.len() {
            prop_assert!(read_all(&row.slice(..length)).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn every_flipped_byte_of_a_row_is_an_error(all in vec(written(), 0..4), flip in 1..=255_u8) {
        let (row, _) = build(&all);
        for at in 0..row.len() {
            let mut bad = row.to_vec();
            bad[at] ^= flip;
            prop_assert!(read_all(&Bytes::from(bad)).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn mangled_states_and_producers_are_errors(state in state(), flip in 1..=255_u8) {
        let state = encode_state(&state, "name");
        let producer = encode_producer(&ProducerState { epoch: 1, seq: 2, at: Timestamp(3) });
        for length in 0..state.len() {
            prop_assert!(decode_state(&state[..length]).is_err());
        }
        for length in 0..producer.len() {
            prop_assert!(decode_producer(&producer[..length]).is_err());
        }
        for (row, is_state) in [(&state, true), (&producer, false)] {
            for at in 0..row.len() {
                let mut bad = row.clone();
                bad[at] ^= flip;
                let is_err =
                    if is_state { decode_state(&bad).is_err() } else { decode_producer(&bad).is_err() };
                prop_assert!(is_err, "flipped at {at}");
            }
        }
    }

    /// A checksum only says that the bytes are those that somebody sealed: what they say may still be nonsense.
    #[test]
    fn nonsense_under_a_right_checksum_never_panics(
        kind in 0..12_u8,
        length_error in -2..3_i32,
        body in vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..80),
    ) {
        let length = u32::try_from(body.len()).unwrap().saturating_add_signed(length_error);
        let entry = [entry_header(kind, length), body.clone()].concat();
        drop(read_all(&sealed(1, &entry)));
        drop(read_all(&sealed(1, &body)));
        drop(decode_state(&sealed(STATE_VERSION, &body)));
        drop(decode_producer(&sealed(PRODUCER_VERSION, &body)));
    }

    /// As above, but close to what is real: a well-formed entry with one byte changed before it was sealed.
    #[test]
    fn an_entry_changed_before_it_was_sealed_never_panics(all in vec(written(), 1..3), flip in 1..=255_u8) {
        let (row, _) = build(&all);
        for at in SEAL_BYTES..row.len() {
            let mut body = row[SEAL_BYTES..].to_vec();
            body[at - SEAL_BYTES] ^= flip;
            drop(read_all(&sealed(1, &body)));
        }
    }

    #[test]
    fn a_state_changed_before_it_was_sealed_never_panics(state in state(), flip in 1..=255_u8) {
        let row = encode_state(&state, "name");
        for at in SEAL_BYTES..row.len() {
            let mut body = row[SEAL_BYTES..].to_vec();
            body[at - SEAL_BYTES] ^= flip;
            drop(decode_state(&sealed(STATE_VERSION, &body)));
        }
    }
}

#[test]
fn a_finished_row_takes_little_more_memory_than_it_is_long() {
    let batch = RecordBlock::from_payloads([vec![7; 256 << 10]]);
    let mut grown = RowBuilder::with_capacity(64 << 10);
    grown.begin_run(STREAM, Position::START, Timestamp(1));
    grown.push_records(&batch);
    grown.end_run();
    grown.effect(STREAM, "", &Effect::Closed { at: Timestamp(1) });
    let mut roomy = RowBuilder::with_capacity(64 << 10);
    roomy.effect(STREAM, "", &Effect::Closed { at: Timestamp(1) });
    for row in [grown, roomy] {
        let row = row.finish();
        let length = row.len();
        let held = row.try_into_mut().unwrap().capacity();
        assert!(held <= length + length / 8 + 1024, "{held} for {length}");
    }
}

#[test]
fn a_row_is_empty_until_something_is_written() {
    let mut row = RowBuilder::new();
    assert!(row.is_empty());
    row.effect(STREAM, "", &Effect::Closed { at: Timestamp(1) });
    assert!(!row.is_empty());
    let length = row.len();
    assert_eq!(row.finish().len(), length);
    assert!(
        read_all(&RowBuilder::default().finish())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_newer_format_is_refused_by_its_version() {
    let newer = |known| {
        let found = known + 1;
        (
            sealed(found, &[]),
            Err(CodecError::Version { found, known }),
        )
    };
    let (row, refused) = newer(2);
    assert_eq!(read_all(&row).map(drop), refused);
    let (row, refused) = newer(PRODUCER_VERSION);
    assert_eq!(decode_producer(&row).map(drop), refused);
    let (row, refused) = newer(STATE_VERSION);
    assert_eq!(decode_state(&row).map(drop), refused);
}

#[test]
fn an_unknown_kind_is_an_error_and_the_last_item() {
    let mut entries = entries(&sealed(1, &entry_header(14, 0))).unwrap();
    let first = entries.next().map(|entry| entry.map(drop));
    assert_eq!(first, Some(Err(CodecError::UnknownKind { kind: 14 })));
    assert!(entries.next().is_none());
}

#[test]
fn bytes_beyond_the_last_field_are_an_error() {
    let closed = [entry_header(6, 9), vec![0; 9]].concat();
    let read = read_all(&sealed(1, &closed)).map(drop);
    assert_eq!(read, Err(CodecError::Trailing { left: 1 }));
    let producer = decode_producer(&sealed(PRODUCER_VERSION, &[0; 25])).map(drop);
    assert_eq!(producer, Err(CodecError::Trailing { left: 1 }));
}

#[test]
fn a_run_must_be_as_long_as_its_header_says() {
    let block = RecordBlock::from_payloads(["payload"]);
    let run = Run::new(&block, 0, 0, 0);
    let mut encoded = BytesMut::new();
    run.encode(&mut encoded);
    for (length, right) in [(encoded.len() - 1, false), (encoded.len(), true)] {
        let header = entry_header(2, u32::try_from(length).unwrap());
        let row = sealed(1, &[header, encoded[..length].to_vec()].concat());
        assert_eq!(read_all(&row).is_ok(), right, "{length}");
    }
    encoded.extend_from_slice(&[0]);
    let header = entry_header(2, u32::try_from(encoded.len()).unwrap());
    let read = read_all(&sealed(1, &[header, encoded.to_vec()].concat())).map(drop);
    assert_eq!(read, Err(CodecError::Trailing { left: 1 }));
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|half| char::from_digit(half.into(), 16))
        .collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

/// Layouts byte for byte: rows on disk outlive the code that wrote them. Version 2 of a journal row only knows more entries.
#[test]
fn versions_1_and_2_of_a_journal_row_have_not_changed() {
    let mut row = RowBuilder::new();
    row.effect(
        STREAM,
        "",
        &Effect::Trimmed {
            to: Position {
                offset: Offset(2),
                byte: 3,
            },
        },
    );
    row.begin_run(
        STREAM,
        Position {
            offset: Offset(2),
            byte: 3,
        },
        Timestamp(4),
    );
    row.push_records(&RecordBlock::from_payloads(["a"]));
    let range = row.end_run();
    let row = row.finish();
    let trimmed = "08 00000010 0000000000000007 0000000000000002 0000000000000003";
    let run = "02 00000029 0000000000000007 0000000000000002 0000000000000003 0000000000000004 \
               00000001 00000009 00000001 c1d04330 61";
    let version_1 = format!("{trimmed} {run}").replace(' ', "");
    assert_eq!(hex(&row[4..]), format!("02{version_1}"));
    assert!(read_all(&sealed(1, &bytes_of(&version_1))).is_ok());
    assert_eq!(range, row.len() - 41..row.len());
}

#[test]
fn versions_1_and_2_of_a_state_have_not_changed() {
    let options = CreateOptions {
        content_type: Str::from("a/b"),
        expiry: Expiry::Ttl(9),
        retention: Retention {
            max_age: Some(Duration::new(8, 7)),
            max_records: None,
            max_bytes: Some(6),
        },
        storage: StorageKind::Durable,
    };
    let state = StreamState {
        closed: true,
        last_seq: Some(Bytes::from_static(b"s")),
        tail: Position {
            offset: Offset(5),
            byte: 4,
        },
        ..StreamState::new(STREAM, Arc::new(options), Timestamp(3), None)
    };
    let options = "00000003 612f62 01 0000000000000009 01 0000000000000008 00000007 00 \
                   01 0000000000000006 00";
    let rest = "0000000000000003 0000000000000003 00 0000000000000000 0000000000000000 \
                0000000000000005 0000000000000004 01 01 00000001 73";
    let version_1 = format!("0000000000000007 00000001 6e {options} {rest}").replace(' ', "");
    let version_2 =
        format!("02 {version_1} 00 0000000000000000 0000000000000000 00").replace(' ', "");
    assert_eq!(hex(&encode_state(&state, "n")[4..]), version_2);
    let stored = sealed(1, &bytes_of(&version_1));
    assert_eq!(decode_state(&stored), Ok((state, "n".to_owned())));
}

/// A duration of this many seconds has no room for the second that a billion nanoseconds carry.
#[test]
fn nanoseconds_that_make_a_second_are_refused() {
    let mut state = StreamState::new(STREAM, Arc::default(), Timestamp(0), None);
    let max_age = Some(Duration::new(u64::MAX, 999_999_999));
    let retention = Retention {
        max_age,
        ..Retention::default()
    };
    state.options = Arc::new(CreateOptions {
        retention,
        ..CreateOptions::default()
    });
    let body = encode_state(&state, "n")[SEAL_BYTES..].to_vec();
    let (right, wrong) = (
        999_999_999_u32.to_be_bytes(),
        1_000_000_000_u32.to_be_bytes(),
    );
    let at = body.windows(4).position(|window| window == right).unwrap();
    let wrong = [&body[..at], &wrong, &body[at + 4..]].concat();
    let refused = decode_state(&sealed(STATE_VERSION, &wrong)).map(drop);
    assert_eq!(refused, Err(CodecError::Value { field: "max_age" }));
    assert_eq!(
        decode_state(&sealed(STATE_VERSION, &body)).map(|(state, _)| state),
        Ok(state)
    );
}
