//! Record blocks: what is parsed is whole, within limits and matches its checksums.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use streamkeeper_protocol::limits::Limits;
use streamkeeper_protocol::{ErrorCode, RecordBlock, RecordBlockBuilder, RecordError};

fn parse(bytes: &[u8], count: u32) -> Result<RecordBlock, RecordError> {
    RecordBlock::parse(Bytes::copy_from_slice(bytes), count, &Limits::default())
}

proptest! {
    #[test]
    fn payloads_survive_in_order(payloads in vec(vec(any::<u8>(), 0..50), 0..30)) {
        let block = RecordBlock::from_payloads(&payloads);
        let parsed = parse(block.bytes(), block.count()).unwrap();
        prop_assert_eq!(&parsed, &block);
        let received: Vec<Bytes> = parsed.payloads().collect();
        prop_assert_eq!(&received, &payloads);
        let bytes: usize = payloads.iter().map(Vec::len).sum();
        prop_assert_eq!(parsed.payload_bytes(), bytes as u64);
        prop_assert_eq!(parsed.is_empty(), payloads.is_empty());
    }

    #[test]
    fn any_changed_bit_is_noticed(
        payloads in vec(vec(any::<u8>(), 0..20), 1..5),
        at: prop::sample::Index,
        bit in 0..8,
    ) {
        let block = RecordBlock::from_payloads(&payloads);
        let mut bytes = block.bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        prop_assert!(parse(&bytes, block.count()).is_err());
    }
}

#[test]
fn a_block_that_ends_inside_a_record_names_the_record() {
    let block = RecordBlock::from_payloads(["first", "second"]);
    let first = 8 + 5;
    for cut in 0..block.bytes().len() {
        let error = parse(&block.bytes()[..cut], 2).unwrap_err();
        let expected = u32::from(cut >= first);
        let RecordError::Truncated { index, have, need } = error else {
            panic!("{error}")
        };
        assert_eq!(index, expected, "cut at {cut}");
        assert!(have < need);
        assert_eq!(error.code(), ErrorCode::MalformedFrame);
    }
}

#[test]
fn a_count_that_is_not_the_number_of_records_is_refused() {
    let block = RecordBlock::from_payloads(["a", "b", "c"]);
    let left = 9;
    assert_eq!(
        parse(block.bytes(), 2),
        Err(RecordError::Count { count: 2, left })
    );
    assert_eq!(
        parse(block.bytes(), 0),
        Err(RecordError::Count { count: 0, left: 27 })
    );
    let missing = parse(block.bytes(), 4);
    assert_eq!(
        missing,
        Err(RecordError::Truncated {
            index: 3,
            have: 0,
            need: 8
        })
    );
}

#[test]
fn a_wrong_checksum_names_the_record_and_both_values() {
    let block = RecordBlock::from_payloads(["a", "123456789"]);
    let mut bytes = block.bytes().to_vec();
    let last = bytes.len() - 1;
    bytes[last] = b'8';
    let error = parse(&bytes, 2).unwrap_err();
    let RecordError::Checksum {
        index: 1,
        expected: 0xE306_9283,
        actual,
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(actual, crc32c::crc32c(b"123456788"));
    assert_eq!(error.code(), ErrorCode::ChecksumMismatch);
}

#[test]
fn records_and_batches_are_held_to_the_configured_limits() {
    let limits = Limits {
        record_bytes_max: 3,
        batch_records_max: 2,
        ..Limits::default()
    };
    let parse = |payloads: &[&str]| {
        let block = RecordBlock::from_payloads(payloads);
        RecordBlock::parse(block.bytes().clone(), block.count(), &limits)
    };
    assert!(parse(&["abc", "abc"]).is_ok());
    let large = parse(&["abc", "abcd"]).unwrap_err();
    assert_eq!(
        large,
        RecordError::TooLarge {
            index: 1,
            have: 4,
            limit: 3
        }
    );
    assert_eq!(large.code(), ErrorCode::RecordTooLarge);
    let many = parse(&["a", "b", "c"]).unwrap_err();
    assert_eq!(many, RecordError::TooMany { have: 3, limit: 2 });
    assert_eq!(many.code(), ErrorCode::BatchTooLarge);
}

#[test]
fn a_hostile_count_is_refused_before_the_records_are_read() {
    assert!(matches!(
        parse(&[], u32::MAX),
        Err(RecordError::TooMany { .. })
    ));
}

#[test]
fn a_builder_counts_and_begins_anew_after_each_block() {
    let mut builder = RecordBlockBuilder::with_capacity(64);
    builder.push(b"one");
    builder.push(b"");
    assert_eq!((builder.count(), builder.len_bytes()), (2, 8 + 3 + 8));
    let first = builder.finish();
    assert!(builder.is_empty());
    assert_eq!(builder.len_bytes(), 0);
    builder.push(b"two");
    let second = builder.finish();
    assert_eq!(first, RecordBlock::from_payloads(["one", ""]));
    assert_eq!(second, RecordBlock::from_payloads(["two"]));
}

#[test]
fn payloads_are_slices_of_the_frame_and_not_copies() {
    let received = BytesMut::from(&RecordBlock::from_payloads(["payload"]).bytes()[..]).freeze();
    let block = RecordBlock::parse(received.clone(), 1, &Limits::default()).unwrap();
    let payload = block.payloads().next().unwrap();
    assert_eq!(payload.as_ptr(), received[8..].as_ptr());
}
