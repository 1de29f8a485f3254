//! Encoded frames on their way out: small pieces coalesced, large shared ones kept as they are.
//!
//! Filled by the session, emptied by the connection with one (vectored) write for all that is there. Bytes leave in the
//! order in which they came in.
//!
//! Invariant: `shared_bytes` is the sum of the lengths in `segments`; `tail` comes after all of them.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use streamkeeper_protocol::Run;

/// Shared bytes shorter than this are copied behind their neighbours: copying them costs less than one more piece in a
/// vectored write, and it does not keep the large block alive that they are a part of.
const COPY_BYTES_MAX: usize = 8 << 10;

/// A drained buffer keeps at most this much memory, so an idle connection holds next to nothing.
const IDLE_BYTES_MAX: usize = 1 << 10;

/// Most pieces in one vectored write; Linux takes 1,024, and far fewer already fill a socket.
pub const SLICES_MAX: usize = 64;

/// Bytes to be written, in order.
#[derive(Debug, Default)]
pub struct WriteBuffer {
    segments: VecDeque<Bytes>,
    shared_bytes: usize,
    tail: BytesMut,
}

impl WriteBuffer {
    /// Bytes not yet written.
    pub fn len(&self) -> usize {
        self.shared_bytes + self.tail.len()
    }

    /// True if everything is written.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.tail.is_empty()
    }

    /// Where to encode what comes next. Only append to it.
    pub fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Adds `bytes` behind what is there, without copying them if they are large.
    pub fn push(&mut self, bytes: &Bytes) {
        if bytes.len() < COPY_BYTES_MAX {
            self.tail.extend_from_slice(bytes);
            return;
        }
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.push_segment(tail);
        }
        self.push_segment(bytes.clone());
    }

    /// Adds runs back to back, as RECORDS and DELIVER hold them.
    pub(super) fn push_runs(&mut self, runs: &[Run]) {
        for run in runs {
            self.tail.extend_from_slice(&run.header.encode());
            self.push(&run.records);
        }
    }

    fn push_segment(&mut self, segment: Bytes) {
        self.shared_bytes += segment.len();
        self.segments.push_back(segment);
    }

    /// The front of what is to be written, as pieces. Unused pieces are left empty; the used ones are returned.
    pub fn slices<'s, 'b>(&'b self, into: &'s mut [IoSlice<'b>; SLICES_MAX]) -> &'s [IoSlice<'b>] {
        let pieces = self.segments.iter().map(Bytes::as_ref);
        let pieces = pieces
            .chain([self.tail.as_ref()])
            .filter(|piece| !piece.is_empty());
        let mut used = 0;
        for (slot, piece) in into.iter_mut().zip(pieces) {
            *slot = IoSlice::new(piece);
            used += 1;
        }
        into.get(..used).unwrap_or_default()
    }

    /// The first piece, if it is all there is: it can then be written without vectors.
    pub fn only_piece(&self) -> Option<&[u8]> {
        self.segments.is_empty().then(|| self.tail.as_ref())
    }

    /// Forgets `written` bytes at the front; never more than [`WriteBuffer::len`].
    pub fn advance(&mut self, written: usize) {
        let mut left = written;
        while left > 0
            && let Some(front) = self.segments.front_mut()
        {
            let step = left.min(front.len());
            front.advance(step);
            self.shared_bytes -= step;
            left -= step;
            if front.is_empty() {
                self.segments.pop_front();
            }
        }
        self.tail.advance(left.min(self.tail.len()));
        if self.is_empty() {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        // Reclaiming moves nothing here, for the tail is empty; it succeeds only if the allocation is that large.
        if self.tail.try_reclaim(IDLE_BYTES_MAX + 1) {
            self.tail = BytesMut::new();
        }
        if self.segments.capacity() > 0 {
            self.segments = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(buffer: &mut WriteBuffer, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !buffer.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let joined: Vec<u8> = buffer
                .slices(&mut slices)
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            let step = step.min(joined.len());
            all.extend_from_slice(&joined[..step]);
            buffer.advance(step);
        }
        all
    }

    #[test]
    fn bytes_leave_in_the_order_they_came_in_whatever_the_write_sizes() {
        let large = Bytes::from(vec![7; COPY_BYTES_MAX]);
        for step in [1, 3, COPY_BYTES_MAX - 1, COPY_BYTES_MAX + 2, usize::MAX] {
            let mut buffer = WriteBuffer::default();
            buffer.tail().extend_from_slice(b"head");
            buffer.push(&large);
            buffer.push(&Bytes::from_static(b"small"));
            buffer.push(&large);
            assert_eq!(buffer.len(), 9 + 2 * large.len());
            let expected = [&b"head"[..], &large, b"small", &large].concat();
            assert!(written(&mut buffer, step) == expected, "step {step}");
            assert_eq!(buffer.len(), 0);
        }
    }

    #[test]
    fn large_bytes_are_shared_and_small_ones_copied() {
        let large = Bytes::from(vec![7; COPY_BYTES_MAX]);
        let mut buffer = WriteBuffer::default();
        buffer.push(&large);
        buffer.push(&large.slice(..10));
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let slices = buffer.slices(&mut slices);
        assert_eq!(slices.len(), 2);
        assert_eq!(slices[0].as_ptr(), large.as_ptr());
        assert_ne!(slices[1].as_ptr(), large.as_ptr());
    }

    #[test]
    fn a_drained_buffer_keeps_no_memory_worth_naming() {
        let mut buffer = WriteBuffer::default();
        buffer.tail().extend_from_slice(&vec![0; 100_000]);
        buffer.push(&Bytes::from(vec![7; COPY_BYTES_MAX]));
        buffer.advance(buffer.len());
        assert!(!buffer.tail.try_reclaim(IDLE_BYTES_MAX + 1));
        assert_eq!(buffer.segments.capacity(), 0);
    }
}
