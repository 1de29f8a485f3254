//! The primitives of every row: numbers, text, bytes, optional values and positions, read and written.
//!
//! The [`Reader`] walks a slice and never reads past its end; what it hands out borrows from that slice, and callers that keep
//! something copy it, so that no state pins a row. Writers put into any buffer and cannot fail.

use bytes::{BufMut, Bytes};

use super::CodecError;
use crate::types::{Offset, Position};

/// What is left to read of a body.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// The next `need` bytes.
    pub(super) fn take(&mut self, need: usize) -> Result<&'a [u8], CodecError> {
        let have = self.rest.len();
        let (taken, rest) = self
            .rest
            .split_at_checked(need)
            .ok_or(CodecError::Truncated { need, have })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let have = self.rest.len();
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(CodecError::Truncated { need: N, have })?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, CodecError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, CodecError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, CodecError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, CodecError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Value { field }),
        }
    }

    /// A value behind a flag that says whether it is there.
    pub(super) fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Option<T>, CodecError> {
        if self.flag(field)? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    pub(super) fn owned_bytes(&mut self) -> Result<Bytes, CodecError> {
        Ok(Bytes::copy_from_slice(self.bytes()?))
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, CodecError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).or(Err(CodecError::Value { field }))
    }

    pub(super) fn position(&mut self) -> Result<Position, CodecError> {
        Ok(Position {
            offset: Offset(self.u64()?),
            byte: self.u64()?,
        })
    }

    /// Refuses bytes that nothing asked for.
    pub(super) fn end(self) -> Result<(), CodecError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(CodecError::Trailing {
                left: self.rest.len(),
            })
        }
    }
}

pub(super) fn put_bytes(out: &mut impl BufMut, bytes: &[u8]) {
    out.put_u32(length(bytes.len()));
    out.put_slice(bytes);
}

pub(super) fn put_optional_bytes(out: &mut impl BufMut, bytes: Option<&[u8]>) {
    out.put_u8(u8::from(bytes.is_some()));
    if let Some(bytes) = bytes {
        put_bytes(out, bytes);
    }
}

pub(super) fn put_optional_u64(out: &mut impl BufMut, value: Option<u64>) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        out.put_u64(value);
    }
}

pub(super) fn put_position(out: &mut impl BufMut, position: Position) {
    out.put_u64(position.offset.0);
    out.put_u64(position.byte);
}

/// A length as it is stored.
pub(super) fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("what goes into a row came in a frame, and is far below 4 GiB")
}
