//! The checker accepts a history that is right and rejects each way of being wrong, made by hand.

use crate::checker::{Violation, check};
use crate::history::{Batch, BatchId, History, Instant, NEVER, Outcome, RecordId, Seen, Stamp};

/// A history in the making.
#[derive(Default)]
struct Script(History);

impl Script {
    /// A batch that was tried once.
    fn tried(&mut self, batch: Batch, (from, to): (Instant, Instant), outcome: Outcome) -> BatchId {
        let number = self.0.batch(batch);
        self.again(number, (from, to), outcome);
        number
    }

    fn again(&mut self, batch: BatchId, (from, to): (Instant, Instant), outcome: Outcome) {
        let attempt = self.0.begin(batch, from);
        self.0.end(attempt, to, outcome);
    }

    /// A batch without conditions that was confirmed and lies at the end of the log.
    fn stored(&mut self, records: &[RecordId], span: (Instant, Instant)) {
        self.0.log.extend(records);
        let tail = self.0.log.len() as u64;
        self.tried(of(records), span, confirmed(tail));
    }

    fn tail(&mut self, span: (Instant, Instant), tail: u64) {
        self.0.see(span.0, span.1, Seen::Tail(tail));
    }

    fn saw(&mut self, at: Instant, first: u64, records: &[RecordId]) {
        let records = records.to_vec();
        self.0.see(at, at, Seen::Records { first, records });
    }

    fn violation(&self) -> Violation {
        check(&self.0).expect_err("the history is wrong")
    }
}

fn of(records: &[RecordId]) -> Batch {
    Batch {
        records: records.to_vec(),
        ..Batch::default()
    }
}

fn stamped(records: &[RecordId], epoch: u64, seq: u64) -> Batch {
    let stamp = Some(Stamp {
        producer: 1,
        epoch,
        seq,
    });
    Batch {
        stamp,
        ..of(records)
    }
}

fn with_seq(records: &[RecordId], seq: u64) -> Batch {
    Batch {
        seq: Some(seq),
        ..of(records)
    }
}

fn expecting(records: &[RecordId], tail: u64) -> Batch {
    Batch {
        expected_tail: Some(tail),
        ..of(records)
    }
}

fn confirmed(tail: u64) -> Outcome {
    Outcome::Confirmed {
        tail: Some(tail),
        duplicate: false,
    }
}

fn duplicate(tail: u64) -> Outcome {
    Outcome::Confirmed {
        tail: Some(tail),
        duplicate: true,
    }
}

/// Two batches stored one behind the other.
fn two() -> Script {
    let mut script = Script::default();
    script.stored(&[1, 2], (10, 20));
    script.stored(&[3], (30, 40));
    script
}

#[test]
fn a_right_history_is_accepted() {
    let mut script = two();
    script.tail((15, 25), 2);
    script.tail((35, 36), 2);
    script.tail((35, 37), 3);
    script.saw(41, 0, &[1, 2, 3]);
    // Overlapping with the last one's append, and unknown: stored by the broker that died later.
    script.0.log.push(4);
    script.0.deaths = vec![60];
    script.tried(of(&[4]), (50, NEVER), Outcome::Unknown);
    script.tried(of(&[5]), (50, NEVER), Outcome::Unknown);
    script.tail((70, 71), 4);
    // Producers, seqs and conditions.
    script.0.log.extend([6, 7, 8]);
    let retried = script.tried(stamped(&[6], 3, 0), (80, NEVER), Outcome::Unknown);
    script.again(retried, (85, 86), duplicate(5));
    script.tried(with_seq(&[7], 9), (90, 91), confirmed(6));
    script.tried(
        with_seq(&[9], 8),
        (92, 93),
        Outcome::SeqConflict { last: 9 },
    );
    script.tried(expecting(&[8], 6), (94, 95), confirmed(7));
    script.tried(
        expecting(&[10], 6),
        (96, 97),
        Outcome::TailMismatch { tail: 7 },
    );
    script.tried(
        stamped(&[11], 2, 4),
        (98, 99),
        Outcome::Fenced { current: 3 },
    );
    script.tried(
        stamped(&[12], 3, 5),
        (98, 99),
        Outcome::ProducerGap { expected: 1 },
    );
    let checked = check(&script.0).expect("it is right");
    assert_eq!(
        (checked.records, checked.refused, checked.duplicates),
        (7, 4, 1)
    );
}

#[test]
fn a_confirmed_append_that_is_gone_is_rejected() {
    let mut script = two();
    script.0.log.pop();
    assert_eq!(script.violation(), Violation::Lost { batch: 1 });
}

#[test]
fn a_record_that_is_there_twice_is_rejected() {
    let mut script = two();
    script.0.log.push(3);
    let (id, first, second) = (3, 2, 3);
    assert_eq!(script.violation(), Violation::Twice { id, first, second });
}

#[test]
fn a_record_that_nobody_sent_is_rejected() {
    let mut script = two();
    script.0.log.push(77);
    let (id, offset) = (77, 3);
    assert_eq!(script.violation(), Violation::Invented { id, offset });
}

#[test]
fn half_a_batch_and_a_batch_in_two_pieces_are_rejected() {
    let mut script = two();
    script.tried(of(&[4, 5]), (50, NEVER), Outcome::Unknown);
    script.0.log.push(4);
    let (batch, offset) = (2, 3);
    assert_eq!(script.violation(), Violation::Torn { batch, offset });
    let mut script = two();
    script.0.log = vec![1, 3, 2];
    let (batch, offset) = (0, 0);
    assert_eq!(script.violation(), Violation::Torn { batch, offset });
}

#[test]
fn a_refused_append_that_is_there_is_rejected() {
    let mut script = two();
    let mismatch = Outcome::TailMismatch { tail: 3 };
    script.tried(expecting(&[4], 9), (50, 51), mismatch);
    script.0.log.push(4);
    assert_eq!(script.violation(), Violation::RefusedAndStored { batch: 2 });
}

#[test]
fn a_confirm_that_names_another_place_is_rejected() {
    let mut script = two();
    script.0.log.push(4);
    script.tried(of(&[4]), (50, 51), confirmed(3));
    let (batch, said, is) = (2, 3, 4);
    assert_eq!(script.violation(), Violation::Misplaced { batch, said, is });
}

#[test]
fn a_duplicate_of_nothing_and_a_retry_stored_anew_are_rejected() {
    let mut script = two();
    script.0.log.push(4);
    script.tried(stamped(&[4], 1, 0), (50, 51), duplicate(4));
    assert_eq!(script.violation(), Violation::WronglyDuplicate { batch: 2 });
    let mut script = two();
    script.0.log.push(4);
    let batch = script.tried(stamped(&[4], 1, 0), (50, 51), confirmed(4));
    script.again(batch, (60, 61), confirmed(4));
    assert_eq!(script.violation(), Violation::WronglyDuplicate { batch });
}

#[test]
fn appends_stored_against_the_order_of_time_are_rejected() {
    let mut script = Script::default();
    script.stored(&[1], (30, 40));
    script.stored(&[2], (10, 20));
    assert!(matches!(script.violation(), Violation::OutOfOrder { .. }));
}

#[test]
fn an_unanswered_append_that_a_later_broker_stored_is_rejected() {
    let mut script = Script::default();
    script.0.deaths = vec![15];
    script.tail((20, 21), 0);
    script.0.log.push(1);
    script.tried(of(&[1]), (10, NEVER), Outcome::Unknown);
    assert!(matches!(script.violation(), Violation::OutOfOrder { .. }));
}

#[test]
fn a_tail_that_goes_back_overlooks_or_foresees_is_rejected() {
    let back = |script: &mut Script| {
        script.tail((31, 32), 3);
        script.tail((33, 34), 2);
    };
    let overlooks = |script: &mut Script| script.tail((41, 42), 2);
    let foresees = |script: &mut Script| script.tail((21, 29), 3);
    let refusal_overlooks = |script: &mut Script| {
        let mismatch = Outcome::TailMismatch { tail: 2 };
        script.tried(expecting(&[9], 7), (41, 42), mismatch);
    };
    let after_a_delivery = |script: &mut Script| {
        script.saw(31, 2, &[3]);
        script.tail((33, 34), 2);
    };
    let early_delivery = |script: &mut Script| script.saw(29, 2, &[3]);
    let wrongs: [&dyn Fn(&mut Script); 6] = [
        &back,
        &overlooks,
        &foresees,
        &refusal_overlooks,
        &after_a_delivery,
        &early_delivery,
    ];
    for (number, wrong) in wrongs.into_iter().enumerate() {
        let mut script = two();
        wrong(&mut script);
        let found = script.violation();
        assert!(
            matches!(found, Violation::OutOfOrder { .. }),
            "{number}: {found}"
        );
    }
}

#[test]
fn a_tail_within_a_batch_is_rejected() {
    let mut script = two();
    script.tail((15, 25), 1);
    assert_eq!(script.violation(), Violation::NoSuchTail { tail: 1 });
}

#[test]
fn readers_with_two_orders_and_a_record_that_vanished_are_rejected() {
    let mut script = two();
    script.saw(50, 0, &[1, 2]);
    script.saw(50, 0, &[2, 1]);
    let (offset, saw, has) = (0, 2, Some(1));
    assert_eq!(
        script.violation(),
        Violation::AnotherOrder { offset, saw, has }
    );
    let mut script = two();
    script.tried(of(&[4]), (50, NEVER), Outcome::Unknown);
    script.saw(51, 3, &[4]);
    let (offset, saw, has) = (3, 4, None);
    assert_eq!(
        script.violation(),
        Violation::AnotherOrder { offset, saw, has }
    );
}

#[test]
fn a_conditional_append_elsewhere_than_expected_is_rejected() {
    let mut script = two();
    script.0.log.push(4);
    script.tried(expecting(&[4], 2), (50, 51), confirmed(4));
    let (batch, expected, at) = (2, 2, 3);
    assert_eq!(
        script.violation(),
        Violation::ConditionIgnored {
            batch,
            expected,
            at
        }
    );
}

#[test]
fn a_seq_that_goes_back_is_rejected() {
    let mut script = two();
    script.0.log.extend([4, 5]);
    script.tried(with_seq(&[4], 9), (50, 51), confirmed(4));
    script.tried(with_seq(&[5], 9), (52, 53), confirmed(5));
    let (batch, seq, last) = (3, 9, 9);
    assert_eq!(
        script.violation(),
        Violation::SeqWentBack { batch, seq, last }
    );
}

#[test]
fn producers_out_of_step_are_rejected() {
    for (epoch, seq) in [(2, 0), (1, 0), (2, 2), (3, 1)] {
        let mut script = two();
        script.0.log.extend([4, 5]);
        script.tried(stamped(&[4], 2, 0), (50, 51), confirmed(4));
        script.tried(stamped(&[5], epoch, seq), (52, 53), confirmed(5));
        let found = script.violation();
        let is = matches!(found, Violation::ProducerOutOfStep { batch: 3, .. });
        assert!(is, "{epoch}, {seq}: {found}");
    }
}

#[test]
fn what_lies_behind_a_close_is_rejected() {
    let mut script = two();
    script.0.closed = true;
    script.0.log.extend([4, 5]);
    let closing = Batch {
        close: true,
        ..of(&[4])
    };
    script.tried(closing, (50, 51), confirmed(4));
    script.tried(of(&[5]), (52, 53), confirmed(5));
    assert_eq!(script.violation(), Violation::CloseIgnored { batch: 3 });
    script.0.log.pop();
    script.0.attempts.pop();
    assert!(check(&script.0).is_ok());
    script.0.closed = false;
    assert_eq!(script.violation(), Violation::CloseIgnored { batch: 2 });
}

#[test]
fn refusals_that_were_never_true_are_rejected() {
    let mut base = two();
    base.0.log.extend([4, 5, 6]);
    base.tried(with_seq(&[4], 9), (50, 51), confirmed(4));
    base.tried(stamped(&[5], 2, 0), (52, 53), confirmed(5));
    base.tried(with_seq(&[6], 11), (54, 55), confirmed(6));
    let untrue = [
        // The seq was greater; another was the last by then.
        (with_seq(&[7], 12), Outcome::SeqConflict { last: 11 }),
        (with_seq(&[7], 9), Outcome::SeqConflict { last: 9 }),
        // The producer was known.
        (stamped(&[7], 2, 1), Outcome::ProducerGap { expected: 0 }),
        (stamped(&[7], 1, 1), Outcome::Fenced { current: 3 }),
        (expecting(&[7], 6), Outcome::TailMismatch { tail: 6 }),
        (of(&[7]), Outcome::Closed { tail: 6 }),
        (of(&[7]), Outcome::Odd { code: 205 }),
    ];
    for (batch, outcome) in untrue {
        let mut script = Script(base.0.clone());
        let batch = script.tried(batch, (60, 61), outcome);
        assert_eq!(
            script.violation(),
            Violation::UntrueRefusal { batch, outcome }
        );
    }
}
