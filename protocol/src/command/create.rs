//! CREATE: `stream:str, fields`.

use bytes::{Bytes, BytesMut};
use nom::Parser;

use super::CommandKind;
use crate::error::WireError;
use crate::fields::CreateField;
use crate::limits::CONTENT_TYPE;
use crate::wire::fields::{Entries, Value, fields, fields_bytes, put_fields};
use crate::wire::read::{stream_name, whole};
use crate::wire::write::{put_text, text_bytes};
use crate::wire::{Body, Str, known, wire_numbers};

wire_numbers! {
    /// Where a stream is kept.
    Storage {
        /// On disk: what is confirmed survives a crash.
        Durable = 0, "durable";
        /// In memory: gone when the server ends.
        Memory = 1, "memory";
    }
}

/// Makes a stream. Options left out take the server's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Create {
    /// The stream's name.
    pub stream: Str,
    /// Media type of the records; `application/octet-stream` if left out.
    pub content_type: Option<Str>,
    /// Seconds without a read or write after which the stream expires. Excludes `expires_at`.
    pub ttl_seconds: Option<u64>,
    /// When the stream expires, in microseconds since the Unix epoch. Excludes `ttl_seconds`.
    pub expires_at: Option<u64>,
    /// Age in milliseconds after which records are trimmed.
    pub max_age_ms: Option<u64>,
    /// Records kept; older ones are trimmed.
    pub max_records: Option<u64>,
    /// Payload bytes kept; older records are trimmed, but never the newest.
    pub max_bytes: Option<u64>,
    /// Where the stream is kept; [`Storage::Durable`] if left out.
    pub storage: Option<Storage>,
}

impl Create {
    fn entries(&self) -> Entries<'_, CreateField, 7> {
        let content_type = self
            .content_type
            .as_ref()
            .map(|text| Value::Bytes(text.as_bytes()));
        [
            (CreateField::ContentType, content_type),
            (CreateField::TtlSeconds, self.ttl_seconds.map(Value::U64)),
            (CreateField::ExpiresAt, self.expires_at.map(Value::U64)),
            (CreateField::MaxAgeMs, self.max_age_ms.map(Value::U64)),
            (CreateField::MaxRecords, self.max_records.map(Value::U64)),
            (CreateField::MaxBytes, self.max_bytes.map(Value::U64)),
            (
                CreateField::Storage,
                self.storage.map(|storage| Value::U8(storage.number())),
            ),
        ]
    }
}

impl Body for Create {
    const KIND: u8 = CommandKind::Create.number();

    fn body_bytes(&self) -> usize {
        text_bytes(&self.stream) + fields_bytes(&self.entries())
    }

    fn put(&self, out: &mut BytesMut) {
        put_text(&self.stream, out);
        put_fields(&self.entries(), out);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let mut parts = (stream_name(body), fields::<CreateField>(body));
        let (stream, fields) = whole(Self::KIND, body, |input| parts.parse_complete(input))?;
        let storage = fields.u8(CreateField::Storage);
        let storage = storage
            .map(|number| known(Storage::of(number), "storage", number))
            .transpose()?;
        Ok(Self {
            stream,
            content_type: fields.text(CreateField::ContentType, CONTENT_TYPE)?,
            ttl_seconds: fields.u64(CreateField::TtlSeconds),
            expires_at: fields.u64(CreateField::ExpiresAt),
            max_age_ms: fields.u64(CreateField::MaxAgeMs),
            max_records: fields.u64(CreateField::MaxRecords),
            max_bytes: fields.u64(CreateField::MaxBytes),
            storage,
        })
    }
}
