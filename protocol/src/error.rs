//! What can be wrong with bytes off the wire.
//!
//! [`WireError`] is about frames, [`RecordError`] about the records in them. Both say by `code()` which
//! [`ErrorCode`] answers the peer; whether the connection ends is [`ErrorCode::is_fatal`] of that. A frame is
//! delimited before it is parsed, so a code that is not fatal leaves the connection in step.

use thiserror::Error;

use crate::code::ErrorCode;

/// A frame, or a run, that does not follow the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// The length field is too small for the fixed header.
    #[error("frame length {have} is less than the 6 bytes of the header")]
    FrameTooShort {
        /// The length field.
        have: u32,
    },
    /// The length field is over the limit in force.
    #[error("frame length {have} is over the limit of {limit} bytes")]
    FrameTooLarge {
        /// The length field.
        have: u32,
        /// The limit it was compared with.
        limit: u32,
    },
    /// The kind is not one this direction has.
    #[error("unknown frame kind {kind:#04x}")]
    UnknownKind {
        /// The kind byte.
        kind: u8,
    },
    /// The body ends inside something.
    #[error("body of frame kind {kind:#04x} ends too early, after {have} bytes")]
    Truncated {
        /// The kind byte.
        kind: u8,
        /// Bytes in the body.
        have: usize,
    },
    /// The body goes on after its last part.
    #[error("body of frame kind {kind:#04x} has {count} bytes too many")]
    TrailingBytes {
        /// The kind byte.
        kind: u8,
        /// Bytes left over.
        count: usize,
    },
    /// Text that is not UTF-8.
    #[error("text that is not UTF-8, from its byte {valid_up_to} on")]
    InvalidUtf8 {
        /// Bytes of the text that are in order.
        valid_up_to: usize,
    },
    /// The optional fields do not fill their section exactly.
    #[error("an optional field goes past the end of its section")]
    FieldsTruncated,
    /// A known optional field stands twice.
    #[error("optional field {tag} stands twice")]
    FieldRepeated {
        /// The field's tag.
        tag: u8,
    },
    /// A known optional field's value has a length its type cannot have.
    #[error("optional field {tag} has a value of {have} bytes")]
    FieldLength {
        /// The field's tag.
        tag: u8,
        /// Bytes of the value.
        have: usize,
    },
    /// A number that stands for something has no meaning here.
    #[error("{value} is no {what}")]
    UnknownValue {
        /// What the number should have been.
        what: &'static str,
        /// The number.
        value: u64,
    },
    /// A count or a length over its limit.
    #[error("{what}: {have} is over the limit of {limit}")]
    OverLimit {
        /// What was counted.
        what: &'static str,
        /// The number read.
        have: u64,
        /// The limit.
        limit: u64,
        /// The code that answers it.
        code: ErrorCode,
    },
    /// A stream name that holds a control character.
    #[error("a stream name holds a control character, at its byte {at}")]
    StreamName {
        /// Where the character begins.
        at: usize,
    },
    /// Something that must not be empty is.
    #[error("{what} is empty")]
    Empty {
        /// What is empty.
        what: &'static str,
        /// The code that answers it.
        code: ErrorCode,
    },
    /// An APPEND of no records that does not close the stream.
    #[error("an append without records that does not close the stream")]
    EmptyBatch,
    /// A run whose header contradicts itself: no records, fewer bytes than records need, or positions past `u64`.
    #[error(
        "run header is not sound: {count} records in {length} bytes from offset {first_offset}"
    )]
    RunHeader {
        /// The first record's offset.
        first_offset: u64,
        /// Records, by the header.
        count: u32,
        /// Bytes of records, by the header.
        length: u32,
    },
    /// Bytes end inside a run.
    #[error("a run needs {need} bytes and has {have}")]
    RunTruncated {
        /// Bytes there.
        have: usize,
        /// Bytes the header, or what its header says, asks for.
        need: usize,
    },
}

impl WireError {
    /// The code that answers the peer.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::FrameTooLarge { .. } => ErrorCode::FrameTooLarge,
            Self::UnknownKind { .. } => ErrorCode::UnknownKind,
            Self::OverLimit { code, .. } | Self::Empty { code, .. } => *code,
            Self::StreamName { .. } => ErrorCode::InvalidName,
            Self::EmptyBatch => ErrorCode::EmptyBatch,
            Self::FrameTooShort { .. }
            | Self::Truncated { .. }
            | Self::TrailingBytes { .. }
            | Self::InvalidUtf8 { .. }
            | Self::FieldsTruncated
            | Self::FieldRepeated { .. }
            | Self::FieldLength { .. }
            | Self::UnknownValue { .. }
            | Self::RunHeader { .. }
            | Self::RunTruncated { .. } => ErrorCode::MalformedFrame,
        }
    }
}

/// A record, or a block of them, that is not in order. `index` counts from 0 within the block or run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The bytes end inside a record.
    #[error("record {index} needs {need} bytes and has {have}")]
    Truncated {
        /// The record.
        index: u32,
        /// Bytes left.
        have: usize,
        /// Bytes the record needs.
        need: usize,
    },
    /// A payload over `record_bytes_max`.
    #[error("record {index} has {have} bytes, over the limit of {limit}")]
    TooLarge {
        /// The record.
        index: u32,
        /// Bytes of its payload.
        have: u32,
        /// The limit.
        limit: u32,
    },
    /// A payload that does not match its checksum.
    #[error("record {index} carries checksum {expected:#010x}, its payload has {actual:#010x}")]
    Checksum {
        /// The record.
        index: u32,
        /// The checksum in the record's header.
        expected: u32,
        /// The checksum of the payload.
        actual: u32,
    },
    /// Bytes are left after the number of records that was announced.
    #[error("{left} bytes are left after {count} records")]
    Count {
        /// Records announced.
        count: u32,
        /// Bytes left after them.
        left: usize,
    },
    /// More records than `batch_records_max`.
    #[error("{have} records, over the limit of {limit}")]
    TooMany {
        /// Records announced.
        have: u32,
        /// The limit.
        limit: u32,
    },
}

impl RecordError {
    /// The code that answers the peer.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Truncated { .. } | Self::Count { .. } => ErrorCode::MalformedFrame,
            Self::TooLarge { .. } => ErrorCode::RecordTooLarge,
            Self::Checksum { .. } => ErrorCode::ChecksumMismatch,
            Self::TooMany { .. } => ErrorCode::BatchTooLarge,
        }
    }
}
