//! CREATED and CLOSED: `tail:u64`. (DELETED has no body.)

use bytes::{BufMut, Bytes, BytesMut};

use super::EventKind;
use crate::error::WireError;
use crate::flags::CREATED_EXISTS;
use crate::wire::Body;
use crate::wire::read::{u64, whole};

/// Answers CREATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// The stream was there before, with the same configuration.
    pub exists: bool,
    /// The stream's tail; 0 for a new stream.
    pub tail: u64,
}

/// Answers CLOSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The stream's tail, which will not change any more.
    pub tail: u64,
}

impl Body for Created {
    const KIND: u8 = EventKind::Created.number();

    fn flags(&self) -> u8 {
        CREATED_EXISTS.when(self.exists)
    }

    fn body_bytes(&self) -> usize {
        8
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u64(self.tail);
    }

    fn parse(flags: u8, body: &Bytes) -> Result<Self, WireError> {
        let tail = whole(Self::KIND, body, u64)?;
        Ok(Self {
            exists: CREATED_EXISTS.is_in(flags),
            tail,
        })
    }
}

impl Body for Closed {
    const KIND: u8 = EventKind::Closed.number();

    fn body_bytes(&self) -> usize {
        8
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u64(self.tail);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let tail = whole(Self::KIND, body, u64)?;
        Ok(Self { tail })
    }
}
