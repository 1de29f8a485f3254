//! What requests answer: plain values, free of the wire.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use streamkeeper_protocol::command::Storage;

/// What the server said of itself when the connection was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// The server's id, stable across restarts.
    pub id: String,
    /// The server's version.
    pub version: String,
    /// The number of this session, for the server's logs.
    pub session: u64,
    /// The heartbeat the server suggests; zero means none.
    pub heartbeat: Duration,
    /// The longest frame, in bytes.
    pub frame_bytes_max: u32,
    /// The longest payload of one record, in bytes.
    pub record_bytes_max: u32,
    /// The most records in one append.
    pub batch_records_max: u32,
    /// The most subscriptions on one connection.
    pub subscriptions_max: u32,
    /// Optional features the server offers, by name.
    pub features: HashSet<String>,
}

/// One stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Its position in the stream, from 0.
    pub offset: u64,
    /// Payload bytes of the stream before it.
    pub byte: u64,
    /// When it was committed: microseconds since the Unix epoch, by the server's clock.
    pub committed_at: u64,
    /// What was appended. A slice of the receive buffer: copy it to keep it for long.
    pub payload: Bytes,
}

/// The answer to an append: its records are durable (in a memory stream: stored).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Appended {
    /// The offset after the last record appended.
    pub tail: u64,
    /// Whether the server had this append already, from the same producer: it was not stored twice.
    pub duplicate: bool,
    /// Whether the stream is closed now.
    pub closed: bool,
}

/// The answer to a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Created {
    /// Whether the stream existed already, with the same configuration.
    pub existed: bool,
    /// Its tail: 0 when new.
    pub tail: u64,
}

/// The answer to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The records, in order, checksums checked.
    pub records: Vec<Record>,
    /// Where to read on.
    pub next: u64,
    /// Payload bytes of the stream before `next`.
    pub next_byte: u64,
    /// The stream's tail.
    pub tail: u64,
    /// Whether more records are stored already from `next` on.
    pub more: bool,
    /// Whether the stream is closed: with `more` false, there will never be more.
    pub closed: bool,
}

/// The answer to a stat: everything the server knows of a stream. Times are microseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStatus {
    /// The content type given at creation.
    pub content_type: String,
    /// When it was created.
    pub created_at: u64,
    /// Whether it is closed.
    pub closed: bool,
    /// Where it is kept.
    pub storage: Storage,
    /// The first offset still stored.
    pub earliest: u64,
    /// Payload bytes of the stream before `earliest`.
    pub earliest_byte: u64,
    /// The offset after the last record.
    pub tail: u64,
    /// Payload bytes ever appended.
    pub tail_byte: u64,
    /// The sliding lifetime, restarted by each read or write.
    pub ttl: Option<Duration>,
    /// When it expires, if an absolute time was given.
    pub expires_at: Option<u64>,
    /// Retention by age.
    pub max_age: Option<Duration>,
    /// Retention by number of records.
    pub max_records: Option<u64>,
    /// Retention by payload bytes.
    pub max_bytes: Option<u64>,
    /// The last accepted `seq` of an append.
    pub last_seq: Option<Bytes>,
    /// When the last append was committed.
    pub last_append_at: Option<u64>,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamEntry {
    /// The stream's name.
    pub stream: String,
    /// The offset after the last record.
    pub tail: u64,
    /// The first offset still stored.
    pub earliest: u64,
    /// Whether it is closed.
    pub closed: bool,
}

/// One page of a listing, in byte order of the names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListPage {
    /// The streams.
    pub streams: Vec<StreamEntry>,
    /// Whether more follow after the last.
    pub more: bool,
}
