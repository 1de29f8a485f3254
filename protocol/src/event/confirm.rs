//! CONFIRM: `count:u32`, then `count` times `correlation:u32, flags:u8, tail:u64`.
//!
//! One frame confirms many appends, so a pipelining producer is not sent a frame per append. The header's
//! correlation id is 0; the entries carry those of the appends.

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use super::EventKind;
use crate::code::ErrorCode;
use crate::error::WireError;
use crate::flags::{CONFIRM_CLOSED, CONFIRM_DUPLICATE};
use crate::frame::{FrameHeader, HEADER_BYTES, LENGTH_BYTES, put_header};
use crate::limits::CONFIRM_ENTRIES_MAX;
use crate::wire::Body;
use crate::wire::read::{Parsed, refuse, u8, u32, u64, whole};

/// Bytes of one entry.
pub const CONFIRM_ENTRY_BYTES: usize = 13;

/// Answers appends.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Confirm {
    /// One for each append confirmed; at most [`CONFIRM_ENTRIES_MAX`] in a frame received.
    pub entries: Vec<ConfirmEntry>,
}

/// One append is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmEntry {
    /// Correlation id of the APPEND.
    pub correlation: u32,
    /// The producer had sent this append before: nothing was stored again.
    pub duplicate: bool,
    /// The stream is closed now.
    pub closed: bool,
    /// The stream's tail after this append; for a duplicate at least that.
    pub tail: u64,
}

/// Appends one CONFIRM frame to `out`, or none if there are no entries, or several if there are more than
/// [`CONFIRM_ENTRIES_MAX`]. `out` grows at most once.
pub fn encode(entries: &[ConfirmEntry], out: &mut BytesMut) {
    let frames = entries.len().div_ceil(CONFIRM_ENTRIES_MAX as usize);
    let bytes = entries.len() * CONFIRM_ENTRY_BYTES + frames * (LENGTH_BYTES + HEADER_BYTES + 4);
    out.reserve(bytes);
    for chunk in entries.chunks(CONFIRM_ENTRIES_MAX as usize) {
        let header = FrameHeader {
            kind: Confirm::KIND,
            flags: 0,
            correlation: 0,
        };
        put_header(header, body_bytes(chunk), out);
        put_entries(chunk, out);
    }
}

fn body_bytes(entries: &[ConfirmEntry]) -> usize {
    4 + entries.len() * CONFIRM_ENTRY_BYTES
}

fn put_entries(entries: &[ConfirmEntry], out: &mut BytesMut) {
    out.put_u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    for entry in entries {
        out.put_u32(entry.correlation);
        out.put_u8(CONFIRM_DUPLICATE.when(entry.duplicate) | CONFIRM_CLOSED.when(entry.closed));
        out.put_u64(entry.tail);
    }
}

fn entry(input: &[u8]) -> Parsed<'_, ConfirmEntry> {
    let (input, (correlation, flags, tail)) = (u32, u8, u64).parse_complete(input)?;
    let duplicate = CONFIRM_DUPLICATE.is_in(flags);
    let closed = CONFIRM_CLOSED.is_in(flags);
    Ok((
        input,
        ConfirmEntry {
            correlation,
            duplicate,
            closed,
            tail,
        },
    ))
}

fn entries(input: &[u8]) -> Parsed<'_, Vec<ConfirmEntry>> {
    let (mut input, count) = u32(input)?;
    if count > CONFIRM_ENTRIES_MAX {
        return refuse(WireError::OverLimit {
            what: "entries in CONFIRM",
            have: count.into(),
            limit: CONFIRM_ENTRIES_MAX.into(),
            code: ErrorCode::MalformedFrame,
        });
    }
    let mut entries = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let (rest, one) = entry(input)?;
        input = rest;
        entries.push(one);
    }
    Ok((input, entries))
}

impl Body for Confirm {
    const KIND: u8 = EventKind::Confirm.number();

    fn body_bytes(&self) -> usize {
        body_bytes(&self.entries)
    }

    fn put(&self, out: &mut BytesMut) {
        put_entries(&self.entries, out);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let entries = whole(Self::KIND, body, entries)?;
        Ok(Self { entries })
    }
}
