//! Where subscriptions are kept: reserved streams of the broker itself, so that they ride on its group commit.
//!
//! | stream | its newest record |
//! | --- | --- |
//! | `__ds/subscriptions/ID` | the head of a subscription; there is one as long as the stream exists |
//! | `__ds/links/NN/ID` | a part of its links: those whose names hash to `NN`, so that an ack writes few of many |
//! | `__ds/keys` | the secrets |
//!
//! Each keeps one record. A subscription is created links first and deleted head first: whatever a crash leaves between is
//! links without a head, which are removed at the next start. Written of links is only what could not be found out again: a
//! stream that the pattern takes in and nobody has acknowledged yet is not.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::core::{Head, Link, Links, Subscription};
use super::keys::Secrets;
use crate::broker::Broker;
use crate::storage::{ReadLimits, Storage as _};
use crate::types::{
    AppendOptions, CreateOptions, Error, Fault, Offset, RecordBlock, Refusal, Retention, Start,
    StorageKind, Str, StreamName,
};

const HEADS: &str = "__ds/subscriptions/";
const LINKS: &str = "__ds/links/";
const KEYS: &str = "__ds/keys";

/// Into how many parts the links of a subscription are divided. Fixed: it is part of what is stored.
const PARTS: u32 = 64;

/// Streams listed at a time.
const PAGE: usize = 1_024;

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    broker: Broker,
}

/// The links of one part, as stored.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    /// When the subscription was created that they are of: what is left of another of the same name does not count.
    created_at: u64,
    links: BTreeMap<String, Link>,
}

/// What one step is to make durable.
#[derive(Debug, Default)]
pub(super) struct Write {
    id: String,
    head: Option<Vec<u8>>,
    parts: Vec<(u32, Vec<u8>)>,
}

impl Write {
    /// The head if `head`, and the parts that hold `links`.
    pub(super) fn of(
        subscription: &Subscription,
        head: bool,
        links: &BTreeSet<StreamName>,
    ) -> Self {
        let head = head.then(|| json(&subscription.head));
        let mut parts: BTreeMap<u32, Part> = BTreeMap::new();
        for name in links {
            parts.entry(part(name)).or_insert(Part {
                created_at: subscription.head.created_at.0,
                links: BTreeMap::new(),
            });
        }
        if !parts.is_empty() {
            for (name, link) in subscription.links.iter() {
                let cannot_be_found_again =
                    link.explicit || link.acked.is_some() || link.anew_in.is_some();
                if let Some(part) = parts.get_mut(&part(name))
                    && cannot_be_found_again
                {
                    part.links.insert(name.to_string(), *link);
                }
            }
        }
        let parts = parts.iter().map(|(number, part)| (*number, json(part)));
        Self {
            id: subscription.head.id.clone(),
            head,
            parts: parts.collect(),
        }
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("the state is maps with text keys, text and numbers")
}

fn part(name: &StreamName) -> u32 {
    crc32c::crc32c(name.as_str().as_bytes()) % PARTS
}

fn head_name(id: &str) -> Result<StreamName, Error> {
    Ok(StreamName::new(&format!("{HEADS}{id}"))?)
}

fn part_name(part: u32, id: &str) -> Result<StreamName, Error> {
    Ok(StreamName::new(&format!("{LINKS}{part:02}/{id}"))?)
}

fn put_back(part: Option<Part>, head: &Head, links: &mut Links) -> Result<(), Error> {
    let part = part.filter(|part| part.created_at == head.created_at.0);
    for (name, link) in part.into_iter().flat_map(|part| part.links) {
        links.insert(StreamName::new(&name)?, link);
    }
    Ok(())
}

impl Shelf {
    pub(super) fn new(broker: Broker) -> Self {
        Self { broker }
    }

    /// Makes a step durable.
    pub(super) async fn write(&self, write: Write) -> Result<(), Error> {
        let Write { id, head, parts } = write;
        // Together, so that they share a commit. No order is needed: cursors that moved are true without the head, and
        // without them the head makes a worker see records twice.
        let parts = parts.into_iter().map(|(part, record)| {
            let id = &id;
            async move { self.put(&part_name(part, id)?, record).await }
        });
        let head = async {
            match head {
                Some(record) => self.put(&head_name(&id)?, record).await,
                None => Ok(()),
            }
        };
        let parts = futures_util::future::try_join_all(parts);
        futures_util::future::try_join(parts, head).await.map(drop)
    }

    /// Makes a new subscription durable: the links first.
    pub(super) async fn write_new(&self, mut write: Write) -> Result<(), Error> {
        let head = write.head.take();
        let id = write.id.clone();
        self.write(write).await?;
        let write = Write {
            id,
            head,
            parts: Vec::new(),
        };
        self.write(write).await
    }

    /// Removes a subscription: the head first.
    pub(super) async fn remove(&self, id: &str) -> Result<(), Error> {
        self.delete(&head_name(id)?).await?;
        let parts = (0..PARTS).map(|part| async move { self.delete(&part_name(part, id)?).await });
        futures_util::future::try_join_all(parts).await.map(drop)
    }

    /// Reads one subscription.
    pub(super) async fn read(&self, id: &str) -> Result<Option<Subscription>, Error> {
        let Some(head) = self.get::<Head>(&head_name(id)?).await? else {
            return Ok(None);
        };
        let mut links = Links::default();
        let parts = (0..PARTS).map(|part| async move { self.get(&part_name(part, id)?).await });
        for part in futures_util::future::try_join_all(parts).await? {
            put_back(part, &head, &mut links)?;
        }
        Ok(Some(Subscription::revived(head, links)))
    }

    /// Reads all subscriptions, and removes what a crash left of others.
    pub(super) async fn read_all(&self) -> Result<Vec<Subscription>, Error> {
        let mut found: BTreeMap<String, (Head, Links)> = BTreeMap::new();
        let mut unreadable: BTreeSet<String> = BTreeSet::new();
        for name in self.names(HEADS).await? {
            let id = name
                .as_str()
                .strip_prefix(HEADS)
                .unwrap_or_default()
                .to_owned();
            match self.get::<Head>(&name).await {
                Ok(Some(head)) => drop(found.insert(id, (head, Links::default()))),
                Ok(None) => {}
                Err(Error::Fault(Fault::Corrupt { reason, .. })) => {
                    // One that cannot be read does not keep the others from working; nor is it removed.
                    tracing::error!(subscription = id, reason, "a subscription cannot be read");
                    unreadable.insert(id);
                }
                Err(error) => return Err(error),
            }
        }
        for name in self.names(LINKS).await? {
            let rest = name.as_str().strip_prefix(LINKS).unwrap_or_default();
            let id = rest.split_once('/').map_or("", |(_, id)| id);
            let Some((head, links)) = found.get_mut(id) else {
                if !unreadable.contains(id) {
                    self.delete(&name).await?;
                }
                continue;
            };
            put_back(self.get(&name).await?, head, links)?;
        }
        let revived = found.into_values();
        Ok(revived
            .map(|(head, links)| Subscription::revived(head, links))
            .collect())
    }

    /// The secrets, if there are any yet.
    pub(super) async fn secrets(&self) -> Result<Option<Secrets>, Error> {
        self.get(&StreamName::new(KEYS)?).await
    }

    /// Keeps the secrets.
    pub(super) async fn keep_secrets(&self, secrets: &Secrets) -> Result<(), Error> {
        self.put(&StreamName::new(KEYS)?, json(secrets)).await
    }

    async fn names(&self, prefix: &str) -> Result<Vec<StreamName>, Error> {
        let mut names: Vec<StreamName> = Vec::new();
        loop {
            let after = names.last().map(StreamName::as_str);
            let page = self.broker.list(prefix, after, PAGE).await?;
            names.extend(page.streams.into_iter().map(|listed| listed.name));
            if !page.more {
                return Ok(names);
            }
        }
    }

    async fn put(&self, name: &StreamName, record: Vec<u8>) -> Result<(), Error> {
        let batch = RecordBlock::from_payloads([record]);
        let append = || {
            self.broker
                .append(name, batch.clone(), AppendOptions::default())
        };
        match append().await {
            Err(Error::Refused(Refusal::NotFound)) => {
                let options = CreateOptions {
                    content_type: Str::from("application/json"),
                    retention: Retention {
                        max_records: Some(1),
                        ..Retention::default()
                    },
                    storage: StorageKind::Durable,
                    ..CreateOptions::default()
                };
                self.broker.create(name, options).await?;
                append().await.map(drop)
            }
            appended => appended.map(drop),
        }
    }

    /// The newest record of a stream, if there is one.
    async fn get<T: DeserializeOwned>(&self, name: &StreamName) -> Result<Option<T>, Error> {
        let mut from = Start::Beginning;
        let mut newest = None;
        loop {
            let read = self.broker.read_messages(name, from, ReadLimits::default());
            let read = match read.await {
                Err(Error::Refused(Refusal::NotFound)) => return Ok(None),
                read => read?,
            };
            newest = read.messages.into_iter().next_back().or(newest);
            if !read.has_more {
                break;
            }
            from = Start::At(Offset(read.next.offset.0));
        }
        let Some(newest) = newest else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&newest.payload).map_err(|error| {
            Error::Fault(Fault::Corrupt {
                offset: newest.position.offset,
                reason: format!("{name}: {error}"),
            })
        });
        value.map(Some)
    }

    async fn delete(&self, name: &StreamName) -> Result<(), Error> {
        match self.broker.delete(name).await {
            Err(Error::Refused(Refusal::NotFound)) => Ok(()),
            deleted => deleted,
        }
    }
}
