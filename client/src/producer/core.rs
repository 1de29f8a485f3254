//! The half of a producer that the connection task works on: its open batch and the batches in flight.
//!
//! ```text
//!  push ─▶ open batch ── writer comes by, or it is full ──▶ in flight (seq, n at most) ── CONFIRM ──▶ gone
//!                                                               │   ▲
//!                              connection lost, or refused for now └───┘ sent again, in order, same seq
//! ```
//!
//! No timer makes batches: while fewer than `batches_max` are in flight the open one goes out as soon as the writer
//! is free, and otherwise it grows until a confirm makes room. Invariants:
//!
//! - Sequence numbers are given when a batch closes, without gaps; a batch keeps its number for ever.
//! - Batches are put on a connection in order, each at most once per connection unless the server refused it.
//! - Memory is at most `batches_max + 1` batches, each `batch_bytes_max` or one record.
//! - A batch sent once and confirmed as a duplicate was never stored: that is [`Error::EpochReused`], not success.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use streamkeeper_protocol::command::{self, Append};
use streamkeeper_protocol::record::RECORD_HEADER_BYTES;
use streamkeeper_protocol::{ErrorCode, RecordBlock, RecordBlockBuilder, Str};
use tokio::sync::Notify;

use super::receipt::{Batch as Confirmed, Outcome, Receipt};
use crate::error::{Error, Part, Refusal};
use crate::link::{Link, Pending};
use crate::sync::lock;
use crate::types::{Appended, ServerInfo};

/// What is fixed when a producer is opened.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) stream: Str,
    pub(super) id: Str,
    pub(super) epoch: u64,
    pub(super) batch_bytes_max: usize,
    pub(super) batches_max: usize,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Core {
    key: u64,
    settings: Settings,
    state: Mutex<State>,
    /// Room was made, everything was confirmed, or the producer failed.
    pub(super) changed: Notify,
}

#[derive(Debug)]
struct State {
    record_bytes_max: u32,
    batch_records_max: u32,
    batch_bytes_max: usize,
    open: RecordBlockBuilder,
    outcome: Arc<Outcome>,
    in_flight: VecDeque<Batch>,
    next_seq: u64,
    attached: bool,
    /// Whether the writer was asked to come by.
    called: bool,
    /// Set while a batch was refused for now: nothing new is sent.
    held: Option<Held>,
    failure: Option<Error>,
    /// Whether the application let go of the producer.
    abandoned: bool,
}

#[derive(Debug)]
struct Batch {
    records: RecordBlock,
    outcome: Arc<Outcome>,
    /// How often it was sent.
    sent: u32,
    /// Whether an answer is still to come on this connection.
    waiting: bool,
    confirmed: bool,
}

/// A batch the server refused for now, with all behind it.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// The first one refused.
    seq: u64,
    refusals: u32,
}

impl Core {
    pub(super) fn new(key: u64, settings: Settings) -> Self {
        let state = Mutex::new(State {
            record_bytes_max: 0,
            batch_records_max: 0,
            batch_bytes_max: settings.batch_bytes_max,
            open: RecordBlockBuilder::new(),
            outcome: Arc::default(),
            in_flight: VecDeque::new(),
            next_seq: 0,
            attached: false,
            called: false,
            held: None,
            failure: None,
            abandoned: false,
        });
        Self {
            key,
            settings,
            state,
            changed: Notify::new(),
        }
    }

    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    // ---- the application's side

    /// Adds a record to the open batch; `None` if there is no room now ([`Core::changed`] tells when to try again).
    pub(super) fn push(
        self: &Arc<Self>,
        link: &Link,
        payload: &[u8],
    ) -> Result<Option<Receipt>, Error> {
        let mut state = lock(&self.state);
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        if payload.len() > state.record_bytes_max as usize {
            let limit = state.record_bytes_max.into();
            return Err(Error::TooLarge {
                what: Part::Record,
                have: payload.len() as u64,
                limit,
            });
        }
        if state.is_full_for(payload.len()) {
            if !state.may_send(&self.settings) {
                return Ok(None);
            }
            self.close_batch(&mut state, link);
        }
        let receipt = state.outcome.receipt(state.open.count());
        state.open.push(payload);
        self.call_writer(state, link);
        Ok(Some(receipt))
    }

    /// Whether everything was confirmed.
    pub(super) fn is_idle(&self) -> Result<bool, Error> {
        let state = lock(&self.state);
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(state.open.is_empty() && state.in_flight.is_empty()),
        }
    }

    /// The application let go: what was accepted is still sent while the client lives, then the producer is forgotten.
    pub(super) fn abandon(&self, link: &Link) {
        let mut state = lock(&self.state);
        state.abandoned = true;
        if state.open.is_empty() && state.in_flight.is_empty() {
            drop(state);
            link.forget_producer(self.key);
        }
    }

    // ---- the connection task's side

    /// A connection is up: everything in flight is sent again, in order.
    pub(crate) fn attach(self: &Arc<Self>, link: &Link, info: &ServerInfo) {
        let mut state = lock(&self.state);
        state.record_bytes_max = info.record_bytes_max;
        state.batch_records_max = info.batch_records_max;
        // Whatever the caller asked for, a batch must fit into a frame with its head.
        let head = 64 + self.settings.stream.as_bytes().len() + self.settings.id.as_bytes().len();
        let frame = (info.frame_bytes_max as usize).saturating_sub(head);
        state.batch_bytes_max = self.settings.batch_bytes_max.min(frame);
        state.attached = true;
        state.held = None;
        self.resend(&mut state, link);
        self.call_writer(state, link);
    }

    /// The connection ended.
    pub(crate) fn detach(&self) {
        let mut state = lock(&self.state);
        state.attached = false;
        state.called = false;
        for batch in &mut state.in_flight {
            batch.waiting = false;
        }
    }

    /// The writer is free: the open batch goes out if there is room for it.
    pub(crate) fn collect(self: &Arc<Self>, link: &Link) {
        let mut state = lock(&self.state);
        state.called = false;
        if !state.open.is_empty() && state.may_send(&self.settings) {
            self.close_batch(&mut state, link);
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// The batch `seq` is durable.
    pub(crate) fn confirmed(self: &Arc<Self>, link: &Link, seq: u64, appended: Appended) {
        let mut state = lock(&self.state);
        let Some(batch) = state.batch(seq) else {
            return;
        };
        batch.waiting = false;
        if appended.duplicate && batch.sent == 1 {
            let error = Error::EpochReused {
                producer: self.settings.id.to_string(),
                epoch: self.settings.epoch,
                seq,
            };
            drop(state);
            self.fail(&error);
            return;
        }
        batch.confirmed = true;
        let count = u64::from(batch.records.count());
        let first = appended
            .tail
            .checked_sub(count)
            .filter(|_| !appended.duplicate);
        batch.outcome.resolve(Ok(Confirmed {
            first,
            duplicate: appended.duplicate,
        }));
        state.held = state.held.filter(|held| seq < held.seq);
        while state.in_flight.front().is_some_and(|batch| batch.confirmed) {
            state.in_flight.pop_front();
        }
        let done = state.open.is_empty() && state.in_flight.is_empty();
        let forget = done && state.abandoned;
        self.call_writer(state, link);
        self.changed.notify_waiters();
        if forget {
            link.forget_producer(self.key);
        }
    }

    /// The batch `seq` was refused: for now, or for good.
    pub(crate) fn refused(self: &Arc<Self>, link: &Arc<Link>, seq: u64, refusal: Refusal) {
        let mut state = lock(&self.state);
        // Behind a batch that was refused for now, the next ones meet a gap: they wait with it.
        let behind = refusal.code == Some(ErrorCode::ProducerGap)
            && state.held.is_some_and(|held| held.seq < seq);
        if !behind && !refusal.is_transient() {
            drop(state);
            self.fail(&refusal.into());
            return;
        }
        if let Some(batch) = state.batch(seq) {
            batch.waiting = false;
        }
        let held = state.hold(seq, behind);
        if state.in_flight.iter().any(|batch| batch.waiting) {
            return;
        }
        let Some(pause) = link.config.reconnect.pause(held.refusals - 1) else {
            drop(state);
            self.fail(&refusal.into());
            return;
        };
        drop(state);
        let core = Arc::clone(self);
        link.later(
            pause.max(refusal.retry_after.unwrap_or_default()),
            move |link| core.retry(link),
        );
    }

    /// Nothing more will be sent, because of `error`.
    pub(crate) fn fail(&self, error: &Error) {
        let mut state = lock(&self.state);
        if state.failure.is_some() {
            return;
        }
        state.failure = Some(error.clone());
        let open = std::mem::take(&mut state.outcome);
        state.open = RecordBlockBuilder::new();
        let batches = std::mem::take(&mut state.in_flight);
        drop(state);
        for outcome in batches.into_iter().map(|batch| batch.outcome).chain([open]) {
            outcome.resolve(Err(error.clone()));
        }
        self.changed.notify_waiters();
    }

    /// The pause after a refusal is over.
    fn retry(self: &Arc<Self>, link: &Link) {
        let mut state = lock(&self.state);
        // A reconnect meanwhile has already done it.
        if state.attached
            && state.held.is_some()
            && !state.in_flight.iter().any(|batch| batch.waiting)
        {
            self.resend(&mut state, link);
        }
    }

    fn resend(self: &Arc<Self>, state: &mut State, link: &Link) {
        for index in 0..state.in_flight.len() {
            self.submit(state, index, link);
        }
    }

    /// Asks the writer to come by, unless it was asked or could do nothing.
    fn call_writer(self: &Arc<Self>, mut state: std::sync::MutexGuard<'_, State>, link: &Link) {
        if !state.called && !state.open.is_empty() && state.may_send(&self.settings) {
            state.called = true;
            drop(state);
            link.ready(Arc::clone(self));
        }
    }

    /// Gives the open batch its number and sends it.
    fn close_batch(self: &Arc<Self>, state: &mut State, link: &Link) {
        let records = state.open.finish();
        // The next batch is most likely as large as this one: one allocation for it, and none to grow.
        state.open = RecordBlockBuilder::with_capacity(records.bytes().len());
        let outcome = std::mem::take(&mut state.outcome);
        state.in_flight.push_back(Batch {
            records,
            outcome,
            sent: 0,
            waiting: false,
            confirmed: false,
        });
        state.next_seq += 1;
        self.submit(state, state.in_flight.len() - 1, link);
    }

    /// Puts the batch at `index` on the connection. Without one it stays for the next.
    fn submit(self: &Arc<Self>, state: &mut State, index: usize, link: &Link) {
        let seq = state.first_seq() + index as u64;
        let Some(batch) = state.in_flight.get_mut(index) else {
            return;
        };
        if batch.confirmed {
            return;
        }
        let append = Append {
            stream: self.settings.stream.clone(),
            seq: None,
            producer: Some(command::Producer {
                id: self.settings.id.clone(),
                epoch: self.settings.epoch,
                seq,
            }),
            expected_tail: None,
            close_after: false,
            no_confirm: false,
            count: batch.records.count(),
            records: batch.records.bytes().clone(),
        };
        let pending = Pending::Producer(Arc::clone(self), seq);
        let sent = link.try_send(0, pending, |outbox, correlation| {
            outbox.append(&append, correlation)
        });
        if sent.is_ok() {
            batch.sent = batch.sent.saturating_add(1);
            batch.waiting = true;
        }
    }
}

impl State {
    /// The sequence number of the oldest batch in flight.
    fn first_seq(&self) -> u64 {
        self.next_seq - self.in_flight.len() as u64
    }

    fn batch(&mut self, seq: u64) -> Option<&mut Batch> {
        let index = usize::try_from(seq.checked_sub(self.first_seq())?).ok()?;
        self.in_flight.get_mut(index)
    }

    /// Notes that the batch `seq` was refused for now, unless it only stands behind such a one.
    fn hold(&mut self, seq: u64, behind: bool) -> Held {
        let before = self.held.unwrap_or(Held { seq, refusals: 0 });
        let held = if behind {
            before
        } else {
            Held {
                seq: before.seq.min(seq),
                refusals: before.refusals.saturating_add(1),
            }
        };
        self.held = Some(held);
        held
    }

    fn is_full_for(&self, payload_bytes: usize) -> bool {
        !self.open.is_empty()
            && (self.open.count() >= self.batch_records_max
                || self.open.len_bytes() + RECORD_HEADER_BYTES + payload_bytes
                    > self.batch_bytes_max)
    }

    fn may_send(&self, settings: &Settings) -> bool {
        self.attached && self.held.is_none() && self.in_flight.len() < settings.batches_max
    }
}
