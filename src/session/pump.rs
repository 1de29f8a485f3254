//! From cursors to DELIVER frames.
//!
//! Subscriptions take turns: each delivers one frame, cut to its credit, and goes behind the others, until the write buffer
//! holds enough. So replies are never far behind deliveries, and a peer that does not read stops its own pump.

use std::sync::Arc;

use streamkeeper_protocol::Run;
use streamkeeper_protocol::event::{EndReason, deliver};

use super::outbox::{News, Outbox};
use super::subscriptions::{Place, Subscription, Subscriptions};
use super::write_buffer::WriteBuffer;
use super::{SessionContext, convert};
use crate::fanout::{Cursor, Step};
use crate::metrics::Metrics;
use crate::types::Error;

/// The pump stops when this much waits to be written: enough to fill a socket, little to wait behind.
const UNSENT_BYTES_MAX: usize = 256 << 10;

/// One DELIVER in so many on a connection tells the metrics how far its subscription is behind.
const LAG_SAMPLED_EVERY: u64 = 16;

/// What one look at a subscription came to.
enum Looked {
    /// Something was delivered; there may be more.
    Delivered,
    /// Nothing until something happens.
    Rests,
    /// It is to be read from the store.
    Behind,
    /// It is over.
    Ended {
        reason: EndReason,
        earliest: Option<u64>,
    },
}

impl Subscriptions {
    /// Delivers what there is, as long as `out` holds little.
    pub(super) fn pump(
        &mut self,
        context: &Arc<SessionContext>,
        outbox: &Arc<Outbox>,
        out: &mut WriteBuffer,
    ) {
        for slot in std::mem::take(&mut self.turned_away) {
            self.wake(slot);
        }
        let most = context.options.unsent.share(UNSENT_BYTES_MAX);
        while out.len() < most
            && let Some(slot) = self.ready.pop_front()
        {
            let Some(subscription) = self.slot(slot) else {
                continue;
            };
            subscription.queued = false;
            match look(subscription, context, out) {
                Looked::Delivered => {
                    self.sample_lag(slot, context.broker.metrics());
                    self.wake(slot);
                }
                Looked::Rests => {}
                Looked::Behind => self.load(slot, context, outbox),
                Looked::Ended { reason, earliest } => self.end(slot, 0, reason, earliest, out),
            }
        }
    }

    /// Sends the cursor of `slot` to read the store, or lets it wait until fewer are away.
    fn load(&mut self, slot: u32, context: &Arc<SessionContext>, outbox: &Arc<Outbox>) {
        if self.loading >= context.options.loads_max {
            self.waiting.push_back(slot);
            return;
        }
        let Some(token) = self.token(slot) else {
            return;
        };
        let Some(subscription) = self.slot(slot) else {
            return;
        };
        let max_bytes = context
            .options
            .unsent
            .share(bytes_max(subscription, context));
        // As for the largest record: it may be longer than the share.
        let room = context.options.load_bytes_max();
        let Some(mut room) = context.options.unsent.room(room, outbox) else {
            self.turned_away.push(slot);
            return;
        };
        let mut cursor = match std::mem::replace(&mut subscription.place, Place::Away) {
            Place::Here(cursor) => cursor,
            other => {
                subscription.place = other;
                return;
            }
        };
        self.loading += 1;
        let outbox = Arc::clone(outbox);
        self.spawn(async move {
            let step = cursor.load(max_bytes).await;
            if let Ok(Step::Runs(runs)) = &step {
                room.set(runs.iter().map(Run::encoded_bytes).sum());
            }
            outbox.tell(News::Loaded {
                token,
                cursor,
                step,
                room,
            });
        });
    }

    /// A cursor comes back from the store.
    pub(super) fn loaded(
        &mut self,
        context: &SessionContext,
        token: u64,
        cursor: Cursor,
        step: Result<Step, Error>,
        out: &mut WriteBuffer,
    ) {
        self.loading = self.loading.saturating_sub(1);
        if let Some(waiting) = self.waiting.pop_front() {
            self.wake(waiting);
        }
        let Some(slot) = self.returned(token, cursor) else {
            return;
        };
        let Some(subscription) = self.slot(slot) else {
            return;
        };
        let looked = match step {
            Ok(step) => take(subscription, step, context.broker.metrics(), out),
            Err(error) => failed(subscription.id, &error),
        };
        if let Looked::Delivered = looked {
            self.sample_lag(slot, context.broker.metrics());
        }
        match looked {
            // Looked again even if the cursor was idle: it is told of the next change only by its own look.
            Looked::Delivered | Looked::Rests | Looked::Behind => self.wake(slot),
            Looked::Ended { reason, earliest } => self.end(slot, 0, reason, earliest, out),
        }
    }

    /// Notes how far the subscription in `slot` is behind after a DELIVER; at the first and each 16th of the connection,
    /// because a sample takes memory until the next upkeep of the metrics.
    fn sample_lag(&mut self, slot: u32, metrics: &Metrics) {
        let sampled = self.delivers.is_multiple_of(LAG_SAMPLED_EVERY);
        self.delivers = self.delivers.wrapping_add(1);
        if sampled
            && let Some(subscription) = self.slot(slot)
            && let Place::Here(cursor) = &subscription.place
        {
            let lag = cursor.tail().offset.0.saturating_sub(subscription.next);
            metrics.delivery_lag_records.record_count(lag);
        }
    }
}

/// The most that a subscription may be sent in one frame.
fn bytes_max(subscription: &Subscription, context: &SessionContext) -> usize {
    let credit = usize::try_from(subscription.credit).unwrap_or(0);
    credit.min(context.options.deliver_bytes_max())
}

fn look(
    subscription: &mut Subscription,
    context: &SessionContext,
    out: &mut WriteBuffer,
) -> Looked {
    let max_bytes = bytes_max(subscription, context);
    let Place::Here(cursor) = &mut subscription.place else {
        return Looked::Rests;
    };
    // Without credit nothing can be delivered, but an end can be told; appends do not wake it then.
    if max_bytes == 0 {
        return match cursor.poll_end() {
            Some(end) => take(subscription, end, context.broker.metrics(), out),
            None => Looked::Rests,
        };
    }
    let step = cursor.poll(max_bytes);
    take(subscription, step, context.broker.metrics(), out)
}

fn take(
    subscription: &mut Subscription,
    step: Step,
    metrics: &Metrics,
    out: &mut WriteBuffer,
) -> Looked {
    match step {
        Step::Runs(runs) => {
            deliver(subscription, &runs, metrics, out);
            Looked::Delivered
        }
        Step::Idle => Looked::Rests,
        Step::Behind => Looked::Behind,
        Step::End {
            reason,
            next: _,
            earliest,
        } => {
            let reason = convert::end_reason(reason);
            let trimmed = reason == EndReason::TrimmedPast;
            Looked::Ended {
                reason,
                earliest: trimmed.then_some(earliest.0),
            }
        }
    }
}

fn deliver(
    subscription: &mut Subscription,
    runs: &[Run],
    metrics: &Metrics,
    out: &mut WriteBuffer,
) {
    let Some(last) = runs.last() else { return };
    let bytes: usize = runs.iter().map(Run::encoded_bytes).sum();
    deliver::encode_header(subscription.id, bytes, out.tail());
    out.push_runs(runs);
    subscription.next = last.header.next_offset();
    let cost = i64::try_from(bytes).unwrap_or(i64::MAX);
    subscription.credit = subscription.credit.saturating_sub(cost);
    let records = runs.iter().map(|run| u64::from(run.header.count)).sum();
    metrics.delivered_records.increment(records);
    metrics
        .delivered_bytes
        .increment(u64::try_from(bytes).unwrap_or(u64::MAX));
}

fn failed(subscription: u32, error: &Error) -> Looked {
    let reason = match error {
        Error::Fault(fault) => convert::fault_reason(fault),
        // Loading refuses nothing; if it ever does, the client reads on and is told why.
        Error::Refused(_) => EndReason::Unavailable,
    };
    tracing::debug!(subscription, %error, "a subscription ends: its stream cannot be read");
    Looked::Ended {
        reason,
        earliest: None,
    }
}
