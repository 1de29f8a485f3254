//! What is known of one stream between two commands.
//!
//! The engine keeps one [`StreamState`] per resident stream, and the store writes it down. Only
//! [`apply`](super::apply()) and [`StreamState::appended`] change it. Invariants: `earliest <= tail` in both parts, and once
//! `closed` the tail never moves again. Records are not kept here: they are the store's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::json;
use super::producer::Producers;
use crate::types::{CreateOptions, Expiry, Fork, Metadata, Offset, Position, StreamId, Timestamp};

/// One incarnation of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// This incarnation's id.
    pub id: StreamId,
    /// Its configuration, fixed at its creation.
    pub options: Arc<CreateOptions>,
    /// When it was created.
    pub created_at: Timestamp,
    /// The last read or write that restarted a sliding ttl. Never moves back, even if the clock does.
    pub touched_at: Timestamp,
    /// When the newest record was committed, if there ever was one.
    pub last_append_at: Option<Timestamp>,
    /// The earliest record still kept.
    pub earliest: Position,
    /// The position after the last record.
    pub tail: Position,
    /// True once closed; for ever.
    pub closed: bool,
    /// The last accepted `seq`.
    pub last_seq: Option<Bytes>,
    /// The idempotent producers that have appended.
    pub producers: Producers,
    /// Where it forked off another stream, if it did.
    pub fork: Option<Arc<Fork>>,
    /// How many streams fork off this one.
    pub forks: u64,
    /// Records before this offset are shared with forks: they stay as long as there are any, whatever is trimmed for the
    /// stream's own readers. 0 if it has no forks.
    pub shared_until: Offset,
    /// Deleted or expired, and kept only for its forks: nobody may read it or write to it, and its name stays taken.
    pub deleted: bool,
}

impl StreamState {
    /// A stream just created: open, and empty but for what a fork inherits.
    pub fn new(
        id: StreamId,
        options: Arc<CreateOptions>,
        at: Timestamp,
        fork: Option<Arc<Fork>>,
    ) -> Self {
        let (earliest, tail) = match &fork {
            Some(fork) => (fork.earliest, fork.at),
            None => (Position::START, Position::START),
        };
        Self {
            id,
            options,
            created_at: at,
            touched_at: at,
            last_append_at: None,
            earliest,
            tail,
            closed: false,
            last_seq: None,
            producers: Producers::default(),
            fork,
            forks: 0,
            shared_until: Offset(0),
            deleted: false,
        }
    }

    /// Takes note that `records` records holding `payload_bytes` payload bytes were appended at `at`.
    pub fn appended(&mut self, records: u32, payload_bytes: u64, at: Timestamp) {
        self.tail = self.tail.advanced(u64::from(records), payload_bytes);
        self.last_append_at = Some(at);
        self.touch(at);
    }

    /// Restarts the sliding ttl at `at`, unless it was restarted later than that already.
    pub fn touch(&mut self, at: Timestamp) {
        self.touched_at = self.touched_at.max(at);
    }

    /// When the stream goes away by itself, if it does.
    pub fn expires_at(&self) -> Option<Timestamp> {
        if self.deleted {
            return None;
        }
        match self.options.expiry {
            Expiry::Never => None,
            Expiry::Ttl(seconds) => Some(self.touched_at.after(Duration::from_secs(seconds))),
            Expiry::At(at) => Some(at),
        }
    }

    /// True from the moment of [`expires_at`](Self::expires_at) on: the stream then counts as absent.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at().is_some_and(|at| at <= now)
    }

    /// True if the stream is in JSON mode.
    pub fn is_json(&self) -> bool {
        json::is_json(self.options.content_type.as_bytes())
    }

    /// Where records that nobody reads any more end; those before [`shared_until`](Self::shared_until) forks still read.
    pub fn unread_until(&self) -> Offset {
        if self.deleted {
            self.tail.offset
        } else {
            self.earliest.offset
        }
    }

    /// Records kept.
    pub fn records(&self) -> u64 {
        self.tail.offset.0.saturating_sub(self.earliest.offset.0)
    }

    /// What a client may know of the stream.
    pub fn metadata(&self) -> Metadata {
        Metadata {
            options: CreateOptions::clone(&self.options),
            created_at: self.created_at,
            last_append_at: self.last_append_at,
            closed: self.closed,
            earliest: self.earliest,
            tail: self.tail,
            last_seq: self.last_seq.clone(),
        }
    }
}
