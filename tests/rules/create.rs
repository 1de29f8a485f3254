//! Create, close and delete.

use std::time::Duration;

use streamkeeper::rules::{Answer, Command, Effect};
use streamkeeper::types::{
    Closed, CreateOptions, Created, Expiry, Position, Refusal, Retention, StorageKind, StreamId,
    Timestamp,
};

use super::common::{Subject, of_type};

fn refused_option(options: CreateOptions) -> &'static str {
    let answer = Subject::absent().run(Command::create(options));
    let Err(Refusal::InvalidOption { option, .. }) = answer else {
        unreachable!("expected an invalid option, got {answer:?}");
    };
    option
}

#[test]
fn a_new_stream_is_open_and_empty() {
    let mut subject = Subject::absent();
    let answer = subject.run(Command::create(of_type("text/plain")));
    let created = Created {
        existed: false,
        tail: Position::START,
        closed: false,
    };
    assert_eq!(answer, Ok(Answer::Created(created)));
    let metadata = subject.stream().metadata();
    assert_eq!(
        (metadata.records(), metadata.bytes(), metadata.closed),
        (0, 0, false)
    );
    assert_eq!(metadata.created_at, subject.now);
    assert_eq!(metadata.last_append_at, None);
}

#[test]
fn creating_again_with_the_same_configuration_answers_that_it_existed() {
    let mut subject = Subject::with(of_type("text/plain; charset=utf-8"));
    subject.append(&["one"]).unwrap();
    let answer = subject.run(Command::create(of_type("TEXT/Plain; charset=utf-8")));
    let tail = subject.stream().tail;
    assert_eq!(
        answer,
        Ok(Answer::Created(Created {
            existed: true,
            tail,
            closed: false,
        }))
    );
    assert!(subject.effects.is_empty());
    assert_eq!(
        &*subject.stream().options.content_type,
        "text/plain; charset=utf-8"
    );
}

#[test]
fn parameters_of_the_content_type_compare_as_given() {
    let mut subject = Subject::with(of_type("text/plain; charset=utf-8"));
    for other in [
        "text/plain",
        "text/plain; charset=UTF-8",
        "text/html; charset=utf-8",
    ] {
        let answer = subject.run(Command::create(of_type(other)));
        assert_eq!(answer, Err(Refusal::AlreadyExists), "{other}");
    }
}

#[test]
fn any_other_configuration_already_exists() {
    let retention = Retention {
        max_records: Some(1),
        ..Retention::default()
    };
    let others = [
        CreateOptions {
            expiry: Expiry::Ttl(1),
            ..CreateOptions::default()
        },
        CreateOptions {
            retention,
            ..CreateOptions::default()
        },
        CreateOptions {
            storage: StorageKind::Memory,
            ..CreateOptions::default()
        },
    ];
    for options in others {
        let answer = Subject::plain().run(Command::create(options.clone()));
        assert_eq!(answer, Err(Refusal::AlreadyExists), "{options:?}");
    }
}

#[test]
fn a_closed_stream_still_exists() {
    let mut subject = Subject::plain();
    subject.append(&["one"]).unwrap();
    subject.run(Command::Close).unwrap();
    let answer = subject.run(Command::create(CreateOptions::default()));
    let tail = subject.stream().tail;
    assert_eq!(
        answer,
        Ok(Answer::Created(Created {
            existed: true,
            tail,
            closed: true,
        }))
    );
    assert!(subject.stream().closed);
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    for content_type in ["", "text/plain\n", "text/pläin", &"x".repeat(256)] {
        assert_eq!(
            refused_option(of_type(content_type)),
            "content_type",
            "{content_type}"
        );
    }
    let expiry = |expiry| CreateOptions {
        expiry,
        ..CreateOptions::default()
    };
    assert_eq!(refused_option(expiry(Expiry::Ttl(0))), "ttl_seconds");
    assert_eq!(
        refused_option(expiry(Expiry::At(Subject::absent().now))),
        "expires_at"
    );
    let keep = |retention| CreateOptions {
        retention,
        ..CreateOptions::default()
    };
    let all = Retention::default();
    assert_eq!(
        refused_option(keep(Retention {
            max_age: Some(Duration::ZERO),
            ..all
        })),
        "max_age"
    );
    assert_eq!(
        refused_option(keep(Retention {
            max_records: Some(0),
            ..all
        })),
        "max_records"
    );
    assert_eq!(
        refused_option(keep(Retention {
            max_bytes: Some(0),
            ..all
        })),
        "max_bytes"
    );
}

#[test]
fn options_at_the_edge_of_their_range_are_taken() {
    let now = Subject::absent().now;
    let least = Retention {
        max_age: Some(Duration::from_micros(1)),
        max_records: Some(1),
        max_bytes: Some(1),
    };
    let most = CreateOptions {
        expiry: Expiry::Ttl(u64::MAX),
        ..of_type(&"x".repeat(255))
    };
    let soon = CreateOptions {
        expiry: Expiry::At(Timestamp(now.0 + 1)),
        ..of_type("x")
    };
    for options in [
        most,
        soon,
        CreateOptions {
            retention: least,
            ..of_type(" ~")
        },
    ] {
        let answer = Subject::absent().run(Command::create(options.clone()));
        assert!(
            matches!(answer, Ok(Answer::Created(_))),
            "{options:?}: {answer:?}"
        );
    }
}

#[test]
fn closing_is_idempotent_and_answers_the_final_tail() {
    let mut subject = Subject::plain();
    let tail = subject.append(&["one", "two"]).unwrap().tail;
    assert_eq!(
        subject.run(Command::Close),
        Ok(Answer::Closed(Closed { tail }))
    );
    assert_eq!(subject.effects.len(), 1);
    assert_eq!(
        subject.run(Command::Close),
        Ok(Answer::Closed(Closed { tail }))
    );
    assert!(subject.effects.is_empty());
}

#[test]
fn a_stream_created_after_a_delete_is_another_incarnation() {
    let mut subject = Subject::plain();
    subject.append(&["one"]).unwrap();
    assert_eq!(subject.run(Command::Delete), Ok(Answer::Deleted));
    assert_eq!(subject.state, None);
    subject.run(Command::create(of_type("text/plain"))).unwrap();
    assert_eq!(subject.stream().id, StreamId(2));
    assert_eq!(subject.tail(), 0);
}

#[test]
fn what_is_not_there_cannot_be_closed_or_deleted() {
    assert_eq!(
        Subject::absent().run(Command::Close),
        Err(Refusal::NotFound)
    );
    assert_eq!(
        Subject::absent().run(Command::Delete),
        Err(Refusal::NotFound)
    );
}

#[test]
fn effects_on_an_absent_stream_change_nothing() {
    let mut state = None;
    streamkeeper::rules::apply(&mut state, &Effect::Closed { at: Timestamp(1) });
    assert_eq!(state, None);
}
