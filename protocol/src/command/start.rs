//! Where a read or a subscription begins: `tag:u8, value:u64`.

use bytes::{BufMut, BytesMut};

use crate::error::WireError;
use crate::wire::read::{Parsed, refuse, u8, u64};

const BEGINNING: u8 = 0;
const NOW: u8 = 1;
const OFFSET: u8 = 2;
const TIME: u8 = 3;

/// Where a read or a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// At the earliest record kept.
    #[default]
    Beginning,
    /// At the tail: only records that come later.
    Now,
    /// At this position.
    Offset(u64),
    /// At the first record committed at or after this time, in microseconds since the Unix epoch.
    Time(u64),
}

impl Start {
    /// Bytes on the wire.
    pub(crate) const BYTES: usize = 9;

    pub(crate) fn put(self, out: &mut BytesMut) {
        let (tag, value) = match self {
            Self::Beginning => (BEGINNING, 0),
            Self::Now => (NOW, 0),
            Self::Offset(offset) => (OFFSET, offset),
            Self::Time(micros) => (TIME, micros),
        };
        out.put_u8(tag);
        out.put_u64(value);
    }

    pub(crate) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, tag) = u8(input)?;
        let (input, value) = u64(input)?;
        match (tag, value) {
            (BEGINNING, 0) => Ok((input, Self::Beginning)),
            (NOW, 0) => Ok((input, Self::Now)),
            (OFFSET, offset) => Ok((input, Self::Offset(offset))),
            (TIME, micros) => Ok((input, Self::Time(micros))),
            (BEGINNING | NOW, value) => refuse(WireError::UnknownValue {
                what: "value of this start",
                value,
            }),
            (tag, _) => refuse(WireError::UnknownValue {
                what: "start",
                value: tag.into(),
            }),
        }
    }
}
