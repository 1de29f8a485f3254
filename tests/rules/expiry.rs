//! Sliding ttl and absolute expiry: from that moment on the stream counts as absent.

use std::time::Duration;

use streamkeeper::rules::{Answer, Command, Effect};
use streamkeeper::types::{
    AppendOptions, CreateOptions, Created, DeleteReason, Expiry, Position, RecordBlock, Refusal,
    StreamId, Timestamp,
};

use super::common::{Subject, closing, of_type};

const JUST_UNDER: Duration = Duration::from_micros(9_999_999);
const INSTANT: Duration = Duration::from_micros(1);

fn with_ttl() -> Subject {
    Subject::with(CreateOptions {
        expiry: Expiry::Ttl(10),
        ..CreateOptions::default()
    })
}

fn expires_in_ten() -> Subject {
    let at = Subject::absent().now.after(Duration::from_secs(10));
    Subject::with(CreateOptions {
        expiry: Expiry::At(at),
        ..CreateOptions::default()
    })
}

#[test]
fn a_stream_is_there_until_its_time_and_not_a_moment_longer() {
    for mut subject in [with_ttl(), expires_in_ten()] {
        subject.advance(JUST_UNDER);
        assert!(!subject.stream().is_expired(subject.now));
        subject.advance(INSTANT);
        assert!(subject.stream().is_expired(subject.now));
        assert_eq!(subject.append(&["late"]), Err(Refusal::NotFound));
        assert_eq!(subject.run(Command::Close), Err(Refusal::NotFound));
        assert_eq!(subject.run(Command::Delete), Err(Refusal::NotFound));
    }
}

#[test]
fn reads_and_writes_restart_a_ttl() {
    let append = |options| Command::Append {
        batch: RecordBlock::from_payloads(["x"]),
        options,
    };
    let writes = [
        append(AppendOptions::default()),
        append(closing()),
        Command::Close,
        Command::Touch,
    ];
    for restart in writes {
        let mut subject = with_ttl();
        subject.advance(JUST_UNDER);
        subject.run(restart).unwrap();
        let end = subject.now.after(Duration::from_secs(10));
        assert_eq!(subject.stream().expires_at(), Some(end));
        subject.advance(JUST_UNDER);
        assert!(!subject.stream().is_expired(subject.now));
    }
}

#[test]
fn nothing_moves_an_absolute_expiry() {
    let mut subject = expires_in_ten();
    let end = subject.stream().expires_at();
    subject.advance(JUST_UNDER);
    subject.append(&["x"]).unwrap();
    subject.run(Command::Touch).unwrap();
    assert!(subject.effects.is_empty(), "a touch matters only to a ttl");
    assert_eq!(subject.stream().expires_at(), end);
}

#[test]
fn a_clock_that_steps_back_does_not_shorten_a_ttl() {
    let mut subject = with_ttl();
    let end = subject.stream().expires_at();
    subject.now = Timestamp(1);
    subject.run(Command::Touch).unwrap();
    assert_eq!(subject.stream().expires_at(), end);
}

#[test]
fn a_ttl_beyond_all_time_never_comes() {
    let mut subject = Subject::with(CreateOptions {
        expiry: Expiry::Ttl(u64::MAX),
        ..CreateOptions::default()
    });
    subject.advance(Duration::from_secs(1 << 33));
    assert!(!subject.stream().is_expired(subject.now));
}

#[test]
fn an_expired_stream_makes_room_for_a_new_one_in_one_step() {
    let mut subject = with_ttl();
    subject.append(&["old"]).unwrap();
    subject.advance(Duration::from_secs(10));
    let answer = subject.run(Command::create(of_type("text/plain")));
    let created = Created {
        existed: false,
        tail: Position::START,
        closed: false,
    };
    assert_eq!(answer, Ok(Answer::Created(created)));
    assert!(matches!(
        subject.effects.as_slice(),
        [
            Effect::Deleted {
                reason: DeleteReason::Expired,
                ..
            },
            Effect::Created { .. }
        ]
    ));
    assert_eq!(subject.stream().id, StreamId(2));
}

#[test]
fn the_same_configuration_is_created_anew_once_expired() {
    let mut subject = with_ttl();
    subject.advance(Duration::from_secs(10));
    let options = CreateOptions::clone(&subject.stream().options);
    let created = Created {
        existed: false,
        tail: Position::START,
        closed: false,
    };
    assert_eq!(
        subject.run(Command::create(options)),
        Ok(Answer::Created(created))
    );
}

#[test]
fn expire_removes_a_stream_only_if_its_time_is_over() {
    let mut subject = with_ttl();
    subject.advance(JUST_UNDER);
    assert_eq!(subject.run(Command::Expire), Ok(Answer::Done));
    assert!(subject.state.is_some());
    subject.advance(INSTANT);
    assert_eq!(subject.run(Command::Expire), Ok(Answer::Done));
    assert!(matches!(
        subject.effects.as_slice(),
        [Effect::Deleted {
            reason: DeleteReason::Expired,
            ..
        }]
    ));
    assert_eq!(subject.state, None);
}

#[test]
fn the_engines_own_commands_do_nothing_to_what_is_not_there() {
    let mut expired = with_ttl();
    expired.advance(Duration::from_secs(10));
    for mut subject in [Subject::absent(), expired] {
        for command in [
            Command::Touch,
            Command::Trim {
                to: Position::START,
            },
        ] {
            assert_eq!(subject.run(command), Ok(Answer::Done));
            assert!(subject.effects.is_empty());
        }
    }
    let mut absent = Subject::absent();
    assert_eq!(absent.run(Command::Expire), Ok(Answer::Done));
    assert!(absent.effects.is_empty());
}
