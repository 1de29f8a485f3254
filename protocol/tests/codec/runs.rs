//! Runs: cutting them gives what a naive model of the stream gives, and nothing malformed gets lost.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use streamkeeper_protocol::run::{RUN_HEADER_BYTES, Record, decode_runs};
use streamkeeper_protocol::{RecordBlock, RecordError, Run, RunHeader, WireError};

const COMMITTED_AT: u64 = 1_767_225_600_000_000;

/// What a run holds, spelt out: offset, byte position and payload of each record.
type Model = Vec<(u64, u64, Vec<u8>)>;

fn model(payloads: &[Vec<u8>], first_offset: u64, first_byte: u64) -> Model {
    let mut byte = first_byte;
    let place = |(offset, payload): (u64, &Vec<u8>)| {
        let at = byte;
        byte += payload.len() as u64;
        (offset, at, payload.clone())
    };
    (first_offset..).zip(payloads).map(place).collect()
}

fn run_of(payloads: &[Vec<u8>], first_offset: u64, first_byte: u64) -> Run {
    Run::new(
        &RecordBlock::from_payloads(payloads),
        first_offset,
        first_byte,
        COMMITTED_AT,
    )
}

/// What a run says it holds, after checking that its header agrees with its records.
fn contents(run: &Run) -> Model {
    let records: Vec<Record> = run.records_verified().collect::<Result<_, _>>().unwrap();
    assert_eq!(run.header.count as usize, records.len());
    assert_eq!(run.header.length as usize, run.records.len());
    let (first, last) = (&records[0], &records[records.len() - 1]);
    assert_eq!(
        (run.header.first_offset, run.header.first_byte),
        (first.offset, first.byte)
    );
    assert_eq!(run.header.next_offset(), last.offset + 1);
    assert_eq!(run.header.next_byte(), last.next_byte());
    assert!(
        records
            .iter()
            .all(|record| record.committed_at == COMMITTED_AT)
    );
    let place = |record: Record| (record.offset, record.byte, record.payload.to_vec());
    records.into_iter().map(place).collect()
}

prop_compose! {
    fn placed()(
        payloads in vec(vec(any::<u8>(), 0..12), 1..20),
        first_offset in 0u64..1_000_000,
        first_byte in 0u64..1_000_000,
    ) -> (Vec<Vec<u8>>, u64, u64) {
        (payloads, first_offset, first_byte)
    }
}

proptest! {
    #[test]
    fn a_run_holds_its_records_with_their_places((payloads, offset, byte) in placed()) {
        prop_assert_eq!(contents(&run_of(&payloads, offset, byte)), model(&payloads, offset, byte));
    }

    #[test]
    fn starting_at_drops_what_lies_before((payloads, offset, byte) in placed(), skip in 0u64..25) {
        let run = run_of(&payloads, offset, byte);
        let wanted = (offset + skip).saturating_sub(2);
        let mut expected = model(&payloads, offset, byte);
        expected.retain(|(at, ..)| *at >= wanted);
        let rest = run.starting_at(wanted);
        prop_assert_eq!(rest.as_ref().map(contents).unwrap_or_default(), expected);
    }

    #[test]
    fn take_is_the_longest_prefix_within_both_budgets(
        (payloads, offset, byte) in placed(),
        max_bytes in 0usize..400,
        max_records in 0u32..25,
    ) {
        let run = run_of(&payloads, offset, byte);
        let mut used = RUN_HEADER_BYTES;
        let mut expected = Model::new();
        for record in model(&payloads, offset, byte) {
            used += 8 + record.2.len();
            let fits = used <= max_bytes && expected.len() < max_records as usize;
            if !expected.is_empty() && !fits {
                break;
            }
            expected.push(record);
        }
        prop_assert_eq!(contents(&run.take(max_bytes, max_records)), expected);
    }

    #[test]
    fn a_prefix_and_what_starts_after_it_are_the_whole(
        (payloads, offset, byte) in placed(),
        max_bytes in 0usize..400,
    ) {
        let run = run_of(&payloads, offset, byte);
        let prefix = run.take(max_bytes, u32::MAX);
        let rest = run.starting_at(prefix.header.next_offset());
        let mut both = contents(&prefix);
        both.extend(rest.iter().flat_map(contents));
        prop_assert_eq!(both, contents(&run));
    }

    #[test]
    fn runs_back_to_back_are_split_again(placed in vec(placed(), 0..5)) {
        let runs: Vec<Run> = placed.iter().map(|(p, offset, byte)| run_of(p, *offset, *byte)).collect();
        let mut bytes = BytesMut::new();
        for run in &runs {
            run.encode(&mut bytes);
        }
        prop_assert_eq!(bytes.len(), runs.iter().map(Run::encoded_bytes).sum::<usize>());
        let split: Vec<Run> = decode_runs(&bytes.freeze()).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(split, runs);
    }

    #[test]
    fn headers_survive(first_offset: u64, first_byte: u64, committed_at: u64, count: u32, length: u32) {
        let header = RunHeader { first_offset, first_byte, committed_at, count, length };
        let bytes = header.encode();
        let sound = count > 0
            && u64::from(length) >= 8 * u64::from(count)
            && first_offset.checked_add(count.into()).is_some()
            && first_byte.checked_add(header.payload_bytes()).is_some();
        match RunHeader::decode(&bytes) {
            Ok(decoded) => prop_assert!(sound && decoded == header),
            Err(error) => {
                prop_assert!(!sound);
                prop_assert_eq!(error, WireError::RunHeader { first_offset, count, length });
            }
        }
    }
}

#[test]
fn a_header_needs_32_bytes() {
    for have in 0..RUN_HEADER_BYTES {
        let error = RunHeader::decode(&vec![1; have]);
        assert_eq!(error, Err(WireError::RunTruncated { have, need: 32 }));
    }
}

#[test]
fn cutting_copies_nothing() {
    let run = run_of(&[b"one".to_vec(), b"two".to_vec()], 5, 0);
    let rest = run.starting_at(6).unwrap();
    assert_eq!(rest.records.as_ptr(), run.records[11..].as_ptr());
    assert_eq!(run.take(1, 1).records.as_ptr(), run.records.as_ptr());
}

/// A run whose second record claims more bytes than there are.
fn broken_in_the_middle() -> Run {
    let mut records = BytesMut::from(&RecordBlock::from_payloads(["fine"]).bytes()[..]);
    records.put_u32(1000);
    records.put_u32(0);
    records.put_slice(b"short, and no third record");
    let length = records.len().try_into().unwrap();
    let header = RunHeader {
        first_offset: 10,
        first_byte: 0,
        committed_at: 0,
        count: 3,
        length,
    };
    Run {
        header,
        records: records.freeze(),
    }
}

#[test]
fn malformed_records_are_an_error_of_reading_and_the_last_item() {
    let read: Vec<_> = broken_in_the_middle().records().collect();
    assert_eq!(read.len(), 2);
    assert!(read[0].is_ok());
    assert!(matches!(
        read[1],
        Err(RecordError::Truncated {
            index: 1,
            need: 1008,
            ..
        })
    ));
}

#[test]
fn malformed_records_do_not_get_lost_in_a_cut() {
    let run = broken_in_the_middle();
    let rest = run
        .starting_at(12)
        .expect("the header says there is a record 12");
    assert!(rest.records().next().unwrap().is_err());
    let prefix = run.take(60, 3);
    assert_eq!(prefix.header.count, 1);
    assert!(prefix.records().all(|record| record.is_ok()));
    let rest = run.starting_at(prefix.header.next_offset()).unwrap();
    assert!(rest.take(0, 1).records().next().unwrap().is_err());
}

#[test]
fn bytes_after_the_last_record_are_an_error() {
    let mut run = run_of(&[b"one".to_vec()], 0, 0);
    run.records = [&run.records[..], b"x"].concat().into();
    let read: Vec<_> = run.records().collect();
    assert_eq!(
        read.last(),
        Some(&Err(RecordError::Count { count: 1, left: 1 }))
    );
}

#[test]
fn a_wrong_checksum_is_the_item_of_its_record_only() {
    let run = run_of(&[b"one".to_vec(), b"two".to_vec()], 0, 0);
    let mut records = run.records.to_vec();
    records[8] ^= 1;
    let run = Run {
        header: run.header,
        records: Bytes::from(records),
    };
    assert!(
        run.records().all(|record| record.is_ok()),
        "reading alone compares nothing"
    );
    let verified: Vec<_> = run.records_verified().collect();
    assert!(matches!(
        verified[0],
        Err(RecordError::Checksum { index: 0, .. })
    ));
    assert_eq!(verified[1].as_ref().unwrap().payload, "two");
}

#[test]
fn splitting_stops_at_the_first_malformed_run() {
    let mut bytes = BytesMut::new();
    run_of(&[b"one".to_vec()], 0, 0).encode(&mut bytes);
    bytes.put_slice(&[0; 40]);
    let split: Vec<_> = decode_runs(&bytes.freeze()).collect();
    assert_eq!(split.len(), 2);
    assert!(split[0].is_ok() && split[1].is_err());
}
