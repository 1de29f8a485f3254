//! The half of a subscription that the connection task works on: its queue, its credit and its cursor.
//!
//! ```text
//!  Detached ── SUBSCRIBE at `next`, credit = window - held ──▶ Attached ── END, refusal, violation ──▶ Ended
//!      ▲                                                          │
//!      └──────────────────── connection lost ────────────────────┘
//! ```
//!
//! Invariants: `held` (bytes received and not reported as consumed) plus `credit` (what the server may still send)
//! is the window, give or take one record, so memory is bounded by the application's own choice; `next` is the
//! offset after the last record queued, and the next run must continue exactly there. A server that breaks either
//! ends this subscription, not the connection. What is queued stays readable across reconnects and after the end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use streamkeeper_protocol::command::{Credit, Start, Subscribe, Unsubscribe};
use streamkeeper_protocol::event::{Deliver, End, EndReason};
use streamkeeper_protocol::{Command, Run, Str};
use tokio::sync::oneshot;
use tracing::debug;

use crate::error::{Error, Refusal};
use crate::link::{Link, Pending};
use crate::sync::lock;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Core {
    id: u32,
    stream: Str,
    start: Start,
    window: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    attached: bool,
    /// Where the next run must begin; unknown until the first SUBSCRIBED.
    next: Option<u64>,
    /// What the server may still send on this connection; below zero by less than one record.
    credit: i64,
    held: u64,
    queue: VecDeque<Run>,
    end: Option<Ending>,
    /// Who waits for the first SUBSCRIBED.
    opened: Option<oneshot::Sender<Result<u64, Error>>>,
    waker: Option<Waker>,
}

/// Why nothing more will be queued.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    /// The server's END.
    End {
        reason: EndReason,
        next: u64,
        earliest: Option<u64>,
    },
    /// Anything else.
    Failed(Error),
}

/// What the queue holds for the application.
#[derive(Debug)]
pub(super) enum Item {
    Run(Run),
    End(Ending),
}

impl Core {
    pub(super) fn new(
        id: u32,
        stream: Str,
        start: Start,
        window: u64,
        opened: oneshot::Sender<Result<u64, Error>>,
    ) -> Self {
        let state = Mutex::new(State {
            attached: false,
            next: None,
            credit: 0,
            held: 0,
            queue: VecDeque::new(),
            end: None,
            opened: Some(opened),
            waker: None,
        });
        Self {
            id,
            stream,
            start,
            window,
            state,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn stream(&self) -> &Str {
        &self.stream
    }

    pub(super) fn window(&self) -> u64 {
        self.window
    }

    // ---- the connection task's side

    /// Subscribes on the present connection, if there is one and it has not been done.
    pub(crate) fn attach(self: &Arc<Self>, link: &Link) {
        let mut state = lock(&self.state);
        if state.attached || state.end.is_some() {
            return;
        }
        let credit = self.window.saturating_sub(state.held);
        let command = Command::Subscribe(Subscribe {
            subscription: self.id,
            stream: self.stream.clone(),
            start: state.next.map_or(self.start, Start::Offset),
            credit,
        });
        let sent = link.try_send(
            0,
            Pending::Subscribe(Arc::clone(self)),
            |outbox, correlation| {
                outbox.command(&command, correlation);
            },
        );
        if sent.is_ok() {
            state.attached = true;
            state.credit = i64::try_from(credit).unwrap_or(i64::MAX);
        }
    }

    /// The connection ended.
    pub(crate) fn detach(&self) {
        lock(&self.state).attached = false;
    }

    /// SUBSCRIBED: deliveries will begin at `next`.
    pub(crate) fn subscribed(&self, next: u64) {
        let mut state = lock(&self.state);
        match state.next {
            Some(expected) if expected != next => {
                drop(state);
                self.fail(self.violation(&format!("resumed at {next} instead of {expected}")));
                return;
            }
            Some(_) => {}
            None => state.next = Some(next),
        }
        if let Some(opened) = state.opened.take() {
            drop(opened.send(Ok(next)));
        }
    }

    /// The server refused the SUBSCRIBE.
    pub(crate) fn refused(self: &Arc<Self>, link: &Arc<Link>, refusal: Refusal) {
        lock(&self.state).attached = false;
        if !refusal.is_transient() {
            self.fail(refusal.into());
            return;
        }
        self.retry(
            link,
            refusal
                .retry_after
                .unwrap_or(link.config.reconnect.first_pause()),
        );
    }

    /// Subscribes again after `pause`: the server cannot serve this subscription now.
    fn retry(self: &Arc<Self>, link: &Arc<Link>, pause: Duration) {
        debug!(stream = %self.stream, ?pause, "not served now, subscribing again later");
        let core = Arc::clone(self);
        link.later(pause, move |link| core.attach(link));
    }

    /// DELIVER.
    pub(crate) fn deliver(&self, deliver: &Deliver) {
        let mut state = lock(&self.state);
        if !state.attached || state.end.is_some() {
            return;
        }
        match state.accept(deliver) {
            Ok(()) => {
                let waker = state.waker.take();
                drop(state);
                wake(waker);
            }
            Err(what) => {
                drop(state);
                self.fail(self.violation(&what));
            }
        }
    }

    /// END, whoever caused it.
    pub(crate) fn end(self: &Arc<Self>, link: &Arc<Link>, end: &End) {
        lock(&self.state).attached = false;
        if end.reason == EndReason::Unavailable {
            self.retry(link, link.config.reconnect.first_pause());
        } else {
            self.finish(Ending::End {
                reason: end.reason,
                next: end.next,
                earliest: end.earliest,
            });
        }
    }

    /// Nothing more can come, because of `error`.
    pub(crate) fn fail(&self, error: Error) {
        self.finish(Ending::Failed(error));
    }

    fn finish(&self, ending: Ending) {
        let mut state = lock(&self.state);
        if state.end.is_some() {
            return;
        }
        if let Some(opened) = state.opened.take() {
            let error = match &ending {
                Ending::Failed(error) => error.clone(),
                Ending::End { .. } => self.violation("ended before it began"),
            };
            drop(opened.send(Err(error)));
        }
        state.end = Some(ending);
        let waker = state.waker.take();
        drop(state);
        wake(waker);
    }

    fn violation(&self, what: &str) -> Error {
        Error::Protocol {
            detail: format!("subscription to {:?}: {what}", &*self.stream),
        }
    }

    // ---- the application's side

    /// The next run or the end, or `Pending` with the waker kept.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Item> {
        let mut state = lock(&self.state);
        if let Some(run) = state.queue.pop_front() {
            return Poll::Ready(Item::Run(run));
        }
        if let Some(end) = &state.end {
            return Poll::Ready(Item::End(end.clone()));
        }
        if !state
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            state.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// The application consumed `bytes`: the server may send as many more.
    pub(super) fn consumed(&self, link: &Link, bytes: u64) {
        let mut state = lock(&self.state);
        state.held = state.held.saturating_sub(bytes);
        if state.attached && state.end.is_none() {
            state.credit = state.credit.saturating_add_unsigned(bytes);
            link.control(&Command::Credit(Credit {
                subscription: self.id,
                bytes,
            }));
        }
    }

    /// The application dropped the subscription: it is taken back, and not renewed on the next connection.
    pub(super) fn unsubscribe(&self, link: &Link) {
        let mut state = lock(&self.state);
        state.end.get_or_insert(Ending::Failed(Error::Closed));
        if std::mem::take(&mut state.attached) {
            let command = Command::Unsubscribe(Unsubscribe {
                subscription: self.id,
            });
            // Nobody waits for the END; without a connection there is nothing to stop.
            let pending = Pending::Request(oneshot::channel().0);
            drop(link.try_send(0, pending, |outbox, correlation| {
                outbox.command(&command, correlation);
            }));
        }
    }
}

impl State {
    /// Queues the runs after checking credit and continuity.
    fn accept(&mut self, deliver: &Deliver) -> Result<(), String> {
        if self.credit <= 0 {
            return Err("delivered beyond its credit".to_owned());
        }
        let bytes = deliver.cost();
        self.credit = self.credit.saturating_sub_unsigned(bytes);
        self.held = self.held.saturating_add(bytes);
        for run in deliver.runs() {
            let run = run.map_err(|error| error.to_string())?;
            let first = run.header.first_offset;
            let next = self.next.ok_or("delivered before SUBSCRIBED")?;
            if first != next {
                return Err(format!("delivered offset {first} instead of {next}"));
            }
            self.next = Some(run.header.next_offset());
            self.queue.push_back(run);
        }
        Ok(())
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
