//! The oracle: what every stream must hold, known before the broker answers.
//!
//! Commands to one stream are applied in the order they are submitted, so a slot decides under its own lock what the
//! next command must do, submits it, and only then notes it. Nothing here asks the broker what it thinks.
//!
//! A slot is one stream name; a life is one incarnation of it. Records of a life are never forgotten, so that whoever
//! still reads them can be checked.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use streamkeeper::rules::Answer;
use streamkeeper::types::{CreateOptions, Offset, Position, Retention, StorageKind, StreamName};

use crate::payload::Tag;

/// A record that was submitted.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    tag: Tag,
    length: u32,
    byte: u64,
    at: Instant,
}

/// Which end of a life was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answered {
    Nothing,
    Created,
    Deleted,
}

/// One incarnation.
#[derive(Debug)]
pub struct Life {
    pub number: u32,
    pub options: CreateOptions,
    pub records: Vec<Sent>,
    pub bytes: u64,
    pub closed: bool,
    pub deleted: bool,
    pub answered: Answered,
    /// Tail of the last append known to be confirmed.
    pub confirmed: u64,
    /// Where commands have trimmed to.
    pub trimmed: u64,
    pub counters: HashMap<u16, u32>,
    /// Next seq of each writer's producer.
    pub producers: HashMap<u16, u64>,
}

impl Life {
    pub fn new(number: u32, options: CreateOptions) -> Self {
        Self {
            number,
            options,
            records: Vec::new(),
            bytes: 0,
            closed: false,
            deleted: false,
            answered: Answered::Nothing,
            confirmed: 0,
            trimmed: 0,
            counters: HashMap::new(),
            producers: HashMap::new(),
        }
    }

    /// The tail once everything submitted is applied.
    pub fn tail(&self) -> Position {
        Position {
            offset: Offset(self.records.len() as u64),
            byte: self.bytes,
        }
    }

    /// The position of the record at `offset`.
    pub fn position(&self, offset: u64) -> Position {
        let record = usize::try_from(offset)
            .ok()
            .and_then(|at| self.records.get(at));
        let byte = record.map_or(self.bytes, |record| record.byte);
        Position {
            offset: Offset(offset),
            byte,
        }
    }

    /// Notes a record submitted at `at` or later.
    pub fn push(&mut self, tag: Tag, length: u32, at: Instant) {
        let byte = self.bytes;
        self.bytes += u64::from(length);
        self.counters.insert(tag.writer, tag.counter + 1);
        self.records.push(Sent {
            tag,
            length,
            byte,
            at,
        });
    }

    /// Whether everything before `earliest` may be gone, given all that was submitted so far.
    pub fn may_have_trimmed_to(&self, earliest: u64) -> bool {
        let Some(last_gone) = earliest
            .checked_sub(1)
            .and_then(|last| usize::try_from(last).ok())
        else {
            return true;
        };
        let Some(gone) = self.records.get(last_gone) else {
            return false;
        };
        let tail = self.tail();
        let Retention {
            max_age,
            max_records,
            max_bytes,
        } = self.options.retention;
        earliest <= self.trimmed
            || max_records.is_some_and(|max| earliest + max <= tail.offset.0)
            || max_bytes.is_some_and(|max| tail.byte - gone.byte > max && earliest < tail.offset.0)
            || max_age.is_some_and(|age| gone.at.elapsed() >= age)
    }

    /// Whether retention leaves no more than it may: true of a stream at rest.
    pub fn has_trimmed_enough(&self, earliest: u64) -> bool {
        let tail = self.tail();
        let Some(records) = tail.offset.0.checked_sub(earliest) else {
            return false;
        };
        let bytes = tail.byte - self.position(earliest).byte;
        let Retention {
            max_records,
            max_bytes,
            ..
        } = self.options.retention;
        earliest >= self.trimmed
            && max_records.is_none_or(|max| records <= max)
            && max_bytes.is_none_or(|max| bytes <= max || records == 1)
    }

    /// Whether this is, or was, the tail.
    pub fn may_be_tail(&self, offset: u64) -> bool {
        offset <= self.records.len() as u64
    }

    fn matches(&self, offset: u64, payload: &[u8]) -> bool {
        let record = usize::try_from(offset)
            .ok()
            .and_then(|at| self.records.get(at));
        record.is_some_and(|record| {
            payload.len() == record.length as usize && record.tag.payload(record.length) == payload
        })
    }
}

/// Which lives a reader may be looking at: narrowed to one by the first record that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    first: u32,
    last: u32,
    /// There was no stream at some time meanwhile.
    pub absent: bool,
}

impl Sighting {
    /// Whether it was one life all the time.
    pub fn is_certain(&self) -> bool {
        self.first == self.last && !self.absent
    }

    /// Whether both may be of one life.
    pub fn overlaps(&self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// What was known of a slot at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The first life that may be met.
    first: u32,
    /// The last life is there, and nobody has asked for its end.
    pub alive: bool,
}

/// One stream name.
#[derive(Debug)]
pub struct Slot {
    pub number: u16,
    pub name: StreamName,
    pub storage: StorageKind,
    pub lives: Mutex<Vec<Life>>,
}

impl Slot {
    /// Taken before looking at the broker: what may be met from now on.
    pub fn mark(&self) -> Mark {
        let lives = self.lives.lock();
        let gone = lives
            .iter()
            .take_while(|life| life.answered == Answered::Deleted)
            .count();
        Mark {
            first: u32::try_from(gone).unwrap_or(u32::MAX),
            alive: lives
                .last()
                .is_some_and(|life| life.answered == Answered::Created && !life.deleted),
        }
    }

    /// The lives that may have been met since `mark` was taken.
    pub fn since(&self, mark: Mark) -> Sighting {
        let lives = self.lives.lock();
        let deleted = lives
            .iter()
            .skip(mark.first as usize)
            .any(|life| life.deleted);
        let count = u32::try_from(lives.len()).unwrap_or(u32::MAX);
        Sighting {
            first: mark.first,
            last: count.saturating_sub(1),
            absent: !mark.alive || deleted,
        }
    }

    /// Runs `judge` over the lives of a sighting: true if any satisfies it.
    pub fn any(&self, seen: Sighting, judge: impl Fn(&Life) -> bool) -> bool {
        let lives = self.lives.lock();
        lives
            .iter()
            .filter(|life| (seen.first..=seen.last).contains(&life.number))
            .any(judge)
    }

    /// The lives of a sighting, for messages.
    pub fn describe(&self, seen: Sighting) -> String {
        let lives = self.lives.lock();
        let described = lives
            .iter()
            .filter(|life| (seen.first..=seen.last).contains(&life.number));
        let described = described.map(|life| {
            let Life {
                number,
                closed,
                deleted,
                confirmed,
                trimmed,
                ..
            } = life;
            let (tail, retention) = (life.tail(), life.options.retention);
            let age = life.records.first().map(|record| record.at.elapsed());
            format!(
                "life {number}: tail {tail}, confirmed {confirmed}, trimmed {trimmed}, closed {closed}, deleted \
                 {deleted}, {retention:?}, first record {age:?} ago"
            )
        });
        described.collect::<Vec<_>>().join("; ")
    }

    /// Checks one record and narrows `seen` by it.
    pub fn check(&self, seen: &mut Sighting, position: Position, payload: &[u8]) {
        let offset = position.offset.0;
        let name = &self.name;
        if let Some(tag) = Tag::of(payload) {
            assert_eq!(
                tag.slot, self.number,
                "{name}@{offset}: another stream's record"
            );
            assert!(
                (seen.first..=seen.last).contains(&tag.life),
                "{name}@{offset}: a record of life {} while following {seen:?}",
                tag.life
            );
            (seen.first, seen.last) = (tag.life, tag.life);
        }
        let fits = self.any(*seen, |life| life.matches(offset, payload));
        let at = self.any(*seen, |life| life.position(offset) == position);
        assert!(
            fits,
            "{name}@{offset}: {:?} ({} bytes) is not what was submitted there; {}",
            Tag::of(payload),
            payload.len(),
            self.describe(*seen)
        );
        assert!(at, "{name}@{offset}: wrong byte position {}", position.byte);
    }

    /// Notes an answer.
    pub fn answered(&self, life: u32, answer: &Answer) {
        let mut lives = self.lives.lock();
        let Some(life) = lives.get_mut(life as usize) else {
            return;
        };
        match answer {
            // The answer to the delete may have been taken first, by another writer.
            Answer::Created(_) => life.answered = life.answered.max(Answered::Created),
            Answer::Appended(appended) => {
                life.confirmed = life.confirmed.max(appended.tail.offset.0);
            }
            Answer::Deleted => life.answered = Answered::Deleted,
            Answer::Closed(_) | Answer::Done => {}
        }
    }

    /// How long the oldest record of the last life has been there.
    pub fn age(&self) -> Duration {
        let lives = self.lives.lock();
        let first = lives.last().and_then(|life| life.records.first());
        first.map_or(Duration::ZERO, |record| record.at.elapsed())
    }
}
