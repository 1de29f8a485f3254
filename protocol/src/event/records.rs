//! RECORDS: `next:u64, next_byte:u64, tail:u64, runs` (rest of the body).

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use super::EventKind;
use crate::error::WireError;
use crate::flags::{RECORDS_CLOSED, RECORDS_MORE};
use crate::frame::{FrameHeader, HEADER_BYTES, LENGTH_BYTES, put_length_and_header};
use crate::run::{Run, decode_runs};
use crate::wire::Body;
use crate::wire::read::{remainder, u64, whole};

/// Bytes of the body before the runs.
const HEAD_BYTES: usize = 24;

/// Answers READ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// More records were there when this was sent.
    pub more: bool,
    /// The stream is closed and this reaches its tail: there will never be more.
    pub closed: bool,
    /// Offset to read from next.
    pub next: u64,
    /// Payload bytes of the stream before `next`.
    pub next_byte: u64,
    /// The stream's tail when this was sent.
    pub tail: u64,
    /// Runs back to back; see [`Records::runs`].
    pub runs: Bytes,
}

impl Records {
    /// The runs in order.
    pub fn runs(&self) -> impl Iterator<Item = Result<Run, WireError>> + use<> {
        decode_runs(&self.runs)
    }
}

/// Writes the frame without its runs, for a vectored write; exactly `runs_bytes` of runs must follow. `head.runs` is
/// not looked at.
pub fn encode_header(correlation: u32, head: &Records, runs_bytes: usize, out: &mut BytesMut) {
    let header = FrameHeader {
        kind: Records::KIND,
        flags: head.flags(),
        correlation,
    };
    out.reserve(LENGTH_BYTES + HEADER_BYTES + HEAD_BYTES);
    put_length_and_header(header, HEAD_BYTES + runs_bytes, out);
    head.put_head(out);
}

impl Records {
    fn put_head(&self, out: &mut BytesMut) {
        out.put_u64(self.next);
        out.put_u64(self.next_byte);
        out.put_u64(self.tail);
    }
}

impl Body for Records {
    const KIND: u8 = EventKind::Records.number();

    fn flags(&self) -> u8 {
        RECORDS_MORE.when(self.more) | RECORDS_CLOSED.when(self.closed)
    }

    fn body_bytes(&self) -> usize {
        HEAD_BYTES + self.runs.len()
    }

    fn put(&self, out: &mut BytesMut) {
        self.put_head(out);
        out.put_slice(&self.runs);
    }

    fn parse(flags: u8, body: &Bytes) -> Result<Self, WireError> {
        let mut parts = (u64, u64, u64, remainder);
        let (next, next_byte, tail, runs) =
            whole(Self::KIND, body, |input| parts.parse_complete(input))?;
        Ok(Self {
            more: RECORDS_MORE.is_in(flags),
            closed: RECORDS_CLOSED.is_in(flags),
            next,
            next_byte,
            tail,
            runs: body.slice_ref(runs),
        })
    }
}
