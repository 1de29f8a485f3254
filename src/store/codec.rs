//! The bytes of what the store keeps: rows of the journal, states of streams, states of producers. Pure.
//!
//! Big-endian. Every row is sealed the same way, so that a row from a mangled disk is refused, never misread:
//!
//! ```text
//! crc32c:u32 over the rest | version:u8 | body
//! journal body:  entries, each  kind:u8 | length:u32 | stream id:u64 | `length` bytes
//! text, bytes:   length:u32 | that many bytes        optional: 0:u8, or 1:u8 | value
//! ```
//!
//! - `journal`: building rows ([`RowBuilder`]) and taking them apart ([`entries`]); runs are neither copied nor looked into.
//! - `effect`, `options` and `fork`: the body of an entry, one layout per kind. `reader`: the primitives.
//!
//! A layout never changes under its version: a new layout is a new version, and decoding goes on to know the old one.
//! Decoding never panics, whatever the bytes; encoding cannot fail.

mod effect;
mod fork;
mod journal;
mod options;
mod reader;

use std::sync::Arc;

use bytes::BufMut;
use streamkeeper_protocol::WireError;

pub use journal::{Entry, RowBuilder, entries, entries_unsealed};

use self::reader::{Reader, put_bytes, put_optional_bytes, put_optional_u64, put_position};
use crate::rules::{ProducerState, Producers, StreamState};
use crate::types::{Offset, StreamId, Timestamp};

/// Bytes in front of the body of every row: checksum and version.
const SEAL_BYTES: usize = 5;

/// Bytes of the checksum, which covers everything after it.
const CHECKSUM_BYTES: usize = 4;

/// Version 2 added forks: where the stream forks off another, how many fork off it and up to where, whether only they keep it.
const STATE_VERSION: u8 = 2;
const PRODUCER_VERSION: u8 = 1;

/// Bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end too early.
    #[error("the row ends early: {need} bytes are needed, {have} are left")]
    Truncated {
        /// Bytes that should follow.
        need: usize,
        /// Bytes that do.
        have: usize,
    },
    /// The bytes do not match their checksum.
    #[error(
        "the row does not match its checksum: {expected:#010x} is stored, {actual:#010x} is right"
    )]
    Checksum {
        /// The checksum stored with the row.
        expected: u32,
        /// The checksum of the row as it is.
        actual: u32,
    },
    /// The row was written in a format that this build does not know.
    #[error(
        "the row has format version {found}, this build knows versions up to {known}: use a newer build"
    )]
    Version {
        /// The version of the row.
        found: u8,
        /// The newest version known.
        known: u8,
    },
    /// An entry is of no known kind.
    #[error("entry kind {kind} is unknown")]
    UnknownKind {
        /// The kind.
        kind: u8,
    },
    /// A field holds what it cannot hold.
    #[error("field {field} holds an impossible value")]
    Value {
        /// The field's name.
        field: &'static str,
    },
    /// Bytes are left where none should be.
    #[error("{left} bytes follow the end")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// The header of a run is unsound.
    #[error("a run is malformed: {0}")]
    Run(#[from] WireError),
}

/// The row of a stream: its state without its producers, and its name.
pub fn encode_state(state: &StreamState, name: &str) -> Vec<u8> {
    let mut row = open_seal(STATE_VERSION);
    row.put_u64(state.id.0);
    put_bytes(&mut row, name.as_bytes());
    options::put(&mut row, &state.options);
    row.put_u64(state.created_at.0);
    row.put_u64(state.touched_at.0);
    put_optional_u64(&mut row, state.last_append_at.map(|at| at.0));
    put_position(&mut row, state.earliest);
    put_position(&mut row, state.tail);
    row.put_u8(u8::from(state.closed));
    put_optional_bytes(&mut row, state.last_seq.as_deref());
    row.put_u8(u8::from(state.fork.is_some()));
    if let Some(fork) = &state.fork {
        fork::put(&mut row, fork);
    }
    row.put_u64(state.forks);
    row.put_u64(state.shared_until.0);
    row.put_u8(u8::from(state.deleted));
    close_seal(&mut row);
    row
}

/// Reads what [`encode_state`] wrote: the state, without producers, and the stream's name.
pub fn decode_state(row: &[u8]) -> Result<(StreamState, String), CodecError> {
    let (version, body) = check_seal(row, STATE_VERSION)?;
    let mut body = Reader::new(body);
    let id = StreamId(body.u64()?);
    let name = body.text("name")?.to_owned();
    let mut state = StreamState {
        id,
        options: Arc::new(options::read(&mut body)?),
        created_at: Timestamp(body.u64()?),
        touched_at: Timestamp(body.u64()?),
        last_append_at: body.optional("last_append_at", Reader::u64)?.map(Timestamp),
        earliest: body.position()?,
        tail: body.position()?,
        closed: body.flag("closed")?,
        last_seq: body.optional("last_seq", Reader::owned_bytes)?,
        producers: Producers::default(),
        fork: None,
        forks: 0,
        shared_until: Offset(0),
        deleted: false,
    };
    if version >= 2 {
        state.fork = body.optional("fork", fork::read)?.map(Arc::new);
        state.forks = body.u64()?;
        state.shared_until = Offset(body.u64()?);
        state.deleted = body.flag("deleted")?;
    }
    body.end()?;
    Ok((state, name))
}

/// The row of one producer of a stream.
pub fn encode_producer(producer: &ProducerState) -> Vec<u8> {
    let mut row = open_seal(PRODUCER_VERSION);
    row.put_u64(producer.epoch);
    row.put_u64(producer.seq);
    row.put_u64(producer.at.0);
    close_seal(&mut row);
    row
}

/// Reads what [`encode_producer`] wrote.
pub fn decode_producer(row: &[u8]) -> Result<ProducerState, CodecError> {
    let mut body = Reader::new(check_seal(row, PRODUCER_VERSION)?.1);
    let producer = ProducerState {
        epoch: body.u64()?,
        seq: body.u64()?,
        at: Timestamp(body.u64()?),
    };
    body.end()?;
    Ok(producer)
}

/// A row with room for its checksum and its version.
fn open_seal(version: u8) -> Vec<u8> {
    let mut row = Vec::with_capacity(128);
    row.put_u32(0);
    row.put_u8(version);
    row
}

/// Puts the checksum into the room left for it.
fn close_seal(row: &mut [u8]) {
    let (checksum, rest) = row
        .split_first_chunk_mut::<CHECKSUM_BYTES>()
        .expect("the row was opened with a seal");
    *checksum = crc32c::crc32c(rest).to_be_bytes();
}

/// The version and the body of a row, once its checksum is right and its version is one up to `known`.
fn check_seal(row: &[u8], known: u8) -> Result<(u8, &[u8]), CodecError> {
    let truncated = CodecError::Truncated {
        need: SEAL_BYTES,
        have: row.len(),
    };
    let (checksum, rest) = row
        .split_first_chunk::<CHECKSUM_BYTES>()
        .ok_or_else(|| truncated.clone())?;
    let (&found, body) = rest.split_first().ok_or(truncated)?;
    let (expected, actual) = (u32::from_be_bytes(*checksum), crc32c::crc32c(rest));
    if expected != actual {
        return Err(CodecError::Checksum { expected, actual });
    }
    if found == 0 || found > known {
        return Err(CodecError::Version { found, known });
    }
    Ok((found, body))
}

#[cfg(test)]
mod tests;
