//! A producer's records between acceptance and confirmation: pure bookkeeping, without locks or sockets.
//!
//! One batch is open and grows; up to `batches_max` closed ones are in flight, oldest first, with consecutive sequence
//! numbers. Invariants:
//!
//! - A batch gets its number when it closes and keeps it; numbers have no gap.
//! - While anything is *held* (the server refused it for now), nothing new is sent, so order is kept.
//! - A batch sent once and confirmed as a duplicate was never stored: that is an error, not success.

use std::collections::VecDeque;
use std::sync::Arc;

use streamkeeper_protocol::record::RECORD_HEADER_BYTES;
use streamkeeper_protocol::{ErrorCode, RecordBlock, RecordBlockBuilder};

use super::receipt::{Confirmation, Outcome, Receipt};
use crate::error::Refusal;
use crate::types::{Appended, ServerInfo};

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) batches_max: usize,
    /// Whether each record sent becomes exactly one record stored, so that offsets can be told.
    one_to_one: bool,
    batch_bytes_max: usize,
    batch_records_max: u32,
    pub(super) record_bytes_max: u32,
    open: RecordBlockBuilder,
    /// Of the bytes that the client's producers may hold together, those that the open batch holds.
    open_room: usize,
    outcome: Arc<Outcome>,
    in_flight: VecDeque<Batch>,
    next_seq: u64,
    held: Option<Held>,
}

/// A closed batch.
#[derive(Debug)]
struct Batch {
    records: RecordBlock,
    room: usize,
    outcome: Arc<Outcome>,
    /// How often it was sent.
    sent: u32,
    /// Whether an answer is still to come on this connection.
    waiting: bool,
    confirmed: bool,
}

/// What the server refused for now.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// The first batch refused; all behind it wait with it.
    seq: u64,
    /// How often all of them were sent again.
    rounds: u32,
}

/// What a refusal means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The producer cannot go on.
    Final,
    /// The batch waits.
    Held,
}

/// A batch that was sent for the first time is said to be a duplicate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reused;

impl Window {
    pub(super) fn new(batches_max: usize, one_to_one: bool) -> Self {
        Self {
            batches_max,
            one_to_one,
            batch_bytes_max: 0,
            batch_records_max: 0,
            record_bytes_max: 0,
            open: RecordBlockBuilder::new(),
            open_room: 0,
            outcome: Arc::default(),
            in_flight: VecDeque::new(),
            next_seq: 0,
            held: None,
        }
    }

    /// Takes over the server's limits; `batch_bytes_max` is what fits into a frame and pleases the caller.
    pub(super) fn limit(&mut self, info: &ServerInfo, batch_bytes_max: usize) {
        self.record_bytes_max = info.record_bytes_max;
        self.batch_records_max = info.batch_records_max;
        self.batch_bytes_max = batch_bytes_max;
    }

    /// Whether the open batch must close before a record of `payload_bytes` can be pushed.
    pub(super) fn is_full_for(&self, payload_bytes: usize) -> bool {
        let bytes = self.open.len_bytes() + RECORD_HEADER_BYTES + payload_bytes;
        let full = self.open.count() >= self.batch_records_max || bytes > self.batch_bytes_max;
        full && !self.open.is_empty()
    }

    /// Adds a record to the open batch, which holds `room` for it until it is confirmed.
    pub(super) fn push(&mut self, payload: &[u8], room: usize) -> Receipt {
        self.open_room += room;
        let receipt = self.outcome.receipt(self.open.count());
        self.open.push(payload);
        receipt
    }

    /// What is held of the bytes that the client's producers may hold together.
    pub(super) fn room(&self) -> usize {
        let closed = self.in_flight.iter().map(|batch| batch.room);
        closed.sum::<usize>() + self.open_room
    }

    /// Whether there are records in the open batch and room for one more in flight.
    pub(super) fn may_close(&self) -> bool {
        !self.open.is_empty() && self.held.is_none() && self.in_flight.len() < self.batches_max
    }

    /// Closes the open batch and returns its sequence number.
    pub(super) fn close(&mut self) -> u64 {
        let records = self.open.finish();
        // The next batch is most likely as large as this one: one allocation for it, and none to grow.
        self.open = RecordBlockBuilder::with_capacity(records.bytes().len());
        self.in_flight.push_back(Batch {
            records,
            room: std::mem::take(&mut self.open_room),
            outcome: std::mem::take(&mut self.outcome),
            sent: 0,
            waiting: false,
            confirmed: false,
        });
        self.next_seq += 1;
        self.next_seq - 1
    }

    /// The sequence numbers in flight that are to be sent again.
    pub(super) fn unconfirmed(&self) -> impl Iterator<Item = u64> + use<> {
        self.first_seq()..self.next_seq
    }

    /// The records of a batch that is not confirmed.
    pub(super) fn records(&self, seq: u64) -> Option<&RecordBlock> {
        let batch = self.in_flight.get(self.index(seq)?)?;
        (!batch.confirmed).then_some(&batch.records)
    }

    /// The batch was put on the connection.
    pub(super) fn sent(&mut self, seq: u64) {
        if let Some(batch) = self.batch(seq) {
            batch.sent = batch.sent.saturating_add(1);
            batch.waiting = true;
        }
    }

    /// No answer will come any more: the connection ended.
    pub(super) fn detach(&mut self) {
        self.held = None;
        for batch in &mut self.in_flight {
            batch.waiting = false;
        }
    }

    /// The batch is durable. Answers how much room is no longer held.
    pub(super) fn confirm(&mut self, seq: u64, appended: Appended) -> Result<usize, Reused> {
        // A duplicate is answered with some later tail.
        let exact = self.one_to_one && !appended.duplicate;
        let Some(batch) = self.batch(seq) else {
            return Ok(0);
        };
        batch.waiting = false;
        if appended.duplicate && batch.sent == 1 {
            return Err(Reused);
        }
        batch.confirmed = true;
        let first = appended
            .tail
            .checked_sub(batch.records.count().into())
            .filter(|_| exact);
        batch.outcome.resolve(Ok(Confirmation {
            first,
            duplicate: appended.duplicate,
        }));
        self.held = self.held.filter(|held| seq < held.seq);
        let is_confirmed = |batch: &&Batch| batch.confirmed;
        let done = self.in_flight.iter().take_while(is_confirmed).count();
        let freed = self.in_flight.drain(..done).map(|batch| batch.room);
        Ok(freed.sum())
    }

    /// The batch was refused.
    pub(super) fn refuse(&mut self, seq: u64, refusal: &Refusal) -> Verdict {
        // Behind a batch that was refused for now, the next ones meet a gap: they wait with it.
        let behind = refusal.code == Some(ErrorCode::ProducerGap)
            && self.held.is_some_and(|held| held.seq < seq);
        if !behind && !refusal.is_transient() {
            return Verdict::Final;
        }
        if let Some(batch) = self.batch(seq) {
            batch.waiting = false;
        }
        let held = self.held.get_or_insert(Held { seq, rounds: 0 });
        held.seq = held.seq.min(seq);
        Verdict::Held
    }

    /// If all that is in flight is held and answered, counts a round and returns how many there were before.
    pub(super) fn next_round(&mut self) -> Option<u32> {
        if self.in_flight.iter().any(|batch| batch.waiting) {
            return None;
        }
        let held = self.held.as_mut()?;
        held.rounds = held.rounds.saturating_add(1);
        Some(held.rounds - 1)
    }

    /// Whether a round is due: the pause is over, and no reconnect or other round came in between.
    pub(super) fn is_round_due(&self) -> bool {
        self.held.is_some() && !self.in_flight.iter().any(|batch| batch.waiting)
    }

    /// Whether everything accepted is confirmed.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.in_flight.is_empty()
    }

    /// Empties the window and returns the outcomes that somebody may wait for, and how much room it held.
    pub(super) fn abandon(&mut self) -> (Vec<Arc<Outcome>>, usize) {
        self.open = RecordBlockBuilder::new();
        self.held = None;
        let open = std::mem::take(&mut self.outcome);
        let room = self.room();
        self.open_room = 0;
        let closed = self.in_flight.drain(..).map(|batch| batch.outcome);
        (closed.chain([open]).collect(), room)
    }

    /// The sequence number of the oldest batch in flight.
    fn first_seq(&self) -> u64 {
        self.next_seq - self.in_flight.len() as u64
    }

    fn index(&self, seq: u64) -> Option<usize> {
        usize::try_from(seq.checked_sub(self.first_seq())?).ok()
    }

    fn batch(&mut self, seq: u64) -> Option<&mut Batch> {
        let index = self.index(seq)?;
        self.in_flight.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window with `count` one-record batches sent.
    fn sent(count: u64) -> Window {
        let mut window = Window::new(16, true);
        (window.batch_bytes_max, window.batch_records_max) = (1_000, 100);
        for n in 0..count {
            drop(window.push(b"record", 0));
            assert_eq!(window.close(), n);
            window.sent(n);
        }
        window
    }

    fn confirm(tail: u64, duplicate: bool) -> Appended {
        Appended {
            tail,
            duplicate,
            closed: false,
        }
    }

    fn refusal(code: ErrorCode) -> Refusal {
        streamkeeper_protocol::event::ErrorEvent::new(code, "").into()
    }

    #[test]
    fn a_first_confirm_as_duplicate_is_no_success() {
        let mut window = sent(1);
        assert_eq!(window.confirm(0, confirm(1, true)), Err(Reused));
        window.sent(0);
        assert_eq!(window.confirm(0, confirm(1, true)), Ok(0));
        assert!(window.is_empty());
    }

    #[test]
    fn confirms_out_of_order_release_the_window_in_order() {
        let mut window = sent(3);
        window.confirm(1, confirm(2, false)).unwrap();
        assert_eq!(window.unconfirmed().collect::<Vec<_>>(), [0, 1, 2]);
        assert!(window.records(1).is_none(), "is not sent again");
        window.confirm(0, confirm(1, false)).unwrap();
        assert_eq!(window.unconfirmed().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_gap_is_final_unless_it_stands_behind_a_held_batch() {
        let mut window = sent(3);
        assert_eq!(
            window.refuse(1, &refusal(ErrorCode::ProducerGap)),
            Verdict::Final
        );
        assert_eq!(
            window.refuse(1, &refusal(ErrorCode::Unavailable)),
            Verdict::Held
        );
        assert_eq!(
            window.refuse(2, &refusal(ErrorCode::ProducerGap)),
            Verdict::Held
        );
    }

    #[test]
    fn a_round_begins_when_the_last_answer_is_there_whatever_it_says() {
        let mut window = sent(3);
        window.refuse(1, &refusal(ErrorCode::Unavailable));
        window.refuse(2, &refusal(ErrorCode::ProducerGap));
        drop(window.push(b"more", 0));
        assert_eq!(window.next_round(), None, "batch 0 is not answered");
        window.confirm(0, confirm(1, false)).unwrap();
        assert_eq!(window.next_round(), Some(0));
        assert!(!window.may_close(), "nothing new while something is held");
        window.sent(1);
        window.sent(2);
        assert!(!window.is_round_due());
        window.confirm(1, confirm(2, false)).unwrap();
        assert!(window.may_close());
    }

    #[test]
    fn a_batch_is_full_by_bytes_and_by_count_but_takes_one_large_record() {
        let mut window = sent(0);
        assert!(!window.is_full_for(5_000));
        drop(window.push(&[0; 5_000], 0));
        assert!(window.is_full_for(0));
        window.close();
        for _ in 0..100 {
            assert!(!window.is_full_for(1));
            drop(window.push(b"x", 0));
        }
        assert!(window.is_full_for(1));
    }
}
