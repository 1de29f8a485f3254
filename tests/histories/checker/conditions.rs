//! What a batch demanded of the stream held where it lies: expected tail, seq, producer, nothing after a close.

use std::collections::HashMap;

use super::Violation;
use super::placed::Placed;
use crate::history::{Batch, BatchId, History, Stamp};

pub fn check(history: &History, placed: &Placed) -> Result<(), Violation> {
    let mut walk = Walk::default();
    for place in &placed.in_order {
        if let Some(batch) = history.batches.get(place.batch) {
            walk.take(place.batch, batch, place.first)?;
        }
    }
    match walk.closed_by {
        Some(batch) if !history.closed => Err(Violation::CloseIgnored { batch }),
        _ => Ok(()),
    }
}

/// What a stream remembers, at one place of the log.
#[derive(Debug, Default)]
struct Walk {
    last_seq: Option<u64>,
    producers: HashMap<u32, Stamp>,
    closed_by: Option<BatchId>,
}

impl Walk {
    fn take(&mut self, number: BatchId, batch: &Batch, at: u64) -> Result<(), Violation> {
        if self.closed_by.is_some() {
            return Err(Violation::CloseIgnored { batch: number });
        }
        if let Some(expected) = batch.expected_tail.filter(|expected| *expected != at) {
            return Err(Violation::ConditionIgnored {
                batch: number,
                expected,
                at,
            });
        }
        if let Some(seq) = batch.seq {
            if let Some(last) = self.last_seq.filter(|last| seq <= *last) {
                return Err(Violation::SeqWentBack {
                    batch: number,
                    seq,
                    last,
                });
            }
            self.last_seq = Some(seq);
        }
        if let Some(stamp) = batch.stamp {
            let last = self.producers.insert(stamp.producer, stamp);
            if !follows(stamp, last) {
                return Err(Violation::ProducerOutOfStep {
                    batch: number,
                    stamp,
                    last,
                });
            }
        }
        if batch.close {
            self.closed_by = Some(number);
        }
        Ok(())
    }
}

fn follows(stamp: Stamp, last: Option<Stamp>) -> bool {
    match last {
        Some(last) if last.epoch == stamp.epoch => stamp.seq == last.seq + 1,
        Some(last) => stamp.epoch > last.epoch && stamp.seq == 0,
        None => stamp.seq == 0,
    }
}
