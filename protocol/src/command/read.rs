//! READ: `stream:str, start, max_bytes:u32, max_records:u32, wait_ms:u32`.

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use super::{CommandKind, Start};
use crate::error::WireError;
use crate::wire::read::{stream_name, u32, whole};
use crate::wire::write::{put_text, text_bytes};
use crate::wire::{Body, Str};

/// Asks for records once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The stream's name.
    pub stream: Str,
    /// The first record wanted.
    pub start: Start,
    /// Bytes of runs in the answer, which holds at least one record all the same; 0 = the server's limit.
    pub max_bytes: u32,
    /// Records in the answer; 0 = the server's limit.
    pub max_records: u32,
    /// Milliseconds to wait for a record when there is none yet; 0 = answer at once.
    pub wait_ms: u32,
}

impl Body for Read {
    const KIND: u8 = CommandKind::Read.number();

    fn body_bytes(&self) -> usize {
        text_bytes(&self.stream) + Start::BYTES + 12
    }

    fn put(&self, out: &mut BytesMut) {
        put_text(&self.stream, out);
        self.start.put(out);
        out.put_u32(self.max_bytes);
        out.put_u32(self.max_records);
        out.put_u32(self.wait_ms);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let mut parts = (stream_name(body), Start::parse, u32, u32, u32);
        let (stream, start, max_bytes, max_records, wait_ms) =
            whole(Self::KIND, body, |input| parts.parse_complete(input))?;
        Ok(Self {
            stream,
            start,
            max_bytes,
            max_records,
            wait_ms,
        })
    }
}
