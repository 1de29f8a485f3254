//! What answers hold until they are taken: one bound for all of them.
//!
//! A peer that takes nothing keeps its answers in memory, over HTTP/2 as many as it may ask for at a time. Bytes count from when
//! an answer is rendered until the last reference to them is gone, wherever they wait. Answers get smaller as the bound comes
//! nearer; over it there are none (429).
//!
//! What is read from the store for an answer counts from before it is read. A reader of events is not sent away: beyond the bound it
//! gets only what is small and in memory anyway, and no more before it has taken that; the rest waits until others have taken
//! theirs, or are cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::error::Failure;

/// One answer may take this part of what is left.
const SHARE: usize = 16;
/// But needs not be smaller than this.
const ANSWER_BYTES_MIN: usize = 16 << 10;

/// An answer waits this long for room before the store is read for it.
const ROOM_WAIT: Duration = Duration::from_secs(5);

/// The bound, shared by clones.
#[derive(Clone, Debug)]
pub(super) struct Outgoing(Arc<Total>);

#[derive(Debug)]
struct Total {
    bytes: AtomicUsize,
    bytes_max: usize,
    /// The bound is kept again.
    freed: Notify,
}

impl Outgoing {
    /// A bound for all answers together.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Total {
            bytes: AtomicUsize::new(0),
            bytes_max,
            freed: Notify::new(),
        }))
    }

    /// How large an answer may be that may have up to `most` bytes.
    pub(super) fn share(&self, most: usize) -> usize {
        let left = self.0.bytes_max.saturating_sub(self.bytes());
        most.min((left / SHARE).max(ANSWER_BYTES_MIN))
    }

    /// Nothing more is to be made, where that can be helped.
    pub(super) fn is_full(&self) -> bool {
        self.bytes() >= self.0.bytes_max
    }

    /// Waits until it is not full, and counts `bytes` that are about to be made. Cancel safe.
    pub(super) async fn reserve(&self, bytes: usize) -> Reserved {
        loop {
            let freed = self.0.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if !self.is_full() {
                self.0.bytes.fetch_add(bytes, Ordering::SeqCst);
                let total = Arc::clone(&self.0);
                return Reserved { total, bytes };
            }
            freed.await;
        }
    }

    /// As [`Self::reserve`] for an answer; `None` if there is no room for a while.
    pub(super) async fn reserve_soon(&self, bytes: usize) -> Option<Reserved> {
        tokio::time::timeout(ROOM_WAIT, self.reserve(bytes))
            .await
            .ok()
    }

    /// Counts `bytes` until they are dropped.
    pub(super) fn hold(&self, bytes: Bytes) -> Result<Bytes, Failure> {
        if bytes.is_empty() {
            return Ok(bytes);
        }
        let before = self.bytes();
        // An answer larger than all there may be goes out alone.
        if before > 0 && before + bytes.len() > self.0.bytes_max {
            return Err(Failure::unread());
        }
        let own = Arc::new(Own::of(self));
        Ok(own.count(bytes))
    }

    /// A reader of events, of which nothing is counted yet.
    pub(super) fn reader(&self) -> Reader {
        Reader(Arc::new(Own::of(self)))
    }

    fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::SeqCst)
    }
}

/// Bytes that are about to be made, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    total: Arc<Total>,
    bytes: usize,
}

impl Reserved {
    /// It became less: `bytes`.
    pub(super) fn shrink(&mut self, bytes: usize) {
        if let Some(less) = self.bytes.checked_sub(bytes) {
            self.bytes = bytes;
            self.total.release(less);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.total.release(self.bytes);
    }
}

impl Total {
    fn release(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        if before >= self.bytes_max && before - bytes < self.bytes_max {
            self.freed.notify_waiters();
        }
    }
}

/// What one reader of events was sent, and has not taken.
#[derive(Debug)]
pub(super) struct Reader(Arc<Own>);

/// What one peer was sent.
#[derive(Debug)]
struct Own {
    outgoing: Outgoing,
    /// Not taken yet.
    pieces: AtomicUsize,
    /// One was taken while there was no room.
    taken: Notify,
}

impl Own {
    fn of(outgoing: &Outgoing) -> Self {
        Self {
            outgoing: outgoing.clone(),
            pieces: AtomicUsize::new(0),
            taken: Notify::new(),
        }
    }

    fn count(self: Arc<Self>, bytes: Bytes) -> Bytes {
        self.pieces.fetch_add(1, Ordering::SeqCst);
        let total = &self.outgoing.0;
        total.bytes.fetch_add(bytes.len(), Ordering::SeqCst);
        Bytes::from_owner(Counted { own: self, bytes })
    }
}

impl Reader {
    /// Counts an event until it is dropped.
    pub(super) fn hold(&self, event: Bytes) -> Bytes {
        Arc::clone(&self.0).count(event)
    }

    /// Whether to wait for its [`turn`](Self::turn).
    pub(super) fn waits(&self) -> bool {
        self.0.outgoing.is_full() && self.0.pieces.load(Ordering::SeqCst) > 0
    }

    /// Waits until there is room, or it has taken all it was sent. Cancel safe.
    pub(super) async fn turn(&self) {
        while self.waits() {
            tokio::select! {
                () = self.0.taken.notified() => {}
                _ = self.0.outgoing.reserve(0) => {}
            }
        }
    }
}

struct Counted {
    own: Arc<Own>,
    bytes: Bytes,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.own.pieces.fetch_sub(1, Ordering::SeqCst);
        // Who waits for its own pieces waits for room as well: below the bound that wakes it.
        if self.own.outgoing.is_full() {
            self.own.taken.notify_one();
        }
        self.own.outgoing.0.release(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

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

    #[test]
    fn a_reader_beyond_the_bound_waits_for_others_or_for_itself() {
        let outgoing = Outgoing::new(1 << 10);
        let (one, other) = (outgoing.reader(), outgoing.reader());
        let large = one.hold(Bytes::from(vec![0; 1 << 10]));
        assert!(outgoing.is_full());
        assert!(
            one.turn().now_or_never().is_none(),
            "it has not taken its own"
        );
        assert!(other.turn().now_or_never().is_some(), "it has taken all");
        let small = other.hold(Bytes::from_static(b"small"));
        let mut turn = std::pin::pin!(other.turn());
        assert!(turn.as_mut().now_or_never().is_none());
        drop(small);
        assert!(turn.now_or_never().is_some());
        let mut room = std::pin::pin!(outgoing.reserve(10));
        assert!(room.as_mut().now_or_never().is_none());
        drop(large);
        let mut room = room.now_or_never().expect("there is room");
        room.shrink(4);
        assert_eq!(outgoing.bytes(), 4);
        drop(room);
        assert_eq!(outgoing.bytes(), 0);
    }
}
