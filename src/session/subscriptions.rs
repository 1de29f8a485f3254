//! The subscriptions of one session: which cursors there are, and what credit they have left.
//!
//! ```text
//! SUBSCRIBE ──▶ Opening ──SUBSCRIBED──▶ Here ◀──────▶ Away (a task reads the store for it)
//!                  │ ERR                 │ END          │ END
//!                  ▼                     ▼              ▼
//!                free                  free           free
//! ```
//!
//! A subscription lives in a slot; the slot is its number towards the broker, with a serial that tells a task's late answer
//! from one for the slot's next tenant. A late wake needs no serial: looking once too often is harmless.
//!
//! Invariants: a slot is in `ready` at most once; credit falls by exactly the bytes of runs delivered and is spent only
//! while it is positive; a subscription holds no records, wherever it lags.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use streamkeeper_protocol::command::Subscribe;
use streamkeeper_protocol::event::{End, EndReason, Subscribed};
use streamkeeper_protocol::{ErrorCode, Event};
use tokio::task::JoinSet;

use super::failure::Failure;
use super::outbox::{self, News, Outbox};
use super::write_buffer::WriteBuffer;
use super::{SessionContext, convert};
use crate::fanout::{Cursor, Watcher};
use crate::metrics::Held;
use crate::types::{Error, StreamName};

/// Where a subscription's cursor is.
pub(super) enum Place {
    /// Being opened; UNSUBSCRIBE came already with this correlation id, if it did.
    Opening {
        correlation: u32,
        unsubscribed: Option<u32>,
    },
    /// In its slot.
    Here(Cursor),
    /// With a task that reads the store.
    Away,
}

pub(super) struct Subscription {
    pub(super) id: u32,
    serial: u32,
    pub(super) place: Place,
    /// Bytes that may still be delivered; below zero by less than one record.
    pub(super) credit: i64,
    /// Offset after the last record delivered.
    pub(super) next: u64,
    /// It is in `ready`.
    pub(super) queued: bool,
    _counted: Held,
}

/// See the module.
#[derive(Default)]
pub(super) struct Subscriptions {
    slots: Vec<Option<Subscription>>,
    by_id: HashMap<u32, u32>,
    serial: u32,
    /// Slots that may have something to deliver, in turn.
    pub(super) ready: VecDeque<u32>,
    /// Slots that wait until fewer reads of the store are under way.
    pub(super) waiting: VecDeque<u32>,
    /// Slots that wait until all connections together hold less.
    pub(super) turned_away: Vec<u32>,
    /// Reads of the store under way.
    pub(super) loading: usize,
    /// DELIVERs sent on this connection.
    pub(super) delivers: u64,
    pub(super) tasks: JoinSet<()>,
}

impl Subscriptions {
    pub(super) fn slot(&mut self, slot: u32) -> Option<&mut Subscription> {
        self.slots.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    /// The token of a slot's present tenant.
    pub(super) fn token(&mut self, slot: u32) -> Option<u64> {
        let serial = self.slot(slot)?.serial;
        Some(u64::from(serial) << 32 | u64::from(slot))
    }

    /// The slot of `token`, if its tenant is still the same.
    fn tenant(&mut self, token: u64) -> Option<u32> {
        let slot = outbox::low_half(token);
        (self.token(slot)? == token).then_some(slot)
    }

    pub(super) fn subscribe(
        &mut self,
        context: &Arc<SessionContext>,
        outbox: &Arc<Outbox>,
        correlation: u32,
        subscribe: &Subscribe,
    ) -> Result<(), Failure> {
        let id = subscribe.subscription;
        let limit = context.options.limits.subscriptions_max;
        if self.by_id.contains_key(&id) {
            let message = format!("subscription {id} is open on this connection");
            return Err(Failure::new(ErrorCode::SubscriptionInUse, message));
        }
        if self.by_id.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            let message = format!("this connection has {limit} subscriptions already");
            return Err(Failure::new(ErrorCode::TooManySubscriptions, message));
        }
        let stream = StreamName::of_client(&subscribe.stream)?;
        let from = convert::start(subscribe.start);
        let token = self.insert(Subscription {
            id,
            serial: 0,
            place: Place::Opening {
                correlation,
                unsubscribed: None,
            },
            credit: i64::try_from(subscribe.credit).unwrap_or(i64::MAX),
            next: 0,
            queued: false,
            _counted: context.broker.metrics().subscriptions.hold(),
        });
        let (context, outbox) = (Arc::clone(context), Arc::clone(outbox));
        self.spawn(async move {
            let watcher: Arc<dyn Watcher> = Arc::<Outbox>::clone(&outbox);
            let cursor = context.broker.cursor(&stream, from, watcher, token).await;
            outbox.tell(News::Opened { token, cursor });
        });
        Ok(())
    }

    fn insert(&mut self, mut subscription: Subscription) -> u64 {
        self.serial = self.serial.wrapping_add(1);
        subscription.serial = self.serial;
        let id = subscription.id;
        let free = self.slots.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(subscription);
        }
        let slot = u32::try_from(index).expect("there are at most subscriptions_max slots");
        self.by_id.insert(id, slot);
        u64::from(self.serial) << 32 | u64::from(slot)
    }

    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(task);
    }

    /// A cursor was opened, or not: answers the SUBSCRIBE. An error is the correlation id and the failure to answer it with.
    pub(super) fn opened(
        &mut self,
        context: &SessionContext,
        token: u64,
        cursor: Result<Cursor, Error>,
        out: &mut WriteBuffer,
    ) -> Result<(), (u32, Failure)> {
        let Some(slot) = self.tenant(token) else {
            return Ok(());
        };
        let Some(subscription) = self.slot(slot) else {
            return Ok(());
        };
        let Place::Opening {
            correlation,
            unsubscribed,
        } = subscription.place
        else {
            return Ok(());
        };
        let id = subscription.id;
        let cursor = match cursor {
            Ok(cursor) => cursor,
            Err(error) => {
                self.remove(slot);
                let failure = Failure::from(error);
                let Some(unsubscribe) = unsubscribed else {
                    return Err((correlation, failure));
                };
                context.broker.metrics().refusals.increment(failure.code());
                failure.into_event().encode(correlation, out.tail());
                return Err((unsubscribe, unknown(id)));
            }
        };
        let (next, tail) = (cursor.next().offset.0, cursor.tail().offset.0);
        Event::Subscribed(Subscribed {
            subscription: id,
            next,
            tail,
        })
        .encode(correlation, out.tail());
        subscription.next = next;
        subscription.place = Place::Here(cursor);
        match unsubscribed {
            Some(correlation) => self.end(slot, correlation, EndReason::Unsubscribed, None, out),
            None => self.wake(slot),
        }
        Ok(())
    }

    /// Adds credit. Unknown subscriptions are passed over: END may have crossed the CREDIT on its way.
    pub(super) fn credit(&mut self, id: u32, bytes: u64) {
        let Some(&slot) = self.by_id.get(&id) else {
            return;
        };
        if let Some(subscription) = self.slot(slot) {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            subscription.credit = subscription.credit.saturating_add(bytes);
            self.wake(slot);
        }
    }

    pub(super) fn unsubscribe(
        &mut self,
        correlation: u32,
        id: u32,
        out: &mut WriteBuffer,
    ) -> Result<(), Failure> {
        let slot = *self.by_id.get(&id).ok_or_else(|| unknown(id))?;
        let subscription = self.slot(slot).ok_or_else(|| unknown(id))?;
        if let Place::Opening { unsubscribed, .. } = &mut subscription.place {
            return match unsubscribed.replace(correlation) {
                None => Ok(()),
                Some(first) => {
                    *unsubscribed = Some(first);
                    Err(unknown(id))
                }
            };
        }
        self.end(slot, correlation, EndReason::Unsubscribed, None, out);
        Ok(())
    }

    /// Notes that a slot may have something to deliver.
    pub(super) fn wake(&mut self, slot: u32) {
        let Some(subscription) = self.slot(slot) else {
            return;
        };
        if matches!(subscription.place, Place::Here(_)) && !subscription.queued {
            subscription.queued = true;
            self.ready.push_back(slot);
        }
    }

    /// Writes END and frees the slot.
    pub(super) fn end(
        &mut self,
        slot: u32,
        correlation: u32,
        reason: EndReason,
        earliest: Option<u64>,
        out: &mut WriteBuffer,
    ) {
        if let Some(subscription) = self.remove(slot) {
            let Subscription { id, next, .. } = subscription;
            let end = End {
                subscription: id,
                reason,
                next,
                earliest,
            };
            Event::End(end).encode(correlation, out.tail());
        }
    }

    fn remove(&mut self, slot: u32) -> Option<Subscription> {
        let subscription = self.slots.get_mut(usize::try_from(slot).ok()?)?.take()?;
        self.by_id.remove(&subscription.id);
        if subscription.queued {
            self.ready.retain(|ready| *ready != slot);
        }
        self.waiting.retain(|waiting| *waiting != slot);
        Some(subscription)
    }

    /// The subscription that a task's answer is for, with its cursor back in place.
    pub(super) fn returned(&mut self, token: u64, cursor: Cursor) -> Option<u32> {
        let slot = self.tenant(token)?;
        self.slot(slot)?.place = Place::Here(cursor);
        Some(slot)
    }
}

fn unknown(id: u32) -> Failure {
    let message = format!("there is no subscription {id} on this connection");
    Failure::new(ErrorCode::UnknownSubscription, message)
}
