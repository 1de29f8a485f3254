//! Where a stream forks off another, as it stands in its state and in the journal entry of its creation.
//!
//! ```text
//! source name:text | offset asked for: optional position | sub-offset asked for:u64 | source id:u64 | at:position
//! earliest:position | expiry inherited:u8 | depth:u32          position: records:u64 | bytes:u64
//! ```

use bytes::BufMut;

use super::CodecError;
use super::reader::{Reader, put_bytes, put_position};
use crate::types::{Fork, ForkRequest, StreamId, StreamName};

pub(super) fn put(out: &mut impl BufMut, fork: &Fork) {
    let request = &fork.request;
    put_bytes(out, request.source.as_str().as_bytes());
    out.put_u8(u8::from(request.offset.is_some()));
    if let Some(offset) = request.offset {
        put_position(out, offset);
    }
    out.put_u64(request.sub_offset);
    out.put_u64(fork.source.0);
    put_position(out, fork.at);
    put_position(out, fork.earliest);
    out.put_u8(u8::from(fork.inherits_expiry));
    out.put_u32(fork.depth);
}

pub(super) fn read(body: &mut Reader<'_>) -> Result<Fork, CodecError> {
    let source = body.text("fork source")?;
    let source = StreamName::new(source).or(Err(CodecError::Value {
        field: "fork source",
    }))?;
    let request = ForkRequest {
        source,
        offset: body.optional("fork offset", Reader::position)?,
        sub_offset: body.u64()?,
    };
    Ok(Fork {
        request,
        source: StreamId(body.u64()?),
        at: body.position()?,
        earliest: body.position()?,
        inherits_expiry: body.flag("inherited expiry")?,
        depth: body.u32()?,
    })
}
