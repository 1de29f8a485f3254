//! The half of a producer that the connection task works on: its window, and when to send what.
//!
//! ```text
//!  push ─▶ open batch ── writer comes by, or it is full ──▶ in flight (seq) ── CONFIRM ──▶ gone
//!                                                             │   ▲
//!                          connection lost, or refused for now └───┘ sent again, in order, same seq
//! ```
//!
//! No timer makes batches: while fewer than `batches_max` are in flight the open one goes out as soon as the writer
//! is free, and otherwise it grows until a confirm makes room. Records take at most `batches_max + 1` batches, and together with those
//! of the link's other producers what it lets them hold; an idle producer keeps a buffer as large as its last batch.
//! Invariant: nothing is sent while not *attached*, and attaching sends all that is unconfirmed before anything new.

use std::sync::{Arc, Mutex, MutexGuard};

use streamkeeper_protocol::Str;
use streamkeeper_protocol::command::{self, Append};
use tokio::sync::{Notify, SemaphorePermit};
use tracing::debug;

use super::receipt::Receipt;
use super::window::{Verdict, Window};
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
    /// Whether each record sent becomes exactly one record stored: not in JSON mode, which splits arrays.
    pub(super) one_to_one: bool,
}

/// What became of a record that the application brought.
#[derive(Debug)]
pub(super) enum Push {
    /// It is on its way.
    Accepted(Receipt),
    /// The window is full: [`Core::changed`] tells when to try again.
    WindowFull,
    /// The producers of the link hold all they may: it takes so many permits of [`Link::producing`], or a change.
    RoomWanted(u32),
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
    window: Window,
    attached: bool,
    /// Whether the writer was asked to come by.
    called: bool,
    failure: Option<Error>,
    /// Whether the application let go of the producer.
    abandoned: bool,
}

impl Core {
    pub(super) fn new(key: u64, settings: Settings) -> Self {
        let state = Mutex::new(State {
            window: Window::new(settings.batches_max, settings.one_to_one),
            attached: false,
            called: false,
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

    /// Adds a record to the open batch if there is room for it: in the window, and in what the link's producers share. A
    /// caller that waited for the latter brings it as `room`.
    pub(super) fn push(
        self: &Arc<Self>,
        link: &Link,
        payload: &[u8],
        room: Option<SemaphorePermit<'_>>,
    ) -> Result<Push, Error> {
        let mut state = lock(&self.state);
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let limit = state.window.record_bytes_max;
        if payload.len() > limit as usize {
            let have = payload.len() as u64;
            return Err(Error::TooLarge {
                what: Part::Record,
                have,
                limit: limit.into(),
            });
        }
        if state.window.is_full_for(payload.len()) {
            if !state.may_send() {
                return Ok(Push::WindowFull);
            }
            self.close_batch(&mut state, link);
        }
        let cost = link.producer_cost(payload.len());
        let room = room.or_else(|| link.producing.try_acquire_many(cost).ok());
        // One that holds nothing may go on without.
        if room.is_none() && !state.window.is_empty() {
            // More than all could never be had: only its own confirms help.
            let most = link.config.producer_bytes_max as usize;
            let alone = state.window.room() + cost as usize > most;
            return Ok(if alone {
                Push::WindowFull
            } else {
                Push::RoomWanted(cost)
            });
        }
        let held = room.map_or(0, |room| {
            let held = room.num_permits();
            room.forget();
            held
        });
        let receipt = state.window.push(payload, held);
        self.call_writer(state, link);
        Ok(Push::Accepted(receipt))
    }

    /// Whether everything was confirmed.
    pub(super) fn is_idle(&self) -> Result<bool, Error> {
        let state = lock(&self.state);
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(state.window.is_empty()),
        }
    }

    /// The application let go: what was accepted is still sent while the client lives, then the producer is forgotten.
    pub(super) fn abandon(&self, link: &Link) {
        let mut state = lock(&self.state);
        state.abandoned = true;
        let forget = state.window.is_empty();
        drop(state);
        if forget {
            link.forget_producer(self.key);
        }
    }

    // ---- the connection task's side

    /// A connection is up: everything in flight is sent again, in order.
    pub(crate) fn attach(self: &Arc<Self>, link: &Link, info: &ServerInfo) {
        let mut state = lock(&self.state);
        // Whatever the caller asked for, a batch must fit into a frame with its head.
        let head = 64 + self.settings.stream.as_bytes().len() + self.settings.id.as_bytes().len();
        let frame = (info.frame_bytes_max as usize).saturating_sub(head);
        state
            .window
            .limit(info, self.settings.batch_bytes_max.min(frame));
        state.attached = true;
        self.resend(&mut state, link);
        self.call_writer(state, link);
    }

    /// The connection ended.
    pub(crate) fn detach(&self) {
        let mut state = lock(&self.state);
        state.attached = false;
        state.called = false;
        state.window.detach();
    }

    /// The writer is free: the open batch goes out if there is room for it.
    pub(crate) fn collect(self: &Arc<Self>, link: &Link) {
        let mut state = lock(&self.state);
        state.called = false;
        if state.may_send() {
            self.close_batch(&mut state, link);
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// The batch `seq` is durable.
    pub(crate) fn confirmed(self: &Arc<Self>, link: &Arc<Link>, seq: u64, appended: Appended) {
        let mut state = lock(&self.state);
        let Ok(freed) = state.window.confirm(seq, appended) else {
            drop(state);
            let producer = self.settings.id.to_string();
            let epoch = self.settings.epoch;
            let reused = Error::EpochReused {
                producer,
                epoch,
                seq,
            };
            self.fail(link, &reused);
            return;
        };
        let forget = state.abandoned && state.window.is_empty();
        let round = state.window.next_round();
        self.call_writer(state, link);
        link.producing.add_permits(freed);
        self.changed.notify_waiters();
        if let Some(round) = round {
            self.retry_later(link, round, None);
        }
        if forget {
            link.forget_producer(self.key);
        }
    }

    /// The batch `seq` was refused: for now, or for good.
    pub(crate) fn refused(self: &Arc<Self>, link: &Arc<Link>, seq: u64, refusal: Refusal) {
        let mut state = lock(&self.state);
        let verdict = state.window.refuse(seq, &refusal);
        let round = state.window.next_round();
        drop(state);
        match verdict {
            Verdict::Final => self.fail(link, &refusal.into()),
            Verdict::Held => {
                if let Some(round) = round {
                    self.retry_later(link, round, Some(refusal));
                }
            }
        }
    }

    /// Nothing more will be sent, because of `error`.
    pub(crate) fn fail(&self, link: &Link, error: &Error) {
        let mut state = lock(&self.state);
        if state.failure.is_some() {
            return;
        }
        state.failure = Some(error.clone());
        let (outcomes, freed) = state.window.abandon();
        let forget = state.abandoned;
        drop(state);
        if forget {
            link.forget_producer(self.key);
        }
        link.producing.add_permits(freed);
        for outcome in outcomes {
            outcome.resolve(Err(error.clone()));
        }
        self.changed.notify_waiters();
    }

    /// Sends all that is held again after a pause, unless this was tried as often as the policy allows.
    fn retry_later(self: &Arc<Self>, link: &Arc<Link>, round: u32, refusal: Option<Refusal>) {
        let asked = refusal
            .as_ref()
            .and_then(|refusal| refusal.retry_after)
            .unwrap_or_default();
        match (link.config.reconnect.pause(round), refusal) {
            (None, Some(refusal)) => self.fail(link, &refusal.into()),
            (pause, _) => {
                debug!(stream = %self.settings.stream, producer = %self.settings.id, round,
                    "refused for now, sending again later");
                let core = Arc::clone(self);
                let pause = pause.unwrap_or_default().max(asked);
                link.later(pause, move |link| core.retry(link));
            }
        }
    }

    fn retry(self: &Arc<Self>, link: &Link) {
        let mut state = lock(&self.state);
        if state.attached && state.window.is_round_due() {
            self.resend(&mut state, link);
        }
    }

    fn resend(self: &Arc<Self>, state: &mut State, link: &Link) {
        for seq in state.window.unconfirmed() {
            self.submit(state, seq, link);
        }
    }

    /// Asks the writer to come by, unless it was asked or could do nothing.
    fn call_writer(self: &Arc<Self>, mut state: MutexGuard<'_, State>, link: &Link) {
        if !state.called && state.may_send() {
            state.called = true;
            drop(state);
            link.ready(Arc::clone(self));
        }
    }

    /// Gives the open batch its number and sends it.
    fn close_batch(self: &Arc<Self>, state: &mut State, link: &Link) {
        let seq = state.window.close();
        self.submit(state, seq, link);
    }

    /// Puts a batch on the connection. Without one it stays for the next, and so do all behind it.
    fn submit(self: &Arc<Self>, state: &mut State, seq: u64, link: &Link) {
        let Some(records) = state.window.records(seq) else {
            return;
        };
        let append = Append {
            stream: self.settings.stream.clone(),
            producer: Some(command::Producer {
                id: self.settings.id.clone(),
                epoch: self.settings.epoch,
                seq,
            }),
            count: records.count(),
            records: records.bytes().clone(),
            ..Append::default()
        };
        let pending = Pending::Producer(Arc::clone(self), seq);
        let sent = link.try_send(0, pending, |outbox, correlation| {
            outbox.append(&append, correlation);
        });
        match sent {
            Ok(()) => state.window.sent(seq),
            Err(_not_connected) => state.attached = false,
        }
    }
}

impl State {
    fn may_send(&self) -> bool {
        self.attached && self.window.may_close()
    }
}
