//! APPEND: `stream:str, fields, count:u32, records` (rest of the body).
//!
//! The broker's busiest command. Parsing it allocates nothing; the records stay an unverified slice until
//! [`crate::RecordBlock::parse`], so that a session can refuse for cheaper reasons first.

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use super::CommandKind;
use crate::error::WireError;
use crate::fields::AppendField;
use crate::flags::{APPEND_CLOSE_AFTER, APPEND_NO_CONFIRM};
use crate::frame::{FrameHeader, HEADER_BYTES, LENGTH_BYTES, put_length_and_header};
use crate::limits::{PRODUCER_ID, SEQ};
use crate::wire::fields::{Entries, Value, fields, fields_bytes, put_fields};
use crate::wire::read::{remainder, stream_name, u32, whole};
use crate::wire::write::{put_text, text_bytes};
use crate::wire::{Body, Str};

/// Adds records to a stream: all of them or none.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Append {
    /// The stream's name.
    pub stream: Str,
    /// The writer's own order: byte-wise greater than the last one accepted on this stream.
    pub seq: Option<Bytes>,
    /// Makes the append idempotent.
    pub producer: Option<Producer>,
    /// The append is refused unless this is the stream's tail.
    pub expected_tail: Option<u64>,
    /// Closes the stream in the same step.
    pub close_after: bool,
    /// No CONFIRM is sent; a refusal still is.
    pub no_confirm: bool,
    /// Records; 0 only with `close_after`.
    pub count: u32,
    /// The encoded records, not verified: that is [`crate::RecordBlock::parse`].
    pub records: Bytes,
}

/// Who appends, and which of its appends this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Chosen by the client, and the same after its restart; 1 to 256 bytes of UTF-8.
    pub id: Str,
    /// Raised by each incarnation of the client: lower ones are fenced.
    pub epoch: u64,
    /// Counts the appends of this epoch, from 0.
    pub seq: u64,
}

impl Append {
    /// Writes the frame without its records, for a client that sends those from another buffer; exactly
    /// [`Append::records`] must follow.
    pub fn encode_header(&self, correlation: u32, out: &mut BytesMut) {
        let header = FrameHeader {
            kind: Self::KIND,
            flags: self.flags(),
            correlation,
        };
        let body_bytes = self.body_bytes();
        out.reserve(LENGTH_BYTES + HEADER_BYTES + body_bytes - self.records.len());
        put_length_and_header(header, body_bytes, out);
        self.put_envelope(out);
    }

    fn put_envelope(&self, out: &mut BytesMut) {
        put_text(&self.stream, out);
        put_fields(&self.entries(), out);
        out.put_u32(self.count);
    }

    fn entries(&self) -> Entries<'_, AppendField, 3> {
        let producer = self.producer.as_ref();
        let producer = producer.map(|it| Value::NumbersAndText(it.epoch, it.seq, it.id.as_bytes()));
        [
            (AppendField::Seq, self.seq.as_deref().map(Value::Bytes)),
            (AppendField::Producer, producer),
            (
                AppendField::ExpectedTail,
                self.expected_tail.map(Value::U64),
            ),
        ]
    }
}

impl Body for Append {
    const KIND: u8 = CommandKind::Append.number();

    fn flags(&self) -> u8 {
        APPEND_NO_CONFIRM.when(self.no_confirm) | APPEND_CLOSE_AFTER.when(self.close_after)
    }

    fn body_bytes(&self) -> usize {
        text_bytes(&self.stream) + fields_bytes(&self.entries()) + 4 + self.records.len()
    }

    fn put(&self, out: &mut BytesMut) {
        self.put_envelope(out);
        out.put_slice(&self.records);
    }

    fn parse(flags: u8, body: &Bytes) -> Result<Self, WireError> {
        let mut parts = (
            stream_name(body),
            fields::<AppendField>(body),
            u32,
            remainder,
        );
        let (stream, fields, count, records) =
            whole(Self::KIND, body, |input| parts.parse_complete(input))?;
        let close_after = APPEND_CLOSE_AFTER.is_in(flags);
        if count == 0 && !close_after {
            return Err(WireError::EmptyBatch);
        }
        let producer = fields.numbers_and_text(AppendField::Producer, PRODUCER_ID)?;
        Ok(Self {
            stream,
            seq: fields.bytes(AppendField::Seq, SEQ)?,
            producer: producer.map(|(epoch, seq, id)| Producer { id, epoch, seq }),
            expected_tail: fields.u64(AppendField::ExpectedTail),
            close_after,
            no_confirm: APPEND_NO_CONFIRM.is_in(flags),
            count,
            records: body.slice_ref(records),
        })
    }
}
