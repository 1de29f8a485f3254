//! Retention by age, records and bytes: whichever trims most.

use std::time::Duration;

use streamkeeper::rules::{is_due, trim_point};
use streamkeeper::types::{Offset, Position, RecordBlock, Retention, Run, Timestamp};

const NOW: Timestamp = Timestamp(100_000_000);
const KEEP_ALL: Retention = Retention {
    max_age: None,
    max_records: None,
    max_bytes: None,
};

/// Runs, each given by the second of its commit and the lengths of its records.
fn runs(shape: &[(u64, &[usize])]) -> Vec<Run> {
    let mut at = Position::START;
    let mut runs = Vec::new();
    for (second, lengths) in shape {
        let batch = RecordBlock::from_payloads(lengths.iter().map(|length| vec![b'x'; *length]));
        let run = Run::new(&batch, at.offset.0, at.byte, second * 1_000_000);
        at = at.advanced(u64::from(batch.count()), batch.payload_bytes());
        runs.push(run);
    }
    runs
}

fn tail(runs: &[Run]) -> Position {
    let last = runs.last().expect("at least one run").header;
    Position {
        offset: Offset(last.next_offset()),
        byte: last.next_byte(),
    }
}

/// The trim point from the start of the stream, as offset and byte.
fn point(retention: Retention, runs: &[Run]) -> Option<(u64, u64)> {
    let point = trim_point(&retention, Position::START, tail(runs), NOW, runs);
    let first = runs.first().map(|run| Timestamp(run.header.committed_at));
    let due = is_due(&retention, Position::START, tail(runs), NOW, first);
    assert_eq!(due, point.is_some());
    point.map(|point| (point.offset.0, point.byte))
}

fn age(seconds: u64) -> Retention {
    Retention {
        max_age: Some(Duration::from_secs(seconds)),
        ..KEEP_ALL
    }
}

fn records(max: u64) -> Retention {
    Retention {
        max_records: Some(max),
        ..KEEP_ALL
    }
}

fn bytes(max: u64) -> Retention {
    Retention {
        max_bytes: Some(max),
        ..KEEP_ALL
    }
}

#[test]
fn without_limits_nothing_is_trimmed() {
    assert_eq!(point(KEEP_ALL, &runs(&[(1, &[1, 2]), (2, &[3])])), None);
}

#[test]
fn a_record_is_trimmed_from_the_moment_it_is_max_age_old() {
    let runs = runs(&[(70, &[1, 2]), (80, &[3]), (90, &[4])]);
    assert_eq!(point(age(31), &runs), None);
    assert_eq!(point(age(30), &runs), Some((2, 3)));
    assert_eq!(point(age(20), &runs), Some((3, 6)));
    assert_eq!(point(age(10), &runs), Some((4, 10)), "age spares no record");
}

#[test]
fn the_last_max_records_stay() {
    let runs = runs(&[(1, &[1, 2]), (2, &[3, 4, 5])]);
    assert_eq!(point(records(5), &runs), None);
    assert_eq!(point(records(4), &runs), Some((1, 1)));
    assert_eq!(point(records(3), &runs), Some((2, 3)));
    assert_eq!(point(records(1), &runs), Some((4, 10)));
}

#[test]
fn the_newest_max_bytes_stay() {
    let runs = runs(&[(1, &[1, 2]), (2, &[3, 4, 5])]);
    assert_eq!(point(bytes(15), &runs), None);
    assert_eq!(point(bytes(14), &runs), Some((1, 1)));
    assert_eq!(point(bytes(13), &runs), Some((2, 3)));
    assert_eq!(point(bytes(9), &runs), Some((3, 6)));
    assert_eq!(point(bytes(8), &runs), Some((4, 10)));
}

#[test]
fn the_newest_record_stays_however_large() {
    assert_eq!(
        point(bytes(1), &runs(&[(1, &[1, 2]), (2, &[3, 4, 5])])),
        Some((4, 10))
    );
    assert_eq!(point(bytes(1), &runs(&[(1, &[100])])), None);
}

#[test]
fn empty_records_cost_no_bytes() {
    let runs = runs(&[(1, &[5, 0, 0]), (2, &[0, 5, 0])]);
    assert_eq!(point(bytes(5), &runs), Some((1, 5)));
    assert_eq!(point(bytes(4), &runs), Some((5, 10)));
}

#[test]
fn whichever_limit_trims_most_counts() {
    let runs = runs(&[(70, &[10]), (80, &[10]), (90, &[10]), (95, &[10])]);
    let all = |seconds, max_records, max_bytes| Retention {
        max_age: Some(Duration::from_secs(seconds)),
        max_records: Some(max_records),
        max_bytes: Some(max_bytes),
    };
    assert_eq!(point(all(20, 3, 30), &runs), Some((2, 20)), "age");
    assert_eq!(point(all(30, 1, 30), &runs), Some((3, 30)), "records");
    assert_eq!(point(all(30, 3, 20), &runs), Some((2, 20)), "bytes");
}

#[test]
fn the_first_run_may_begin_before_the_earliest_record() {
    let runs = runs(&[(1, &[1, 2, 3]), (2, &[4])]);
    let earliest = Position {
        offset: Offset(1),
        byte: 1,
    };
    let trimmed = |retention| trim_point(&retention, earliest, tail(&runs), NOW, &runs);
    assert_eq!(trimmed(records(3)), None);
    assert_eq!(
        trimmed(records(2)),
        Some(Position {
            offset: Offset(2),
            byte: 3
        })
    );
    assert_eq!(trimmed(bytes(9)), None);
}

#[test]
fn runs_that_end_early_trim_as_far_as_they_go() {
    let all = runs(&[(1, &[1, 1]), (2, &[1, 1])]);
    let trimmed = trim_point(&records(1), Position::START, tail(&all), NOW, &all[..1]);
    assert_eq!(
        trimmed,
        Some(Position {
            offset: Offset(2),
            byte: 2
        })
    );
    let none: [Run; 0] = [];
    assert_eq!(
        trim_point(&records(1), Position::START, tail(&all), NOW, &none),
        None
    );
}

#[test]
fn an_empty_stream_is_never_due() {
    for retention in [age(1), records(1), bytes(1)] {
        assert!(!is_due(
            &retention,
            Position::START,
            Position::START,
            NOW,
            None
        ));
    }
}
