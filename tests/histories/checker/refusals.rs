//! A refusal names what stood in the way: that must have been so at some instant of the attempt.
//!
//! The tails that refusals name have their place in the order already; here is the rest.

use std::collections::HashMap;

use super::Violation;
use super::order::{Line, level};
use super::placed::{Place, Placed};
use crate::history::{Attempt, Batch, History, Instant, Outcome, Stamp};

pub fn check(history: &History, placed: &Placed, line: &Line) -> Result<(), Violation> {
    let known = Known::of(history, placed);
    for attempt in &history.attempts {
        let Some(batch) = history.batches.get(attempt.batch) else {
            continue;
        };
        let is_true = match attempt.outcome {
            Outcome::Unknown | Outcome::Confirmed { .. } => true,
            Outcome::TailMismatch { tail } => batch.expected_tail.is_some_and(|is| is != tail),
            Outcome::Closed { tail } => history.closed && tail == history.log.len() as u64,
            Outcome::SeqConflict { last } => known.had_seq(batch, last, attempt, line),
            Outcome::ProducerGap { expected } => known.misses(batch, expected, attempt),
            Outcome::Fenced { current } => known.is_fenced(batch, current, attempt),
            Outcome::Odd { .. } => false,
        };
        if !is_true {
            return Err(Violation::UntrueRefusal {
                batch: attempt.batch,
                outcome: attempt.outcome,
            });
        }
    }
    Ok(())
}

/// What the log says about seqs and producers.
#[derive(Debug, Default)]
struct Known {
    /// Each seq, with the levels between which it was the last one.
    seqs: HashMap<u64, (u64, u64)>,
    /// Each batch of a producer: when it was sent first, and when it was there for certain.
    stamps: HashMap<(u32, u64, u64), (Instant, Instant)>,
}

impl Known {
    fn of(history: &History, placed: &Placed) -> Self {
        let mut known = Self::default();
        let mut last: Option<(u64, &Place)> = None;
        for place in &placed.in_order {
            let Some(batch) = history.batches.get(place.batch) else {
                continue;
            };
            if let Some(seq) = batch.seq
                && let Some((seq, before)) = last.replace((seq, place))
            {
                let until = level(place.first);
                known.seqs.insert(seq, (level(before.end), until));
            }
            if let Some(Stamp {
                producer,
                epoch,
                seq,
            }) = batch.stamp
            {
                let span = (place.invoked, place.returned);
                known.stamps.insert((producer, epoch, seq), span);
            }
        }
        if let Some((seq, place)) = last {
            known.seqs.insert(seq, (level(place.end), u64::MAX));
        }
        known
    }

    fn had_seq(&self, batch: &Batch, last: u64, attempt: &Attempt, line: &Line) -> bool {
        let conflicts = batch.seq.is_some_and(|seq| seq <= last);
        let while_last = self.seqs.get(&last);
        let was_last = while_last
            .is_some_and(|(low, high)| line.allows(*low, *high, attempt.invoked, attempt.returned));
        conflicts && was_last
    }

    /// Whether the batch with the seq before `expected` may have been the producer's last one.
    fn misses(&self, batch: &Batch, expected: u64, attempt: &Attempt) -> bool {
        let Some(stamp) = batch.stamp.filter(|stamp| stamp.seq > expected) else {
            return false;
        };
        let missing = self.stamps.get(&(stamp.producer, stamp.epoch, expected));
        let was_missing = missing.is_none_or(|(_, there)| *there > attempt.invoked);
        let before = expected.checked_sub(1);
        let had = before.is_none_or(|before| {
            self.stamps
                .contains_key(&(stamp.producer, stamp.epoch, before))
        });
        was_missing && had
    }

    /// Whether the epoch in force may have been `current`.
    fn is_fenced(&self, batch: &Batch, current: u64, attempt: &Attempt) -> bool {
        let Some(stamp) = batch.stamp.filter(|stamp| stamp.epoch < current) else {
            return false;
        };
        let began = self.stamps.get(&(stamp.producer, current, 0));
        began.is_some_and(|(sent, _)| *sent < attempt.returned)
    }
}
