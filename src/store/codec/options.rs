//! The configuration of a stream, as it stands in its state and in the journal entry of its creation.
//!
//! ```text
//! content type:text | expiry tag:u8 (0 never, 1 ttl in seconds, 2 at microseconds) | value:u64
//! max age: optional (seconds:u64 | nanoseconds:u32) | max records: optional u64 | max bytes: optional u64
//! storage:u8 (0 durable, 1 memory)
//! ```

use std::time::Duration;

use bytes::BufMut;

use super::CodecError;
use super::reader::{Reader, put_bytes, put_optional_u64};
use crate::types::{CreateOptions, Expiry, Retention, StorageKind, Str, Timestamp};

const NANOSECONDS: u32 = 1_000_000_000;

pub(super) fn put(out: &mut impl BufMut, options: &CreateOptions) {
    put_bytes(out, options.content_type.as_bytes());
    let (tag, value) = match options.expiry {
        Expiry::Never => (0, 0),
        Expiry::Ttl(seconds) => (1, seconds),
        Expiry::At(at) => (2, at.0),
    };
    out.put_u8(tag);
    out.put_u64(value);
    let retention = &options.retention;
    out.put_u8(u8::from(retention.max_age.is_some()));
    if let Some(age) = retention.max_age {
        out.put_u64(age.as_secs());
        out.put_u32(age.subsec_nanos());
    }
    put_optional_u64(out, retention.max_records);
    put_optional_u64(out, retention.max_bytes);
    out.put_u8(match options.storage {
        StorageKind::Durable => 0,
        StorageKind::Memory => 1,
    });
}

pub(super) fn read(body: &mut Reader<'_>) -> Result<CreateOptions, CodecError> {
    Ok(CreateOptions {
        content_type: Str::from(body.text("content_type")?),
        expiry: read_expiry(body)?,
        retention: Retention {
            max_age: body.optional("max_age", read_age)?,
            max_records: body.optional("max_records", Reader::u64)?,
            max_bytes: body.optional("max_bytes", Reader::u64)?,
        },
        storage: match body.u8()? {
            0 => StorageKind::Durable,
            1 => StorageKind::Memory,
            _ => return Err(CodecError::Value { field: "storage" }),
        },
    })
}

fn read_expiry(body: &mut Reader<'_>) -> Result<Expiry, CodecError> {
    match (body.u8()?, body.u64()?) {
        (0, 0) => Ok(Expiry::Never),
        (1, seconds) => Ok(Expiry::Ttl(seconds)),
        (2, at) => Ok(Expiry::At(Timestamp(at))),
        _ => Err(CodecError::Value { field: "expiry" }),
    }
}

fn read_age(body: &mut Reader<'_>) -> Result<Duration, CodecError> {
    let (seconds, nanoseconds) = (body.u64()?, body.u32()?);
    if nanoseconds >= NANOSECONDS {
        return Err(CodecError::Value { field: "max_age" });
    }
    Ok(Duration::new(seconds, nanoseconds))
}
