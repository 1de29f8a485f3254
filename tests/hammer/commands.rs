//! Submitting commands, each with the answer it must get.
//!
//! What the answer must be is decided under the slot's lock together with the submission, so the order in the oracle is
//! the order in the write queue.

use std::sync::Arc;
use std::time::Instant;

use streamkeeper::broker::Broker;
use streamkeeper::rules::{Answer, Command};
use streamkeeper::stream::{Completion, Reply, Submission, Weight};
use streamkeeper::types::{
    AppendOptions, Appended, Closed, CreateOptions, Created, Error, ProducerStamp, RecordBlock,
    Refusal, StorageKind, Str,
};
use tokio::sync::oneshot;

use crate::model::{Life, Slot};
use crate::payload::Tag;

/// What a writer wants done.
#[derive(Clone, Debug)]
pub enum Intent {
    Create(CreateOptions),
    Append {
        writer: u16,
        lengths: Vec<u32>,
        stamp: Stamp,
        close: bool,
    },
    Close,
    Delete,
    /// Trims to this many thousandths of the stream.
    Trim(u64),
}

/// Whether an append names its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    None,
    Next,
    /// The last accepted append of this producer once more.
    Again,
}

/// A submitted command.
#[derive(Debug)]
pub struct Pending {
    slot: Arc<Slot>,
    life: u32,
    expected: Reply,
    answer: oneshot::Receiver<Reply>,
}

impl Pending {
    /// Waits for the answer and holds it against what it must be.
    pub async fn settle(self) {
        let reply = self.answer.await.expect("every command is answered");
        assert_eq!(reply, self.expected, "{}: a wrong answer", self.slot.name);
        if let Ok(answer) = &reply {
            self.slot.answered(self.life, answer);
        }
    }
}

/// No command of the hammer weighs more.
const WEIGHT_MAX: Weight = Weight {
    bytes: 1 << 20,
    light: false,
};

/// Submits, waiting while the write queue is full.
pub async fn submit(broker: &Broker, slot: &Arc<Slot>, intent: &Intent) -> Pending {
    loop {
        if let Some(pending) = try_submit(broker, slot, intent) {
            return pending;
        }
        let stream = broker.stream(slot.name.as_str()).expect("a valid name");
        broker.space(&stream, WEIGHT_MAX).await;
        tokio::task::yield_now().await;
    }
}

fn try_submit(broker: &Broker, slot: &Arc<Slot>, intent: &Intent) -> Option<Pending> {
    let mut lives = slot.lives.lock();
    let stream = match intent {
        // An append to no stream waits in the other backend's queue and claims the name until it is refused.
        Intent::Create(options) if options.storage == StorageKind::Memory => broker
            .stream_to_create(slot.name.as_str(), options.storage)
            .ok()?,
        Intent::Create(options) => broker
            .stream_to_create(slot.name.as_str(), options.storage)
            .expect("the slot stays in one backend"),
        _ => broker.stream(slot.name.as_str()).expect("a valid name"),
    };
    let present = lives.last().filter(|life| !life.deleted);
    let (command, expected) = plan(slot.number, present, intent);
    let begun = Instant::now();
    let (sender, answer) = oneshot::channel();
    let submission = Submission {
        command,
        completion: Completion::Once(sender),
        light: slot.number.is_multiple_of(2),
    };
    broker.try_submit(&stream, submission).ok()?;
    broker.kick();
    if expected.is_ok() {
        note(&mut lives, slot.number, intent, &expected, begun);
    }
    let life = u32::try_from(lives.len().saturating_sub(1)).unwrap_or(u32::MAX);
    Some(Pending {
        slot: Arc::clone(slot),
        life,
        expected,
        answer,
    })
}

/// The command and the answer it must get from a stream in `present` state.
fn plan(slot: u16, present: Option<&Life>, intent: &Intent) -> (Command, Reply) {
    let gone = Err(Error::Refused(Refusal::NotFound));
    match intent {
        Intent::Create(options) => (Command::create(options.clone()), created(present, options)),
        Intent::Close => {
            let closed = present.map(|life| Answer::Closed(Closed { tail: life.tail() }));
            (Command::Close, closed.map_or(gone, Ok))
        }
        Intent::Delete => (
            Command::Delete,
            present.map_or(gone, |_| Ok(Answer::Deleted)),
        ),
        Intent::Trim(share) => {
            let to = present.map(|life| life.position(life.records.len() as u64 * share / 1000));
            let to = to.unwrap_or_default();
            (Command::Trim { to }, Ok(Answer::Done))
        }
        Intent::Append {
            writer,
            lengths,
            stamp,
            close,
        } => {
            let tags = tags(slot, present, *writer);
            let payloads = tags.zip(lengths).map(|(tag, length)| tag.payload(*length));
            let batch = RecordBlock::from_payloads(payloads);
            let seq = present.and_then(|life| life.producers.get(writer)).copied();
            let options = AppendOptions {
                producer: producer(*writer, *stamp, seq.unwrap_or(0)),
                close: *close,
                ..AppendOptions::default()
            };
            let duplicate = *stamp == Stamp::Again && seq.is_some_and(|next| next > 0);
            let stamped = options.producer.as_ref().map(|stamp| stamp.seq);
            let expected = present.map_or(gone, |life| {
                appended(life, &batch, duplicate, *close, stamped)
            });
            (Command::Append { batch, options }, expected)
        }
    }
}

fn tags(slot: u16, present: Option<&Life>, writer: u16) -> impl Iterator<Item = Tag> + use<> {
    // Appends to no stream carry a life that never is.
    let life = present.map_or(u32::MAX, |life| life.number);
    let first = present.and_then(|life| life.counters.get(&writer)).copied();
    (first.unwrap_or(0)..).map(move |counter| Tag {
        slot,
        life,
        writer,
        counter,
    })
}

fn producer(writer: u16, stamp: Stamp, next: u64) -> Option<ProducerStamp> {
    let seq = match stamp {
        Stamp::None => return None,
        Stamp::Next => next,
        Stamp::Again => next.saturating_sub(1),
    };
    Some(ProducerStamp {
        id: Str::from(format!("writer-{writer}").as_str()),
        epoch: 0,
        seq,
    })
}

fn created(present: Option<&Life>, options: &CreateOptions) -> Reply {
    match present {
        None => Ok(Answer::Created(Created {
            existed: false,
            tail: streamkeeper::types::Position::START,
            closed: false,
        })),
        Some(life) if life.options == *options => Ok(Answer::Created(Created {
            existed: true,
            tail: life.tail(),
            closed: life.closed,
        })),
        Some(_) => Err(Error::Refused(Refusal::AlreadyExists)),
    }
}

fn appended(
    life: &Life,
    batch: &RecordBlock,
    duplicate: bool,
    close: bool,
    producer_seq: Option<u64>,
) -> Reply {
    let tail = life.tail();
    if duplicate {
        return Ok(Answer::Appended(Appended {
            tail,
            duplicate,
            closed: life.closed,
            producer_seq,
        }));
    }
    if life.closed {
        return Err(Error::Refused(Refusal::StreamClosed { tail: tail.offset }));
    }
    Ok(Answer::Appended(Appended {
        tail: tail.advanced(batch.count().into(), batch.payload_bytes()),
        duplicate,
        closed: close,
        producer_seq,
    }))
}

/// Notes a command that will be accepted.
fn note(lives: &mut Vec<Life>, slot: u16, intent: &Intent, expected: &Reply, begun: Instant) {
    if let (Intent::Create(options), Ok(Answer::Created(created))) = (intent, expected) {
        if !created.existed {
            let number = u32::try_from(lives.len()).unwrap_or(u32::MAX);
            lives.push(Life::new(number, options.clone()));
        }
        return;
    }
    let Some(life) = lives.last_mut().filter(|life| !life.deleted) else {
        return;
    };
    match (intent, expected) {
        (Intent::Close, _) => life.closed = true,
        (Intent::Delete, _) => life.deleted = true,
        (Intent::Trim(share), _) => {
            let to = life.records.len() as u64 * share / 1000;
            life.trimmed = life.trimmed.max(to);
        }
        (
            Intent::Append {
                writer,
                lengths,
                stamp,
                close,
            },
            Ok(Answer::Appended(appended)),
        ) if !appended.duplicate => {
            let tags = tags(slot, Some(life), *writer);
            for (tag, length) in tags.zip(lengths) {
                life.push(tag, *length, begun);
            }
            if *stamp != Stamp::None {
                *life.producers.entry(*writer).or_default() += 1;
            }
            life.closed |= *close;
        }
        _ => {}
    }
}
