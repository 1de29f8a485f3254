//! One subscription with the jobs that wait for it, and the running of them.

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::super::core::{Answer, Attempt, Input, Rejection, Subscription, backoff};
use super::super::request::{Description, Reply, SubscriptionError};
use super::super::shelf::{Shelf, Write};
use super::streams::facts;
use super::{Dispatcher, Id, RETRY};
use crate::broker::Broker;
use crate::stream::Feed as _;
use crate::types::{Error, Fault, StreamName, Timestamp};

/// Tells somebody what became of a step: the answer with the state it left, or why not.
pub(super) type Teller = Box<dyn FnOnce(Result<(Answer, &Subscription), SubscriptionError>) + Send>;

/// Something to do with a subscription.
pub(super) enum Job {
    /// An input to the core.
    Step { input: Input, tell: Option<Teller> },
    /// Describe it.
    Describe { reply: Reply<Description> },
    /// Delete it.
    Delete { reply: Reply<()> },
}

impl Job {
    pub(super) fn step(input: Input) -> Self {
        Self::Step { input, tell: None }
    }
}

/// What follows once a state is stored.
enum Then {
    /// A step is over.
    Step {
        answer: Result<Answer, Rejection>,
        deliver: bool,
        tell: Option<Teller>,
    },
    /// It was created.
    Create { tell: Teller },
    /// It was deleted.
    Delete { reply: Reply<()> },
}

/// A state that was stored, or not.
pub(super) struct Stored {
    pub(super) id: Id,
    pub(super) result: Result<(), Error>,
}

/// One subscription and its jobs.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
pub(super) struct Slot {
    pub(super) subscription: Subscription,
    pub(super) jobs: VecDeque<Job>,
    /// Whether looking at it is among the jobs.
    pub(super) proceeds: bool,
    /// When its timer is armed for.
    pub(super) timer: Option<Timestamp>,
    /// What follows the write under way.
    then: Option<Then>,
    /// What is in memory may be ahead of the store, and is not to be used.
    stale: bool,
    /// Before this time it is not read again on the broker's own account: what the store could not keep, it may not keep yet.
    retry_at: Timestamp,
    /// Writes in a row that failed.
    failed_writes: u32,
    /// It was said that there is no room for more streams.
    pub(super) crowded: bool,
    /// Its webhook waits for its turn.
    pub(super) waits: bool,
}

impl Slot {
    pub(super) fn new(subscription: Subscription) -> Self {
        Self {
            subscription,
            jobs: VecDeque::new(),
            proceeds: false,
            timer: None,
            then: None,
            stale: false,
            retry_at: Timestamp::default(),
            failed_writes: 0,
            crowded: false,
            waits: false,
        }
    }

    /// Whether it is to be read again before it is used.
    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Whether what is in memory is in the store too.
    pub(super) fn is_settled(&self) -> bool {
        !self.stale && self.then.is_none()
    }
}

impl Dispatcher {
    /// Puts a job into the queue of a subscription, or refuses it if too many wait there.
    pub(super) async fn submit(&mut self, id: &Id, job: Job) {
        let limit = self.options.limits.requests_max;
        match self.slots.get_mut(id) {
            None => refuse(job, || SubscriptionError::NotFound),
            Some(slot) if slot.jobs.len() >= limit => refuse(job, || SubscriptionError::Busy),
            Some(slot) => {
                slot.jobs.push_back(job);
                self.pump(id).await;
            }
        }
    }

    /// Does the jobs of a subscription until one has something to store, or none is left.
    pub(super) async fn pump(&mut self, id: &Id) {
        loop {
            if self.rests(id) {
                return;
            }
            if self
                .slots
                .get(id)
                .is_some_and(|slot| slot.stale && slot.then.is_none())
                && !self.refresh(id).await
            {
                return;
            }
            let Some(slot) = self.slots.get_mut(id).filter(|slot| slot.then.is_none()) else {
                return;
            };
            let Some(job) = slot.jobs.pop_front() else {
                let next = slot.subscription.next_timer();
                self.arm(id, next);
                return;
            };
            match job {
                Job::Step { input, tell } => self.step(id, input, tell).await,
                Job::Describe { reply } => {
                    let description = self.describe(id).await;
                    reply.send(description).ok();
                }
                Job::Delete { reply } => self.delete(id, reply),
            }
        }
    }

    /// Whether a subscription that could not be stored is left alone for a while, as nobody asks for it.
    fn rests(&mut self, id: &Id) -> bool {
        let now = self.options.clock.now();
        let asked = |job: &Job| !matches!(job, Job::Step { tell: None, .. });
        let rests =
            |slot: &&Slot| slot.stale && now < slot.retry_at && !slot.jobs.iter().any(asked);
        let Some(retry_at) = self.slots.get(id).filter(rests).map(|slot| slot.retry_at) else {
            return false;
        };
        self.arm(id, Some(retry_at));
        true
    }

    async fn step(&mut self, id: &Id, input: Input, tell: Option<Teller>) {
        let context = self.context(id);
        let adds = matches!(input, Input::AddStreams(_));
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        if matches!(input, Input::Proceed) {
            slot.proceeds = false;
        }
        let context = match context {
            Ok(context) => context,
            Err(error) => {
                if let Some(tell) = tell {
                    tell(Err(error));
                }
                return;
            }
        };
        let step = slot.subscription.step(input, &context);
        if step.stop {
            self.deliveries.stop(id);
        }
        let volatile = step.is_volatile();
        let then = Then::Step {
            answer: step.answer,
            deliver: step.deliver,
            tell,
        };
        if volatile {
            self.follow(id, then).await;
            return;
        }
        let write = Write::of(&slot.subscription, step.head, &step.links);
        slot.then = Some(then);
        self.index.update(id, &slot.subscription, &step.links);
        if adds {
            // What they did since they were looked at was nobody's business.
            for name in &step.links {
                self.feed.changed(name);
            }
        }
        let to = self.shelf.clone();
        self.store(id, async move { to.write(write).await });
    }

    /// Makes a subscription that did not exist durable; it is entered already, so that its streams are watched.
    pub(super) fn create(&mut self, id: &Id, tell: Teller) {
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        let explicit = slot.subscription.links.iter().map(|(name, _)| name.clone());
        let write = Write::of(&slot.subscription, true, &explicit.collect());
        slot.then = Some(Then::Create { tell });
        let to = self.shelf.clone();
        self.store(id, async move { to.write_new(write).await });
    }

    fn delete(&mut self, id: &Id, reply: Reply<()>) {
        self.deliveries.stop(id);
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        slot.then = Some(Then::Delete { reply });
        let (from, name) = (self.shelf.clone(), Arc::clone(id));
        self.store(id, async move { from.remove(&name).await });
    }

    fn store(&mut self, id: &Id, write: impl Future<Output = Result<(), Error>> + Send + 'static) {
        let id = Arc::clone(id);
        self.stores.spawn(async move {
            let result = AssertUnwindSafe(write).catch_unwind().await;
            let result = result.unwrap_or_else(|_panic| {
                let reason = String::from("storing a subscription panicked");
                Err(Error::Fault(Fault::Read { reason }))
            });
            Stored { id, result }
        });
    }

    /// Goes on with a subscription whose write is over.
    pub(super) async fn stored(&mut self, stored: Stored) {
        let Stored { id, result } = stored;
        let Some(then) = self.slots.get_mut(&id).and_then(|slot| slot.then.take()) else {
            return;
        };
        match result {
            Ok(()) => {
                if let Some(slot) = self.slots.get_mut(&id)
                    && std::mem::take(&mut slot.failed_writes) > 0
                {
                    tracing::info!(subscription = &*id, "states are stored again");
                }
                self.follow(&id, then).await;
            }
            Err(error) => {
                let is_first = self
                    .slots
                    .get(&id)
                    .is_some_and(|slot| slot.failed_writes == 0);
                match &error {
                    // It stays so until the broker starts anew.
                    Error::Fault(Fault::StoreFaulted { .. }) => {
                        let is_new = self.deliveries.store_faulted();
                        if is_new {
                            tracing::warn!("the store is faulted: nobody is woken any more");
                        }
                    }
                    Error::Fault(Fault::Draining) => {}
                    error if is_first => {
                        tracing::warn!(subscription = &*id, %error, "a state cannot be stored");
                    }
                    _ => {}
                }
                self.give_up(&id, then, &error);
            }
        }
        self.pump(&id).await;
    }

    async fn follow(&mut self, id: &Id, then: Then) {
        match then {
            Then::Step {
                answer,
                deliver,
                tell,
            } => {
                // Its turn may have come while this was being stored.
                let missed_turn = self.slots.get(id).is_some_and(|slot| {
                    let wake = slot.subscription.head.wake.as_ref();
                    !slot.waits && wake.is_some_and(|wake| wake.attempt == Attempt::Queued)
                });
                if deliver || missed_turn {
                    self.deliver(id).await;
                }
                if let (Some(tell), Some(slot)) = (tell, self.slots.get(id)) {
                    tell(
                        answer
                            .map(|answer| (answer, &slot.subscription))
                            .map_err(Into::into),
                    );
                }
            }
            Then::Create { tell } => {
                if let Some(slot) = self.slots.get(id) {
                    tell(Ok((Answer::Done, &slot.subscription)));
                }
                self.enqueue_proceed(id);
            }
            Then::Delete { reply } => {
                self.forget(id, || SubscriptionError::NotFound);
                reply.send(Ok(())).ok();
            }
        }
    }

    /// What was to follow does not: the store could not keep it.
    fn give_up(&mut self, id: &Id, then: Then, error: &Error) {
        let refused = || SubscriptionError::Engine(error.clone());
        self.deliveries.stop(id);
        let now = self.options.clock.now();
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        slot.stale = true;
        slot.failed_writes = slot.failed_writes.saturating_add(1);
        slot.retry_at = now.after(backoff(slot.failed_writes, 0.0));
        match then {
            Then::Step { tell, .. } => {
                if let Some(tell) = tell {
                    tell(Err(refused()));
                }
            }
            Then::Create { tell } => {
                tell(Err(refused()));
                // Its head is not there, so it does not exist; what there may be of its links goes at the next start.
                self.forget(id, refused);
            }
            Then::Delete { reply } => {
                reply.send(Err(refused())).ok();
            }
        }
    }

    /// Reads a subscription again that may be ahead of the store. Gives whether its jobs can go on.
    async fn refresh(&mut self, id: &Id) -> bool {
        let known = self.slots.get(id).map(|slot| {
            let links = slot.subscription.links.iter();
            links.map(|(name, _)| name.clone()).collect()
        });
        let known = known.unwrap_or_default();
        match read_again(&self.shelf, &self.broker, id, known).await {
            Ok(Some(subscription)) => {
                if let Some(slot) = self.slots.get_mut(id) {
                    self.index.leave(id, &slot.subscription);
                    self.index.enter(id, &subscription);
                    slot.subscription = subscription;
                    slot.stale = false;
                }
                // Others may have come meanwhile.
                self.feed.mark_all();
                true
            }
            Ok(None) => {
                self.forget(id, || SubscriptionError::NotFound);
                false
            }
            Err(error) => {
                if let Some(slot) = self.slots.get_mut(id) {
                    slot.proceeds = false;
                    for job in slot.jobs.drain(..) {
                        refuse(job, || SubscriptionError::Engine(error.clone()));
                    }
                }
                let again = self.options.clock.now().after(RETRY);
                self.arm(id, Some(again));
                false
            }
        }
    }

    /// Lets go of a subscription; whoever waits for it is told why.
    fn forget(&mut self, id: &Id, why: impl Fn() -> SubscriptionError) {
        self.arm(id, None);
        self.deliveries.stop(id);
        if let Some(slot) = self.slots.remove(id) {
            self.index.leave(id, &slot.subscription);
            for job in slot.jobs {
                refuse(job, &why);
            }
        }
        if self.slots.is_empty() {
            self.feed.set_active(false);
        }
    }

    pub(super) async fn describe(&mut self, id: &Id) -> Result<Description, SubscriptionError> {
        let keys = self.keys().await?;
        let slot = self.slots.get(id).ok_or(SubscriptionError::NotFound)?;
        let has_webhook = !slot.subscription.head.config.is_pull();
        let kid = has_webhook.then(|| keys.kid().to_owned());
        Ok(Description::of(&slot.subscription, kid))
    }
}

/// A subscription as it is stored, with what is not: the tails of its streams, and of the streams that were `known` those that only
/// the pattern takes in.
async fn read_again(
    shelf: &Shelf,
    broker: &Broker,
    id: &Id,
    known: BTreeSet<StreamName>,
) -> Result<Option<Subscription>, Error> {
    let Some(mut subscription) = shelf.read(id).await? else {
        return Ok(None);
    };
    let mut names = known;
    names.extend(subscription.links.iter().map(|(name, _)| name.clone()));
    for name in names {
        let facts = facts(broker, &name).await?;
        subscription.observe(&name, facts);
    }
    Ok(Some(subscription))
}

fn refuse(job: Job, why: impl FnOnce() -> SubscriptionError) {
    match job {
        Job::Step { tell: None, .. } => {}
        Job::Step {
            tell: Some(tell), ..
        } => tell(Err(why())),
        Job::Describe { reply } => {
            reply.send(Err(why())).ok();
        }
        Job::Delete { reply } => {
            reply.send(Err(why())).ok();
        }
    }
}
