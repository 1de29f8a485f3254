//! What can go wrong, and what to do about it.
//!
//! One enum for the whole crate: calls meet different subsets, and each variant's documentation names its remedy,
//! which [`Error::advice`] also returns as a value. Errors are cheap to clone, because one lost connection or
//! one refused batch is reported to many waiters.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use streamkeeper_protocol::event::{EndReason, ErrorEvent};
use streamkeeper_protocol::{ErrorCode, WireError, code};

/// What a caller should do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Nothing happened or nothing changed: the same call may be made again, after a pause.
    Retry,
    /// The outcome is unknown: find out (read, stat) before repeating, or use a producer, which may repeat safely.
    Check,
    /// This client is of no more use: make a new one, perhaps for another server.
    Reconnect,
    /// The call or its configuration is wrong: repeating it unchanged gives the same answer.
    FixTheCall,
    /// Something broke that this program cannot mend: stop, and tell an operator.
    GiveUp,
}

/// An ERR answer of the server: the request was understood and not done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The stable numeric code, which decides what to do; `None` if it is newer than this client.
    pub code: Option<ErrorCode>,
    /// The code's number on the wire.
    pub number: u16,
    /// The server's sentence for people; its wording may change.
    pub message: String,
    /// The stream's tail, with `STREAM_CLOSED`, `TAIL_MISMATCH` and `OFFSET_PAST_TAIL`.
    pub tail: Option<u64>,
    /// The first offset still stored, with `OFFSET_TRIMMED`.
    pub earliest: Option<u64>,
    /// The producer sequence number that must come next, with `PRODUCER_GAP` and `PRODUCER_EPOCH_START`.
    pub expected_seq: Option<u64>,
    /// The epoch that fenced this producer off, with `PRODUCER_FENCED`.
    pub current_epoch: Option<u64>,
    /// The last accepted `seq`, with `SEQ_CONFLICT`.
    pub last_seq: Option<Bytes>,
    /// How long the server asks to wait before a repetition.
    pub retry_after: Option<Duration>,
}

/// Why the outcome of a request is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Doubt {
    /// The connection ended between the request and its answer.
    ConnectionLost,
    /// No answer came within the request timeout; one may still be on its way.
    TimedOut,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectionLost => "the connection was lost",
            Self::TimedOut => "no answer came in time",
        })
    }
}

/// What exceeds a limit of the server, in [`Error::TooLarge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The payload bytes of one record.
    Record,
    /// The records of one append.
    Batch,
    /// The bytes of the whole frame.
    Frame,
}

/// Any failure of this crate. See [`Error::advice`] for what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no server address. Fix the call.
    #[error("{address:?} is no server address: {reason}")]
    Address {
        /// The text given.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The connection could not be opened, or not in time. Retry, or check the address and that the server runs.
    #[error("no connection to {address}: {source}")]
    Connect {
        /// The address tried.
        address: String,
        /// What the operating system said, or `TimedOut` after the connect timeout.
        source: Arc<io::Error>,
    },
    /// An established connection failed. Seen as the cause in [`Error::Lost`].
    #[error("the connection to {address} failed: {source}")]
    Broken {
        /// The server.
        address: String,
        /// What the operating system said; `UnexpectedEof` if the server hung up.
        source: Arc<io::Error>,
    },
    /// The server did not answer a PING. Seen as the cause in [`Error::Lost`].
    #[error("nothing heard from the server for {after:?}")]
    Silent {
        /// How long: two heartbeat intervals.
        after: Duration,
    },
    /// Server and client share no protocol version. Upgrade one of them.
    #[error(
        "the server speaks protocol versions {server_min} to {server_max}, this client {client}"
    )]
    Version {
        /// The oldest version the server speaks.
        server_min: u16,
        /// The newest version the server speaks.
        server_max: u16,
        /// The version of this crate.
        client: u16,
    },
    /// The server wants a token and none was configured. Fix the call: `Client::builder(..).token(..)`.
    #[error("the server asks for a token and this client has none")]
    TokenMissing,
    /// The server refused the request. Look at [`Refusal::code`].
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The request was sent and its outcome is unknown: it may or may not have taken effect.
    ///
    /// Check before repeating (for an append: read or stat the stream, or send it with an expected tail), or use
    /// a [`crate::Producer`], whose appends are repeated safely.
    #[error("the outcome of the {request} is unknown: {doubt}")]
    Unconfirmed {
        /// The kind of request: `append`, `delete`.
        request: &'static str,
        /// Why it is unknown.
        doubt: Doubt,
    },
    /// There was no connection for as long as the request timeout; nothing was sent. Retry.
    #[error("not connected for {waited:?}; the request was not sent")]
    Disconnected {
        /// How long the call waited for a connection.
        waited: Duration,
    },
    /// No answer came within the request timeout to a request that changes nothing. Retry.
    #[error("no answer within {waited:?}")]
    TimedOut {
        /// How long the call waited.
        waited: Duration,
    },
    /// A record's checksum does not fit its payload: it was damaged on its way or in the store.
    ///
    /// Read it again; if it stays damaged, tell the operator (`streamkeeper check`).
    #[error("record {offset} of stream {stream:?} is corrupt: its checksum does not match")]
    Corrupt {
        /// The stream.
        stream: String,
        /// The record's offset.
        offset: u64,
    },
    /// The peer broke the protocol; the connection was ended. A bug in one of the two, or no Streamkeeper server.
    #[error("protocol violation by the server: {detail}")]
    Protocol {
        /// What was wrong.
        detail: String,
    },
    /// The subscription ended for another reason than the stream's close; no more records will come.
    #[error("the subscription to {stream:?} ended at offset {next}: {}", .reason.as_str())]
    Ended {
        /// The stream.
        stream: String,
        /// Why it ended.
        reason: EndReason,
        /// The offset that would have come next.
        next: u64,
        /// The first offset still stored, when records were trimmed away before they were delivered.
        earliest: Option<u64>,
    },
    /// A batch sent for the first time was answered as a duplicate: someone used this producer id and epoch before.
    ///
    /// Its records were **not** stored. Open the producer again with a higher epoch: each start of a program
    /// needs its own.
    #[error(
        "producer {producer:?} epoch {epoch} was used before: batch {seq} was not stored; raise the epoch"
    )]
    EpochReused {
        /// The producer id.
        producer: String,
        /// The epoch in use.
        epoch: u64,
        /// The sequence number of the batch that was refused as a duplicate.
        seq: u64,
    },
    /// The append exceeds a limit of the server; nothing was sent. Send less at once.
    #[error("{what:?} too large: {have}, and the server's limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: Part,
        /// Its size: bytes, or records for a batch.
        have: u64,
        /// The limit in the same unit.
        limit: u64,
    },
    /// An argument no server would accept; nothing was sent. Fix the call.
    #[error("invalid {argument}: {reason}")]
    Invalid {
        /// Which argument.
        argument: &'static str,
        /// Why it is refused.
        reason: &'static str,
    },
    /// The client (or this producer) was closed by the program. Make a new one.
    #[error("closed by this program")]
    Closed,
    /// The connection was lost and the reconnect policy allows no (further) attempt. Make a new client.
    #[error("the connection was lost for good: {cause}")]
    Lost {
        /// Why the last connection or attempt failed.
        cause: Arc<Error>,
    },
}

impl Error {
    /// What to do about it.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Address { .. }
            | Self::TokenMissing
            | Self::TooLarge { .. }
            | Self::Invalid { .. }
            | Self::EpochReused { .. } => Advice::FixTheCall,
            Self::Connect { .. }
            | Self::Broken { .. }
            | Self::Silent { .. }
            | Self::Disconnected { .. }
            | Self::TimedOut { .. } => Advice::Retry,
            Self::Unconfirmed { .. } => Advice::Check,
            Self::Closed | Self::Lost { .. } => Advice::Reconnect,
            Self::Version { .. } | Self::Protocol { .. } | Self::Corrupt { .. } => Advice::GiveUp,
            Self::Ended { reason, .. } => match reason {
                EndReason::TrimmedPast | EndReason::Unavailable => Advice::Retry,
                EndReason::Corrupt => Advice::GiveUp,
                EndReason::Closed
                | EndReason::Deleted
                | EndReason::Expired
                | EndReason::Unsubscribed => Advice::FixTheCall,
            },
            Self::Refused(refusal) => refusal.advice(),
        }
    }

    /// The server's refusal, if this is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The code of the server's refusal, if this is one.
    pub fn code(&self) -> Option<ErrorCode> {
        self.refusal().and_then(|refusal| refusal.code)
    }
}

impl Refusal {
    /// What to do about it.
    pub fn advice(&self) -> Advice {
        match self.code.map(ErrorCode::advice) {
            Some(code::Advice::Retry | code::Advice::Reconnect) => Advice::Retry,
            Some(code::Advice::FixTheCall) => Advice::FixTheCall,
            Some(code::Advice::GiveUp) | None => Advice::GiveUp,
        }
    }

    /// Whether the same request may succeed later, here or on the next connection.
    pub(crate) fn is_transient(&self) -> bool {
        self.advice() == Advice::Retry
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "refused with {code}: {}", self.message),
            None => write!(
                f,
                "refused with unknown code {}: {}",
                self.number, self.message
            ),
        }
    }
}

impl From<ErrorEvent> for Refusal {
    fn from(event: ErrorEvent) -> Self {
        Self {
            code: event.error_code(),
            number: event.code,
            message: event.message.as_str().to_owned(),
            tail: event.tail,
            earliest: event.earliest,
            expected_seq: event.expected_seq,
            current_epoch: event.current_epoch,
            // Copied: a slice would keep a whole receive buffer for as long as the error is kept.
            last_seq: event.last_seq.as_deref().map(Bytes::copy_from_slice),
            retry_after: event.retry_after_ms.map(Duration::from_millis),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        Self::Protocol {
            detail: error.to_string(),
        }
    }
}
