//! What operations answer.

use bytes::Bytes;

use super::{CreateOptions, Offset, Position, Timestamp};

/// One incarnation of a stream: a stream deleted and created again has another id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Why a stream went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteReason {
    /// A client asked for it.
    Requested,
    /// Its ttl or expiry passed.
    Expired,
}

/// Answer of a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// The stream was there already, with the same configuration.
    pub existed: bool,
    /// The tail.
    pub tail: Position,
    /// The stream is closed.
    pub closed: bool,
}

/// Answer of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The tail after the append; of a duplicate, the tail as it stands.
    pub tail: Position,
    /// A retry of an append that had been accepted: nothing was stored again.
    pub duplicate: bool,
    /// The stream is closed now.
    pub closed: bool,
    /// The last seq accepted of the append's producer in its epoch.
    pub producer_seq: Option<u64>,
}

/// Answer of a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The final tail.
    pub tail: Position,
}

/// What is known of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Its configuration.
    pub options: CreateOptions,
    /// When it was created.
    pub created_at: Timestamp,
    /// When the newest record was committed, if there ever was one.
    pub last_append_at: Option<Timestamp>,
    /// True once closed; for ever.
    pub closed: bool,
    /// The earliest record still kept.
    pub earliest: Position,
    /// The position after the last record.
    pub tail: Position,
    /// The last accepted `seq`.
    pub last_seq: Option<Bytes>,
}

impl Metadata {
    /// Records kept.
    pub fn records(&self) -> u64 {
        self.tail.offset.0.saturating_sub(self.earliest.offset.0)
    }

    /// Payload bytes kept.
    pub fn bytes(&self) -> u64 {
        self.tail.byte.saturating_sub(self.earliest.byte)
    }
}

/// Answer of a read: payloads joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The payloads, joined; in JSON mode, a JSON array of them.
    pub bytes: Bytes,
    /// Where to read on.
    pub next: Position,
    /// More is there to read now.
    pub has_more: bool,
    /// The stream is closed and `next` is its final tail.
    pub closed: bool,
}

/// One record as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its position.
    pub position: Position,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// Its payload.
    pub payload: Bytes,
}

impl Message {
    /// The offset after this record.
    pub fn next(&self) -> Offset {
        Offset(self.position.offset.0.saturating_add(1))
    }
}

/// Answer of a read, record by record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages {
    /// The records, in order.
    pub messages: Vec<Message>,
    /// Where to read on.
    pub next: Position,
    /// More is there to read now.
    pub has_more: bool,
    /// The stream is closed and `next` is its final tail.
    pub closed: bool,
}
