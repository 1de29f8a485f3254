//! Idempotent producers of one stream: who has appended, and how far each has come.
//!
//! The append rules read this, [`apply`](super::apply()) advances it. Invariant: a producer's epoch never falls, and within
//! one epoch neither does its seq. It holds at most as many producers as
//! [`RuleLimits::producers_max`](super::RuleLimits) said when each was let in; that limit is checked by the rules, not here.

use std::collections::HashMap;
use std::time::Duration;

use crate::types::Timestamp;

/// How far one producer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// The current epoch; lower ones are fenced.
    pub epoch: u64,
    /// The last seq accepted within the epoch.
    pub seq: u64,
    /// When that was.
    pub at: Timestamp,
}

/// The producers of one stream, by id. Empty, it holds no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers(HashMap<Box<str>, ProducerState>);

impl Producers {
    /// What is known of the producer `id`.
    pub fn get(&self, id: &str) -> Option<ProducerState> {
        self.0.get(id).copied()
    }

    /// Notes how far the producer `id` has come. Its name is copied only the first time.
    pub fn advance(&mut self, id: &str, to: ProducerState) {
        match self.0.get_mut(id) {
            Some(known) => *known = to,
            None => {
                self.0.insert(Box::from(id), to);
            }
        }
    }

    /// All producers, in no particular order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, ProducerState)> {
        self.0.iter().map(|(id, state)| (&**id, *state))
    }

    /// How many producers are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if no producer is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The newest time for which [`evict_idle`](Self::evict_idle) would forget exactly the producers that were idle for
    /// `idle` or longer, or `None` if there are none. Looks at every producer.
    pub fn idle_since(&self, now: Timestamp, idle: Duration) -> Option<Timestamp> {
        self.0
            .values()
            .map(|state| state.at)
            .filter(|at| at.after(idle) <= now)
            .max()
    }

    /// Forgets every producer that last appended at `since` or before.
    pub fn evict_idle(&mut self, since: Timestamp) {
        self.0.retain(|_, state| state.at > since);
    }
}
