//! The transitions of one subscription: [`Subscription::step`].
//!
//! Each input does its own part first, then [`Subscription::proceed`] does what follows of itself: ends a lease that ran out, issues
//! a wake if work is pending, begins a delivery that is due.

use std::collections::BTreeSet;

use super::{
    Attempt, Delivery, Facts, StreamInfo, Subscription, Wake, backoff, retry::repeat_after,
};
use crate::types::{Position, StreamName, Timestamp};

/// What the world outside hands in with an input.
#[derive(Clone, Debug)]
pub struct Context {
    /// The time.
    pub now: Timestamp,
    /// The id of the wake that this step may issue; never used before.
    pub wake_id: String,
    /// How to move a back-off, between -1 and 1.
    pub jitter: f64,
    /// Whether another link may be made.
    pub links_max: usize,
}

/// Names one wake of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WakeKey {
    /// The generation that the token was issued for.
    pub token_generation: u64,
    /// The wake that the token was issued for.
    pub token_wake_id: String,
    /// The generation that the request names.
    pub generation: u64,
    /// The wake that the request names.
    pub wake_id: String,
}

/// One cursor to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The stream.
    pub stream: StreamName,
    /// Up to where it is processed; `None` for the start (`-1`), which acknowledges nothing and is refused.
    pub offset: Option<Position>,
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Taken; the worker calls back.
    Accepted,
    /// The event is on the wake stream.
    Written {
        /// When the wake stream was created; `None` if it went away meanwhile.
        created_at: Option<Timestamp>,
    },
    /// Taken and done: these streams are processed as far as the worker was told of them.
    Done(Vec<StreamInfo>),
    /// Not taken.
    Failed,
}

/// What may happen to a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time passed, or streams were observed: see what follows.
    Proceed,
    /// The wake stream changed: an event that could not be written may be tried now, and one that was may be gone with it.
    WakeStreamChanged {
        /// When it was created; `None` if it is gone.
        created_at: Option<Timestamp>,
    },
    /// The client confirms it, and reaches this broker here now.
    Confirm {
        /// The base URL.
        base_url: String,
    },
    /// A worker wants the lease.
    Claim {
        /// What it calls itself.
        worker: String,
    },
    /// A worker reports, by callback or ack.
    Acknowledge {
        /// Which wake it works for.
        key: WakeKey,
        /// What it processed.
        acks: Vec<Ack>,
        /// Whether it is done.
        done: bool,
    },
    /// A worker gives its lease back.
    Release {
        /// Which wake it held.
        key: WakeKey,
    },
    /// A delivery ended.
    Delivered {
        /// The wake that was delivered.
        wake_id: String,
        /// How.
        outcome: Outcome,
    },
    /// A client adds streams.
    AddStreams(Vec<(StreamName, Option<Facts>)>),
    /// A client takes a stream away.
    RemoveStream(StreamName),
}

/// What a worker gets that has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The wake.
    pub wake_id: String,
    /// Its generation.
    pub generation: u64,
    /// The streams.
    pub streams: Vec<StreamInfo>,
    /// How long it may stay silent, in milliseconds.
    pub lease_ttl_ms: u64,
}

/// What is answered to an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; there is nothing to say.
    Done,
    /// The lease is the worker's.
    Claimed(Claimed),
    /// The report was taken in.
    Acknowledged {
        /// Another wake follows at once.
        next_wake: bool,
    },
}

/// Why an input is rejected. Nothing was changed by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Workers are called, they do not claim.
    #[error("the subscription is not of type pull-wake")]
    NotPullWake,
    /// Another worker works.
    #[error("worker {holder} holds the lease")]
    AlreadyClaimed {
        /// That worker.
        holder: String,
        /// Its generation.
        generation: u64,
    },
    /// There is nothing to work on.
    #[error("the subscription has no pending work")]
    NoPendingWork,
    /// The wake is over.
    #[error("the wake is over: generation or wake_id is stale")]
    Fenced,
    /// An ack that cannot be.
    #[error("ack of {stream}: {reason}")]
    InvalidOffset {
        /// The stream it names.
        stream: StreamName,
        /// What is wrong.
        reason: &'static str,
    },
    /// The most streams are linked.
    #[error("a subscription has at most {limit} streams, and the broker has room for no more")]
    TooManyStreams {
        /// The limit.
        limit: usize,
    },
}

/// What follows from an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What to answer once everything is durable.
    pub answer: Result<Answer, Rejection>,
    /// The head changed and is to be stored.
    pub head: bool,
    /// The links to these streams changed and are to be stored.
    pub links: BTreeSet<StreamName>,
    /// Deliver the wake that is out.
    pub deliver: bool,
    /// Break off a delivery under way: its wake is over.
    pub stop: bool,
}

impl Step {
    /// Whether nothing is to be stored.
    pub fn is_volatile(&self) -> bool {
        !self.head && self.links.is_empty()
    }
}

impl Subscription {
    /// Takes one input. See the module.
    pub fn step(&mut self, input: Input, context: &Context) -> Step {
        let mut step = Step {
            answer: Ok(Answer::Done),
            head: false,
            links: BTreeSet::new(),
            deliver: false,
            stop: false,
        };
        // A lease that ran out is over even if its timer comes late.
        self.expire(context, &mut step);
        let generation = self.head.generation;
        step.answer = self.take(input, context, &mut step);
        self.proceed(context, &mut step);
        if let Ok(Answer::Acknowledged { next_wake }) = &mut step.answer {
            *next_wake = self.head.generation > generation;
        }
        step
    }

    fn take(
        &mut self,
        input: Input,
        context: &Context,
        step: &mut Step,
    ) -> Result<Answer, Rejection> {
        match input {
            Input::Proceed => {}
            Input::WakeStreamChanged { created_at } => self.wake_stream_changed(created_at),
            Input::Confirm { base_url } => {
                step.head |= self.head.base_url != base_url;
                self.head.base_url = base_url;
            }
            Input::Claim { worker } => return self.claim(worker, context, step),
            Input::Acknowledge { key, acks, done } => {
                return self.acknowledge(&key, &acks, done, context, step);
            }
            Input::Release { key } => {
                self.check(&key)?;
                self.end_wake(step);
            }
            Input::Delivered { wake_id, outcome } => {
                self.delivered(&wake_id, outcome, context, step);
            }
            Input::AddStreams(streams) => return self.add(streams, context, step),
            Input::RemoveStream(name) => {
                let matches = self.head.config.matches(&name);
                if self.links.remove_explicit(&name, matches) {
                    if let Some(wake) = &mut self.head.wake {
                        wake.remember_removed(&name);
                        step.head = true;
                    }
                    step.links.insert(name);
                }
            }
        }
        Ok(Answer::Done)
    }

    fn claim(
        &mut self,
        worker: String,
        context: &Context,
        step: &mut Step,
    ) -> Result<Answer, Rejection> {
        if !self.head.config.is_pull() {
            return Err(Rejection::NotPullWake);
        }
        let holder = self.head.wake.as_ref().and_then(|wake| wake.holder.clone());
        if let Some(holder) = holder {
            let generation = self.head.generation;
            return Err(Rejection::AlreadyClaimed { holder, generation });
        }
        if self.links.first_pending().is_none() {
            return Err(Rejection::NoPendingWork);
        }
        let (lease_ttl_ms, lease) = (self.head.config.lease_ttl_ms, self.head.config.lease());
        if self.head.wake.is_none() {
            self.issue(context, step);
        }
        self.links.tell();
        let wake = self.head.wake.as_mut().expect("issued if there was none");
        wake.told_at = context.now;
        wake.holder = Some(worker);
        wake.lease_until = Some(context.now.after(lease));
        // Whoever was to be told of the wake need not be any more.
        wake.attempt = Attempt::Accepted;
        step.head = true;
        Ok(Answer::Claimed(Claimed {
            wake_id: wake.id.clone(),
            generation: self.head.generation,
            streams: self.infos(),
            lease_ttl_ms,
        }))
    }

    fn acknowledge(
        &mut self,
        key: &WakeKey,
        acks: &[Ack],
        done: bool,
        context: &Context,
        step: &mut Step,
    ) -> Result<Answer, Rejection> {
        self.check(key)?;
        let moves = acks.iter().map(|ack| self.check_ack(ack));
        let moves: Vec<_> = moves.collect::<Result<_, _>>()?;
        for (ack, to) in acks.iter().zip(moves) {
            if let Some(to) = to
                && self.links.advance(&ack.stream, to)
            {
                step.links.insert(ack.stream.clone());
            }
        }
        // Whoever reports was reached, whatever became of the call.
        self.succeed();
        if let Some(wake) = &mut self.head.wake {
            wake.attempt = Attempt::Accepted;
            wake.lease_until = Some(context.now.after(self.head.config.lease()));
            step.head = true;
        }
        if done {
            self.end_wake(step);
        }
        Ok(Answer::Acknowledged { next_wake: false })
    }

    /// Whether `key` names the wake that is out. A wake that nobody has claimed has no one to report for it.
    fn check(&self, key: &WakeKey) -> Result<(), Rejection> {
        let generation = self.head.generation;
        let current = self.head.wake.as_ref().is_some_and(|wake| {
            let leased = wake.lease_until.is_some();
            leased && wake.id == key.wake_id && wake.id == key.token_wake_id
        });
        let matches = generation == key.generation && generation == key.token_generation;
        (current && matches).then_some(()).ok_or(Rejection::Fenced)
    }

    /// Where an ack moves the cursor; `None` if it moves nothing: what it says is known, or is about a stream that went away since the
    /// worker was told of it.
    fn check_ack(&self, ack: &Ack) -> Result<Option<Position>, Rejection> {
        let invalid = |reason| {
            let stream = ack.stream.clone();
            Err(Rejection::InvalidOffset { stream, reason })
        };
        let Some(link) = self.links.get(&ack.stream) else {
            return if self.may_have_been_told(&ack.stream) {
                Ok(None)
            } else {
                invalid("the stream does not belong to the subscription")
            };
        };
        if link.created_at.is_none() || link.anew_in == Some(self.head.generation) {
            return Ok(None);
        }
        let Some(offset) = ack.offset else {
            return invalid("-1 acknowledges nothing");
        };
        let (acked, tail) = (link.acked.unwrap_or(Position::START), link.tail);
        if offset.offset > tail.offset || offset.byte > tail.byte {
            return invalid("the offset lies past the tail");
        }
        if offset.offset == tail.offset {
            return Ok(Some(tail));
        }
        // The records count. Bytes that do not go with them must not keep later acks from being taken.
        let byte = offset.byte.max(acked.byte);
        Ok((offset.offset > acked.offset).then_some(Position { byte, ..offset }))
    }

    /// Whether the worker of the wake that is out may have been told of a stream that is not linked now.
    fn may_have_been_told(&self, name: &StreamName) -> bool {
        let config = &self.head.config;
        let wake = self.head.wake.as_ref();
        wake.is_some_and(|wake| wake.removed.contains(name)) || config.matches(name)
    }

    fn add(
        &mut self,
        streams: Vec<(StreamName, Option<Facts>)>,
        context: &Context,
        step: &mut Step,
    ) -> Result<Answer, Rejection> {
        let new: BTreeSet<_> = streams
            .iter()
            .filter(|(name, _)| self.links.get(name).is_none())
            .map(|(name, _)| name)
            .collect();
        let limit = context.links_max;
        if !new.is_empty() && self.links.len() + new.len() > limit {
            return Err(Rejection::TooManyStreams { limit });
        }
        for (name, facts) in streams {
            if self.links.add_explicit(name.clone(), facts) {
                step.links.insert(name);
            }
        }
        Ok(Answer::Done)
    }

    fn delivered(&mut self, wake_id: &str, outcome: Outcome, context: &Context, step: &mut Step) {
        let Some(wake) = &mut self.head.wake else {
            return;
        };
        // Done counts even if the worker called back before it answered.
        let counts = match (wake.attempt, &outcome) {
            (Attempt::InFlight, _) => true,
            (Attempt::Accepted, Outcome::Done(_)) => wake.holder.is_none(),
            _ => false,
        };
        if wake.id != wake_id || !counts {
            return;
        }
        step.head = true;
        match outcome {
            Outcome::Failed => self.fail(context),
            Outcome::Accepted => {
                wake.attempt = Attempt::Accepted;
                self.succeed();
            }
            Outcome::Written { created_at } => {
                wake.attempt = Attempt::Accepted;
                wake.event_in = created_at;
                let wait = repeat_after(self.head.config.lease(), wake.events);
                wake.repeat_at = Some(context.now.after(wait));
                wake.events = wake.events.saturating_add(1);
                self.succeed();
            }
            Outcome::Done(streams) => {
                self.succeed();
                for told in streams {
                    let same = |link: &super::Link| link.created_at == told.created_at;
                    if self.links.get(&told.path).is_some_and(same)
                        && self.links.advance(&told.path, told.tail_offset)
                    {
                        step.links.insert(told.path);
                    }
                }
                self.end_wake(step);
            }
        }
    }

    fn succeed(&mut self) {
        self.head.failures = 0;
        self.head.next_attempt_at = None;
    }

    fn fail(&mut self, context: &Context) {
        self.head.failures = self.head.failures.saturating_add(1);
        let wait = backoff(self.head.failures, context.jitter);
        self.head.next_attempt_at = Some(context.now.after(wait));
        if let Some(wake) = &mut self.head.wake {
            wake.attempt = Attempt::Due;
        }
    }

    fn wake_stream_changed(&mut self, created_at: Option<Timestamp>) {
        let Some(wake) = &mut self.head.wake else {
            return;
        };
        match wake.attempt {
            // The reason of a failure is gone, perhaps: the next attempt is due at once.
            Attempt::Due => self.head.next_attempt_at = None,
            // The event went with its stream.
            Attempt::Accepted if wake.is_unclaimed() && wake.event_in != created_at => {
                wake.attempt = Attempt::Due;
            }
            _ => {}
        }
    }

    fn end_wake(&mut self, step: &mut Step) {
        if let Some(wake) = self.head.wake.take() {
            step.head = true;
            // A worker that called back may not have answered yet.
            step.stop |= wake.attempt != Attempt::Due;
        }
    }

    fn expire(&mut self, context: &Context, step: &mut Step) {
        let Some(wake) = &self.head.wake else { return };
        if wake.lease_until.is_none_or(|until| until > context.now) {
            return;
        }
        if wake.attempt == Attempt::Queued {
            // Nobody knows of it yet.
            let lease = self.head.config.lease();
            if let Some(wake) = &mut self.head.wake {
                wake.lease_until = Some(context.now.after(lease));
            }
            step.head = true;
            return;
        }
        if wake.attempt == Attempt::InFlight {
            // Nobody answered in all that time: asking again at once would only load a receiver that is too slow.
            self.fail(context);
            step.stop = true;
        }
        self.end_wake(step);
    }

    fn proceed(&mut self, context: &Context, step: &mut Step) {
        let pending = |this: &Self| this.links.first_pending().is_some();
        if self.head.wake.as_ref().is_some_and(Wake::is_unclaimed) && !pending(self) {
            self.end_wake(step);
        }
        let is_time = self.head.next_attempt_at.is_none_or(|at| at <= context.now);
        if self.head.wake.is_none() && is_time && pending(self) {
            self.issue(context, step);
        }
        let is_pull = self.head.config.is_pull();
        if let Some(wake) = &mut self.head.wake {
            let is_lost = wake.repeat_at.is_some_and(|at| at <= context.now);
            if wake.attempt == Attempt::Accepted && wake.is_unclaimed() && is_lost {
                wake.attempt = Attempt::Due;
            }
            if wake.attempt == Attempt::Due && is_time {
                wake.attempt = if is_pull {
                    Attempt::InFlight
                } else {
                    Attempt::Queued
                };
                step.deliver = true;
            }
        }
    }

    fn issue(&mut self, context: &Context, step: &mut Step) {
        let lease = match self.head.config.delivery {
            Delivery::Webhook { .. } => Some(context.now.after(self.head.config.lease())),
            Delivery::PullWake { .. } => None,
        };
        self.head.generation = self.head.generation.saturating_add(1);
        self.head.wake = Some(Wake {
            id: context.wake_id.clone(),
            attempt: Attempt::Due,
            holder: None,
            lease_until: lease,
            told_at: context.now,
            removed: Vec::new(),
            event_in: None,
            repeat_at: None,
            events: 0,
        });
        step.head = true;
    }
}
