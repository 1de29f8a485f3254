//! LIST: `prefix:str, after:str, limit:u32`.

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use super::CommandKind;
use crate::error::WireError;
use crate::limits::LIST_TEXT;
use crate::wire::read::{text, u32, whole};
use crate::wire::write::{put_text, text_bytes};
use crate::wire::{Body, Str};

/// Asks for one page of streams, in byte-wise order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Only streams whose names begin with this; empty = all.
    pub prefix: Str,
    /// Only streams whose names are greater than this; empty = from the first.
    pub after: Str,
    /// The most streams to name; 0 = as many as the server's limit.
    pub limit: u32,
}

impl Body for List {
    const KIND: u8 = CommandKind::List.number();

    fn body_bytes(&self) -> usize {
        text_bytes(&self.prefix) + text_bytes(&self.after) + 4
    }

    fn put(&self, out: &mut BytesMut) {
        put_text(&self.prefix, out);
        put_text(&self.after, out);
        out.put_u32(self.limit);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let text = || text(body, LIST_TEXT);
        let mut parts = (text(), text(), u32);
        let (prefix, after, limit) = whole(Self::KIND, body, |input| parts.parse_complete(input))?;
        Ok(Self {
            prefix,
            after,
            limit,
        })
    }
}
