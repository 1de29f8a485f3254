//! STATUS: `content_type:str, created_at:u64, flags:u8, storage:u8, earliest:u64, earliest_byte:u64, tail:u64,
//! tail_byte:u64, fields`.

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use super::EventKind;
use crate::command::Storage;
use crate::error::WireError;
use crate::fields::StatusField;
use crate::flags::STATUS_CLOSED;
use crate::limits::{EVENT_FIELD, EVENT_TEXT};
use crate::wire::fields::{Entries, Value, fields, fields_bytes, put_fields};
use crate::wire::read::{text, u8, u64, whole};
use crate::wire::write::{put_text, text_bytes};
use crate::wire::{Body, Str, known};

/// A stream's state; answers STAT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Media type of the records.
    pub content_type: Str,
    /// When the stream was made, in microseconds since the Unix epoch.
    pub created_at: u64,
    /// The stream takes no more records.
    pub closed: bool,
    /// Where the stream is kept.
    pub storage: Storage,
    /// Offset of the earliest record kept; the tail if none is.
    pub earliest: u64,
    /// Payload bytes of the stream before that record.
    pub earliest_byte: u64,
    /// Offset after the last record.
    pub tail: u64,
    /// Payload bytes of the stream up to the tail, with what was trimmed.
    pub tail_byte: u64,
    /// As in CREATE.
    pub ttl_seconds: Option<u64>,
    /// As in CREATE.
    pub expires_at: Option<u64>,
    /// As in CREATE.
    pub max_age_ms: Option<u64>,
    /// As in CREATE.
    pub max_records: Option<u64>,
    /// As in CREATE.
    pub max_bytes: Option<u64>,
    /// The last `seq` accepted.
    pub last_seq: Option<Bytes>,
    /// When records were last appended, in microseconds since the Unix epoch.
    pub last_append_at: Option<u64>,
}

impl Status {
    fn entries(&self) -> Entries<'_, StatusField, 7> {
        [
            (StatusField::TtlSeconds, self.ttl_seconds.map(Value::U64)),
            (StatusField::ExpiresAt, self.expires_at.map(Value::U64)),
            (StatusField::MaxAgeMs, self.max_age_ms.map(Value::U64)),
            (StatusField::MaxRecords, self.max_records.map(Value::U64)),
            (StatusField::MaxBytes, self.max_bytes.map(Value::U64)),
            (
                StatusField::LastSeq,
                self.last_seq.as_deref().map(Value::Bytes),
            ),
            (
                StatusField::LastAppendAt,
                self.last_append_at.map(Value::U64),
            ),
        ]
    }
}

impl Body for Status {
    const KIND: u8 = EventKind::Status.number();

    fn body_bytes(&self) -> usize {
        text_bytes(&self.content_type) + 8 + 1 + 1 + 4 * 8 + fields_bytes(&self.entries())
    }

    fn put(&self, out: &mut BytesMut) {
        put_text(&self.content_type, out);
        out.put_u64(self.created_at);
        out.put_u8(STATUS_CLOSED.when(self.closed));
        out.put_u8(self.storage.number());
        out.put_u64(self.earliest);
        out.put_u64(self.earliest_byte);
        out.put_u64(self.tail);
        out.put_u64(self.tail_byte);
        put_fields(&self.entries(), out);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let content_type = text(body, EVENT_TEXT);
        let head = (content_type, u64, u8, u8);
        let positions = (u64, u64, u64, u64);
        let mut parts = (head, positions, fields::<StatusField>(body));
        let (head, positions, fields) =
            whole(Self::KIND, body, |input| parts.parse_complete(input))?;
        let (content_type, created_at, flags, storage) = head;
        let (earliest, earliest_byte, tail, tail_byte) = positions;
        Ok(Self {
            content_type,
            created_at,
            closed: STATUS_CLOSED.is_in(flags),
            storage: known(Storage::of(storage), "storage", storage)?,
            earliest,
            earliest_byte,
            tail,
            tail_byte,
            ttl_seconds: fields.u64(StatusField::TtlSeconds),
            expires_at: fields.u64(StatusField::ExpiresAt),
            max_age_ms: fields.u64(StatusField::MaxAgeMs),
            max_records: fields.u64(StatusField::MaxRecords),
            max_bytes: fields.u64(StatusField::MaxBytes),
            last_seq: fields.bytes(StatusField::LastSeq, EVENT_FIELD)?,
            last_append_at: fields.u64(StatusField::LastAppendAt),
        })
    }
}
