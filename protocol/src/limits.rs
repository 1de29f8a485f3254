//! Every maximum of the protocol, in one place.
//!
//! Two sorts: the *defaults* a server announces in INFO and may configure ([`Limits`]), and the *fixed* limits
//! of version 1 that both ends compile in. `SPEC.md` lists both; a test compares the two.
//!
//! A count or a length read off the wire is compared with one of these before anything is allocated for it. Text
//! and bytes are slices of the frame and cost nothing; their bounds here say how a breach is answered.

use crate::code::ErrorCode;
use crate::error::WireError;

/// The protocol version this crate speaks.
pub const VERSION: u16 = 1;

/// The oldest version this crate still speaks.
pub const VERSION_MIN: u16 = 1;

/// Default ceiling for the `length` of a frame: a batch of 4 MiB and room for its envelope.
pub const FRAME_BYTES_MAX: u32 = (4 << 20) + (64 << 10);

/// The least a server may configure for `frame_bytes_max`: a full CONFIRM and every fixed-size frame still fit.
pub const FRAME_BYTES_FLOOR: u32 = 64 << 10;

/// The most a server may configure for `frame_bytes_max`; a receiver need never buffer more for one frame.
pub const FRAME_BYTES_CEILING: u32 = 64 << 20;

/// Frame ceiling until CONNECTED was sent: an anonymous peer costs the server no more memory than this.
pub const UNAUTHENTICATED_FRAME_BYTES_MAX: u32 = 4 << 10;

/// Default maximum of payload bytes in one record.
pub const RECORD_BYTES_MAX: u32 = 1 << 20;

/// The most a server may configure for `record_bytes_max`: below the frame ceiling by the room of an envelope.
pub const RECORD_BYTES_CEILING: u32 = FRAME_BYTES_CEILING - (64 << 10);

/// Room for everything in a frame but one record's payload; `frame_bytes_max` is at least this and `record_bytes_max`.
pub const ENVELOPE_BYTES_MAX: u32 = 4 << 10;

/// Default maximum of records in one APPEND.
pub const BATCH_RECORDS_MAX: u32 = 65_536;

/// Default maximum of subscriptions open at once on one connection.
pub const SUBSCRIPTIONS_MAX: u32 = 1_024;

/// Default of `heartbeat_ms` in INFO: silence after which a peer is asked for a sign of life.
pub const HEARTBEAT_MS: u32 = 15_000;

/// Bytes of UTF-8 in a stream name; the least is 1.
pub const STREAM_NAME_BYTES_MAX: usize = 1_024;

/// Bytes of a content type.
pub const CONTENT_TYPE_BYTES_MAX: usize = 255;

/// Bytes of the `seq` of an APPEND.
pub const SEQ_BYTES_MAX: usize = 256;

/// Bytes of UTF-8 in a producer id; the least is 1.
pub const PRODUCER_ID_BYTES_MAX: usize = 256;

/// Bytes of the token in CONNECT; leaves the rest of the unauthenticated frame for names.
pub const TOKEN_BYTES_MAX: usize = 2_048;

/// Bytes of each of `name`, `library` and `library_version` in CONNECT.
pub const CLIENT_TEXT_BYTES_MAX: usize = 255;

/// Bytes of the message of an ERR; encoders cut a longer one.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 1_024;

/// Entries in one CONFIRM: 52 KiB, so that it fits the smallest frame ceiling. Encoders begin another frame.
pub const CONFIRM_ENTRIES_MAX: u32 = 4_096;

/// Entries in one LISTED, and so the largest useful `limit` of LIST.
pub const LIST_ENTRIES_MAX: u32 = 1_000;

/// The largest wait of a READ; a larger `wait_ms` is taken as this.
pub const WAIT_MS_MAX: u32 = 60_000;

/// The credit a subscription can hold, in bytes: what a signed 64-bit counter can. More is taken as this.
pub const CREDIT_BYTES_MAX: u64 = i64::MAX.cast_unsigned();

/// How long a piece of text or of bytes may be, and how a breach is answered.
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    /// What is measured, for the error.
    pub(crate) what: &'static str,
    /// The least number of bytes.
    pub(crate) min: usize,
    /// The largest number of bytes.
    pub(crate) max: usize,
    /// The code that answers a breach.
    pub(crate) code: ErrorCode,
}

impl Bound {
    /// Compares a length with the bound.
    pub(crate) fn check(&self, bytes: usize) -> Result<(), WireError> {
        let Self {
            what,
            min,
            max,
            code,
        } = *self;
        if bytes < min {
            return Err(WireError::Empty { what, code });
        }
        if bytes > max {
            let (have, limit) = (bytes as u64, max as u64);
            return Err(WireError::OverLimit {
                what,
                have,
                limit,
                code,
            });
        }
        Ok(())
    }
}

const fn bound(what: &'static str, min: usize, max: usize, code: ErrorCode) -> Bound {
    Bound {
        what,
        min,
        max,
        code,
    }
}

pub(crate) const STREAM_NAME: Bound = bound(
    "stream name",
    1,
    STREAM_NAME_BYTES_MAX,
    ErrorCode::InvalidName,
);
pub(crate) const LIST_TEXT: Bound = bound(
    "prefix or after",
    0,
    STREAM_NAME_BYTES_MAX,
    ErrorCode::InvalidName,
);
pub(crate) const CONTENT_TYPE: Bound = bound(
    "content type",
    1,
    CONTENT_TYPE_BYTES_MAX,
    ErrorCode::InvalidOptions,
);
pub(crate) const SEQ: Bound = bound("seq", 1, SEQ_BYTES_MAX, ErrorCode::InvalidOptions);
pub(crate) const PRODUCER_ID: Bound = bound(
    "producer id",
    1,
    PRODUCER_ID_BYTES_MAX,
    ErrorCode::InvalidOptions,
);
pub(crate) const TOKEN: Bound = bound("token", 0, TOKEN_BYTES_MAX, ErrorCode::MalformedFrame);
pub(crate) const CLIENT_TEXT: Bound = bound(
    "text of CONNECT",
    0,
    CLIENT_TEXT_BYTES_MAX,
    ErrorCode::MalformedFrame,
);
pub(crate) const ERROR_MESSAGE: Bound = bound(
    "message",
    0,
    ERROR_MESSAGE_BYTES_MAX,
    ErrorCode::MalformedFrame,
);
/// Text of an event whose only limit is that of a `str`.
pub(crate) const EVENT_TEXT: Bound = bound("text", 0, u16::MAX as usize, ErrorCode::MalformedFrame);
/// An optional field of an event: what an encoder writes at most.
pub(crate) const EVENT_FIELD: Bound =
    bound("field", 0, FIELD_VALUE_BYTES_MAX, ErrorCode::MalformedFrame);

/// Bytes of an optional field that has no limit of its own, and the most an encoder writes of any.
///
/// Larger than every limit of a field, so that a value cut here is still refused by the receiver, and small
/// enough that the fields of any frame fit their 16-bit total.
pub const FIELD_VALUE_BYTES_MAX: usize = 4_096;

/// The limits a server announces in INFO; what a client may send, and what either end must be able to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Largest `length` of a frame, in bytes, in both directions.
    pub frame_bytes_max: u32,
    /// Largest payload of one record, in bytes.
    pub record_bytes_max: u32,
    /// Most records in one APPEND.
    pub batch_records_max: u32,
    /// Most subscriptions open at once on one connection.
    pub subscriptions_max: u32,
    /// Largest `length` of a frame the server takes before it has sent CONNECTED.
    pub unauthenticated_frame_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: FRAME_BYTES_MAX,
            record_bytes_max: RECORD_BYTES_MAX,
            batch_records_max: BATCH_RECORDS_MAX,
            subscriptions_max: SUBSCRIPTIONS_MAX,
            unauthenticated_frame_bytes_max: UNAUTHENTICATED_FRAME_BYTES_MAX,
        }
    }
}
