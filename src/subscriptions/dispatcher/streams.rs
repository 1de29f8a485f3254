//! Which streams belong to which subscriptions, and looking at those that changed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::core::{Attempt, Delivery, Facts, Input, Pattern, Subscription};
use super::super::feed::Changed;
use super::slot::Job;
use super::{Dispatcher, Id};
use crate::broker::Broker;
use crate::storage::Storage as _;
use crate::types::{Error, Refusal, StreamName};

/// Most names remembered that no pattern takes in.
const BORING_MAX: usize = 65_536;

/// Streams listed at a time.
pub(super) const PAGE: usize = 4_096;

/// From streams to subscriptions. It follows the links of every subscription: a stream is found here if and only if it is linked.
#[derive(Debug, Default)]
pub(super) struct Index {
    linked: HashMap<StreamName, Vec<Id>>,
    wake_streams: HashMap<StreamName, Vec<Id>>,
    patterns: HashMap<Id, Pattern>,
    /// Names that no pattern takes in: most streams of a broker are nobody's business, and change often.
    boring: HashSet<StreamName>,
    links: usize,
}

impl Index {
    /// Links of all subscriptions together.
    pub(super) fn links(&self) -> usize {
        self.links
    }

    /// Takes a subscription in.
    pub(super) fn enter(&mut self, id: &Id, subscription: &Subscription) {
        for (name, _) in subscription.links.iter() {
            self.set(id, name, true);
        }
        let config = &subscription.head.config;
        if let Some(pattern) = &config.pattern {
            self.patterns.insert(Arc::clone(id), pattern.clone());
            self.boring = HashSet::new();
        }
        if let Delivery::PullWake { wake_stream } = &config.delivery {
            let ids = self.wake_streams.entry(wake_stream.clone()).or_default();
            ids.push(Arc::clone(id));
        }
    }

    /// Lets a subscription go.
    pub(super) fn leave(&mut self, id: &Id, subscription: &Subscription) {
        for (name, _) in subscription.links.iter() {
            self.set(id, name, false);
        }
        self.patterns.remove(id);
        if let Delivery::PullWake { wake_stream } = &subscription.head.config.delivery
            && let Some(ids) = self.wake_streams.get_mut(wake_stream)
        {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.wake_streams.remove(wake_stream);
            }
        }
    }

    /// Follows the links to these streams.
    pub(super) fn update<'a>(
        &mut self,
        id: &Id,
        subscription: &Subscription,
        names: impl IntoIterator<Item = &'a StreamName>,
    ) {
        for name in names {
            self.set(id, name, subscription.links.get(name).is_some());
        }
    }

    fn set(&mut self, id: &Id, name: &StreamName, linked: bool) {
        let ids = self.linked.entry(name.clone()).or_default();
        let at = ids.iter().position(|other| other == id);
        match (at, linked) {
            (None, true) => {
                ids.push(Arc::clone(id));
                self.links += 1;
            }
            (Some(at), false) => {
                ids.swap_remove(at);
                self.links -= 1;
            }
            _ => {}
        }
        if ids.is_empty() {
            self.linked.remove(name);
        }
    }

    /// The subscriptions that a stream belongs to, or will once it is looked at.
    fn interested(&mut self, name: &StreamName) -> Vec<Id> {
        let mut ids = self.linked.get(name).cloned().unwrap_or_default();
        if self.boring.contains(name) {
            return ids;
        }
        let matching = self.patterns.iter();
        let matching: Vec<Id> = matching
            .filter(|(_, pattern)| pattern.matches(name.as_str()))
            .map(|(id, _)| Arc::clone(id))
            .collect();
        if matching.is_empty() {
            if self.boring.len() >= BORING_MAX {
                self.boring = HashSet::new();
            }
            self.boring.insert(name.clone());
        }
        for id in matching {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }
}

impl Dispatcher {
    /// Looks at what changed.
    pub(super) async fn look(&mut self) {
        let changed = self.feed.take();
        self.look_at(changed).await;
    }

    pub(super) async fn look_at(&mut self, changed: Changed) {
        for name in changed.names {
            self.observe(&name).await;
        }
        if changed.all
            && let Err(error) = self.look_at_all().await
        {
            tracing::warn!(%error, "the streams cannot be listed");
            self.unseen.all = true;
        }
    }

    /// Looks at every stream that is linked or may have to be.
    async fn look_at_all(&mut self) -> Result<(), Error> {
        let linked: Vec<StreamName> = self.index.linked.keys().cloned().collect();
        for name in linked {
            self.observe(&name).await;
        }
        let wake_streams: Vec<StreamName> = self.index.wake_streams.keys().cloned().collect();
        for name in wake_streams {
            self.tell_of_wake_stream(&name).await;
        }
        if self.index.patterns.is_empty() {
            return Ok(());
        }
        let mut after: Option<StreamName> = None;
        loop {
            let from = after.as_ref().map(StreamName::as_str);
            let page = self.broker.list("", from, PAGE).await?;
            after = page.streams.last().map(|listed| listed.name.clone());
            for listed in page.streams {
                if !listed.name.is_reserved() && !self.index.linked.contains_key(&listed.name) {
                    self.observe(&listed.name).await;
                }
            }
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Looks at one stream, on behalf of all subscriptions it belongs to.
    async fn observe(&mut self, name: &StreamName) {
        self.tell_of_wake_stream(name).await;
        let ids = self.index.interested(name);
        if ids.is_empty() {
            return;
        }
        let facts = match facts(&self.broker, name).await {
            Ok(facts) => facts,
            Err(error) => {
                tracing::warn!(stream = %name, %error, "a stream cannot be looked at");
                self.unseen.names.insert(name.clone());
                return;
            }
        };
        for id in ids {
            if self.observe_for(&id, name, facts) {
                self.enqueue_proceed(&id);
                self.pump(&id).await;
            }
        }
    }

    /// Gives whether the subscription has something to do now.
    fn observe_for(&mut self, id: &Id, name: &StreamName, facts: Option<Facts>) -> bool {
        let limits = self.options.limits;
        let total = self.index.links();
        let Some(slot) = self.slots.get_mut(id) else {
            return false;
        };
        let links = &slot.subscription.links;
        let is_new = links.get(name).is_none();
        if is_new && (links.len() >= limits.links_max || total >= limits.links_total_max) {
            if !std::mem::replace(&mut slot.crowded, true) {
                tracing::warn!(subscription = &**id, stream = %name, "no room for more streams");
            }
            return false;
        }
        let linked = slot.subscription.observe(name, facts);
        self.index.set(id, name, linked);
        // While a wake is out more work changes nothing; less work may.
        slot.subscription.head.wake.is_none() || facts.is_none()
    }

    /// An event that could not be written can be now, perhaps; one that was may be gone.
    async fn tell_of_wake_stream(&mut self, name: &StreamName) {
        let Some(ids) = self.index.wake_streams.get(name) else {
            return;
        };
        let concerned = |id: &&Id| {
            // One that is to be read again is looked at after that anyway.
            let slot = self.slots.get(*id).filter(|slot| !slot.is_stale());
            let wake = slot.and_then(|slot| slot.subscription.head.wake.as_ref());
            wake.is_some_and(|wake| match wake.attempt {
                Attempt::Due => true,
                Attempt::Accepted => wake.lease_until.is_none(),
                Attempt::Queued | Attempt::InFlight => false,
            })
        };
        let ids: Vec<Id> = ids.iter().filter(concerned).cloned().collect();
        if ids.is_empty() {
            return;
        }
        let created_at = match facts(&self.broker, name).await {
            Ok(facts) => facts.map(|facts| facts.created_at),
            Err(error) => {
                tracing::warn!(stream = %name, %error, "a wake stream cannot be looked at");
                return;
            }
        };
        for id in ids {
            if let Some(slot) = self.slots.get_mut(&id) {
                let input = Input::WakeStreamChanged { created_at };
                slot.jobs.push_back(Job::step(input));
                self.pump(&id).await;
            }
        }
    }
}

/// What there is to know of a stream; `None` if there is none.
pub(super) async fn facts(broker: &Broker, name: &StreamName) -> Result<Option<Facts>, Error> {
    match broker.get_metadata(name).await {
        Ok(metadata) => Ok(Some(Facts {
            tail: metadata.tail,
            created_at: metadata.created_at,
        })),
        Err(Error::Refused(Refusal::NotFound | Refusal::Gone)) => Ok(None),
        Err(error) => Err(error),
    }
}
