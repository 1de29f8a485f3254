//! Trimming moves the earliest position forward, never past the tail, and nothing else.

use streamkeeper::rules::{Answer, Command};
use streamkeeper::types::{Offset, Position};

use super::common::Subject;

fn at(offset: u64, byte: u64) -> Position {
    Position {
        offset: Offset(offset),
        byte,
    }
}

fn trimmed(subject: &mut Subject, to: Position) -> Position {
    assert_eq!(subject.run(Command::Trim { to }), Ok(Answer::Done));
    subject.stream().earliest
}

#[test]
fn a_trim_moves_the_earliest_position() {
    let mut subject = Subject::plain();
    let tail = subject.append(&["1", "22", "333"]).unwrap().tail;
    assert_eq!(trimmed(&mut subject, at(2, 3)), at(2, 3));
    assert_eq!(subject.stream().tail, tail);
    assert_eq!(subject.stream().metadata().records(), 1);
    assert_eq!(subject.stream().metadata().bytes(), 3);
}

#[test]
fn a_trim_never_moves_back() {
    let mut subject = Subject::plain();
    subject.append(&["1", "22", "333"]).unwrap();
    trimmed(&mut subject, at(2, 3));
    for back in [at(0, 0), at(1, 1), at(2, 3)] {
        assert_eq!(trimmed(&mut subject, back), at(2, 3));
        assert!(subject.effects.is_empty());
    }
}

#[test]
fn a_trim_past_the_tail_is_one_to_the_tail() {
    for past in [at(9, 1), at(2, 1), at(2, 9)] {
        let mut subject = Subject::plain();
        let tail = subject.append(&["1", "22"]).unwrap().tail;
        assert_eq!(trimmed(&mut subject, past), tail);
        assert_eq!(subject.stream().records(), 0);
        subject.append(&["more"]).unwrap();
        assert_eq!(
            subject.tail(),
            3,
            "offsets go on after everything was trimmed"
        );
    }
}

#[test]
fn a_trim_never_says_more_bytes_than_there_are() {
    let mut subject = Subject::plain();
    subject.append(&["1", "22"]).unwrap();
    assert_eq!(trimmed(&mut subject, at(1, 99)), at(1, 3));
}

#[test]
fn a_closed_stream_is_trimmed_like_any_other() {
    let mut subject = Subject::plain();
    subject.append(&["1", "22"]).unwrap();
    subject.run(Command::Close).unwrap();
    assert_eq!(trimmed(&mut subject, at(1, 1)), at(1, 1));
}
