//! The streams of one subscription: how each is linked, how far it is acknowledged, and where its tail is.
//!
//! A link knows the incarnation of its stream (when that was created), so that a stream deleted and created again begins
//! at its start. The tail is what was last observed; it is not stored, but looked up again after a restart. Whether a link
//! is one by pattern follows from the configuration and is not stored either.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text;
use crate::types::{Position, StreamName, Timestamp};

/// What was observed of a stream that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its durable tail.
    pub tail: Position,
    /// When it was created: tells one incarnation of a name from the next.
    pub created_at: Timestamp,
}

/// One stream of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Named by a client, not only matched by the pattern.
    pub explicit: bool,
    /// What is processed; `None` if nothing ever was and reading begins at the start.
    #[serde(with = "text::optional")]
    pub acked: Option<Position>,
    /// When the stream was created; `None` while it does not exist.
    #[serde(with = "text::optional_micros")]
    pub created_at: Option<Timestamp>,
    /// The generation of the wake that was out when the stream was found to be another than before, or gone: what its worker reports
    /// of the stream is about one that is no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anew_in: Option<u64>,
    /// The last tail observed.
    #[serde(skip)]
    pub tail: Position,
}

impl Link {
    /// A link by a client that begins at the tail.
    pub fn explicit(facts: Option<Facts>) -> Self {
        Self {
            explicit: true,
            ..Self::at_tail(facts)
        }
    }

    /// A link by the pattern to a stream that was there before the subscription.
    pub fn at_tail(facts: Option<Facts>) -> Self {
        Self {
            explicit: false,
            acked: facts.map(|facts| facts.tail),
            created_at: facts.map(|facts| facts.created_at),
            anew_in: None,
            tail: facts.map(|facts| facts.tail).unwrap_or_default(),
        }
    }

    /// A link by the pattern to a stream that came after the subscription.
    pub fn at_start(facts: Facts) -> Self {
        Self {
            explicit: false,
            acked: None,
            created_at: Some(facts.created_at),
            anew_in: None,
            tail: facts.tail,
        }
    }

    /// Whether records wait for a worker.
    pub fn is_pending(&self) -> bool {
        self.tail > self.acked.unwrap_or(Position::START)
    }

    /// Takes what was observed. A stream that is gone, or is another than before, is not processed at all. `wake`: the
    /// generation of the wake that is out.
    fn observe(&mut self, facts: Option<Facts>, wake: Option<u64>) {
        let created_at = facts.map(|facts| facts.created_at);
        let tail = facts.map(|facts| facts.tail).unwrap_or_default();
        let is_another = created_at != self.created_at;
        if is_another || self.acked.is_some_and(|acked| acked > tail) {
            self.acked = None;
            // One that was not there before is no other: nobody was told of it.
            if self.created_at.is_some() && wake.is_some() {
                self.anew_in = wake;
            }
        }
        self.created_at = created_at;
        self.tail = tail;
    }
}

/// A stream as workers are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamInfo {
    /// Its name.
    #[serde(with = "text::one")]
    pub path: StreamName,
    /// `explicit` or `glob`.
    pub link_type: &'static str,
    /// What is processed; `-1` for nothing.
    pub acked_offset: String,
    /// Its tail.
    #[serde(with = "text::one")]
    pub tail_offset: Position,
    /// Whether records wait.
    pub has_pending: bool,
    /// The incarnation that this is about.
    #[serde(skip)]
    pub created_at: Option<Timestamp>,
}

fn info((path, link): (&StreamName, &Link)) -> StreamInfo {
    StreamInfo {
        path: path.clone(),
        link_type: if link.explicit { "explicit" } else { "glob" },
        acked_offset: link
            .acked
            .map_or_else(|| String::from("-1"), |acked| acked.to_string()),
        tail_offset: link.tail,
        has_pending: link.is_pending(),
        created_at: link.created_at,
    }
}

/// All links of one subscription, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links(BTreeMap<StreamName, Link>);

impl Links {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The link to a stream.
    pub fn get(&self, name: &StreamName) -> Option<&Link> {
        self.0.get(name)
    }

    /// All links in order.
    pub fn iter(&self) -> impl Iterator<Item = (&StreamName, &Link)> {
        self.0.iter()
    }

    /// Puts a link, in place of any other.
    pub fn insert(&mut self, name: StreamName, link: Link) {
        self.0.insert(name, link);
    }

    /// The first stream with records that wait.
    pub fn first_pending(&self) -> Option<&StreamName> {
        let mut pending = self.0.iter().filter(|(_, link)| link.is_pending());
        pending.next().map(|(name, _)| name)
    }

    /// Up to `limit` streams for a worker: those with records that wait come first.
    pub fn infos(&self, limit: usize) -> Vec<StreamInfo> {
        let pending = self.0.iter().filter(|(_, link)| link.is_pending());
        let rest = self.0.iter().filter(|(_, link)| !link.is_pending());
        let mut infos: Vec<_> = pending.chain(rest).take(limit).map(info).collect();
        infos.sort_by(|a, b| a.path.cmp(&b.path));
        infos
    }

    /// Takes what was observed of a stream. `matches`: the pattern takes it in. `wake`: the wake that is out, by its generation and
    /// when its worker was told of the streams. Gives whether it is linked now.
    pub(super) fn observe(
        &mut self,
        name: &StreamName,
        facts: Option<Facts>,
        matches: bool,
        wake: Option<(u64, Timestamp)>,
    ) -> bool {
        match (self.0.get_mut(name), facts) {
            (Some(link), None) if !link.explicit => {
                self.0.remove(name);
                false
            }
            (Some(link), facts) => {
                link.observe(facts, wake.map(|(generation, _)| generation));
                true
            }
            (None, Some(facts)) if matches => {
                // It may be what comes after a stream of that name that the worker was told of.
                let later = wake.filter(|(_, told_at)| facts.created_at >= *told_at);
                let link = Link {
                    anew_in: later.map(|(generation, _)| generation),
                    ..Link::at_start(facts)
                };
                self.0.insert(name.clone(), link);
                true
            }
            (None, _) => false,
        }
    }

    /// Adds a link by a client. One that is there keeps its place. Gives whether anything changed.
    pub fn add_explicit(&mut self, name: StreamName, facts: Option<Facts>) -> bool {
        match self.0.get_mut(&name) {
            Some(link) => !std::mem::replace(&mut link.explicit, true),
            None => self.0.insert(name, Link::explicit(facts)).is_none(),
        }
    }

    /// Takes a client's link away; `matches`: the pattern still holds the stream. Gives whether anything changed.
    pub fn remove_explicit(&mut self, name: &StreamName, matches: bool) -> bool {
        let Some(link) = self.0.get_mut(name).filter(|link| link.explicit) else {
            return false;
        };
        link.explicit = false;
        if !matches || link.created_at.is_none() {
            self.0.remove(name);
        }
        true
    }

    /// A worker is told of the streams as they are.
    pub(super) fn tell(&mut self) {
        for link in self.0.values_mut() {
            link.anew_in = None;
        }
    }

    /// Moves the cursor of a stream forward. Gives whether it moved.
    pub(super) fn advance(&mut self, name: &StreamName, to: Position) -> bool {
        let Some(link) = self.0.get_mut(name) else {
            return false;
        };
        let moved = link.acked.is_none_or(|acked| acked < to);
        if moved {
            link.acked = Some(to);
        }
        moved
    }
}
