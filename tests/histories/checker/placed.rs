//! Where each batch lies in the final log: once, whole, and there if it was confirmed.

use std::collections::HashMap;

use super::{Violation, latest};
use crate::history::{Attempt, Batch, BatchId, History, Instant, NEVER, Outcome, RecordId};

/// A batch in the log, and the instants between which it got there.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub batch: BatchId,
    pub first: u64,
    /// The offset after its last record.
    pub end: u64,
    /// Not before.
    pub invoked: Instant,
    /// Not after.
    pub returned: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Placed {
    /// Batches with records, in the order of the log.
    pub in_order: Vec<Place>,
    places: HashMap<BatchId, usize>,
}

impl Placed {
    pub fn of(history: &History) -> Result<Self, Violation> {
        let mut placed = Self::find(history)?;
        let fates = placed.judge(history)?;
        for place in &mut placed.in_order {
            // A batch that nobody sent has no fate; that it is there is no wonder then, but its records were never sent.
            let fate = fates.get(&place.batch).copied().unwrap_or_default();
            (place.invoked, place.returned) = fate.span();
        }
        Ok(placed)
    }

    /// The place of a batch, if it is in the log.
    pub fn place(&self, batch: BatchId) -> Option<&Place> {
        self.in_order.get(*self.places.get(&batch)?)
    }

    /// Walks the log batch by batch.
    fn find(history: &History) -> Result<Self, Violation> {
        let owners = owners(history);
        let mut seen: HashMap<RecordId, u64> = HashMap::new();
        let (mut in_order, mut places) = (Vec::new(), HashMap::new());
        let mut rest = history.log.as_slice();
        let mut offset = 0;
        while let Some(id) = rest.first() {
            let Some((batch, records)) = owners.get(id).copied() else {
                return Err(Violation::Invented { id: *id, offset });
            };
            if let Some(first) = seen.get(id) {
                let (id, first, second) = (*id, *first, offset);
                return Err(Violation::Twice { id, first, second });
            }
            let Some(after) = rest.strip_prefix(records) else {
                return Err(Violation::Torn { batch, offset });
            };
            rest = after;
            let end = offset + records.len() as u64;
            seen.extend(records.iter().copied().zip(offset..end));
            places.insert(batch, in_order.len());
            in_order.push(Place {
                batch,
                first: offset,
                end,
                invoked: 0,
                returned: NEVER,
            });
            offset = end;
        }
        Ok(Self { in_order, places })
    }

    /// Compares with what the clients were told.
    fn judge(&self, history: &History) -> Result<HashMap<BatchId, Fate>, Violation> {
        let mut fates: HashMap<BatchId, Fate> = HashMap::new();
        for attempt in &history.attempts {
            let fate = fates.entry(attempt.batch).or_default();
            let Some(batch) = history.batches.get(attempt.batch) else {
                continue;
            };
            if let Outcome::Confirmed { tail, duplicate } = attempt.outcome {
                self.confirmed(attempt.batch, batch, tail, duplicate)?;
            }
            if !fate.take(history, attempt, batch.resent) {
                let batch = attempt.batch;
                return Err(Violation::WronglyDuplicate { batch });
            }
        }
        for (batch, fate) in &fates {
            let batch = *batch;
            let maybe = fate.unknown.is_some() || fate.confirmed.is_some();
            if !maybe && self.place(batch).is_some() {
                return Err(Violation::RefusedAndStored { batch });
            }
            // A duplicate needs an attempt that stored it: one that was confirmed so, or one that is unknown.
            if fate.duplicate && fate.stored.is_none() && fate.unknown.is_none() {
                return Err(Violation::WronglyDuplicate { batch });
            }
        }
        Ok(fates)
    }

    fn confirmed(
        &self,
        number: BatchId,
        batch: &Batch,
        tail: Option<u64>,
        duplicate: bool,
    ) -> Result<(), Violation> {
        let Some(place) = self.place(number) else {
            let lost = Violation::Lost { batch: number };
            return if batch.records.is_empty() {
                Ok(())
            } else {
                Err(lost)
            };
        };
        let is = place.end;
        match tail {
            Some(said) if said < is || (said > is && !duplicate) => Err(Violation::Misplaced {
                batch: number,
                said,
                is,
            }),
            _ => Ok(()),
        }
    }
}

/// What the attempts of one batch came to.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    /// The first attempt that is unknown began, and the last one was over for certain.
    unknown: Option<(Instant, Instant)>,
    /// The attempt that was confirmed as new.
    stored: Option<(Instant, Instant)>,
    /// The first confirm came.
    confirmed: Option<Instant>,
    duplicate: bool,
}

impl Fate {
    /// False if it was stored twice.
    fn take(&mut self, history: &History, attempt: &Attempt, resent: bool) -> bool {
        let Attempt {
            invoked, returned, ..
        } = *attempt;
        match attempt.outcome {
            Outcome::Unknown => {
                let over = if resent {
                    NEVER
                } else {
                    latest(history, invoked)
                };
                let (first, last) = self.unknown.unwrap_or((NEVER, 0));
                self.unknown = Some((first.min(invoked), last.max(over)));
            }
            Outcome::Confirmed { duplicate, .. } => {
                self.confirmed = Some(self.confirmed.unwrap_or(NEVER).min(returned));
                if duplicate && !resent {
                    self.duplicate = true;
                } else if self.stored.replace((invoked, returned)).is_some() {
                    return false;
                }
            }
            _ => {}
        }
        true
    }

    /// Between which instants it was stored, if it was.
    fn span(self) -> (Instant, Instant) {
        let (invoked, over) = self.stored.or(self.unknown).unwrap_or((0, NEVER));
        (invoked, self.confirmed.unwrap_or(NEVER).min(over))
    }
}

fn owners(history: &History) -> HashMap<RecordId, (BatchId, &[RecordId])> {
    let batches = history.batches.iter().enumerate();
    let owned = batches.flat_map(|(number, batch)| {
        let records = batch.records.as_slice();
        records.iter().map(move |id| (*id, (number, records)))
    });
    owned.collect()
}
