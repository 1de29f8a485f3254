//! Every maximum of the protocol, in one place.
//!
//! Two sorts: the *defaults* a server announces in INFO and may configure ([`Limits`]), and the *fixed* limits
//! of version 1 that both ends compile in. `SPEC.md` lists both; a test compares the two.
//!
//! A count or a length read off the wire is compared with one of these before anything is allocated for it.

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

/// Bytes of one optional field's value that an encoder writes at most.
///
/// Larger than every limit of a field, so that a value cut here is still refused by the receiver, and small
/// enough that the fields of any frame fit their 16-bit total.
pub(crate) const FIELD_VALUE_BYTES_MAX: usize = 4_096;

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
