//! The wakes on their way: webhooks being called, events being written. One per subscription.
//!
//! Only so many webhooks are called at a time. The others wait as names: what a webhook is sent is made when its turn comes,
//! so that those who wait take no memory, and tell of what is there then.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use serde::Serialize;
use tokio::task::{AbortHandle, JoinSet};

use super::super::core::{Delivery, Input, Outcome, StreamInfo, Subscription};
use super::super::keys::Keys;
use super::super::request::SubscriptionError;
use super::super::webhook::{Reply, WebhookClient};
use super::super::{SubscriptionLimits, SubscriptionOptions, target, token};
use super::places::{Place, Places};
use super::slot::Job;
use super::streams::facts;
use super::{Dispatcher, Id};
use crate::broker::Broker;
use crate::storage::Storage as _;
use crate::types::{AppendOptions, Clock, RecordBlock, StreamName};

/// A delivery that ended.
pub(super) struct Delivered {
    id: Id,
    wake_id: String,
    outcome: Outcome,
}

/// See the module.
pub(super) struct Deliveries {
    broker: Broker,
    client: Option<WebhookClient>,
    allow_loopback: bool,
    clock: Clock,
    places: Places,
    /// The store takes nothing any more, until the broker starts anew: how a delivery ends could not be kept.
    store_faulted: bool,
    tasks: JoinSet<Delivered>,
    /// The delivery of a subscription, with the wake it is of.
    under_way: HashMap<Id, (String, AbortHandle)>,
}

/// What a webhook is sent.
#[derive(Serialize)]
struct WebhookBody<'a> {
    subscription_id: &'a str,
    wake_id: &'a str,
    generation: u64,
    streams: &'a [StreamInfo],
    callback_url: String,
    callback_token: String,
}

impl Deliveries {
    pub(super) fn new(broker: Broker, options: &SubscriptionOptions) -> Self {
        let SubscriptionLimits {
            deliveries_max,
            deliveries_per_host_max,
            ..
        } = options.limits;
        Self {
            broker,
            client: None,
            allow_loopback: options.allow_loopback,
            clock: options.clock.clone(),
            places: Places::new(deliveries_max, deliveries_per_host_max),
            store_faulted: false,
            tasks: JoinSet::new(),
            under_way: HashMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Waits until a delivery ends; `None` if it was broken off, or none is under way. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Delivered> {
        match self.tasks.join_next().await? {
            Ok(delivered) => {
                let own = |(wake_id, _): &(String, AbortHandle)| *wake_id == delivered.wake_id;
                if self.under_way.get(&delivered.id).is_some_and(own) {
                    self.under_way.remove(&delivered.id);
                }
                Some(delivered)
            }
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "a delivery panicked");
                }
                None
            }
        }
    }

    /// Begins no delivery any more. Gives whether that is new.
    pub(super) fn store_faulted(&mut self) -> bool {
        !std::mem::replace(&mut self.store_faulted, true)
    }

    /// Breaks off the delivery of a subscription.
    pub(super) fn stop(&mut self, id: &Id) {
        if let Some((_, task)) = self.under_way.remove(id) {
            task.abort();
        }
    }

    fn start(
        &mut self,
        id: &Id,
        wake_id: String,
        place: Option<Place>,
        delivery: impl Future<Output = Outcome> + Send + 'static,
    ) {
        self.stop(id);
        let delivered = Delivered {
            id: Arc::clone(id),
            wake_id: wake_id.clone(),
            outcome: Outcome::Failed,
        };
        let task = self.tasks.spawn(async move {
            let outcome = AssertUnwindSafe(delivery).catch_unwind().await;
            let outcome = outcome.unwrap_or(Outcome::Failed);
            drop(place);
            Delivered {
                outcome,
                ..delivered
            }
        });
        self.under_way.insert(Arc::clone(id), (wake_id, task));
    }

    /// The client, made at first need: it reads the system's certificates.
    async fn client(&mut self) -> Option<WebhookClient> {
        if self.client.is_none() {
            let allow_loopback = self.allow_loopback;
            let made = tokio::task::spawn_blocking(move || WebhookClient::new(allow_loopback));
            match made.await {
                Ok(Ok(client)) => self.client = Some(client),
                Ok(Err(error)) => tracing::error!(%error, "webhooks cannot be called"),
                Err(error) => tracing::error!(%error, "making the client of webhooks panicked"),
            }
        }
        self.client.clone()
    }
}

impl Dispatcher {
    /// Begins to deliver the wake that is out, or has it wait for its turn.
    pub(super) async fn deliver(&mut self, id: &Id) {
        if self.deliveries.store_faulted {
            return;
        }
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        let Delivery::Webhook { url } = &slot.subscription.head.config.delivery else {
            self.deliver_now(id, None).await;
            return;
        };
        if !std::mem::replace(&mut slot.waits, true) {
            let host = target::host(url);
            self.deliveries.places.wait(&host, Arc::clone(id));
        }
        self.deliver_waiting().await;
    }

    /// Begins the deliveries that wait, as many as may be under way.
    pub(super) async fn deliver_waiting(&mut self) {
        while !self.deliveries.store_faulted
            && let Some((id, place)) = self.deliveries.places.next()
        {
            let now = self.options.clock.now();
            let Some(slot) = self.slots.get_mut(&id) else {
                continue;
            };
            slot.waits = false;
            // Its wake may have ended meanwhile, or may not be kept yet.
            if slot.is_settled() && slot.subscription.begin_delivery(now) {
                self.deliver_now(&id, Some(place)).await;
            }
        }
    }

    async fn deliver_now(&mut self, id: &Id, place: Option<Place>) {
        let prepared = match self.keys().await {
            Ok(keys) => {
                let has_webhook = self
                    .slots
                    .get(id)
                    .is_some_and(|slot| !slot.subscription.head.config.is_pull());
                let client = if has_webhook {
                    self.deliveries.client().await
                } else {
                    None
                };
                Ok((keys, client))
            }
            Err(error) => Err(error),
        };
        let Some(slot) = self.slots.get(id) else {
            return;
        };
        let subscription = &slot.subscription;
        let Some(wake) = &subscription.head.wake else {
            return;
        };
        let wake_id = wake.id.clone();
        let clock = self.deliveries.clock.clone();
        match (&subscription.head.config.delivery, prepared) {
            (Delivery::PullWake { wake_stream }, _) => {
                let event = event(subscription, &clock);
                let (broker, stream) = (self.deliveries.broker.clone(), wake_stream.clone());
                let id_of = Arc::clone(id);
                self.deliveries.start(id, wake_id, place, async move {
                    write_event(&broker, &id_of, &stream, event).await
                });
            }
            (Delivery::Webhook { url }, Ok((keys, Some(client)))) => {
                let streams = subscription.infos();
                let body = body(subscription, &streams, &wake_id, &keys, &clock);
                let (url, id_of) = (url.clone(), Arc::clone(id));
                self.deliveries.start(id, wake_id, place, async move {
                    let signature = keys.sign(&body, clock.now());
                    match client.call(&url, signature, body).await {
                        Ok(Reply::Done) => Outcome::Done(streams),
                        Ok(Reply::Accepted) => Outcome::Accepted,
                        Err(error) => {
                            tracing::info!(subscription = &*id_of, %error, "a webhook failed");
                            Outcome::Failed
                        }
                    }
                });
            }
            (Delivery::Webhook { .. }, prepared) => {
                let error = prepared
                    .err()
                    .unwrap_or_else(|| SubscriptionError::Keys("no client".into()));
                tracing::warn!(subscription = &**id, %error, "a webhook cannot be prepared");
                self.deliveries
                    .start(id, wake_id, place, std::future::ready(Outcome::Failed));
            }
        }
    }

    /// Tells the core how a delivery ended.
    pub(super) async fn delivered(&mut self, delivered: Delivered) {
        let Delivered {
            id,
            wake_id,
            outcome,
        } = delivered;
        let wakes = &self.broker.metrics().wakes;
        match outcome {
            Outcome::Accepted | Outcome::Written { .. } => wakes.accepted.increment(1),
            Outcome::Done(_) => wakes.done.increment(1),
            Outcome::Failed => wakes.failed.increment(1),
        }
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.jobs
                .push_back(Job::step(Input::Delivered { wake_id, outcome }));
            self.pump(&id).await;
        }
    }
}

fn body(
    subscription: &Subscription,
    streams: &[StreamInfo],
    wake_id: &str,
    keys: &Keys,
    clock: &Clock,
) -> Vec<u8> {
    let head = &subscription.head;
    let callback_token = token::mint(
        keys.tokens(),
        &head.id,
        head.generation,
        wake_id,
        clock.now(),
    );
    let body = WebhookBody {
        subscription_id: &head.id,
        wake_id,
        generation: head.generation,
        streams,
        callback_url: format!("{}/{}/callback", head.base_url, subscription.path()),
        callback_token,
    };
    serde_json::to_vec(&body).expect("a body is plain text and numbers")
}

fn event(subscription: &Subscription, clock: &Clock) -> Vec<u8> {
    let head = &subscription.head;
    let stream = subscription.links.first_pending().map(StreamName::as_str);
    let event = serde_json::json!({
        "type": "wake",
        "subscription_id": head.id,
        "stream": stream.unwrap_or_default(),
        "generation": head.generation,
        "ts": clock.now().0 / 1_000,
    });
    // The line break keeps events apart on a wake stream that is not JSON; in JSON it is blank space.
    format!("{event}\n").into_bytes()
}

async fn write_event(
    broker: &Broker,
    id: &Id,
    wake_stream: &StreamName,
    event: Vec<u8>,
) -> Outcome {
    let batch = RecordBlock::from_payloads([event]);
    let written = broker.append(wake_stream, batch, AppendOptions::default());
    match written.await {
        Ok(_) => {
            // If it cannot be told now, it is found to have changed later, and the event is written once more.
            let wake_stream = facts(broker, wake_stream).await;
            let created_at = wake_stream.ok().flatten().map(|facts| facts.created_at);
            Outcome::Written { created_at }
        }
        Err(error) => {
            tracing::info!(subscription = &**id, stream = %wake_stream, %error, "a wake event was not written");
            Outcome::Failed
        }
    }
}
