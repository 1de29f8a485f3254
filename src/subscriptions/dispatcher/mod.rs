//! The task that owns every subscription. Nothing else changes their state.
//!
//! It waits for requests, changed streams, timers, stored states and ended deliveries, and turns each into a job of one
//! subscription. A subscription does one job at a time: its state is changed by the core, what must be durable is written,
//! and only then the answer goes out and a delivery begins. While it writes, its other jobs wait; other subscriptions go on,
//! so that the writes of many share a commit.
//!
//! Invariants:
//! - Changed streams are looked at before any request that came after them: a claim right behind an append finds it.
//! - A state that could not be stored is thrown away and read again; nobody was answered out of it.
//! - The task ends only when it is told to; a fault of the store is logged, answered, and tried again.
//!
//! | file | duty |
//! | --- | --- |
//! | `slot` | one subscription with its jobs, and the running of them |
//! | `requests` | from a request to a job |
//! | `streams` | which streams belong to whom, and looking at them |
//! | `deliveries` | the wakes on their way |
//! | `places` | who may call a webhook now |

mod deliveries;
mod places;
mod requests;
mod slot;
mod streams;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::deliveries::Deliveries;
use self::slot::{Job, Slot, Stored};
use self::streams::Index;
use super::SubscriptionOptions;
use super::core::{Context, Input};
use super::feed::{ChangeSet, Changed};
use super::keys::{Keys, Secrets, random};
use super::request::{Request, SubscriptionError};
use super::shelf::Shelf;
use crate::broker::Broker;
use crate::stream::Feed;
use crate::types::{Error, Timestamp};

/// What a subscription is called.
type Id = Arc<str>;

/// After how long a fault of the store is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Streams that change all the time are looked at this often; a request does not wait for that.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// See the module.
pub(super) struct Dispatcher {
    broker: Broker,
    options: SubscriptionOptions,
    shelf: Shelf,
    feed: Arc<ChangeSet>,
    keys: Option<Arc<Keys>>,
    slots: HashMap<Id, Slot>,
    index: Index,
    /// When which subscription is to be looked at.
    timers: BTreeSet<(Timestamp, Id)>,
    /// States on their way to the store.
    stores: JoinSet<Stored>,
    deliveries: Deliveries,
    /// Streams that could not be looked at.
    unseen: Changed,
}

impl Dispatcher {
    /// Reads what is stored, and looks at all streams of it.
    pub(super) async fn open(broker: Broker, options: SubscriptionOptions) -> Result<Self, Error> {
        let feed = Arc::new(ChangeSet::default());
        let told: Arc<dyn Feed> = Arc::<ChangeSet>::clone(&feed);
        broker.set_feed(&told);
        let shelf = Shelf::new(broker.clone());
        let deliveries = Deliveries::new(broker.clone(), &options);
        let mut dispatcher = Self {
            broker,
            options,
            shelf,
            feed,
            keys: None,
            slots: HashMap::new(),
            index: Index::default(),
            timers: BTreeSet::new(),
            stores: JoinSet::new(),
            deliveries,
            unseen: Changed::default(),
        };
        let stored = dispatcher.shelf.read_all().await?;
        if !stored.is_empty() {
            // Before the streams are looked at: what changes from here on is told.
            dispatcher.feed.set_active(true);
            dispatcher.feed.mark_all();
        }
        for subscription in stored {
            dispatcher.enter(Slot::new(subscription));
        }
        Ok(dispatcher)
    }

    /// Works until `stop`. Deliveries under way are broken off then, and made again after the next start.
    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        stop: CancellationToken,
    ) {
        let ids: Vec<Id> = self.slots.keys().cloned().collect();
        self.look().await;
        for id in ids {
            self.enqueue_proceed(&id);
            self.pump(&id).await;
        }
        let mut looked = Instant::now();
        let mut asked = true;
        let mut look_again: Option<Instant> = None;
        loop {
            let wakes = &self.broker.metrics().wakes;
            wakes.subscriptions.set(self.slots.len() as u64);
            wakes.links.set(self.index.links() as u64);
            let next = self.timers.first().map(|(at, _)| *at);
            let clock = self.options.clock.clone();
            let timer = async {
                match next {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            if self.unseen == Changed::default() {
                look_again = None;
            } else {
                look_again.get_or_insert_with(|| Instant::now() + RETRY);
            }
            let again = tokio::time::sleep_until(look_again.unwrap_or(looked));
            tokio::select! {
                () = stop.cancelled() => return,
                Some(stored) = self.stores.join_next(), if !self.stores.is_empty() => {
                    match stored {
                        Ok(stored) => self.stored(stored).await,
                        Err(error) => tracing::error!(%error, "storing a subscription panicked"),
                    }
                }
                ended = self.deliveries.next(), if !self.deliveries.is_empty() => {
                    if let Some(delivered) = ended {
                        self.delivered(delivered).await;
                    }
                    self.deliver_waiting().await;
                }
                request = requests.recv(), if asked => {
                    // No handle is left: nobody asks any more, but workers are still to be woken.
                    let Some(request) = request else {
                        asked = false;
                        continue;
                    };
                    self.look().await;
                    self.request(request).await;
                }
                () = due(&self.feed, looked) => {
                    looked = Instant::now();
                    self.look().await;
                }
                () = timer => self.ring().await,
                () = again, if look_again.is_some() => {
                    look_again = None;
                    let unseen = std::mem::take(&mut self.unseen);
                    self.look_at(unseen).await;
                }
            }
        }
    }

    /// Sees to the subscriptions whose time has come.
    async fn ring(&mut self) {
        let now = self.options.clock.now();
        let mut due = Vec::new();
        while let Some((at, id)) = self.timers.pop_first() {
            if at > now {
                self.timers.insert((at, id));
                break;
            }
            due.push(id);
        }
        for id in due {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.timer = None;
            }
            self.enqueue_proceed(&id);
            self.pump(&id).await;
        }
    }

    /// Arms the timer of a subscription for what it does next by itself.
    fn arm(&mut self, id: &Id, at: Option<Timestamp>) {
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        if slot.timer == at {
            return;
        }
        if let Some(armed) = std::mem::replace(&mut slot.timer, at) {
            self.timers.remove(&(armed, Arc::clone(id)));
        }
        if let Some(at) = at {
            self.timers.insert((at, Arc::clone(id)));
        }
    }

    /// What the core is handed with an input.
    fn context(&self, id: &Id) -> Result<Context, SubscriptionError> {
        let random: [u8; 20] =
            random().map_err(|error| SubscriptionError::Keys(error.to_string()))?;
        let (wake, jitter) = random.split_at(16);
        let jitter = jitter
            .iter()
            .fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
        let own = self
            .slots
            .get(id)
            .map_or(0, |slot| slot.subscription.links.len());
        let limits = &self.options.limits;
        let room = limits.links_total_max.saturating_sub(self.index.links());
        Ok(Context {
            now: self.options.clock.now(),
            wake_id: format!(
                "w_{:032x}",
                wake.iter()
                    .fold(0_u128, |id, byte| (id << 8) | u128::from(*byte))
            ),
            jitter: f64::from(jitter) / f64::from(u32::MAX) * 2.0 - 1.0,
            links_max: limits.links_max.min(own.saturating_add(room)),
        })
    }

    /// The keys, made at first need.
    async fn keys(&mut self) -> Result<Arc<Keys>, SubscriptionError> {
        if let Some(keys) = &self.keys {
            return Ok(Arc::clone(keys));
        }
        let broken = |error: super::keys::KeyError| SubscriptionError::Keys(error.to_string());
        let secrets = if let Some(secrets) = self.shelf.secrets().await? {
            secrets
        } else {
            let secrets = Secrets::generate().map_err(broken)?;
            self.shelf.keep_secrets(&secrets).await?;
            secrets
        };
        let keys = Arc::new(Keys::new(&secrets).map_err(broken)?);
        self.keys = Some(Arc::clone(&keys));
        Ok(keys)
    }

    /// Takes a subscription in.
    fn enter(&mut self, slot: Slot) {
        let id: Id = Arc::from(slot.subscription.head.id.as_str());
        self.index.enter(&id, &slot.subscription);
        self.slots.insert(id, slot);
    }

    fn enqueue_proceed(&mut self, id: &Id) {
        if let Some(slot) = self.slots.get_mut(id)
            && !std::mem::replace(&mut slot.proceeds, true)
        {
            slot.jobs.push_back(Job::step(Input::Proceed));
        }
    }
}

/// Waits until streams changed, but not less than the interval since they were `looked` at. Cancel safe.
async fn due(feed: &ChangeSet, looked: Instant) {
    // Not only rung: whoever was woken before may have gone without looking.
    if !feed.has_changed() {
        feed.rung().await;
    }
    tokio::time::sleep_until(looked + LOOK_INTERVAL).await;
}
