//! Error codes: the stable numbers an ERR frame carries.
//!
//! Numbers are grouped by fate. 1..=99 end the connection; 100..=199 answer one request; 200..=299 mean that the
//! server cannot serve now. A number is never reused. `SPEC.md` holds the same table; a test compares the two.

use std::fmt;

/// What a client should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// The same request may succeed later on this connection.
    Retry,
    /// Open another connection, perhaps to another server, and try there.
    Reconnect,
    /// The request itself is wrong, or the caller's view of the stream is; change it before sending it again.
    FixTheCall,
    /// Nothing the client can send will help.
    GiveUp,
}

impl Advice {
    /// The words `SPEC.md` uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Reconnect => "reconnect",
            Self::FixTheCall => "fix the call",
            Self::GiveUp => "give up",
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Defines the enum, its name table and its advice from one list, so that none can lack an entry.
macro_rules! error_codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $number:literal, $name:literal, $advice:ident;)*) => {
        /// Why a request or a connection was ended, as an ERR frame says it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum ErrorCode {
            $($(#[doc = $doc])* $variant = $number,)*
        }

        impl ErrorCode {
            /// Every code, by rising number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name `SPEC.md` gives the code, such as `NOT_FOUND`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What a client should do about it.
            pub const fn advice(self) -> Advice {
                match self { $(Self::$variant => Advice::$advice,)* }
            }
        }

        impl TryFrom<u16> for ErrorCode {
            type Error = UnknownErrorCode;

            fn try_from(number: u16) -> Result<Self, UnknownErrorCode> {
                match number {
                    $($number => Ok(Self::$variant),)*
                    _ => Err(UnknownErrorCode(number)),
                }
            }
        }
    };
}

error_codes! {
    /// A frame that does not follow its grammar.
    MalformedFrame = 1, "MALFORMED_FRAME", GiveUp;
    /// A frame longer than the limit in force.
    FrameTooLarge = 2, "FRAME_TOO_LARGE", FixTheCall;
    /// A frame kind this version does not know.
    UnknownKind = 3, "UNKNOWN_KIND", GiveUp;
    /// A command other than PING, PONG or CONNECT before CONNECT.
    NotConnected = 4, "NOT_CONNECTED", FixTheCall;
    /// CONNECT asked for a version outside the range INFO gave.
    UnsupportedVersion = 5, "UNSUPPORTED_VERSION", GiveUp;
    /// The token is missing or wrong.
    Unauthorized = 6, "UNAUTHORIZED", GiveUp;
    /// No CONNECT in time, or silence in spite of a PING.
    Timeout = 7, "TIMEOUT", Reconnect;
    /// The server has as many connections as it may.
    TooManyConnections = 8, "TOO_MANY_CONNECTIONS", Reconnect;
    /// A second CONNECT.
    AlreadyConnected = 9, "ALREADY_CONNECTED", FixTheCall;
    /// The client did not read what the server had to send for too long.
    SlowConsumer = 10, "SLOW_CONSUMER", Reconnect;

    /// There is no such stream.
    NotFound = 100, "NOT_FOUND", FixTheCall;
    /// The stream exists with another configuration.
    AlreadyExists = 101, "ALREADY_EXISTS", FixTheCall;
    /// The stream is closed. Details: `tail`.
    StreamClosed = 102, "STREAM_CLOSED", GiveUp;
    /// `seq` is not greater than the last one accepted. Details: `last_seq`.
    SeqConflict = 103, "SEQ_CONFLICT", FixTheCall;
    /// A newer epoch of this producer exists. Details: `current_epoch`.
    ProducerFenced = 104, "PRODUCER_FENCED", GiveUp;
    /// Records of this producer are missing before this one. Details: `expected_seq`.
    ProducerGap = 105, "PRODUCER_GAP", FixTheCall;
    /// A new epoch did not begin at sequence 0. Details: `expected_seq`, which is 0.
    ProducerEpochStart = 106, "PRODUCER_EPOCH_START", FixTheCall;
    /// The stream's tail is not the expected one. Details: `tail`.
    TailMismatch = 107, "TAIL_MISMATCH", FixTheCall;
    /// The offset lies before the earliest record kept. Details: `earliest`.
    OffsetTrimmed = 108, "OFFSET_TRIMMED", FixTheCall;
    /// The offset lies past the tail. Details: `tail`.
    OffsetPastTail = 109, "OFFSET_PAST_TAIL", FixTheCall;
    /// A record of a JSON stream is not JSON, or an empty array.
    InvalidJson = 110, "INVALID_JSON", FixTheCall;
    /// An append of no records that does not close the stream either.
    EmptyBatch = 111, "EMPTY_BATCH", FixTheCall;
    /// A stream name that breaks the rules for names.
    InvalidName = 112, "INVALID_NAME", FixTheCall;
    /// Options that contradict each other or lie out of range.
    InvalidOptions = 113, "INVALID_OPTIONS", FixTheCall;
    /// A record's payload does not match its checksum.
    ChecksumMismatch = 114, "CHECKSUM_MISMATCH", Retry;
    /// A record over `record_bytes_max`.
    RecordTooLarge = 115, "RECORD_TOO_LARGE", FixTheCall;
    /// More records than `batch_records_max`.
    BatchTooLarge = 116, "BATCH_TOO_LARGE", FixTheCall;
    /// More subscriptions than `subscriptions_max`.
    TooManySubscriptions = 117, "TOO_MANY_SUBSCRIPTIONS", FixTheCall;
    /// The subscription id is open on this connection already.
    SubscriptionInUse = 118, "SUBSCRIPTION_IN_USE", FixTheCall;
    /// There is no such subscription on this connection.
    UnknownSubscription = 119, "UNKNOWN_SUBSCRIPTION", FixTheCall;
    /// The stream remembers as many producers as it may.
    TooManyProducers = 120, "TOO_MANY_PRODUCERS", GiveUp;
    /// Too many requests wait on this connection. Details: `retry_after_ms`.
    TooManyRequests = 121, "TOO_MANY_REQUESTS", Retry;

    /// The server is starting. Details: `retry_after_ms`.
    Unavailable = 200, "UNAVAILABLE", Retry;
    /// The server is shutting down and takes no new work.
    Draining = 201, "DRAINING", Reconnect;
    /// A commit failed: whether the records will survive is unknown, and the store takes no more writes.
    StoreFaulted = 202, "STORE_FAULTED", Reconnect;
    /// The disk or the configured size is used up. Details: `retry_after_ms`.
    StoreFull = 203, "STORE_FULL", Retry;
    /// Stored bytes do not match their checksum.
    Corrupt = 204, "CORRUPT", GiveUp;
    /// A defect of the server.
    Internal = 205, "INTERNAL", Retry;
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Whether the connection ends after an ERR with this code.
    pub const fn is_fatal(self) -> bool {
        self.number() < 100
    }
}

impl From<ErrorCode> for u16 {
    fn from(code: ErrorCode) -> Self {
        code.number()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A number that is no [`ErrorCode`] of this version; a newer server may send one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no error code of this version")]
pub struct UnknownErrorCode(pub u16);
