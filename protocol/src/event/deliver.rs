//! DELIVER: `subscription:u32, runs` (rest of the body).
//!
//! It costs the subscription as much credit as its runs have bytes. The server writes the few bytes before the runs
//! for each subscriber ([`encode_header`]) and shares the runs among all of them.

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use super::EventKind;
use crate::error::WireError;
use crate::frame::{FrameHeader, HEADER_BYTES, LENGTH_BYTES, put_length_and_header};
use crate::run::{Run, decode_runs};
use crate::wire::Body;
use crate::wire::read::{remainder, u32, whole};

/// Bytes of the body before the runs.
const HEAD_BYTES: usize = 4;

/// Bytes of a whole DELIVER frame before its runs.
pub const DELIVER_HEADER_BYTES: usize = LENGTH_BYTES + HEADER_BYTES + HEAD_BYTES;

/// Records of a subscription, in order and without a gap to the last ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliver {
    /// The subscription.
    pub subscription: u32,
    /// Runs back to back; see [`Deliver::runs`].
    pub runs: Bytes,
}

impl Deliver {
    /// The runs in order.
    pub fn runs(&self) -> impl Iterator<Item = Result<Run, WireError>> + use<> {
        decode_runs(&self.runs)
    }

    /// Bytes of credit this delivery costs.
    pub fn cost(&self) -> u64 {
        self.runs.len() as u64
    }
}

/// Writes the frame without its runs, for a vectored write; exactly `runs_bytes` of runs must follow. A DELIVER has
/// correlation id 0.
pub fn encode_header(subscription: u32, runs_bytes: usize, out: &mut BytesMut) {
    out.reserve(DELIVER_HEADER_BYTES);
    let header = FrameHeader {
        kind: Deliver::KIND,
        flags: 0,
        correlation: 0,
    };
    put_length_and_header(header, HEAD_BYTES + runs_bytes, out);
    out.put_u32(subscription);
}

impl Body for Deliver {
    const KIND: u8 = EventKind::Deliver.number();

    fn body_bytes(&self) -> usize {
        HEAD_BYTES + self.runs.len()
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u32(self.subscription);
        out.put_slice(&self.runs);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let mut parts = (u32, remainder);
        let (subscription, runs) = whole(Self::KIND, body, |input| parts.parse_complete(input))?;
        Ok(Self {
            subscription,
            runs: body.slice_ref(runs),
        })
    }
}
