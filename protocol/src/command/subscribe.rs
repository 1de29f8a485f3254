//! SUBSCRIBE, CREDIT and UNSUBSCRIBE: the life of a subscription, seen from the client.

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use super::{CommandKind, Start};
use crate::error::WireError;
use crate::wire::read::{stream_name, u32, u64, whole};
use crate::wire::write::{put_text, text_bytes};
use crate::wire::{Body, Str};

/// Asks for all records from some point on, as they come: `subscription:u32, stream:str, start, credit:u64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Chosen by the client; not open on this connection yet.
    pub subscription: u32,
    /// The stream's name.
    pub stream: Str,
    /// The first record wanted.
    pub start: Start,
    /// Bytes of deliveries allowed to begin with.
    pub credit: u64,
}

/// Allows more bytes of deliveries: `subscription:u32, bytes:u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// The subscription.
    pub subscription: u32,
    /// Bytes to add to what is left.
    pub bytes: u64,
}

/// Ends a subscription: `subscription:u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The subscription.
    pub subscription: u32,
}

impl Body for Subscribe {
    const KIND: u8 = CommandKind::Subscribe.number();

    fn body_bytes(&self) -> usize {
        4 + text_bytes(&self.stream) + Start::BYTES + 8
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u32(self.subscription);
        put_text(&self.stream, out);
        self.start.put(out);
        out.put_u64(self.credit);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let mut parts = (u32, stream_name(body), Start::parse, u64);
        let (subscription, stream, start, credit) =
            whole(Self::KIND, body, |input| parts.parse_complete(input))?;
        Ok(Self {
            subscription,
            stream,
            start,
            credit,
        })
    }
}

impl Body for Credit {
    const KIND: u8 = CommandKind::Credit.number();

    fn body_bytes(&self) -> usize {
        12
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u32(self.subscription);
        out.put_u64(self.bytes);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let mut parts = (u32, u64);
        let (subscription, bytes) = whole(Self::KIND, body, |input| parts.parse_complete(input))?;
        Ok(Self {
            subscription,
            bytes,
        })
    }
}

impl Body for Unsubscribe {
    const KIND: u8 = CommandKind::Unsubscribe.number();

    fn body_bytes(&self) -> usize {
        4
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u32(self.subscription);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let subscription = whole(Self::KIND, body, u32)?;
        Ok(Self { subscription })
    }
}
