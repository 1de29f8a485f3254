//! Listing: the store's catalogue, overlaid with what is in memory and newer.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Broker;
use crate::fanout::{blocking, read_fault};
use crate::store::LocalStore;
use crate::stream::View;
use crate::types::{Error, Position, StreamName, Timestamp};

/// One stream of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: StreamName,
    /// Earliest record kept.
    pub earliest: Position,
    /// The durable tail.
    pub tail: Position,
    /// Closed for ever.
    pub closed: bool,
}

/// A page of streams, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The streams.
    pub streams: Vec<Listed>,
    /// There are more: list again after the last name.
    pub more: bool,
}

/// Catalogue rows read at a time.
const PAGE: usize = 1024;

impl Broker {
    /// Streams whose names begin with `prefix` and sort after `after`, in order, up to `limit`. Reserved names are shown
    /// only to those who ask for them.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        let limit = limit.max(1);
        let internal = prefix.starts_with(StreamName::RESERVED);
        let now = self.inner.durable.shared.clock.now();
        let mut resident = resident(&self.inner.durable, prefix, after, now);
        resident.extend(resident_in_memory(&self.inner.memory, prefix, after, now));
        let mut streams: Vec<Listed> = Vec::new();
        let mut from = after.map(str::to_owned);
        loop {
            let (page, exhausted) = self.catalogue(prefix, from.clone(), now).await?;
            from = page.last().map(|(name, _)| name.as_str().to_owned());
            let reached = |name: &StreamName| {
                exhausted || from.as_deref().is_some_and(|last| name.as_str() <= last)
            };
            let mut merged: BTreeMap<StreamName, Option<Listed>> = page.into_iter().collect();
            while let Some((name, _)) = resident.first_key_value().filter(|(name, _)| reached(name))
            {
                let name = name.clone();
                let newer = resident.remove(&name).flatten();
                merged.insert(name, newer);
            }
            let shown = |listed: &Listed| internal || !listed.name.is_reserved();
            streams.extend(merged.into_values().flatten().filter(shown));
            if exhausted || streams.len() > limit {
                break;
            }
        }
        let more = streams.len() > limit;
        streams.truncate(limit);
        Ok(Listing { streams, more })
    }

    async fn catalogue(
        &self,
        prefix: &str,
        after: Option<String>,
        now: Timestamp,
    ) -> Result<(Vec<(StreamName, Option<Listed>)>, bool), Error> {
        let (store, prefix) = (Arc::clone(&self.inner.durable), prefix.to_owned());
        let entries = blocking(move || {
            let chunks = store.shared.chunks.as_ref();
            let read = chunks.map_or(Ok(Vec::new()), |chunks| {
                chunks.catalogue(&prefix, after.as_deref(), PAGE)
            });
            read.map_err(|error| read_fault(&error))
        });
        let entries = entries.await?;
        let exhausted = entries.len() < PAGE;
        let listed = entries.into_iter().map(|entry| {
            let listed = (!entry.state.deleted && !entry.state.is_expired(now))
                .then(|| listed(&entry.name, &View::of(&entry.state)));
            (entry.name, listed)
        });
        Ok((listed.collect(), exhausted))
    }
}

fn listed(name: &StreamName, view: &View) -> Listed {
    Listed {
        name: name.clone(),
        earliest: view.earliest,
        tail: view.tail,
        closed: view.closed,
    }
}

/// What memory knows: a stream as it is, or `None` for one that is gone although the store may still list it.
fn resident(
    store: &LocalStore,
    prefix: &str,
    after: Option<&str>,
    now: Timestamp,
) -> BTreeMap<StreamName, Option<Listed>> {
    let wanted = |name: &str| name.starts_with(prefix) && after.is_none_or(|after| name > after);
    let streams = store.shared.registry.all().into_iter();
    let known = streams.filter(|stream| stream.is_loaded() && wanted(stream.name().as_str()));
    known
        .map(|stream| {
            let live = stream.live();
            let there = live.view.as_ref().filter(|view| {
                !view.deleted
                    && view
                        .expires_at(stream.last_read())
                        .is_none_or(|at| at > now)
            });
            (
                stream.name().clone(),
                there.map(|view| listed(stream.name(), view)),
            )
        })
        .collect()
}

/// Streams in memory that exist: a name gone there may still be a durable stream.
fn resident_in_memory(
    store: &LocalStore,
    prefix: &str,
    after: Option<&str>,
    now: Timestamp,
) -> impl Iterator<Item = (StreamName, Option<Listed>)> {
    resident(store, prefix, after, now)
        .into_iter()
        .filter(|(_, listed)| listed.is_some())
}
