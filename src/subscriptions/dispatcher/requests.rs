//! From a request to a job of its subscription: tokens are checked here, configurations compared, new subscriptions filled.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::core::{
    Answer, Claimed, Config, Delivery, Facts, Input, Link, Links, Rejection, Subscription, WakeKey,
};
use super::super::keys::Keys;
use super::super::request::{Claim, Description, Reply, Report, Request, Route, SubscriptionError};
use super::super::target;
use super::super::token::{self, TokenError};
use super::slot::{Job, Slot, Teller};
use super::streams::{PAGE, facts};
use super::{Dispatcher, Id};
use crate::types::{StreamName, Timestamp};

/// Longest name of a subscription: with what the shelf puts before it, it fits into the name of a stream.
const ID_BYTES_MAX: usize = 256;

impl Dispatcher {
    pub(super) async fn request(&mut self, request: Request) {
        match request {
            Request::Put {
                id,
                config,
                base_url,
                reply,
            } => match self.check_put(&id, &config) {
                Ok(()) => self.put(Arc::from(id), config, base_url, reply).await,
                Err(error) => say(reply, Err(error)),
            },
            Request::Get { id, reply } => {
                self.submit(&Arc::from(id), Job::Describe { reply }).await;
            }
            Request::Delete { id, reply } => {
                let id: Id = Arc::from(id);
                if self.slots.contains_key(&id) {
                    self.submit(&id, Job::Delete { reply }).await;
                } else {
                    say(reply, Ok(()));
                }
            }
            Request::AddStreams { id, streams, reply } => {
                self.add_streams(Arc::from(id), streams, reply).await;
            }
            Request::RemoveStream { id, stream, reply } => {
                let input = Input::RemoveStream(stream);
                self.ask(&Arc::from(id), input, reply, |_, _| Ok(())).await;
            }
            Request::Claim { id, worker, reply } => {
                self.claim(&Arc::from(id), worker, reply).await;
            }
            Request::Acknowledge {
                id,
                route,
                token,
                report,
                reply,
            } => {
                self.acknowledge(&Arc::from(id), route, &token, report, reply)
                    .await;
            }
            Request::Release {
                id,
                token,
                generation,
                wake_id,
                reply,
            } => {
                let id: Id = Arc::from(id);
                match self.key(&id, &token, generation, wake_id, true).await {
                    Ok(key) => {
                        let input = Input::Release { key };
                        self.ask(&id, input, reply, |_, _| Ok(())).await;
                    }
                    Err(error) => say(reply, Err(error)),
                }
            }
            Request::Jwks { reply } => {
                let jwks = self.keys().await.map(|keys| keys.jwks());
                say(reply, jwks);
            }
        }
    }

    /// Puts an input to a subscription, and its answer through `render` to whoever asked.
    async fn ask<T: Send + 'static>(
        &mut self,
        id: &Id,
        input: Input,
        reply: Reply<T>,
        render: impl FnOnce(Answer, &Subscription) -> Result<T, SubscriptionError> + Send + 'static,
    ) {
        let tell: Teller = Box::new(move |told| {
            say(
                reply,
                told.and_then(|(answer, subscription)| render(answer, subscription)),
            );
        });
        let tell = Some(tell);
        self.submit(id, Job::Step { input, tell }).await;
    }

    fn check_put(&self, id: &str, config: &Config) -> Result<(), SubscriptionError> {
        let invalid = |text: &str| Err(SubscriptionError::Invalid(text.to_owned()));
        if id.is_empty() || id.len() > ID_BYTES_MAX || StreamName::check(id).is_err() {
            return invalid("the name of a subscription is 1 to 256 bytes of text");
        }
        if config.pattern.is_none() && config.streams.is_empty() {
            return invalid("at least one of pattern and streams is required");
        }
        if !Config::LEASE_TTL_MS.contains(&config.lease_ttl_ms) {
            return invalid("lease_ttl_ms must be from 1000 to 600000");
        }
        let mut streams = config.streams.iter();
        let names_reserved = streams.any(StreamName::is_reserved)
            || matches!(&config.delivery, Delivery::PullWake { wake_stream } if wake_stream.is_reserved());
        if names_reserved {
            return invalid("names that begin with __ds/ are reserved");
        }
        let pattern = config.pattern.as_ref();
        if pattern.is_some_and(|pattern| pattern.literal_prefix().starts_with("__ds/")) {
            return invalid("pattern takes in reserved names only");
        }
        if let Delivery::PullWake { wake_stream } = &config.delivery
            && config.streams.contains(wake_stream)
        {
            return invalid("wake_stream cannot be among streams: each event would be work");
        }
        if let Delivery::Webhook { url } = &config.delivery {
            target::check_url(url, self.options.allow_loopback)?;
        }
        Ok(())
    }

    async fn put(
        &mut self,
        id: Id,
        config: Config,
        base_url: String,
        reply: Reply<(bool, Description)>,
    ) {
        let keys = match self.keys().await {
            Ok(keys) => keys,
            Err(error) => return say(reply, Err(error)),
        };
        if let Some(slot) = self.slots.get(&id) {
            if slot.subscription.head.config.hash() != config.hash() {
                return say(reply, Err(SubscriptionError::AlreadyExists));
            }
            let tell: Teller = Box::new(move |told| {
                let confirmed =
                    told.map(|(_, subscription)| (false, describe(subscription, &keys)));
                // It is being deleted: a PUT that comes after creates it.
                let confirmed = confirmed.map_err(|error| match error {
                    SubscriptionError::NotFound => SubscriptionError::Busy,
                    error => error,
                });
                say(reply, confirmed);
            });
            let (input, tell) = (Input::Confirm { base_url }, Some(tell));
            return self.submit(&id, Job::Step { input, tell }).await;
        }
        let limit = self.options.limits.subscriptions_max;
        if self.slots.len() >= limit {
            return say(reply, Err(SubscriptionError::TooMany { limit }));
        }
        // From here on changes are told, so that none falls between looking at a stream and watching it.
        self.feed.set_active(true);
        match self.existing(&config).await {
            Err(error) => {
                self.feed.set_active(!self.slots.is_empty());
                say(reply, Err(error));
            }
            Ok(links) => {
                let now = self.options.clock.now();
                let subscription = Subscription::new(id.to_string(), config, base_url, now, links);
                self.enter(Slot::new(subscription));
                self.create(
                    &id,
                    Box::new(move |told| {
                        say(
                            reply,
                            told.map(|(_, subscription)| (true, describe(subscription, &keys))),
                        );
                    }),
                );
            }
        }
    }

    /// The streams that belong to a new subscription, each at its tail.
    async fn existing(&mut self, config: &Config) -> Result<Links, SubscriptionError> {
        let limits = self.options.limits;
        let room = limits.links_total_max.saturating_sub(self.index.links());
        let limit = limits.links_max.min(room);
        let full = || SubscriptionError::Rejected(Rejection::TooManyStreams { limit });
        let mut links = Links::default();
        if config.streams.len() > limit {
            return Err(full());
        }
        for name in &config.streams {
            links.insert(
                name.clone(),
                Link::explicit(facts(&self.broker, name).await?),
            );
            if links.len() > limit {
                return Err(full());
            }
        }
        let Some(pattern) = &config.pattern else {
            return Ok(links);
        };
        let prefix = pattern.literal_prefix();
        let mut after: Option<StreamName> = None;
        loop {
            let from = after.as_ref().map(StreamName::as_str);
            let page = self.broker.list(&prefix, from, PAGE).await?;
            after = page.streams.last().map(|listed| listed.name.clone());
            for listed in page.streams {
                let wanted = config.matches(&listed.name) && !listed.name.is_reserved();
                if !wanted || links.get(&listed.name).is_some() {
                    continue;
                }
                if let Some(facts) = facts(&self.broker, &listed.name).await? {
                    links.insert(listed.name, Link::at_tail(Some(facts)));
                }
                if links.len() > limit {
                    return Err(full());
                }
            }
            if !page.more {
                return Ok(links);
            }
        }
    }

    async fn add_streams(&mut self, id: Id, streams: Vec<StreamName>, reply: Reply<()>) {
        let Some(slot) = self.slots.get(&id) else {
            return say(reply, Err(SubscriptionError::NotFound));
        };
        if streams.iter().any(StreamName::is_reserved) {
            let reserved = "names that begin with __ds/ are reserved".to_owned();
            return say(reply, Err(SubscriptionError::Invalid(reserved)));
        }
        let links = &slot.subscription.links;
        let streams: BTreeSet<StreamName> = streams.into_iter().collect();
        let is_new = |name: &&StreamName| links.get(name).is_none();
        let new = streams.iter().filter(is_new).count();
        let limits = self.options.limits;
        let room = limits.links_total_max.saturating_sub(self.index.links());
        let limit = limits.links_max.min(links.len().saturating_add(room));
        if new > 0 && links.len() + new > limit {
            let full = Rejection::TooManyStreams { limit };
            return say(reply, Err(full.into()));
        }
        // Those that are linked are not looked at again: they keep their places.
        let linked: BTreeSet<StreamName> = streams
            .iter()
            .filter(|name| !is_new(name))
            .cloned()
            .collect();
        let mut found: Vec<(StreamName, Option<Facts>)> = Vec::with_capacity(streams.len());
        for name in streams {
            if linked.contains(&name) {
                found.push((name, None));
                continue;
            }
            match facts(&self.broker, &name).await {
                Ok(facts) => found.push((name, facts)),
                Err(error) => return say(reply, Err(error.into())),
            }
        }
        let input = Input::AddStreams(found);
        self.ask(&id, input, reply, |_, _| Ok(())).await;
    }

    async fn claim(&mut self, id: &Id, worker: String, reply: Reply<Claim>) {
        let keys = match self.keys().await {
            Ok(keys) => keys,
            Err(error) => return say(reply, Err(error)),
        };
        let now = self.options.clock.now();
        let subscription = id.to_string();
        let render = move |answer: Answer, _: &Subscription| match answer {
            Answer::Claimed(claimed) => Ok(with_token(claimed, &subscription, &keys, now)),
            _ => Err(SubscriptionError::NotFound),
        };
        self.ask(id, Input::Claim { worker }, reply, render).await;
    }

    async fn acknowledge(
        &mut self,
        id: &Id,
        route: Route,
        token: &str,
        report: Report,
        reply: Reply<bool>,
    ) {
        let Report {
            wake_id,
            generation,
            acks,
            done,
        } = report;
        let pull_only = route == Route::Ack;
        let key = match self.key(id, token, generation, wake_id, pull_only).await {
            Ok(key) => key,
            Err(error) => return say(reply, Err(error)),
        };
        let input = Input::Acknowledge { key, acks, done };
        let render = |answer: Answer, _: &Subscription| match answer {
            Answer::Acknowledged { next_wake } => Ok(next_wake),
            _ => Ok(false),
        };
        self.ask(id, input, reply, render).await;
    }

    /// Who a request with this token speaks for.
    async fn key(
        &mut self,
        id: &Id,
        token: &str,
        generation: u64,
        wake_id: String,
        pull_only: bool,
    ) -> Result<WakeKey, SubscriptionError> {
        let slot = self.slots.get(id).ok_or(SubscriptionError::NotFound)?;
        if pull_only && !slot.subscription.head.config.is_pull() {
            return Err(Rejection::NotPullWake.into());
        }
        let keys = self.keys().await?;
        let now = self.options.clock.now();
        let verified = token::verify(keys.tokens(), id, token, now).map_err(|error| match error {
            TokenError::Invalid => SubscriptionError::TokenInvalid,
            TokenError::Expired => SubscriptionError::TokenExpired,
        });
        let (token_generation, token_wake_id) = verified?;
        Ok(WakeKey {
            token_generation,
            token_wake_id,
            generation,
            wake_id,
        })
    }
}

fn describe(subscription: &Subscription, keys: &Keys) -> Description {
    let has_webhook = !subscription.head.config.is_pull();
    Description::of(subscription, has_webhook.then(|| keys.kid().to_owned()))
}

fn with_token(claimed: Claimed, subscription: &str, keys: &Keys, now: Timestamp) -> Claim {
    let Claimed {
        wake_id,
        generation,
        streams,
        lease_ttl_ms,
    } = claimed;
    let token = token::mint(keys.tokens(), subscription, generation, &wake_id, now);
    Claim {
        wake_id,
        generation,
        token,
        streams,
        lease_ttl_ms,
    }
}

/// Whoever asked may have gone meanwhile.
fn say<T>(
    reply: oneshot::Sender<Result<T, SubscriptionError>>,
    answer: Result<T, SubscriptionError>,
) {
    reply.send(answer).ok();
}
