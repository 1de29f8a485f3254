//! Decides whether a history could have come from one log that does each thing at one instant, exactly once.
//!
//! A stream is a log, so nothing has to be searched for: the final log says in which order appends took effect. What is left
//! to check is that
//!
//! - the log holds whole batches, each once, all that were confirmed and none that was only refused (`placed`);
//! - this order, with every tail that was seen in its place between two appends, contradicts no order of real time
//!   (`order`): tails never go back, nothing is seen before it was asked for, nothing confirmed is overlooked;
//! - conditions held where the batch lies: expected tail, seq, producer, close (`conditions`);
//! - refusals were true at some instant while they were asked for (`refusals`);
//! - whoever read or followed the stream saw this log and no other (`readers`).
//!
//! It never rejects a history that is right. It accepts a wrong one only where an answer that was never seen leaves room.

mod conditions;
mod order;
mod placed;
mod readers;
mod refusals;

use crate::history::{BatchId, History, Instant, NEVER, Outcome, RecordId, Seen, Stamp};
use placed::Placed;

/// What is wrong with a history: the first thing found.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("record {id} at {offset} was never sent")]
    Invented { id: RecordId, offset: u64 },
    #[error("record {id} lies at {first} and at {second}")]
    Twice {
        id: RecordId,
        first: u64,
        second: u64,
    },
    #[error("batch {batch} is not whole and in one piece at {offset}")]
    Torn { batch: BatchId, offset: u64 },
    #[error("batch {batch} was confirmed and is not there")]
    Lost { batch: BatchId },
    #[error("batch {batch} was refused each time and is there")]
    RefusedAndStored { batch: BatchId },
    #[error("batch {batch} was confirmed with the tail {said} and ends at {is}")]
    Misplaced { batch: BatchId, said: u64, is: u64 },
    #[error(
        "batch {batch} was stored anew although an earlier attempt was confirmed, or as a duplicate of nothing"
    )]
    WronglyDuplicate { batch: BatchId },
    #[error(
        "{what} came back at {returned}, before what precedes it in the log was invoked at {invoked}"
    )]
    OutOfOrder {
        what: String,
        returned: Instant,
        invoked: Instant,
    },
    #[error("the tail {tail} is within a batch, or beyond the end")]
    NoSuchTail { tail: u64 },
    #[error("batch {batch} expected the tail {expected} and lies at {at}")]
    ConditionIgnored {
        batch: BatchId,
        expected: u64,
        at: u64,
    },
    #[error("batch {batch} has seq {seq}, after {last}")]
    SeqWentBack { batch: BatchId, seq: u64, last: u64 },
    #[error("batch {batch} is {stamp:?}, after {last:?}")]
    ProducerOutOfStep {
        batch: BatchId,
        stamp: Stamp,
        last: Option<Stamp>,
    },
    #[error("batch {batch} lies behind the one that closed the stream, or the close is gone")]
    CloseIgnored { batch: BatchId },
    #[error(
        "batch {batch} was refused with {outcome:?}, which was true at no instant of the attempt"
    )]
    UntrueRefusal { batch: BatchId, outcome: Outcome },
    #[error("at {offset} a reader saw {saw}, and the log has {has:?}")]
    AnotherOrder {
        offset: u64,
        saw: RecordId,
        has: Option<RecordId>,
    },
}

/// How much was checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked {
    /// Records of the log.
    pub records: usize,
    /// Attempts that were confirmed, and as a duplicate.
    pub confirmed: usize,
    pub duplicates: usize,
    /// Attempts that were refused, and of them those of producers that were overtaken.
    pub refused: usize,
    pub fenced: usize,
    /// Attempts without an answer.
    pub unknown: usize,
    /// Tails seen.
    pub tails: usize,
    /// Records seen by readers and subscribers.
    pub seen: usize,
}

impl Checked {
    /// Adds what was checked of another stream.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.confirmed += other.confirmed;
        self.duplicates += other.duplicates;
        self.refused += other.refused;
        self.fenced += other.fenced;
        self.unknown += other.unknown;
        self.tails += other.tails;
        self.seen += other.seen;
    }
}

/// Judges a history.
pub fn check(history: &History) -> Result<Checked, Violation> {
    let placed = Placed::of(history)?;
    conditions::check(history, &placed)?;
    readers::check(history)?;
    let line = order::check(history, &placed)?;
    refusals::check(history, &placed, &line)?;
    Ok(count(history))
}

fn count(history: &History) -> Checked {
    let mut checked = Checked {
        records: history.log.len(),
        ..Checked::default()
    };
    for attempt in &history.attempts {
        match attempt.outcome {
            Outcome::Unknown => checked.unknown += 1,
            Outcome::Confirmed { duplicate, .. } => {
                checked.confirmed += 1;
                checked.duplicates += usize::from(duplicate);
            }
            refused => {
                checked.refused += 1;
                checked.fenced += usize::from(matches!(refused, Outcome::Fenced { .. }));
            }
        }
    }
    for observation in &history.observations {
        match &observation.seen {
            Seen::Tail(_) => checked.tails += 1,
            Seen::Records { records, .. } => checked.seen += records.len(),
        }
    }
    checked
}

/// When something that was asked for at `invoked` and never answered took effect at the latest: the death of the broker that
/// was asked is the end of it.
fn latest(history: &History, invoked: Instant) -> Instant {
    let next = history.deaths.partition_point(|death| *death < invoked);
    history.deaths.get(next).copied().unwrap_or(NEVER)
}
