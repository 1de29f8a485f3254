//! Appending: seq, expected tail, append-and-close, record sizes, and the order of the checks.

use bytes::Bytes;
use streamkeeper::rules::{Command, Effect};
use streamkeeper::types::{AppendOptions, Appended, Offset, Position, Refusal};

use super::common::{Subject, closing, stamped};

fn with_seq(seq: &[u8]) -> AppendOptions {
    AppendOptions {
        seq: Some(Bytes::copy_from_slice(seq)),
        ..AppendOptions::default()
    }
}

fn at_tail(offset: u64) -> AppendOptions {
    AppendOptions {
        expected_tail: Some(Offset(offset)),
        ..AppendOptions::default()
    }
}

#[test]
fn an_append_answers_the_tail_after_it_by_record_and_byte() {
    let mut subject = Subject::plain();
    subject.append(&["one"]).unwrap();
    let appended = subject.append(&["three", ""]).unwrap();
    let tail = Position {
        offset: Offset(3),
        byte: 8,
    };
    assert_eq!(
        appended,
        Appended {
            tail,
            duplicate: false,
            closed: false,
            producer_seq: None,
        }
    );
    assert_eq!(subject.stream().tail, tail);
    assert_eq!(subject.stream().last_append_at, Some(subject.now));
}

#[test]
fn an_append_without_conditions_is_one_effect_that_allocates_nothing() {
    let mut subject = Subject::plain();
    subject.append(&["one"]).unwrap();
    assert!(matches!(
        subject.effects.as_slice(),
        [Effect::Appended { .. }]
    ));
}

#[test]
fn nothing_is_appended_to_an_absent_stream() {
    assert_eq!(Subject::absent().append(&["one"]), Err(Refusal::NotFound));
    let stamped = Subject::absent().produce("p", 0, 5);
    assert_eq!(
        stamped,
        Err(Refusal::NotFound),
        "not found comes before the producer's gap"
    );
}

#[test]
fn a_seq_must_be_byte_wise_greater_than_the_last() {
    let mut subject = Subject::plain();
    subject.append_with(&["a"], with_seq(b"2")).unwrap();
    let last = Bytes::from_static(b"2");
    for not_greater in [&b""[..], b"1", b"10", b"2"] {
        let refused = subject.append_with(&["b"], with_seq(not_greater));
        assert_eq!(
            refused,
            Err(Refusal::SeqConflict { last: last.clone() }),
            "{not_greater:?}"
        );
    }
    for greater in [&b"20"[..], b"3", &[0xFF], &[0xFF, 0]] {
        subject.append_with(&["b"], with_seq(greater)).unwrap();
    }
    assert_eq!(subject.stream().last_seq.as_deref(), Some(&[0xFF, 0][..]));
}

#[test]
fn an_append_without_seq_leaves_the_last_seq_as_it_was() {
    let mut subject = Subject::plain();
    subject.append_with(&["a"], with_seq(b"7")).unwrap();
    subject.append(&["b"]).unwrap();
    assert!(subject.append_with(&["c"], with_seq(b"7")).is_err());
}

#[test]
fn the_expected_tail_must_be_the_tail() {
    let mut subject = Subject::plain();
    subject.append_with(&["a", "b"], at_tail(0)).unwrap();
    for wrong in [0, 1, 3] {
        let refused = subject.append_with(&["c"], at_tail(wrong));
        assert_eq!(refused, Err(Refusal::TailMismatch { actual: Offset(2) }));
    }
    subject.append_with(&["c"], at_tail(2)).unwrap();
}

#[test]
fn an_empty_batch_needs_a_close() {
    let mut subject = Subject::plain();
    assert_eq!(subject.append(&[]), Err(Refusal::EmptyBatch));
    let closed = subject.append_with(&[], closing()).unwrap();
    assert!(closed.closed);
    assert!(matches!(
        subject.effects.as_slice(),
        [Effect::Closed { .. }]
    ));
    assert_eq!(subject.stream().last_append_at, None);
}

#[test]
fn append_and_close_is_one_step() {
    let mut subject = Subject::plain();
    let appended = subject.append_with(&["last"], closing()).unwrap();
    assert!(appended.closed);
    assert_eq!(appended.tail.offset, Offset(1));
    assert_eq!(
        subject.append(&["more"]),
        Err(Refusal::StreamClosed { tail: Offset(1) })
    );
    let again = subject.append_with(&[], closing());
    assert_eq!(again, Err(Refusal::StreamClosed { tail: Offset(1) }));
}

#[test]
fn a_record_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let mut subject = Subject::plain();
    subject.limits.record_bytes_max = 4;
    subject.append(&["four", "four", "four"]).unwrap();
    let refused = subject.append(&["ok", "fives", "sixsix"]);
    assert_eq!(refused, Err(Refusal::RecordTooLarge { have: 5, limit: 4 }));
    assert_eq!(subject.tail(), 3, "a batch is appended whole or not at all");
}

#[test]
fn the_checks_come_in_their_documented_order() {
    let mut subject = Subject::json();
    subject.limits.record_bytes_max = 1;
    subject.limits.producers_max = 1;
    subject
        .append_with(
            &["1"],
            AppendOptions {
                seq: Some("m".into()),
                ..stamped("p", 3, 0)
            },
        )
        .unwrap();
    let everything_wrong = |id, epoch, seq| AppendOptions {
        seq: Some("a".into()),
        expected_tail: Some(Offset(9)),
        ..stamped(id, epoch, seq)
    };
    let bad = &["no json"];
    let fenced = subject.append_with(bad, everything_wrong("p", 2, 9));
    assert_eq!(fenced, Err(Refusal::ProducerFenced { current: 3 }));
    let gap = subject.append_with(bad, everything_wrong("q", 0, 9));
    assert_eq!(
        gap,
        Err(Refusal::ProducerGap {
            expected: 0,
            received: 9
        }),
        "before the limit"
    );
    let full = subject.append_with(bad, everything_wrong("q", 0, 0));
    assert_eq!(full, Err(Refusal::TooManyProducers { limit: 1 }));

    let unstamped = AppendOptions {
        producer: None,
        ..everything_wrong("p", 3, 1)
    };
    let mut closed = Subject::absent();
    closed.state.clone_from(&subject.state);
    closed.run(Command::Close).unwrap();
    let refused = closed.append_with(bad, unstamped.clone());
    assert_eq!(refused, Err(Refusal::StreamClosed { tail: Offset(1) }));
    let refused = subject.append_with(bad, unstamped.clone());
    assert_eq!(refused, Err(Refusal::TailMismatch { actual: Offset(1) }));
    let unstamped = AppendOptions {
        expected_tail: None,
        ..unstamped
    };
    assert_eq!(
        subject.append_with(&[], unstamped),
        Err(Refusal::SeqConflict { last: "m".into() })
    );
    assert_eq!(subject.append(bad), Err(Refusal::InvalidJson { index: 0 }));
    assert_eq!(
        subject.append(&["22"]),
        Err(Refusal::RecordTooLarge { have: 2, limit: 1 })
    );
}

#[test]
fn a_command_costs_its_bytes_in_a_queue() {
    let batch = streamkeeper::types::RecordBlock::from_payloads([[0_u8; 1000]]);
    let options = AppendOptions {
        seq: Some(Bytes::from(vec![1; 50])),
        ..stamped("12345", 0, 0)
    };
    let cost = Command::Append { batch, options }.queued_bytes();
    assert_eq!(cost - Command::Close.queued_bytes(), 1000 + 8 + 50 + 5);
    assert!(Command::Close.queued_bytes() > 0);
}
