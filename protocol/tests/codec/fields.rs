//! Optional fields: unknown ones are skipped, known ones are taken once and with the right length.

use bytes::{BufMut, BytesMut};
use streamkeeper_protocol::command::{Create, Storage};
use streamkeeper_protocol::fields::{
    AppendField, ConnectField, CreateField, EndField, ErrField, Field, InfoField, StatusField,
};
use streamkeeper_protocol::{Command, ErrorCode, WireError};

use crate::frame_of;

const CREATE: u8 = 0x10;

/// The body of a CREATE of `s` with these entries.
fn create(entries: &[(u8, &[u8])]) -> BytesMut {
    let mut section = BytesMut::new();
    for (tag, value) in entries {
        section.put_u8(*tag);
        section.put_u16(value.len().try_into().unwrap());
        section.put_slice(value);
    }
    let mut body = BytesMut::from(&b"\0\x01s"[..]);
    body.put_u16(section.len().try_into().unwrap());
    body.put_slice(&section);
    body
}

fn decode(entries: &[(u8, &[u8])]) -> Result<Create, WireError> {
    match Command::decode(&frame_of(CREATE, create(entries)))? {
        Command::Create(create) => Ok(create),
        other => panic!("{other:?} is no CREATE"),
    }
}

#[test]
fn known_fields_are_taken_in_any_order_between_unknown_ones() {
    let number = 5u64.to_be_bytes();
    let decoded = decode(&[(9, b"?"), (7, &[1]), (255, &[]), (2, &number), (8, b"??")]).unwrap();
    assert_eq!(decoded.ttl_seconds, Some(5));
    assert_eq!(decoded.storage, Some(Storage::Memory));
    assert_eq!(decoded.max_bytes, None);
}

#[test]
fn unknown_fields_may_repeat_and_be_of_any_length() {
    let long = vec![0; 60_000];
    assert_eq!(
        decode(&[(8, b""), (8, b"x"), (0, &long)]).unwrap(),
        decode(&[]).unwrap()
    );
}

#[test]
fn a_known_field_twice_is_refused() {
    let number = 5u64.to_be_bytes();
    let repeated = decode(&[(2, &number), (3, &number), (2, &number)]);
    assert_eq!(repeated, Err(WireError::FieldRepeated { tag: 2 }));
}

#[test]
fn numbers_of_a_wrong_length_are_refused() {
    for have in [0, 1, 4, 7, 9, 16] {
        let value = vec![0; have];
        assert_eq!(
            decode(&[(2, &value)]),
            Err(WireError::FieldLength { tag: 2, have })
        );
    }
    for have in [0, 2, 8] {
        let value = vec![0; have];
        assert_eq!(
            decode(&[(7, &value)]),
            Err(WireError::FieldLength { tag: 7, have })
        );
    }
}

#[test]
fn entries_must_fill_their_section() {
    let sound = create(&[(2, &5u64.to_be_bytes())]);
    // The section's total is at 3..5; its one entry has 11 bytes.
    for total in 1..11 {
        let mut body = sound.clone();
        body[4] = total;
        body.truncate(5 + usize::from(total));
        let error = Command::decode(&frame_of(CREATE, body)).unwrap_err();
        assert_eq!(error, WireError::FieldsTruncated, "a total of {total}");
        assert_eq!(error.code(), ErrorCode::MalformedFrame);
    }
}

#[test]
fn tags_rise_from_1_without_a_gap_and_are_found_again() {
    fn check<F: Field + std::fmt::Debug + PartialEq>() {
        for (field, tag) in F::ALL.iter().zip(1..) {
            assert_eq!(field.tag(), tag, "{field:?}");
            assert_eq!(F::of(tag), Some(*field));
            assert!(tag < 8, "the parser keeps eight slots");
        }
        assert_eq!(F::of(0), None);
    }
    check::<ConnectField>();
    check::<CreateField>();
    check::<AppendField>();
    check::<InfoField>();
    check::<ErrField>();
    check::<StatusField>();
    check::<EndField>();
}
