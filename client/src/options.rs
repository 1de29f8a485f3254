//! What a request may be told beyond its stream and payload: builders with defaults that suit most calls.

use std::time::Duration;

use bytes::Bytes;
use streamkeeper_protocol::Str;
use streamkeeper_protocol::command::{Start, Storage};

/// How a stream is created. The default is an endless durable stream of bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateOptions {
    pub(crate) content_type: Option<Str>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) expires_at: Option<u64>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) max_records: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) storage: Option<Storage>,
}

impl CreateOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The content type (default `application/octet-stream`; `application/json` validates and splits arrays).
    #[must_use]
    pub fn content_type(mut self, content_type: &str) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Deletes the stream once it was neither read nor written for this long (whole seconds). Excludes `expires_at`.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Deletes the stream at this time, in microseconds since the Unix epoch. Excludes `ttl`.
    #[must_use]
    pub fn expires_at(mut self, micros: u64) -> Self {
        self.expires_at = Some(micros);
        self
    }

    /// Trims records older than this (whole milliseconds).
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Keeps at most this many records.
    #[must_use]
    pub fn max_records(mut self, records: u64) -> Self {
        self.max_records = Some(records);
        self
    }

    /// Keeps at most this many payload bytes.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Where the records are kept (default: what the server is configured for, usually durable).
    #[must_use]
    pub fn storage(mut self, storage: Storage) -> Self {
        self.storage = Some(storage);
        self
    }
}

/// Conditions and extras of one append.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppendOptions {
    pub(crate) seq: Option<Bytes>,
    pub(crate) producer: Option<(Str, u64, u64)>,
    pub(crate) expected_tail: Option<u64>,
    pub(crate) close_after: bool,
}

impl AppendOptions {
    /// No condition.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends only if `seq` is byte-wise greater than the last accepted on the stream (at most 256 bytes).
    #[must_use]
    pub fn seq(mut self, seq: impl Into<Bytes>) -> Self {
        self.seq = Some(seq.into());
        self
    }

    /// Names a producer by hand: id, epoch and the sequence number of this append. [`crate::Producer`] does so by
    /// itself, with batching and resending.
    #[must_use]
    pub fn producer(mut self, id: &str, epoch: u64, seq: u64) -> Self {
        self.producer = Some((id.into(), epoch, seq));
        self
    }

    /// Appends only if the stream's tail is this.
    #[must_use]
    pub fn expected_tail(mut self, tail: u64) -> Self {
        self.expected_tail = Some(tail);
        self
    }

    /// Closes the stream in the same step. Such an append may be empty.
    #[must_use]
    pub fn close_after(mut self) -> Self {
        self.close_after = true;
        self
    }
}

/// What a read returns and how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    pub(crate) from: Start,
    pub(crate) max_bytes: u32,
    pub(crate) max_records: u32,
    pub(crate) wait: Duration,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            from: Start::Beginning,
            max_bytes: 0,
            max_records: 0,
            wait: Duration::ZERO,
        }
    }
}

impl ReadOptions {
    /// From the beginning, as much as the server gives at once, without waiting.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where to begin (default: the beginning).
    #[must_use]
    pub fn from(mut self, from: Start) -> Self {
        self.from = from;
        self
    }

    /// At most this many bytes, but at least one record (default 0: the server's limit).
    #[must_use]
    pub fn max_bytes(mut self, bytes: u32) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// At most this many records (default 0: the server's limit).
    #[must_use]
    pub fn max_records(mut self, records: u32) -> Self {
        self.max_records = records;
        self
    }

    /// Waits this long for a first record (default: not at all; the protocol allows up to 60 s).
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// Where a subscription begins and how much may be on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeOptions {
    pub(crate) from: Start,
    pub(crate) window_bytes: u64,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self {
            from: Start::Beginning,
            window_bytes: 1 << 20,
        }
    }
}

impl SubscribeOptions {
    /// From the beginning, with a window of 1 MiB.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where to begin (default: the beginning).
    #[must_use]
    pub fn from(mut self, from: Start) -> Self {
        self.from = from;
        self
    }

    /// How many bytes may be delivered and not yet consumed (default 1 MiB, at least 1). This bounds the memory of
    /// the subscription, up to one record more.
    #[must_use]
    pub fn window_bytes(mut self, bytes: u64) -> Self {
        self.window_bytes = bytes.max(1);
        self
    }
}
