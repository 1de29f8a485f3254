//! SUBSCRIBED: `subscription:u32, next:u64, tail:u64`.

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use super::EventKind;
use crate::error::WireError;
use crate::wire::Body;
use crate::wire::read::{u32, u64, whole};

/// Answers SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The subscription.
    pub subscription: u32,
    /// Offset of the first record that will be delivered.
    pub next: u64,
    /// The stream's tail when this was sent.
    pub tail: u64,
}

impl Body for Subscribed {
    const KIND: u8 = EventKind::Subscribed.number();

    fn body_bytes(&self) -> usize {
        20
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u32(self.subscription);
        out.put_u64(self.next);
        out.put_u64(self.tail);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let mut parts = (u32, u64, u64);
        let (subscription, next, tail) =
            whole(Self::KIND, body, |input| parts.parse_complete(input))?;
        Ok(Self {
            subscription,
            next,
            tail,
        })
    }
}
