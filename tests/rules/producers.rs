//! Idempotent producers: duplicate, gap and fenced are told apart.

use std::time::Duration;

use streamkeeper::rules::{Command, Effect};
use streamkeeper::types::{AppendOptions, Offset, Refusal};

use super::common::{Subject, stamped};

#[test]
fn the_appends_of_an_epoch_run_from_zero() {
    let mut subject = Subject::plain();
    for seq in 0..3 {
        assert_eq!(
            subject.produce("p", 7, seq).unwrap().tail.offset,
            Offset(seq + 1)
        );
    }
}

#[test]
fn a_duplicate_is_confirmed_with_the_tail_as_it_stands_and_stores_nothing() {
    let mut subject = Subject::plain();
    subject.produce("p", 0, 0).unwrap();
    subject.produce("p", 0, 1).unwrap();
    subject.append(&["somebody else's"]).unwrap();
    for seq in [0, 1] {
        let appended = subject.produce("p", 0, seq).unwrap();
        assert!(appended.duplicate);
        assert_eq!(appended.tail.offset, Offset(3));
        assert!(subject.effects.is_empty());
    }
}

#[test]
fn a_duplicate_is_confirmed_even_if_the_stream_was_closed_since() {
    let mut subject = Subject::plain();
    let last = AppendOptions {
        close: true,
        ..stamped("p", 0, 0)
    };
    subject.append_with(&["last"], last.clone()).unwrap();
    let again = subject.append_with(&["last"], last).unwrap();
    assert!(again.duplicate);
    assert!(again.closed);
    assert_eq!(
        subject.produce("p", 0, 1),
        Err(Refusal::StreamClosed { tail: Offset(1) })
    );
}

#[test]
fn a_duplicate_is_not_held_to_the_other_conditions() {
    let mut subject = Subject::plain();
    let first = AppendOptions {
        seq: Some("1".into()),
        expected_tail: Some(Offset(0)),
        ..stamped("p", 0, 0)
    };
    subject.append_with(&["x"], first.clone()).unwrap();
    assert!(subject.append_with(&["x"], first).unwrap().duplicate);
}

#[test]
fn a_gap_is_refused_with_the_seq_that_is_expected() {
    let mut subject = Subject::plain();
    let gap = |expected, received| Err(Refusal::ProducerGap { expected, received });
    assert_eq!(subject.produce("p", 0, 1), gap(0, 1));
    subject.produce("p", 0, 0).unwrap();
    assert_eq!(subject.produce("p", 0, 2), gap(1, 2));
    assert_eq!(subject.produce("p", 0, u64::MAX), gap(1, u64::MAX));
    subject.produce("p", 0, 1).unwrap();
}

#[test]
fn a_higher_epoch_fences_the_lower_ones() {
    let mut subject = Subject::plain();
    subject.produce("p", 1, 0).unwrap();
    subject.produce("p", 1, 1).unwrap();
    subject.produce("p", 4, 0).unwrap();
    assert_eq!(
        subject.produce("p", 1, 2),
        Err(Refusal::ProducerFenced { current: 4 })
    );
    assert_eq!(
        subject.produce("p", 3, 0),
        Err(Refusal::ProducerFenced { current: 4 })
    );
    subject.produce("p", 4, 1).unwrap();
}

#[test]
fn a_higher_epoch_begins_at_zero() {
    let mut subject = Subject::plain();
    subject.produce("p", 1, 0).unwrap();
    assert_eq!(
        subject.produce("p", 2, 1),
        Err(Refusal::ProducerEpochStart { received: 1 })
    );
    subject
        .produce("p", 1, 1)
        .expect("the refused epoch fenced nobody");
}

#[test]
fn the_last_seq_of_all_can_only_be_repeated() {
    let mut subject = Subject::plain();
    subject.produce("p", u64::MAX, 0).unwrap();
    let last = Effect::ProducerAdvanced {
        id: "p".into(),
        epoch: u64::MAX,
        seq: u64::MAX,
        at: subject.now,
    };
    streamkeeper::rules::apply(&mut subject.state, &last);
    assert!(subject.produce("p", u64::MAX, u64::MAX).unwrap().duplicate);
}

#[test]
fn producers_do_not_know_of_each_other() {
    let mut subject = Subject::plain();
    subject.produce("p", 5, 0).unwrap();
    subject.produce("q", 0, 0).unwrap();
    subject.produce("p", 5, 1).unwrap();
}

#[test]
fn a_refused_append_does_not_advance_its_producer() {
    let mut subject = Subject::plain();
    let conditional = AppendOptions {
        expected_tail: Some(Offset(9)),
        ..stamped("p", 0, 0)
    };
    assert!(subject.append_with(&["x"], conditional).is_err());
    assert!(!subject.produce("p", 0, 0).unwrap().duplicate);
}

#[test]
fn a_stream_full_of_busy_producers_takes_no_other() {
    let mut subject = Subject::plain();
    subject.limits.producers_max = 2;
    subject.limits.producer_idle = Duration::from_secs(10);
    subject.produce("p", 0, 0).unwrap();
    subject.produce("q", 0, 0).unwrap();
    subject.advance(Duration::from_micros(9_999_999));
    assert_eq!(
        subject.produce("r", 0, 0),
        Err(Refusal::TooManyProducers { limit: 2 })
    );
    subject.produce("p", 0, 1).expect("known producers go on");
}

#[test]
fn idle_producers_make_room_for_a_new_one() {
    let mut subject = Subject::plain();
    subject.limits.producers_max = 2;
    subject.limits.producer_idle = Duration::from_secs(10);
    subject.produce("idle", 0, 0).unwrap();
    subject.advance(Duration::from_secs(5));
    subject.produce("busy", 0, 0).unwrap();
    subject.advance(Duration::from_secs(5));
    subject.produce("new", 0, 0).unwrap();
    let mut ids: Vec<&str> = subject
        .stream()
        .producers
        .iter()
        .map(|(id, _)| id)
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, ["busy", "new"]);
}

#[test]
fn idle_producers_are_kept_while_there_is_room() {
    let mut subject = Subject::plain();
    subject.produce("idle", 0, 0).unwrap();
    subject.advance(Duration::from_secs(365 * 24 * 60 * 60));
    subject.produce("new", 0, 0).unwrap();
    assert!(subject.produce("idle", 0, 0).unwrap().duplicate);
}

#[test]
fn a_stream_created_again_knows_no_producers() {
    let mut subject = Subject::plain();
    subject.produce("p", 3, 0).unwrap();
    let options = (*subject.stream().options).clone();
    subject.run(Command::Delete).unwrap();
    subject.run(Command::create(options)).unwrap();
    assert!(!subject.produce("p", 0, 0).unwrap().duplicate);
}
