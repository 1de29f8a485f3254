//! What answers hold until they are taken: one bound for all of them.
//!
//! A peer that takes nothing keeps its answers in memory, over HTTP/2 as many as it may ask for at a time. Bytes count from when
//! an answer is rendered until the last reference to them is gone, wherever they wait. Answers get smaller as the bound comes
//! nearer; over it there are none (429).
//!
//! Events are not counted: they are made only when the connection has room for some.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::error::Failure;

/// One answer may take this part of what is left.
const SHARE: usize = 16;
/// But needs not be smaller than this.
const ANSWER_BYTES_MIN: usize = 16 << 10;

/// The bound, shared by clones.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    bytes_max: usize,
    bytes: Arc<AtomicUsize>,
}

impl Outgoing {
    /// A bound for all answers together.
    pub(super) fn new(bytes_max: usize) -> Self {
        let bytes = Arc::default();
        Self { bytes_max, bytes }
    }

    /// How large an answer may be that may have up to `most` bytes.
    pub(super) fn share(&self, most: usize) -> usize {
        let left = self
            .bytes_max
            .saturating_sub(self.bytes.load(Ordering::Relaxed));
        most.min((left / SHARE).max(ANSWER_BYTES_MIN))
    }

    /// Counts `bytes` until they are dropped.
    pub(super) fn hold(&self, bytes: Bytes) -> Result<Bytes, Failure> {
        if bytes.is_empty() {
            return Ok(bytes);
        }
        let before = self.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        let counted = Counted {
            total: Arc::clone(&self.bytes),
            bytes,
        };
        // An answer larger than all there may be goes out alone.
        if before > 0 && before + counted.bytes.len() > self.bytes_max {
            return Err(Failure::unread());
        }
        Ok(Bytes::from_owner(counted))
    }
}

struct Counted {
    total: Arc<AtomicUsize>,
    bytes: Bytes,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_shrink_and_then_end_until_some_are_taken() {
        let outgoing = Outgoing::new(64 << 20);
        let answer = || outgoing.hold(Bytes::from(vec![0; 1 << 20])).ok();
        assert_eq!(outgoing.share(1 << 20), 1 << 20);
        let mut held: Vec<Bytes> = (0..64).map_while(|_| answer()).collect();
        assert_eq!(held.len(), 64);
        assert!(answer().is_none());
        assert_eq!(outgoing.share(1 << 20), ANSWER_BYTES_MIN);
        // A part of an answer holds all of it.
        let part = held.pop().map(|last| last.slice(..1));
        assert!(answer().is_none());
        drop(part);
        assert!(answer().is_some());
        held.clear();
        assert_eq!(outgoing.share(1 << 20), 1 << 20);
    }
}
