//! What a caller may say when creating a stream and when appending to it.

use std::time::Duration;

use bytes::Bytes;

use super::{Offset, Str, Timestamp};

/// When a stream goes away by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    #[default]
    Never,
    /// This many seconds after the last read or write (sliding). At least 1.
    Ttl(u64),
    /// At this time.
    At(Timestamp),
}

/// How much of a stream is kept; whichever limit is passed first trims from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Records older than this are trimmed.
    pub max_age: Option<Duration>,
    /// At most this many records are kept. At least 1.
    pub max_records: Option<u64>,
    /// At most this many payload bytes are kept, but always the newest record. At least 1.
    pub max_bytes: Option<u64>,
}

impl Retention {
    /// True if nothing is ever trimmed.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// Which backend keeps a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StorageKind {
    /// On disk; a confirm means fsync.
    #[default]
    Durable,
    /// In memory only; gone when the broker stops.
    Memory,
}

/// The configuration of a stream, fixed at its creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateOptions {
    /// Media type of the records; `application/json` turns JSON mode on.
    pub content_type: Str,
    /// When the stream goes away by itself.
    pub expiry: Expiry,
    /// How much of it is kept.
    pub retention: Retention,
    /// Which backend keeps it.
    pub storage: StorageKind,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            content_type: Str::from("application/octet-stream"),
            expiry: Expiry::default(),
            retention: Retention::default(),
            storage: StorageKind::default(),
        }
    }
}

/// Who appends, for idempotent retries: the sequence numbers of one epoch run 0, 1, 2, ... per append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer's name, stable over restarts.
    pub id: Str,
    /// Fencing epoch: a higher one shuts out all lower ones.
    pub epoch: u64,
    /// Number of this append within the epoch.
    pub seq: u64,
}

/// What may accompany an append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppendOptions {
    /// Media type of the records; refuse if it is not the stream's. Parameters and case do not matter.
    pub content_type: Option<Str>,
    /// Opaque sequence string; must be byte-wise greater than the last accepted on the stream.
    pub seq: Option<Bytes>,
    /// Idempotent producer stamp.
    pub producer: Option<ProducerStamp>,
    /// Refuse unless the tail is exactly here.
    pub expected_tail: Option<Offset>,
    /// Close the stream in the same step.
    pub close: bool,
}
