//! Errors by fate: a [`Refusal`] is the rules saying no to one request; a [`Fault`] is something broken.
//!
//! Both faces map each variant to their own code in one exhaustive match.

use bytes::Bytes;

use super::{NameError, Offset, Str};

/// The rules reject a request. Nothing was changed; other requests are not affected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such stream (or it has expired).
    #[error("no such stream: create it first")]
    NotFound,
    /// The stream was deleted, or has expired, and is kept only because forks share its records.
    #[error(
        "the stream is gone: only its forks can still be read; its name is free once they are deleted"
    )]
    Gone,
    /// The stream to fork is itself gone, or went away meanwhile.
    #[error("the source stream is gone: fork another one")]
    SourceGone,
    /// The stream exists with another configuration.
    #[error("the stream exists with another configuration: use it as it is, or another name")]
    AlreadyExists,
    /// The stream is closed; nothing can be appended any more.
    #[error("the stream is closed at offset {tail}")]
    StreamClosed {
        /// The final tail.
        tail: Offset,
    },
    /// The records' media type is not the stream's.
    #[error("the stream holds {expected}: append that")]
    ContentTypeMismatch {
        /// The stream's content type.
        expected: Str,
    },
    /// `seq` is not greater than the last accepted one.
    #[error("seq must be byte-wise greater than the last accepted one")]
    SeqConflict {
        /// The last accepted `seq`.
        last: Bytes,
    },
    /// A higher epoch of the same producer has taken over.
    #[error("this producer epoch is fenced: epoch {current} is current")]
    ProducerFenced {
        /// The current epoch.
        current: u64,
    },
    /// Producer appends are missing in between.
    #[error("producer seq {received} leaves a gap: {expected} is expected")]
    ProducerGap {
        /// The seq that would be accepted.
        expected: u64,
        /// The seq that came.
        received: u64,
    },
    /// A new epoch must begin at seq 0.
    #[error("a new producer epoch must begin at seq 0, not {received}")]
    ProducerEpochStart {
        /// The seq that came.
        received: u64,
    },
    /// The stream keeps the most producers it may.
    #[error("the stream knows {limit} producers already")]
    TooManyProducers {
        /// The limit.
        limit: usize,
    },
    /// The tail is not where the append expected it.
    #[error("the tail is at {actual}")]
    TailMismatch {
        /// Where the tail is.
        actual: Offset,
    },
    /// Reading before the trim point.
    #[error("the offset is trimmed: the earliest record is {earliest}")]
    Trimmed {
        /// The earliest record kept.
        earliest: Offset,
    },
    /// Reading past the tail.
    #[error("the offset lies past the tail {tail}")]
    PastTail {
        /// The tail.
        tail: Offset,
    },
    /// A record is not JSON, on a stream in JSON mode.
    #[error("record {index} is not valid JSON")]
    InvalidJson {
        /// Index of the record in the batch.
        index: usize,
    },
    /// Nothing to append, and no close asked for.
    #[error("the batch holds no record")]
    EmptyBatch,
    /// The name is no stream name.
    #[error(transparent)]
    InvalidName(#[from] NameError),
    /// An option is out of its range or contradicts another.
    #[error("option {option}: {reason}")]
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// A record is larger than the broker takes.
    #[error("a record has {have} bytes, the limit is {limit}")]
    RecordTooLarge {
        /// Bytes of the record.
        have: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

/// Something broke, or the broker is not in a state to serve. The request may or may not have been done
/// unless the variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A commit failed. The broker refuses writes until it is started again; whether this append is
    /// stored is unknown.
    #[error("the store failed and refuses writes until restarted: {reason}")]
    StoreFaulted {
        /// What failed first.
        reason: String,
    },
    /// No room is left for data of this kind. Nothing was stored.
    #[error("the store is full: {reason}")]
    StoreFull {
        /// Which bound was met.
        reason: String,
    },
    /// The broker is still starting. Nothing was done.
    #[error("the broker is starting: {reason}")]
    Starting {
        /// What it waits for.
        reason: String,
    },
    /// The broker shuts down. Nothing was done.
    #[error("the broker is shutting down: reconnect elsewhere or later")]
    Draining,
    /// Stored data does not match its checksum.
    #[error("stored data is corrupt at offset {offset}: {reason}")]
    Corrupt {
        /// Where in the stream.
        offset: Offset,
        /// What does not match.
        reason: String,
    },
    /// Reading the store failed.
    #[error("reading the store failed: {reason}")]
    Read {
        /// What failed.
        reason: String,
    },
}

/// Any failure of an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Something broke.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<NameError> for Error {
    fn from(error: NameError) -> Self {
        Self::Refused(Refusal::InvalidName(error))
    }
}
