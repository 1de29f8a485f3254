//! Frames: delimiting, and the fixed header.
//!
//! ```text
//!  length:u32   kind:u8   flags:u8   correlation:u32   body ...
//!  └ bytes that follow the length field: 6 + body
//! ```
//!
//! [`split`] is the only place that meets half a frame; "more bytes are needed" is a value here, not an error.
//! What it hands on is one whole body, which the parsers of [`crate::command`] and [`crate::event`] must use up
//! exactly.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::WireError;

/// Bytes of the length field.
pub const LENGTH_BYTES: usize = 4;

/// Bytes of the fixed header after the length field.
pub const HEADER_BYTES: usize = 6;

/// The fixed header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame is: a [`crate::command::CommandKind`] or [`crate::event::EventKind`], if known.
    pub kind: u8,
    /// Bits whose meaning depends on the kind; unknown ones are ignored.
    pub flags: u8,
    /// Ties a reply to its request; 0 = tied to none.
    pub correlation: u32,
}

/// One delimited frame whose body was not looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The fixed header.
    pub header: FrameHeader,
    /// Everything after the header.
    pub body: Bytes,
}

impl Frame {
    /// Bytes of the whole frame on the wire, with the length field.
    pub fn encoded_bytes(&self) -> usize {
        LENGTH_BYTES + HEADER_BYTES + self.body.len()
    }
}

/// Splits the first whole frame off `buffer`, without copying it; `None` means that more bytes are needed.
///
/// The length is compared with `frame_bytes_max` before room for the frame is reserved in `buffer`. After an error
/// the buffer is out of step and the connection must end.
///
/// # Errors
/// [`WireError::FrameTooLarge`] and [`WireError::FrameTooShort`].
pub fn split(buffer: &mut BytesMut, frame_bytes_max: u32) -> Result<Option<Frame>, WireError> {
    let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let have = u32::from_be_bytes(*length);
    if have > frame_bytes_max {
        return Err(WireError::FrameTooLarge {
            have,
            limit: frame_bytes_max,
        });
    }
    if (have as usize) < HEADER_BYTES {
        return Err(WireError::FrameTooShort { have });
    }
    let whole = LENGTH_BYTES + have as usize;
    if buffer.len() < whole {
        buffer.reserve(whole - buffer.len());
        return Ok(None);
    }
    // `whole` covers the length and the header, so none of these reads runs out.
    let mut body = buffer.split_to(whole).freeze();
    body.advance(LENGTH_BYTES);
    let header = FrameHeader {
        kind: body.get_u8(),
        flags: body.get_u8(),
        correlation: body.get_u32(),
    };
    Ok(Some(Frame { header, body }))
}

/// Reserves room for a whole frame and writes its length and header; exactly `body_bytes` must follow.
pub(crate) fn put_header(header: FrameHeader, body_bytes: usize, out: &mut BytesMut) {
    out.reserve(LENGTH_BYTES + HEADER_BYTES + body_bytes);
    put_length_and_header(header, body_bytes, out);
}

/// As [`put_header`], for a body that partly comes from elsewhere: no room is reserved for it.
///
/// A body past `u32` gets the largest length, which every receiver refuses.
pub(crate) fn put_length_and_header(header: FrameHeader, body_bytes: usize, out: &mut BytesMut) {
    out.put_u32(u32::try_from(HEADER_BYTES + body_bytes).unwrap_or(u32::MAX));
    out.put_u8(header.kind);
    out.put_u8(header.flags);
    out.put_u32(header.correlation);
}
