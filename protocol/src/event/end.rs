//! END: `subscription:u32, reason:u8, next:u64, fields`.

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;

use super::EventKind;
use crate::error::WireError;
use crate::fields::EndField;
use crate::wire::fields::{Entries, Value, fields, fields_bytes, put_fields};
use crate::wire::read::{u8, u32, u64, whole};
use crate::wire::{Body, known, wire_numbers};

wire_numbers! {
    /// Why a subscription is over.
    EndReason {
        /// The stream is closed and everything up to its tail was delivered.
        Closed = 1, "CLOSED";
        /// The stream was deleted.
        Deleted = 2, "DELETED";
        /// The stream expired.
        Expired = 3, "EXPIRED";
        /// Retention removed records before they could be delivered; `earliest` says what is left.
        TrimmedPast = 4, "TRIMMED_PAST";
        /// The client sent UNSUBSCRIBE.
        Unsubscribed = 5, "UNSUBSCRIBED";
        /// The record at `next` does not match its checksum.
        Corrupt = 6, "CORRUPT";
        /// The server cannot read the stream now.
        Unavailable = 7, "UNAVAILABLE";
    }
}

/// A subscription is over; its id is free again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The subscription.
    pub subscription: u32,
    /// Why.
    pub reason: EndReason,
    /// Offset after the last record delivered: where to go on.
    pub next: u64,
    /// Offset of the earliest record kept, with [`EndReason::TrimmedPast`].
    pub earliest: Option<u64>,
}

impl End {
    fn entries(&self) -> Entries<'_, EndField, 1> {
        [(EndField::Earliest, self.earliest.map(Value::U64))]
    }
}

impl Body for End {
    const KIND: u8 = EventKind::End.number();

    fn body_bytes(&self) -> usize {
        13 + fields_bytes(&self.entries())
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u32(self.subscription);
        out.put_u8(self.reason.number());
        out.put_u64(self.next);
        put_fields(&self.entries(), out);
    }

    fn parse(_: u8, body: &Bytes) -> Result<Self, WireError> {
        let mut parts = (u32, u8, u64, fields::<EndField>(body));
        let (subscription, reason, next, fields) =
            whole(Self::KIND, body, |input| parts.parse_complete(input))?;
        let reason = known(EndReason::of(reason), "end reason", reason)?;
        Ok(Self {
            subscription,
            reason,
            next,
            earliest: fields.u64(EndField::Earliest),
        })
    }
}
