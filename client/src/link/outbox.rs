//! Bytes on their way to the server: what callers encode while the writer is busy.
//!
//! Small frames are encoded one behind the other into `tail`; large record blocks are queued as they are, without
//! another copy. The writer takes everything at once, so one system call carries as many frames as came in during
//! the previous one. Order of the bytes is the order of the calls. Its size is bounded by what may be in flight:
//! the link's room, the producers' windows, and one or two control frames per subscription.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use streamkeeper_protocol::Command;
use streamkeeper_protocol::command::Append;
use streamkeeper_protocol::frame::LENGTH_BYTES;
use streamkeeper_protocol::record::RECORD_HEADER_BYTES;

/// From this many bytes on a record block is queued by reference: below it, one more copy costs less than one
/// more slice in the vectored write.
const BY_REFERENCE_BYTES_MIN: usize = 16 * 1024;

/// What the writer has to write, in order: `parts`, then `tail`.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    parts: VecDeque<Bytes>,
    tail: BytesMut,
}

impl Outbox {
    /// Appends one whole frame.
    pub(crate) fn command(&mut self, command: &Command, correlation: u32) {
        command.encode(correlation, &mut self.tail);
    }

    /// Appends one APPEND frame with its records.
    pub(crate) fn append(&mut self, append: &Append, correlation: u32) {
        append.encode_header(correlation, &mut self.tail);
        if append.records.len() < BY_REFERENCE_BYTES_MIN {
            self.tail.extend_from_slice(&append.records);
        } else {
            self.parts.push_back(self.tail.split().freeze());
            self.parts.push_back(append.records.clone());
        }
    }

    /// Appends one APPEND frame whose only record is `payload`; `append` holds no records.
    pub(crate) fn append_record(&mut self, append: &Append, payload: &[u8], correlation: u32) {
        let start = self.tail.len();
        append.encode_header(correlation, &mut self.tail);
        self.tail.reserve(RECORD_HEADER_BYTES + payload.len());
        self.tail
            .put_u32(u32::try_from(payload.len()).expect("checked against the server's limit"));
        self.tail.put_u32(crc32c::crc32c(payload));
        self.tail.put_slice(payload);
        // The header was written for a frame without records: its length counts what follows the length field.
        let length = self.tail.len() - start - LENGTH_BYTES;
        let length = u32::try_from(length).expect("checked against the server's limit");
        if let Some(field) = self.tail.get_mut(start..start + LENGTH_BYTES) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.parts.is_empty()
    }

    /// Exchanges the contents with `empty`, whose allocations serve the next frames.
    pub(crate) fn swap(&mut self, empty: &mut Self) {
        debug_assert!(empty.is_empty(), "what was taken before is written");
        std::mem::swap(self, empty);
    }

    /// Drops everything, as when the connection ended.
    pub(crate) fn clear(&mut self) {
        self.parts.clear();
        self.tail.clear();
    }
}

/// What is left to write.
impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum::<usize>() + self.tail.len()
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&self.tail, |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = self.parts.iter().map(|part| &**part);
        let chunks = parts.chain([&*self.tail]).filter(|chunk| !chunk.is_empty());
        slices
            .iter_mut()
            .zip(chunks)
            .map(|(slice, chunk)| *slice = IoSlice::new(chunk))
            .count()
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(part) = self.parts.front_mut() {
            if written < part.len() {
                part.advance(written);
                return;
            }
            written -= part.len();
            self.parts.pop_front();
        }
        self.tail.advance(written);
    }
}
