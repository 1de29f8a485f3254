//! ERR: `code:u16, message:str, fields`.
//!
//! The number is kept as it came: a newer server may send a code this version does not know, and its message and
//! FATAL flag still mean something.

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use super::EventKind;
use crate::code::ErrorCode;
use crate::error::WireError;
use crate::fields::ErrField;
use crate::flags::ERR_FATAL;
use crate::limits::{ERROR_MESSAGE, ERROR_MESSAGE_BYTES_MAX, EVENT_FIELD};
use crate::wire::fields::{Entries, Value, fields, fields_bytes, put_fields};
use crate::wire::read::{text, u16, whole};
use crate::wire::write::{cut, put_bytes16};
use crate::wire::{Body, Str};

/// A request was refused (its correlation id is the header's), or the connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorEvent {
    /// The number of an [`ErrorCode`], or one of a later version.
    pub code: u16,
    /// For people: what was wrong, in one sentence. Cut to 1,024 bytes when it is sent.
    pub message: Str,
    /// The connection ends after this frame.
    pub fatal: bool,
    /// The sequence the producer must send next.
    pub expected_seq: Option<u64>,
    /// The producer's epoch in force.
    pub current_epoch: Option<u64>,
    /// The stream's tail.
    pub tail: Option<u64>,
    /// Offset of the earliest record kept.
    pub earliest: Option<u64>,
    /// The last `seq` the stream accepted.
    pub last_seq: Option<Bytes>,
    /// How long to wait before trying again, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl ErrorEvent {
    /// An error without details, fatal if its code is.
    pub fn new(code: ErrorCode, message: impl Into<Str>) -> Self {
        Self {
            code: code.number(),
            message: message.into(),
            fatal: code.is_fatal(),
            expected_seq: None,
            current_epoch: None,
            tail: None,
            earliest: None,
            last_seq: None,
            retry_after_ms: None,
        }
    }

    /// The code, if this version knows it.
    pub fn error_code(&self) -> Option<ErrorCode> {
        ErrorCode::try_from(self.code).ok()
    }

    fn message_bytes(&self) -> &[u8] {
        cut(self.message.as_bytes(), ERROR_MESSAGE_BYTES_MAX)
    }

    fn entries(&self) -> Entries<'_, ErrField, 6> {
        [
            (ErrField::ExpectedSeq, self.expected_seq.map(Value::U64)),
            (ErrField::CurrentEpoch, self.current_epoch.map(Value::U64)),
            (ErrField::Tail, self.tail.map(Value::U64)),
            (ErrField::Earliest, self.earliest.map(Value::U64)),
            (
                ErrField::LastSeq,
                self.last_seq.as_deref().map(Value::Bytes),
            ),
            (ErrField::RetryAfterMs, self.retry_after_ms.map(Value::U64)),
        ]
    }
}

impl Body for ErrorEvent {
    const KIND: u8 = EventKind::Err.number();

    fn flags(&self) -> u8 {
        ERR_FATAL.when(self.fatal)
    }

    fn body_bytes(&self) -> usize {
        2 + 2 + self.message_bytes().len() + fields_bytes(&self.entries())
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u16(self.code);
        put_bytes16(self.message_bytes(), out);
        put_fields(&self.entries(), out);
    }

    fn parse(flags: u8, body: &Bytes) -> Result<Self, WireError> {
        let message = text(body, ERROR_MESSAGE);
        let mut parts = (u16, message, fields::<ErrField>(body));
        let (code, message, fields) = whole(Self::KIND, body, |input| parts.parse_complete(input))?;
        Ok(Self {
            code,
            message,
            fatal: ERR_FATAL.is_in(flags),
            expected_seq: fields.u64(ErrField::ExpectedSeq),
            current_epoch: fields.u64(ErrField::CurrentEpoch),
            tail: fields.u64(ErrField::Tail),
            earliest: fields.u64(ErrField::Earliest),
            last_seq: fields.bytes(ErrField::LastSeq, EVENT_FIELD)?,
            retry_after_ms: fields.u64(ErrField::RetryAfterMs),
        })
    }
}
