//! Subscriptions: durable cursors over many streams that wake workers, by webhook or by an event on a stream (pull-wake).
//!
//! ```text
//!  committers ─▶ feed (set of changed streams) ─┐                          ┌─▶ shelf: reserved streams of the broker
//!  requests  ─▶ bounded queue ──────────────────┼─▶ dispatcher ─▶ core ────┤   (durable first, then answered)
//!  clock     ─▶ leases, next attempts ──────────┘   one task    pure rules └─▶ deliveries: webhooks, wake events
//! ```
//!
//! | file | duty |
//! | --- | --- |
//! | `core/` | the rules: one subscription as a state machine over values |
//! | `dispatcher/` | the task that owns all states: feeds them, stores what they say, delivers wakes |
//! | `shelf` | how states are kept in the store |
//! | `feed` | what the committers say |
//! | `webhook`, `target` | the client that calls, and where it may call |
//! | `keys`, `token` | signatures of webhooks, tokens of workers |
//!
//! Nothing is answered before the state it rests on is durable. After a restart leases, attempts and wakes go on as they were, and
//! what streams did meanwhile is found by looking at them. Every queue and set is bounded, see [`SubscriptionLimits`].

pub mod core;
mod dispatcher;
mod feed;
mod keys;
mod request;
mod shelf;
pub mod target;
mod token;
mod webhook;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use request::{Claim, Description, Report, Route, SubscriptionError};

use self::core::Config;
use self::dispatcher::Dispatcher;
use self::request::{Reply, Request};
use crate::broker::Broker;
use crate::types::{Clock, Error, Fault, StreamName};

/// Bounds of everything that subscriptions keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionLimits {
    /// Most subscriptions.
    pub subscriptions_max: usize,
    /// Most streams of one subscription.
    pub links_max: usize,
    /// Most streams of all subscriptions together.
    pub links_total_max: usize,
    /// Most wakes being delivered at a time; one per subscription.
    pub deliveries_max: usize,
    /// Most webhooks being called at one host at a time.
    pub deliveries_per_host_max: usize,
    /// Most requests that wait for the dispatcher, and for one subscription.
    pub requests_max: usize,
}

impl Default for SubscriptionLimits {
    fn default() -> Self {
        Self {
            subscriptions_max: 10_000,
            links_max: 10_000,
            links_total_max: 200_000,
            deliveries_max: 64,
            deliveries_per_host_max: 8,
            requests_max: 1_024,
        }
    }
}

/// Settings of subscriptions.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionOptions {
    /// For development: webhooks may go to loopback addresses, also by plain HTTP.
    pub allow_loopback: bool,
    /// Bounds.
    pub limits: SubscriptionLimits,
    /// Where the time comes from.
    pub clock: Clock,
}

/// A handle on the subscriptions of one broker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    requests: mpsc::Sender<Request>,
}

impl Subscriptions {
    /// Reads what is stored and starts to work, until `stop`. Must be called within a tokio runtime, once per broker.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn start(
        broker: Broker,
        options: SubscriptionOptions,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let (requests, receiver) = mpsc::channel(options.limits.requests_max.max(1));
        let dispatcher = Dispatcher::open(broker, options).await?;
        tokio::spawn(dispatcher.run(receiver, stop));
        Ok(Self { requests })
    }

    /// Creates a subscription, or confirms one of the same configuration. Gives whether it was created. `base_url` is the root of
    /// the stream URLs as workers reach it.
    pub async fn put(
        &self,
        id: String,
        config: Config,
        base_url: String,
    ) -> Result<(bool, Description), SubscriptionError> {
        let config = config.normal();
        self.ask(|reply| Request::Put {
            id,
            config,
            base_url,
            reply,
        })
        .await
    }

    /// Describes a subscription.
    pub async fn get(&self, id: String) -> Result<Description, SubscriptionError> {
        self.ask(|reply| Request::Get { id, reply }).await
    }

    /// Deletes a subscription. One that is not there is as good as deleted.
    pub async fn delete(&self, id: String) -> Result<(), SubscriptionError> {
        self.ask(|reply| Request::Delete { id, reply }).await
    }

    /// Links streams, at their tails. Those that are linked keep their cursors.
    pub async fn add_streams(
        &self,
        id: String,
        streams: Vec<StreamName>,
    ) -> Result<(), SubscriptionError> {
        self.ask(|reply| Request::AddStreams { id, streams, reply })
            .await
    }

    /// Takes away a link that a client made.
    pub async fn remove_stream(
        &self,
        id: String,
        stream: StreamName,
    ) -> Result<(), SubscriptionError> {
        self.ask(|reply| Request::RemoveStream { id, stream, reply })
            .await
    }

    /// Claims the lease for `worker`.
    pub async fn claim(&self, id: String, worker: String) -> Result<Claim, SubscriptionError> {
        self.ask(|reply| Request::Claim { id, worker, reply }).await
    }

    /// Takes a worker's report. Gives whether another wake follows at once.
    pub async fn acknowledge(
        &self,
        id: String,
        route: Route,
        token: String,
        report: Report,
    ) -> Result<bool, SubscriptionError> {
        self.ask(|reply| Request::Acknowledge {
            id,
            route,
            token,
            report,
            reply,
        })
        .await
    }

    /// Gives a lease back.
    pub async fn release(
        &self,
        id: String,
        token: String,
        generation: u64,
        wake_id: String,
    ) -> Result<(), SubscriptionError> {
        self.ask(|reply| Request::Release {
            id,
            token,
            generation,
            wake_id,
            reply,
        })
        .await
    }

    /// The public keys of webhook signatures, as a JWK set.
    pub async fn jwks(&self) -> Result<serde_json::Value, SubscriptionError> {
        self.ask(|reply| Request::Jwks { reply }).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, SubscriptionError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || SubscriptionError::Engine(Error::Fault(Fault::Draining));
        match self.requests.try_send(request(reply)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(SubscriptionError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(stopped()),
        }
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}
